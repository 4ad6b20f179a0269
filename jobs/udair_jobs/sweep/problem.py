"""What the trials of a sweep are scored on: made once, then read by every trial, also after a restart.

Axes: N target crops or pairs, C channels, H x W pixels, D code width.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from udair.adaptation.matching import Matched, matches_of, state_of
from udair.adaptation.pairs import Pairs, as_matched, degrade_mixed
from udair.adaptation.phase_state import PhaseState
from udair.adaptation.scope import scoped
from udair.adaptation.search import match_target
from udair.adaptation.target import observe
from udair.bundle import Bundle
from udair.config import RecipeConfig
from udair.data.images import ImageArray
from udair.data.patches import to_tensor
from udair.data.scenes import dead_leaves
from udair.models.modulation import Modulation
from udair_jobs.errors import JobError
from udair_jobs.evaluate.labelled import labelled_pairs, no_labels
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
        matches: The degradations that were matched to it.
        scope_weight_BS, scope_bias_B: Of an adapter for it.
        search, check: Pairs that choose the best trial, and others that check it.
    """

    embedding_ND: Tensor
    matches: tuple[Matched, ...]
    scope_weight_BS: Tensor
    scope_bias_B: Tensor
    search: Pairs
    check: Pairs

    def to_bytes(self) -> bytes:
        """One safetensors file; pairs as bytes a value."""
        state = state_of(self.matches)
        tensors = {name: getattr(self, name) for name in PLAIN}
        for name, pairs in (("search", self.search), ("check", self.check)):
            tensors |= {f"{name}.{item}": _as_bytes(getattr(pairs, item)) for item in IMAGES}
        return PhaseState({**state.tensors, **tensors}, state.facts).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> SweepProblem:
        """Read what `to_bytes` wrote."""
        state = PhaseState.from_bytes(data)

        def pairs(name: str) -> Pairs:
            degraded, clean, source = (state.tensors[f"{name}.{item}"].float() / 255 for item in IMAGES)
            return Pairs(degraded, clean, source)

        plain = {name: state.tensors[name] for name in PLAIN}
        return cls(matches=tuple(matches_of(state)), search=pairs("search"), check=pairs("check"), **plain)

    def scope(self, identity: Modulation) -> Modulation:
        """The identity, limited to images like the domain's."""
        return replace(identity, scope_weight_BS=self.scope_weight_BS, scope_bias_B=self.scope_bias_B)


def make_problem(
    spec: SweepSpec, bundle: Bundle, source: Storage, clean: Storage | None, snapshot: Snapshot, report: OnProgress
) -> SweepProblem:
    """Look at the domain, match its degradation, and make the pairs that trials are scored on.

    Without clean versions the pairs are generated scenes with the matched degradation, which no part of
    the base model has seen: the gate's pseudo-target. With them, they are the domain's own images: the
    search has those of the adapt split, the check those of the gate split.

    Raises:
        JobError: DATA_EMPTY, DATA_UNREADABLE or TOO_FEW_IMAGES.
        StorageError: A store refuses or does not answer.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    seen = load_images(source, snapshot.split("adapt"), limits=spec.limits).images
    if not seen:
        raise JobError("DATA_UNREADABLE", f"no image below {spec.source_uri} is as it was in the snapshot.")
    target = observe(bundle, seen, spec.seed, generator)
    config = RecipeConfig(match_trials=spec.match_trials, seed=spec.seed)
    matches = match_target(
        bundle,
        target,
        config,
        generator,
        time.monotonic() + config.budget_s,
        lambda phase, share, metrics: report(share),
    )
    if clean is None:
        scenes = to_tensor(dead_leaves(2 * spec.pairs, spec.side, spec.seed + 1))
        degraded, wanted = degrade_mixed(matches, scenes, generator, 0.03, spec.tone)
        half = spec.pairs
        search, check = (degraded[:half], wanted[:half]), (degraded[half:], wanted[half:])
    else:
        search, check = (
            _labelled(spec, source, clean, snapshot, "adapt"),
            _labelled(spec, source, clean, snapshot, "gate"),
        )
    degrade = as_matched(matches, spec.tone)
    scope = scoped(bundle, bundle.model.identity(), target.crops_NCHW, degrade, generator, spec.tone)
    return SweepProblem(
        embedding_ND=target.embedding_ND,
        matches=tuple(matches),
        scope_weight_BS=scope.scope_weight_BS,
        scope_bias_B=scope.scope_bias_B,
        search=Pairs.make(bundle.model, *search, spec.tone),
        check=Pairs.make(bundle.model, *check, spec.tone),
    )


def _labelled(
    spec: SweepSpec, source: Storage, clean: Storage, snapshot: Snapshot, split: Split
) -> tuple[Tensor, Tensor]:
    rows = sample(snapshot.split(split), spec.limits.max_side, max_images=4 * spec.pairs, max_held_bytes=MAX_HELD_BYTES)
    views: list[tuple[ImageArray, ImageArray]] = []
    skipped: list[Skipped] = []
    for pair in labelled_pairs(source, rows, clean, limits=spec.limits):
        if isinstance(pair, Skipped):
            skipped.append(pair)
        elif min(pair.degraded.shape[:2]) >= spec.side and len(views) < spec.pairs:
            views.append((centre_crop(pair.degraded, spec.side), centre_crop(pair.clean, spec.side)))
    if len(skipped) == len(rows):
        raise no_labels(source, clean, skipped)
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
