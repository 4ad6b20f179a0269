"""What the trials of a sweep are scored on: made once, then read by every trial, also after a restart.

Axes: N target crops or pairs, C channels, H x W pixels, D code width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from udair.adaptation.flat_bank import find_noise, over
from udair.adaptation.pairs import Degrade, Pairs, as_the_source, crop_scenes
from udair.adaptation.phase_state import PhaseState
from udair.adaptation.scope import scoped
from udair.adaptation.target import observe
from udair.bundle import Bundle
from udair.config import Tone
from udair.data.images import ImageArray
from udair.data.patches import to_tensor
from udair.data.scenes import dead_leaves
from udair.estimation.noise import NoiseBank
from udair.models.modulation import Modulation
from udair_jobs.errors import JobError
from udair_jobs.evaluate.pictures import no_pictures, read_pictures
from udair_jobs.images.datasets import MAX_HELD_BYTES, centre_crop, load_images, sample
from udair_jobs.images.manifests import Split
from udair_jobs.images.snapshots import Snapshot
from udair_jobs.specs import Skipped
from udair_jobs.storage import Storage
from udair_jobs.sweep.specs import SweepSpec

FEWEST_PAIRS = 4
PLAIN = ("embedding_ND", "scope_weight_BS", "scope_bias_B")  # stored as they are
IMAGES = ("degraded_NCHW", "clean_NCHW", "source_NCHW")  # of pairs, stored as bytes

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class SweepProblem:
    """A domain as the trials see it.

    Attributes:
        embedding_ND: Of the domain's unlabelled crops.
        bank: The noise of its flat places; None where none was told: trials then see the source's degradations.
        scope_weight_BS, scope_bias_B: Of an adapter for it.
        search, check: Pairs that choose the best trial, and others that check it.
    """

    embedding_ND: Tensor
    bank: NoiseBank | None
    scope_weight_BS: Tensor
    scope_bias_B: Tensor
    search: Pairs
    check: Pairs

    def to_bytes(self) -> bytes:
        """One safetensors file; pairs as bytes a value."""
        tensors = {name: getattr(self, name) for name in PLAIN}
        facts = {}
        if self.bank is not None:
            tensors |= {"bank.residual": self.bank.residual_NCss, "bank.colour": self.bank.colour_NC}
            facts = {"images": self.bank.images, "evenness": self.bank.evenness}
        for name, pairs in (("search", self.search), ("check", self.check)):
            tensors |= {f"{name}.{item}": _as_bytes(getattr(pairs, item)) for item in IMAGES}
        return PhaseState(tensors, facts).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> SweepProblem:
        """Read what `to_bytes` wrote."""
        state = PhaseState.from_bytes(data)

        def pairs(name: str) -> Pairs:
            degraded, clean, source = (state.tensors[f"{name}.{item}"].float() / 255 for item in IMAGES)
            return Pairs(degraded, clean, source)

        plain = {name: state.tensors[name] for name in PLAIN}
        bank = None
        if "bank.residual" in state.tensors:
            bank = NoiseBank(state.tensors["bank.residual"], state.tensors["bank.colour"], **state.facts)
        return cls(bank=bank, search=pairs("search"), check=pairs("check"), **plain)

    def degrade(self, tone: Tone) -> Degrade:
        """What the domain does to a clean scene, as far as it was told."""
        return _degrade(self.bank, tone)

    def scope(self, identity: Modulation) -> Modulation:
        """The identity, limited to images like the domain's."""
        return replace(identity, scope_weight_BS=self.scope_weight_BS, scope_bias_B=self.scope_bias_B)


def make_problem(
    spec: SweepSpec, bundle: Bundle, source: Storage, clean: Storage | None, snapshot: Snapshot, report: OnProgress
) -> SweepProblem:
    """Look at the domain, tell its noise, and make the pairs that trials are scored on.

    Without clean versions the pairs are generated scenes with that noise, or with the source's degradations where none
    was told; no part of the base model has seen the scenes. With them, they are the domain's own images: the search has
    those of the adapt split, the check those of the gate split.

    Raises:
        JobError: DATA_EMPTY, DATA_UNREADABLE or TOO_FEW_IMAGES.
        StorageError: A store refuses or does not answer.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    seen = load_images(source, snapshot.split("adapt"), limits=spec.limits).images
    if not seen:
        raise JobError("DATA_UNREADABLE", f"no image below {spec.source_uri} is as it was in the snapshot.")
    target = observe(bundle, seen, spec.seed, generator)
    report(0.2)
    found = find_noise(bundle, seen, spec.tone)
    bank = None if found.reason else next(iter(found.banks.values()))
    degrade = _degrade(bank, spec.tone)
    report(1.0)
    if clean is None:
        scenes = to_tensor(dead_leaves(2 * spec.pairs, spec.side, spec.seed + 1))
        degraded, wanted = degrade(scenes, generator)
        half = spec.pairs
        search, check = (degraded[:half], wanted[:half]), (degraded[half:], wanted[half:])
    else:
        search, check = (
            _labelled(spec, source, clean, snapshot, "adapt"),
            _labelled(spec, source, clean, snapshot, "gate"),
        )
    crops = target.crops_NCHW
    scenes = crop_scenes(bundle.replay_train_NCHW.float() / 255, len(crops), crops.shape[-1], generator)
    alike = torch.cat([crops, degrade(scenes, generator)[0]])
    scope = scoped(bundle, bundle.model.identity(), alike, generator, spec.tone)
    return SweepProblem(
        embedding_ND=target.embedding_ND,
        bank=bank,
        scope_weight_BS=scope.scope_weight_BS,
        scope_bias_B=scope.scope_bias_B,
        search=Pairs.make(bundle.model, *search, spec.tone),
        check=Pairs.make(bundle.model, *check, spec.tone),
    )


def _degrade(bank: NoiseBank | None, tone: Tone) -> Degrade:
    return as_the_source(tone) if bank is None else over(bank)


def _labelled(
    spec: SweepSpec, source: Storage, clean: Storage, snapshot: Snapshot, split: Split
) -> tuple[Tensor, Tensor]:
    rows = sample(snapshot.split(split), spec.limits.max_side, max_images=4 * spec.pairs, max_held_bytes=MAX_HELD_BYTES)
    views: list[tuple[ImageArray, ImageArray]] = []
    skipped: list[Skipped] = []
    for pair in read_pictures(source, rows, clean, limits=spec.limits):
        if isinstance(pair, Skipped):
            skipped.append(pair)
        elif pair.clean is not None and min(pair.degraded.shape[:2]) >= spec.side and len(views) < spec.pairs:
            views.append((centre_crop(pair.degraded, spec.side), centre_crop(pair.clean, spec.side)))
    if len(skipped) == len(rows):
        raise no_pictures(source, clean, skipped)
    if len(views) < FEWEST_PAIRS:
        raise JobError(
            "TOO_FEW_IMAGES",
            f"{len(views)} labelled images of {spec.side} pixels or more in the {split} split; expected {FEWEST_PAIRS}. "
            "Add pairs, or lower side.",
        )
    degraded, truth = zip(*views, strict=True)
    return to_tensor(degraded), to_tensor(truth)


def _as_bytes(image_NCHW: Tensor) -> Tensor:
    return (image_NCHW * 255).round().clamp(0, 255).to(torch.uint8).contiguous()
