"""Where tone is restored: the curve that a whole domain needs to look as its references do, or as a person asks.

Exposure, a cast or a veil that every picture of a domain shares is one monotone curve a channel before the net. Whether
dark pictures are meant so, they do not say themselves: a set of hazy rooms lies as far from photographs at large as a set
of dark streets (docs/log.md). So there has to be a reference or an aim. The smallest change that helps is taken: none,
one curve for all channels, one for each.

Axes: N images, C channels, H x W pixels, T knots of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from udair.adaptation.pairs import gate_view
from udair.adaptation.pairs import run as run_model
from udair.adaptation.scenes import Scenes
from udair.bundle import Bundle
from udair.data.images import ImageArray
from udair.data.patches import to_array, to_tensor
from udair.estimation.looks import Looks
from udair.estimation.tone import pooled, tone_curve
from udair.models.modulation import Modulation
from udair.models.tone_curve import toned

LOOKED_AT = 24
NEAR_AIM = 0.03  # of mean brightness that a person asked for, in [0, 1]
# Distance of looks to references from which a curve is worth having, and the share of it that a curve may leave. Two sets
# of one kind lie within 0.05 of each other, photographs of two kinds within 0.5, which no curve halves (docs/log.md).
APART, MOST_LEFT = 0.3, 0.5


@dataclass(frozen=True)
class Toning:
    """The curve that was found.

    Attributes:
        delta_1CT: What it adds at its knots; zero where none is needed.
        words: What was found, for people.
        wanted: How pictures of the domain should look; None where nobody said.
        scale_S: How much photographs vary.
        aim: Mean brightness that a person asks for.
        views, answers: Pictures that it was made for, (3, H, W), and what the base model makes of them.
    """

    delta_1CT: Tensor
    words: str = ""
    wanted: Looks | None = None
    scale_S: Tensor | None = None
    aim: float | None = None
    views: Sequence[Tensor] = ()
    answers: Sequence[Tensor] = ()

    @property
    def found(self) -> bool:
        """Whether there is a curve."""
        return bool(self.delta_1CT.any())

    def over(self, row: Modulation) -> Modulation:
        """A row with this curve."""
        return replace(row, curve_B3T=self.delta_1CT.to(row.curve_B3T.device))

    def image(self, image: ImageArray) -> ImageArray:
        """A picture behind the curve: what the net sees of it."""
        if not self.found:
            return image
        return np.asarray(to_array(self.pixels(to_tensor([image]))[0]))

    def gain(self, bundle: Bundle, row: Modulation, before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
        """How much nearer restored pictures come to what is wanted: those that the curve was made for, and others.

        With references that is the distance of looks, else that of the mean from the aim: single pictures may be
        darker or brighter than it.

        Args:
            bundle, row: What restores those that the curve was made for.
            before, after: The others, by the base model and by the adapter.
        """
        own = [run_model(bundle.model, view[None], row, tone="restore")[0] for view in self.views]
        old, new = Looks.of([*self.answers, *before]), Looks.of([*own, *after])
        if self.wanted is not None and self.scale_S is not None:
            return old.unlike(self.wanted, self.scale_S) - new.unlike(self.wanted, self.scale_S)
        return 0.0 if self.aim is None else abs(old.mean - self.aim) - abs(new.mean - self.aim)

    def pixels(self, image_BCHW: Tensor) -> Tensor:
        """Pictures behind the curve."""
        return toned(
            image_BCHW,
            self.delta_1CT.to(image_BCHW.device).expand(len(image_BCHW), -1, -1),
            torch.ones(len(image_BCHW), device=image_BCHW.device),
        )


def find_toning(
    bundle: Bundle, images: Sequence[ImageArray], scenes: Scenes, scale_S: Tensor, aim: float | None
) -> Toning:
    """Choose a curve for a domain whose tone is to be restored.

    Args:
        bundle: The base model, whose answers are looked at: what it corrects by itself needs no curve.
        images: Of the domain.
        scenes: What its pictures should look like, at the aim if one is stated.
        scale_S: How much photographs vary (`Looks.unlike`).
        aim: Mean brightness that a person asks for.
    """
    none = Toning(bundle.model.identity().curve_B3T.cpu())
    if aim is None and not scenes.references:
        return replace(
            none,
            words="Tone: left to the base model; without references or tone_aim, pictures do not say how they should look.",
        )
    chosen = images[:: max(1, math.ceil(len(images) / LOOKED_AT))]
    views = [gate_view(image).to(bundle.model.enter.weight.device) for image in chosen]

    def answered(toning: Toning) -> list[Tensor]:
        row = toning.over(bundle.model.identity())
        return [run_model(bundle.model, view[None], row, tone="restore")[0] for view in views]

    answers = answered(none)
    before = Looks.of(answers)
    mean = before.mean
    if aim is not None and abs(mean - aim) <= NEAR_AIM:
        return replace(
            none,
            words=f"Tone: left to the base model, whose answers have a mean of {mean:.2f}; {aim:.2f} is asked for.",
        )
    apart = before.unlike(scenes.looks, scale_S)
    if aim is None and apart < APART:
        return replace(
            none, words=f"Tone: left to the base model, whose answers look as the references do (distance {apart:.2f})."
        )
    best, after, kind = none, before, ""
    for curve, grey in (("one curve", True), ("a curve a channel", False)):
        if not scenes.references and not grey:
            continue  # without references, colours are the scene's
        delta_1CT = tone_curve(pooled(images), scenes.pixels_PC, grey=grey)
        wanted = scenes.looks if scenes.references else None
        toning = Toning(delta_1CT, "", wanted, scale_S, aim, views, answers)
        looks = Looks.of(answered(toning))
        nearer = after.surely_farther(looks, scenes.looks, scale_S) > 0
        left = looks.unlike(scenes.looks, scale_S)
        if (nearer and left <= MOST_LEFT * apart) or (aim is not None and not kind):
            best, after, kind = toning, looks, curve
    if not kind:
        return replace(
            none,
            words=f"Tone: left to the base model; no curve brings it surely nearer to the references (distance {apart:.2f}).",
        )
    asked = f", {aim:.2f} is asked for" if aim is not None else ""
    told = (
        f"; distance to the references {apart:.2f} -> {after.unlike(scenes.looks, scale_S):.2f}"
        if scenes.references
        else ""
    )
    return replace(best, words=f"Tone: {kind} before the model, mean {mean:.2f} -> {after.mean:.2f}{asked}{told}.")
