"""What is measured about an adapter before a domain may serve it: label-free on the target, with
ground truth on clean scenes that carry the matched degradation.

Axes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from udair.adaptation.adapter import SCOPE, Adapter
from udair.adaptation.base_check import tone_shift
from udair.adaptation.flat_places import taken_out
from udair.adaptation.gate import Evidence
from udair.adaptation.pairs import Pairs, run
from udair.adaptation.toning import Toning
from udair.bundle import Bundle
from udair.errors import AdapterError
from udair.metrics import NIQE_PATCH, niqe, niqe_features
from udair.models.modulation import Modulation

BOOTSTRAPS = 200
DISAGREEMENT_IMAGES = 8
UNASKED = -1.0  # gain in looks of a tone curve for a domain that needs none


class Yardstick:
    """Measures candidates against the source model, whose answers are computed once.

    The intent is that of the matched pairs. What an adapter does beside a tone curve is measured behind that curve.

    Args:
        bundle: The base model.
        matched: Held-out scenes with the degradation that was found.
        source: Held-out scenes with the source domain's own degradations.
        gate_images: Target images (3, H, W) that adaptation did not see.
        target_images: Usable images in the whole snapshot.
        seed: Of the bootstrap.
        toning: The tone curve that was found, if any was.
    """

    def __init__(
        self,
        bundle: Bundle,
        matched: Pairs,
        source: Pairs,
        gate_images: Sequence[Tensor],
        target_images: int,
        seed: int,
        toning: Toning | None = None,
    ) -> None:
        self._bundle, self._matched, self._source = bundle, matched, source
        self._images, self._target_images, self._seed = gate_images, target_images, seed
        self._tone = matched.tone
        self._before = self._restore(None)
        self._before_features = _features(self._before)
        self._toning = toning if toning is not None and toning.found else None
        self._start, self._start_images = self._before, list(gate_images)
        if self._toning is not None:
            self._start = self._restore(self._toning.over(bundle.model.identity()))
            self._start_images = [self._toning.pixels(image[None])[0] for image in gate_images]
        self._start_taken = taken_out(self._start_images, self._start, self._start)
        self._before_spread = self._spread(gate_images, None)
        self._before_matched_spread = self._spread(list(matched.degraded_NCHW), None)

    def measure(self, adapter: Adapter) -> Evidence:
        """Every figure that the gate judges, for one candidate.

        Raises:
            AdapterError: It was made for the other intent.
        """
        if adapter.tone != self._tone:
            raise AdapterError(f"adapter was made for tone {adapter.tone!r}; the evidence is for {self._tone!r}.")
        model, row = self._bundle.model, adapter.row
        after = self._restore(row)
        matched = run(model, self._matched.degraded_NCHW, row, tone=self._tone)
        # What clips where the truth is known clips rightly, e.g. lamps of a scene made brighter.
        known_clipping = max(0.0, _clipped(list(matched)) - _clipped(list(self._matched.source_NCHW)))
        niqe_source, niqe_adapted, worsening_low = self._naturalness(_features(after))
        return Evidence(
            target_images=self._target_images,
            gate_images=len(self._images),
            matched_gain_db=self._matched.gain_of(matched),
            harmed_share=self._matched.harmed_share(matched),
            source_loss_db=-self._source.gain_db(model, row),
            niqe_source=niqe_source,
            niqe_adapted=niqe_adapted,
            niqe_worsening_low=worsening_low,
            disagreement_ratio=self._disagreement(row),
            drift=self._drift(after),
            clipped_share_growth=_clipped(after) - _clipped(self._before) - known_clipping,
            finite=all(bool(torch.isfinite(image).all()) for image in after),
            identity=adapter.is_identity,
            **self._grounds(row, matched, after),
            notes=tuple(f"{key}: {value}" for key, value in adapter.notes.items()),
        )

    def _restore(self, row: Modulation | None) -> list[Tensor]:
        return [run(self._bundle.model, image[None], row, tone=self._tone)[0] for image in self._images]

    def _disagreement(self, row: Modulation) -> float:
        """Growth of the spread on the target, in units of its growth on the matched scenes.

        An adapter that does more than a timid source model disagrees with itself more, rightly so:
        on matched scenes, where the truth is known, it is seen how much more. If the target were
        what was matched, it would grow as much there, so an excess speaks against the match.
        """
        target = (self._spread(self._images, row) + 1e-6) / (self._before_spread + 1e-6)
        known = (self._spread(list(self._matched.degraded_NCHW), row) + 1e-6) / (self._before_matched_spread + 1e-6)
        return target / max(1.0, known)

    def _spread(self, images: Sequence[Tensor], row: Modulation | None) -> float:
        """How much the answer depends on a half turn of the input, in units of its contrast.

        A half turn keeps the direction of rain and of motion; a mirror does not, and an adapter for rain from
        the left owes rain from the right nothing.

        A brighter answer has larger differences of every kind: without the unit, adapters that
        rightly lift a dark image would be refused for it. The adapter's scope is left out: whether a turned
        image is still the domain's (rain falls down) is not what is asked.
        """
        row = None if row is None else self._everywhere(row)
        total = 0.0
        for image in images[:DISAGREEMENT_IMAGES]:
            both = torch.stack([image, image.rot90(2, (1, 2))])
            plain, turned = run(self._bundle.model, both, row, tone=self._tone)
            total += float((plain - turned.rot90(2, (1, 2))).abs().mean() / plain.std().clamp(min=0.02))
        return total

    def _everywhere(self, row: Modulation) -> Modulation:
        return Adapter(self._bundle.digest, row).within(self._bundle.model.identity()).row

    def _naturalness(self, after: Sequence[Tensor]) -> tuple[float, float, float]:
        """Set-level NIQE before and after, and the lower end of the 95 % interval of its rise.

        Images are resampled in pairs: an image is the unit that varies, not a patch.
        """
        before = self._before_features
        if not before:
            return math.nan, math.nan, 0.0
        mean, cov = self._bundle.stats.niqe_mean_F, self._bundle.stats.niqe_cov_FF
        generator = torch.Generator().manual_seed(self._seed)
        rises = []
        for _ in range(BOOTSTRAPS):
            pick = torch.randint(len(before), (len(before),), generator=generator).tolist()
            old = niqe(torch.cat([before[i] for i in pick]), mean, cov)
            rise = niqe(torch.cat([after[i] for i in pick]), mean, cov) - old
            if math.isfinite(rise):
                rises.append(rise)
        low = float(torch.quantile(torch.tensor(rises), 0.025)) if rises else 0.0
        return niqe(torch.cat(list(before)), mean, cov), niqe(torch.cat(list(after)), mean, cov), low

    def _grounds(self, row: Modulation, matched_NCHW: Tensor, after: Sequence[Tensor]) -> dict[str, Any]:
        """What is judged, by field of `Evidence`."""
        toned = bool(row.curve_B3T.any())
        start, images, start_taken = self._start, self._start_images, self._start_taken
        if self._toning is not None and not toned:
            start, images = self._before, list(self._images)
            start_taken = taken_out(images, start, start)
        taken = taken_out(images, start, after)
        # The base model's own means can be off, on noise it does not know: back towards the picture's, behind a tone curve
        # if there is one, is no drift. Where tone is restored without one, the picture's are what is wrong: to undo the base
        # model is no gain.
        shifts = [
            tone_shift(before, one)
            if self._tone == "restore" and not toned
            else min(tone_shift(before, one), tone_shift(image, one))
            for image, before, one in zip(images, start, after, strict=True)
        ]
        return {
            "version": 2,
            "denoises": _changes_more_than_tone(row),
            "retones": toned,
            "looks_gain": self._looks_gain(row, after) if toned else 0.0,
            "matched_gain_low_db": self._matched.gain_low_db(matched_NCHW),
            "input_gain_low_db": self._matched.gain_low_db(matched_NCHW, over_input=True),
            "flat_gain_low": taken.flat_gain_low(start_taken, self._seed),
            "busy_change": taken.busy_change(start_taken),
            "tone_shift": sum(shifts) / len(shifts) if shifts else 0.0,
        }

    def _looks_gain(self, row: Modulation, after: Sequence[Tensor]) -> float:
        """See `Toning.gain`; a tone curve that nobody's pictures or words ask for makes looks worse."""
        if self._toning is None:
            return UNASKED
        return self._toning.gain(self._bundle, row, self._before, after)

    def _drift(self, after: Sequence[Tensor]) -> float:
        """How much further outside the clean prior's band the mean colour lies than the source model's.

        Relative to the source model, because a customer's scenes need not have the prior's colour.
        """
        if not after:
            return 0.0
        mean_3, spread_3 = self._bundle.stats.clean_mean_3, self._bundle.stats.clean_spread_3
        band_3 = 2 * spread_3 / math.sqrt(len(after))

        def excess(images: Sequence[Tensor]) -> Tensor:
            colour_3 = torch.stack([image.mean((1, 2)) for image in images]).mean(0)
            return ((colour_3 - mean_3).abs() - band_3).clamp(min=0)

        return float((excess(after) - excess(self._before)).clamp(min=0).max())


def _features(images: Sequence[Tensor]) -> list[Tensor]:
    """NIQE features of the images that are large enough for one patch."""
    return [niqe_features(image) for image in images if min(image.shape[1:]) >= NIQE_PATCH]


def _clipped(images: Sequence[Tensor]) -> float:
    if not images:
        return 0.0
    return sum(float(((i <= 0) | (i >= 1)).float().mean()) for i in images) / len(images)


def _changes_more_than_tone(row: Modulation) -> bool:
    unmoved = (*SCOPE, "curve_B3T")
    return any(bool(getattr(row, item.name).any()) for item in fields(row) if item.name not in unmoved)
