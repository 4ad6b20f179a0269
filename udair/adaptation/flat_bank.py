"""An adapter for the noise that a domain's own flat places show: its bank of residuals, laid over clean scenes.

Axes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from udair.adaptation.adapter import Adapter
from udair.adaptation.evidence import gate_view
from udair.adaptation.flat_places import taken_out
from udair.adaptation.pairs import Degrade, Pairs
from udair.adaptation.pairs import run as run_model
from udair.adaptation.phase_state import PhaseState, remembered
from udair.adaptation.scope import scoped
from udair.adaptation.target import Candidates, Run, anchors_of, train_on
from udair.bundle import Bundle
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
    device = bundle.model.enter.weight.device
    chosen = images[:: max(1, len(images) // LOOKED_AT)][:LOOKED_AT]
    views = [gate_view(image).to(device) for image in chosen]
    base = [run_model(bundle.model, view[None], None)[0] for view in views]
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


def adapters_for_noise(run: Run, shown: Sequence[ImageArray], gate_shown: Sequence[ImageArray]) -> Candidates:
    """Where tone is kept: noise is what can be told from unlabelled pictures (docs/adr/0024)."""
    bundle, tone, config, generator = run.bundle, run.identity.tone, run.config, run.generator
    adapters, metrics = run.as_described()
    found = find_noise(bundle, shown)
    run.report("ALIGNING", 1.0, metrics)
    words = [found.describe()]
    if found.reason:
        return Candidates(metrics=metrics, words=words)
    metrics |= {"noise_level": found.banks[FLATTEST[0]].level, "noise_left_share": found.left}
    scope = scoped(bundle, run.identity.row, run.target.crops_NCHW, over(found.banks[FLATTEST[0]]), generator, tone)
    if config.steps:
        run.report("ADAPTING", 0.0, {})
        state = remembered(run.states, "ADAPTING", generator, lambda: _train_on_banks(run, found, scope))
        metrics |= state.facts
        adapters |= _adapters_of(state, bundle.digest)
        run.report("ADAPTING", 1.0, {})
    adapters = {name: candidate.within(scope) for name, candidate in adapters.items()}
    return Candidates(adapters, _held_out(bundle, found, gate_shown, generator), metrics, words=words)


def _train_on_banks(run: Run, found: Found, scope: Modulation) -> PhaseState:
    """Fit one adapter for each bank; `_adapters_of` reads them back."""
    anchors = anchors_of(run.bundle, scope, run.config, run.generator, run.identity.tone)
    tensors: dict[str, Tensor] = {}
    facts: dict[str, float] = {}
    for index, (share, bank) in enumerate(found.banks.items()):

        def on_step(done: float, loss: float, index: int = index) -> None:
            run.report("ADAPTING", (index + done) / len(found.banks), {"loss": loss})

        row, facts = train_on(
            run.bundle, over(bank), run.target.embedding_ND, anchors, run.config,
            deadline=run.deadline, generator=run.generator, start=run.start, on_step=on_step,
        )  # fmt: skip
        tensors |= {f"{share:g}/{item.name}": getattr(row, item.name) for item in fields(row)}
    return PhaseState(tensors, facts)


def _adapters_of(state: PhaseState, base_digest: str) -> dict[str, Adapter]:
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


def _held_out(bundle: Bundle, found: Found, gate_images: Sequence[ImageArray], generator: torch.Generator) -> Pairs:
    """Scenes that no adapter trains on, with the noise of images that none trains on, where those show it."""
    bank = noise_bank(gate_images, FLATTEST[0]) or found.banks[FLATTEST[0]]
    clean = bundle.replay_gate_NCHW.float() / 255
    return Pairs.make(bundle.model, *over(bank)(clean, generator))
