"""An adapter for the noise that a domain's own flat places show: its bank of residuals, laid over clean scenes.

Axes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from udair.adaptation.adapter import Adapter
from udair.adaptation.fitting import fit_adapter
from udair.adaptation.flat_places import taken_out
from udair.adaptation.pairs import Degrade, Pairs, crop_scenes, gate_view
from udair.adaptation.pairs import run as run_model
from udair.adaptation.phase_state import PhaseState, remembered
from udair.adaptation.rounds import Rounds
from udair.adaptation.scope import scoped
from udair.adaptation.target import Candidates, Run, anchors_of, train_on
from udair.adaptation.toning import Toning
from udair.bundle import Bundle
from udair.config import Tone
from udair.data.images import ImageArray
from udair.data.patches import PatchSource
from udair.estimation.noise import NoiseBank, noise_bank
from udair.estimation.tone import undone
from udair.models.modulation import Modulation

# Shares of all patches: few are flatter, many more varied. Which is better depends on the domain.
FLATTEST = (0.05, 0.25)
SHARES = (1.0, 0.5)  # of what was trained
OWN = "own pictures"  # the row that no restored picture stands behind
NOISE_AGAIN = 0.5  # of a picture's own noise that is laid over it once more
# Where the base model leaves less than this share of what flat places hold, no adapter can show a gain there.
LEAST_LEFT = 0.15
MOST_UNEVEN = 1.3  # of a bank; above it, texture came along: photographs without noise have 1.4 and more
LOOKED_AT = 16
WATCHED = 6  # pictures that rounds of training are measured on: seconds
WATCHED_SIDE = 96  # pixels of them, and of scenes
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


def find_noise(bundle: Bundle, images: Sequence[ImageArray], tone: Tone = "keep") -> Found:
    """Read the noise off a domain's flat places, and see how much of it the base model leaves."""
    banks = {share: bank for share in FLATTEST if (bank := noise_bank(images, share)) is not None}
    if FLATTEST[0] not in banks:
        return Found({}, 0.0, "there are too few patches without clipped pixels to tell it from")
    device = bundle.model.enter.weight.device
    chosen = images[:: max(1, len(images) // LOOKED_AT)][:LOOKED_AT]
    views = [gate_view(image).to(device) for image in chosen]
    base = [run_model(bundle.model, view[None], None, tone=tone)[0] for view in views]
    left = taken_out(views, base, base).left_share()
    if banks[FLATTEST[0]].level < LEAST_LEVEL:
        return Found(banks, left, "flat places look clean already")
    if banks[FLATTEST[0]].evenness > MOST_UNEVEN:
        return Found(banks, left, "the flattest places are not flat, so texture would be taken for noise")
    if left < LEAST_LEFT:
        return Found(banks, left, "there is little left to gain")
    return Found({share: bank for share, bank in banks.items() if bank.evenness <= MOST_UNEVEN}, left, "")


def over(bank: NoiseBank) -> Degrade:
    """The bank's noise over clean scenes, a little stronger or weaker each time."""

    def degrade(clean_NCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        strength_N = 0.9 + 0.2 * torch.rand(len(clean_NCHW), generator=generator, device=generator.device)
        return bank.degrade(clean_NCHW, generator, strength_N[:, None, None, None]), clean_NCHW

    return degrade


def adapters_for_noise(run: Run, shown: Sequence[ImageArray], gate_shown: Sequence[ImageArray]) -> Candidates:
    """Adapters for the noise of a domain, behind its tone curve if it has one: what unlabelled pictures tell (ADR 24, 25).

    Args:
        run: What is known of the domain.
        shown, gate_shown: Its pictures, behind the curve.
    """
    bundle, tone, config, generator, toning = run.bundle, run.identity.tone, run.config, run.generator, run.toning
    adapters, metrics = run.as_described()
    found = find_noise(bundle, shown, tone)
    run.report("ALIGNING", 1.0, metrics)
    words = [word for word in (toning.words, found.describe()) if word]
    if found.reason and not toning.found:
        return Candidates(metrics=metrics, words=words)
    bank = None if found.reason else found.banks[FLATTEST[0]]
    if bank is not None:
        metrics |= {"noise_level": bank.level, "noise_left_share": found.left}
    raw = as_it_comes(bank, toning)
    crops = run.target.crops_NCHW
    scenes = crop_scenes(run.scenes.train_NCHW, len(crops), crops.shape[-1], generator)
    scope = scoped(bundle, run.identity.row, torch.cat([crops, raw(scenes, generator)[0]]), generator, tone)
    made: dict[str, Adapter] = {}
    if toning.found:
        made["tone curve"] = replace(run.identity, notes={"candidate": "tone curve"})
    if config.steps and bank is not None:
        run.report("ADAPTING", 0.0, {})
        state = remembered(
            run.states, "ADAPTING", generator, lambda: _train_on_banks(run, found, scope, shown, gate_shown)
        )
        metrics |= state.facts
        made |= {name: replace(adapter, tone=tone) for name, adapter in _adapters_of(state, bundle.digest).items()}
        run.report("ADAPTING", 1.0, {})
    adapters |= {name: replace(adapter, row=toning.over(adapter.row)) for name, adapter in made.items()}
    adapters = {name: candidate.within(scope) for name, candidate in adapters.items()}
    held_out = bank
    if bank is not None and (own := noise_bank(gate_shown, FLATTEST[0])) is not None and own.evenness <= MOST_UNEVEN:
        held_out = own
    degraded, wanted = as_it_comes(held_out, toning)(run.scenes.gate_NCHW, generator)
    return Candidates(adapters, Pairs.make(bundle.model, degraded, wanted, tone), metrics, words)


def as_it_comes(bank: NoiseBank | None, toning: Toning) -> Degrade:
    """Clean scenes as the domain's camera would have given them: with its noise, before the tone curve."""

    def degrade(clean_NCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        degraded = clean_NCHW if bank is None else over(bank)(clean_NCHW, generator)[0]
        return (undone(toning.delta_1CT, degraded) if toning.found else degraded), clean_NCHW

    return degrade


def _train_on_banks(
    run: Run, found: Found, scope: Modulation, shown: Sequence[ImageArray], gate_shown: Sequence[ImageArray]
) -> PhaseState:
    """Fit an adapter for each bank, one more on what the first makes of the domain's own pictures, and one on these as they are.

    Generated scenes are not the domain's: its content is softer, or busier. Its own pictures, restored by the first
    round's adapter, are nearer; half of the second round's scenes are of them. On nothing but them an adapter learns the
    first one's faults (docs/log.md, 2026-11-27). The last round needs no clean picture (`_own`). `_adapters_of` says what
    becomes of the four; what would become of those so far is reported after each.
    """
    degraded, wanted = anchors_of(run.bundle, scope, run.config, run.generator, run.identity.tone)
    anchors = run.toning.pixels(degraded) if run.toning.found else degraded, wanted
    tensors: dict[str, Tensor] = {}
    facts: dict[str, float] = {}
    rounds = len(found.banks) + 2
    watched = _watched(run, found, gate_shown)
    rows: list[Modulation] = []

    def train(name: str, scenes_NCHW: Tensor, bank: NoiseBank, done: int) -> None:
        nonlocal facts
        row, facts = train_on(
            run.bundle,
            scenes_NCHW,
            over(bank),
            run.target.embedding_ND,
            anchors,
            run.config,
            deadline=run.deadline,
            generator=run.generator,
            start=run.start,
            tone=run.identity.tone,
            on_step=lambda share, loss: run.report("ADAPTING", (done + share) / rounds, {"loss": loss}),
        )
        tensors.update({f"{name}/{item.name}": getattr(row, item.name) for item in fields(row)})
        rows.append(row)
        run.report("ADAPTING", (done + 1) / rounds, watched.figures(mean_row(rows)))

    for done, (share, bank) in enumerate(found.banks.items()):
        train(f"bank {share:.0%}", run.scenes.train_NCHW, bank, done)
    own_NCHW = _restored_crops(run, shown, rows[0])
    bank = next(iter(found.banks.values()))
    train("second round", torch.cat([run.scenes.train_NCHW, own_NCHW]), bank, rounds - 2)
    trained = mean_row(rows)
    own = _own(
        run,
        shown,
        trained,
        bank,
        # In other units: it would make a step in the curve of the others.
        lambda share, loss: run.report("ADAPTING", 1 - (1 - share) / rounds, {"loss_on_own_pictures": loss}),
    )
    tensors.update({f"{OWN}/{item.name}": getattr(own, item.name) for item in fields(own)})
    run.report("ADAPTING", 1.0, watched.figures(mean_row([trained, own])))
    return PhaseState(tensors, facts)


def _watched(run: Run, found: Found, gate_shown: Sequence[ImageArray]) -> Rounds:
    """What the rounds are measured with, behind the tone curve as they are trained; its random numbers are its own."""
    generator = torch.Generator().manual_seed(run.config.seed + 2)
    scenes_NCHW = _middle(run.scenes.gate_NCHW)
    noisy_NCHW = over(found.banks[FLATTEST[0]])(scenes_NCHW, generator)[0]
    pairs = Pairs.make(run.bundle.model, noisy_NCHW, scenes_NCHW, run.identity.tone)
    views = [_middle(gate_view(image)).to(scenes_NCHW.device) for image in gate_shown[:WATCHED]]
    return Rounds(run.bundle.model, pairs, views)


def _middle(image: Tensor) -> Tensor:
    top, left = (max(0, side - WATCHED_SIDE) // 2 for side in image.shape[-2:])
    return image[..., top : top + WATCHED_SIDE, left : left + WATCHED_SIDE]


def _own(
    run: Run, shown: Sequence[ImageArray], start: Modulation, bank: NoiseBank, on_step: Callable[[float, float], None]
) -> Modulation:
    """Train further on the domain's own pictures, without a clean one: noise is laid over them once more.

    With noise n in a picture y and as much noise z of the same kind, y + a z and y - z / a are disturbed independently: to
    restore the one to the other, in the mean square, is to restore it to what is behind both. The content is the domain's.

    Source: recorrupted-to-recorrupted, Pang et al. 2021 (CVPR), Eq. 6; the noise is the bank's, not Gaussian.
    """
    pictures = PatchSource(shown, run.scenes.train_NCHW.device)

    def draw(batch: int, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        picture_BCHW = pictures.crops(batch, patch, generator)
        behind_BCHW = run_model(run.bundle.model, picture_BCHW, start, tone=run.identity.tone).clamp(0, 1)
        noise_BCHW = over(bank)(behind_BCHW, generator)[0] - behind_BCHW
        return picture_BCHW + NOISE_AGAIN * noise_BCHW, picture_BCHW - noise_BCHW / NOISE_AGAIN

    def distance(restored_BCHW: Tensor, wanted_BCHW: Tensor) -> Tensor:
        return 4 * (restored_BCHW.float() - wanted_BCHW).square().mean() / bank.level

    return fit_adapter(
        run.bundle.model,
        draw,
        run.target.embedding_ND,
        run.config,
        generator=run.generator,
        deadline=run.deadline,
        start=start,
        on_step=on_step,
        tone=run.identity.tone,
        distance=distance,
    )[0]


def mean_row(rows: Sequence[Modulation]) -> Modulation:
    """The mean of rows that were trained from one start. Source: model soups, Wortsman et al. 2022 (arXiv 2203.05482)."""
    return Modulation(*(torch.stack([getattr(row, item.name) for row in rows]).mean(0) for item in fields(Modulation)))


def _restored_crops(run: Run, shown: Sequence[ImageArray], row: Modulation) -> Tensor:
    """As many crops of the domain's pictures as there are scenes, of their size, as `row` restores them."""
    count, _, side, _ = run.scenes.train_NCHW.shape
    crops_NCHW = PatchSource(shown, run.scenes.train_NCHW.device).crops(count, side, run.generator)
    return run_model(run.bundle.model, crops_NCHW, row, tone=run.identity.tone)


def rows_of(state: PhaseState) -> dict[str, Modulation]:
    """What each round of training came to, by name."""
    names = dict.fromkeys(key.rpartition("/")[0] for key in sorted(state.tensors) if "/" in key)
    return {
        name: Modulation(**{item.name: state.tensors[f"{name}/{item.name}"] for item in fields(Modulation)})
        for name in names
    }


def _adapters_of(state: PhaseState, base_digest: str) -> dict[str, Adapter]:
    """The mean of the trained rows, half of it the one of the domain's own pictures, and what lies half-way to it, by name.

    Which of them is best, held-out scenes do not say: they are generated, as most of what they were trained on. Their mean
    is never far from the best (docs/log.md, 2026-11-27).
    """
    rows = rows_of(state)
    own = rows.pop(OWN)
    full = Adapter(base_digest, mean_row([mean_row(list(rows.values())), own]))
    made: dict[str, Adapter] = {}
    for part in SHARES:
        name = "flat places" + ("" if part == 1.0 else f" x {part:g}")
        made[name] = replace(full.interpolate(part), notes={"candidate": name})
    return made
