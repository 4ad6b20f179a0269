"""An adapter for the noise that a domain's own flat places show: its bank of residuals, laid over clean scenes.

Axes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from udair.adaptation.adapter import Adapter
from udair.adaptation.evidence import gate_view
from udair.adaptation.fitting import fit_adapter
from udair.adaptation.flat_places import taken_out
from udair.adaptation.pairs import Degrade, Pairs, crop_scenes, run
from udair.adaptation.phase_state import PhaseState
from udair.bundle import Bundle
from udair.config import RecipeConfig
from udair.data.images import ImageArray
from udair.estimation.noise import NoiseBank, noise_bank
from udair.models.modulation import Modulation

# Shares of all patches: few are flatter, many more varied. Which is better depends on the domain, so both compete.
FLATTEST = (0.05, 0.25)
SHARES = (1.0, 0.5)  # of a trained adapter
# Where the base model leaves less than this share of what flat places hold, no adapter can show a gain there.
LEAST_LEFT = 0.15
MOST_UNEVEN = 1.3  # of the flattest bank; above it, texture came along: photographs without noise have 1.4 and more
LOOKED_AT = 16
LEAST_LEVEL = 2 / 255  # of noise; below it, flat places hold rounding and compression


@dataclass(frozen=True)
class Found:
    """What a domain's flat places say.

    Attributes:
        banks: By the share of patches that they rest on; empty where there are too few patches.
        left: Share of what flat places hold that the base model leaves; above 1 where it sharpens noise.
        reason: Why no adapter for noise is tried; empty if one is.
    """

    banks: Mapping[float, NoiseBank]
    left: float
    reason: str

    def describe(self) -> str:
        """One line for people."""
        if not self.banks:
            return f"Noise: {self.reason}."
        bank = self.banks[FLATTEST[0]]
        grain = f"correlated over {bank.correlation_px:.1f} px" if bank.correlation_px >= 0.35 else "white"
        told = (
            f"Noise: sigma {255 * bank.level:.1f} of 255 levels, {grain}, from {len(bank.colour_NC)} flat patches of {bank.images} "
            f"images; the base model leaves {min(self.left, 9.99):.0%} of it"
        )
        return f"{told}: {self.reason}." if self.reason else f"{told}."


def find_noise(bundle: Bundle, images: Sequence[ImageArray]) -> Found:
    """Read the noise off a domain's flat places, and see how much of it the base model leaves."""
    banks = {share: bank for share in FLATTEST if (bank := noise_bank(images, share)) is not None}
    if FLATTEST[0] not in banks:
        return Found({}, 0.0, "there are too few patches without clipped pixels to tell it from")
    views = [gate_view(image) for image in images[:: max(1, len(images) // LOOKED_AT)][:LOOKED_AT]]
    base = [run(bundle.model, view[None], None)[0] for view in views]
    left = taken_out(views, base, base).left_share()
    if banks[FLATTEST[0]].level < LEAST_LEVEL:
        return Found(banks, left, "flat places look clean already")
    if banks[FLATTEST[0]].evenness > MOST_UNEVEN:
        return Found(banks, left, "the flattest places are not flat, so texture would be taken for noise")
    if left < LEAST_LEFT:
        return Found(banks, left, "there is little left to gain")
    return Found(banks, left, "")


def over(bank: NoiseBank) -> Degrade:
    """The bank's noise over clean scenes, a little stronger or weaker each time."""

    def degrade(clean_NCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        strength_N = 0.9 + 0.2 * torch.rand(len(clean_NCHW), generator=generator, device=generator.device)
        return bank.degrade(clean_NCHW, generator, strength_N[:, None, None, None]), clean_NCHW

    return degrade


def train_on_banks(
    bundle: Bundle,
    found: Found,
    embedding_ND: Tensor,
    anchors: tuple[Tensor, Tensor],
    anchor_share: float,
    config: RecipeConfig,
    deadline: float,
    generator: torch.Generator,
    on_step: Callable[[float, float], None],
    start: Modulation | None,
) -> PhaseState:
    """Fit one adapter for each bank; `rows` reads them back.

    Args:
        bundle, found, embedding_ND, config, deadline, generator, start: As for `fit_adapter`.
        anchors: Degraded and clean source samples that are kept in mind, and their `anchor_share` of a batch.
        on_step: Called with the share done and the loss.
    """
    scenes = bundle.replay_train_NCHW.float() / 255
    tensors: dict[str, Tensor] = {}
    facts: dict[str, float] = {}
    for index, (share, bank) in enumerate(found.banks.items()):
        degrade = over(bank)

        def draw(
            batch: int, patch: int, generator: torch.Generator, degrade: Degrade = degrade
        ) -> tuple[Tensor, Tensor]:
            kept = min(round(anchor_share * batch), len(anchors[0]))
            degraded, wanted = degrade(crop_scenes(scenes, batch - kept, patch, generator), generator)
            pick = torch.randint(max(len(anchors[0]), 1), (kept,), generator=generator)
            return torch.cat([degraded, anchors[0][pick]]), torch.cat([wanted, anchors[1][pick]])

        row, facts = fit_adapter(
            bundle.model, draw, embedding_ND, config, generator=generator, deadline=deadline, start=start,
            on_step=lambda done, loss, index=index: on_step((index + done) / len(found.banks), loss),  # type: ignore[misc]
        )  # fmt: skip
        tensors |= {f"{share:g}/{item.name}": getattr(row, item.name) for item in fields(row)}
    return PhaseState(tensors, facts)


def candidates_of(state: PhaseState, base_digest: str) -> dict[str, Adapter]:
    """The trained adapters, and what lies between them and the base model, by name."""
    made: dict[str, Adapter] = {}
    for share in FLATTEST:
        names = {item.name: f"{share:g}/{item.name}" for item in fields(Modulation)}
        if names["gain_B"] not in state.tensors:
            continue
        full = Adapter(base_digest, Modulation(**{name: state.tensors[key] for name, key in names.items()}))
        for part in SHARES:
            name = f"flat bank {share:.0%}" + ("" if part == 1.0 else f" x {part:g}")
            made[name] = replace(full.interpolate(part), notes={"candidate": name})
    return made


def held_out_pairs(
    bundle: Bundle, found: Found, gate_images: Sequence[ImageArray], generator: torch.Generator
) -> Pairs:
    """Scenes that no adapter trains on, with the noise of images that none trains on, where those show it."""
    bank = noise_bank(gate_images, FLATTEST[0]) or found.banks[FLATTEST[0]]
    clean = bundle.replay_gate_NCHW.float() / 255
    return Pairs.make(bundle.model, *over(bank)(clean, generator))
