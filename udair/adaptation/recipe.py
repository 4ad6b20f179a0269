"""Adapt one domain: detect, align, match its degradation, train an adapter on it, gather evidence.

Inputs are unlabelled images of the target, split *adapt* and *gate*; the base model brings its
source statistics and replay scenes. Only the adapter moves.

Axes: N images or crops, B a batch, C channels, H x W pixels, D code width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from udair.adaptation.adapter import Adapter, identity_adapter
from udair.adaptation.evidence import Pairs, Yardstick
from udair.adaptation.gate import Evidence, GatePolicy, judge
from udair.adaptation.matching import Matched, look, match
from udair.adaptation.projection import align, in_domain_share
from udair.adaptation.scope import fit_scope
from udair.bundle import Bundle
from udair.config import RecipeConfig
from udair.data.images import ImageArray
from udair.data.patches import PatchSource, to_array
from udair.errors import AdaptationError
from udair.losses.coral import coral_distance, covariance
from udair.losses.restoration import restoration_loss
from udair.models.degradation import scope_features
from udair.models.modulation import Modulation
from udair.training import make_batch

Progress = Callable[[str, float, dict[str, float]], None]

CROP = 96  # side of the crops that are embedded and matched, pixels
EMBED_CROPS = 64
MATCH_SCENES = 16
GATE_IMAGES = 24
GATE_SIDE = 192
SOURCE_PAIRS = 48
MEASURED_CANDIDATES = 4
# Parameters that training moves, with the factor on the learning rate of each.
TRAINED = {"film_BF": 1.0, "projection_BDD": 0.2, "bias_BD": 0.5, "codes_BKD": 0.2, "gain_B": 0.5, "affine_B6": 0.2}


@dataclass(frozen=True)
class Adaptation:
    """What one adaptation gave.

    Attributes:
        adapter: The chosen candidate; the identity when none promised a gain.
        evidence: Measured on it, for the gate.
        metrics: Figures of the run.
        match: The degradations that were matched, JSON-ready.
        candidates: Gain on held-out matched pairs of each candidate, dB.
    """

    adapter: Adapter
    evidence: Evidence
    metrics: dict[str, float]
    match: dict[str, Any]
    candidates: dict[str, float]


def adapt(
    bundle: Bundle,
    adapt_images: Sequence[ImageArray],
    gate_images: Sequence[ImageArray],
    config: RecipeConfig | None = None,
    on_progress: Progress | None = None,
) -> Adaptation:
    """Adapt a base model to one domain.

    Args:
        bundle: The base model with statistics and replay scenes.
        adapt_images: (H, W, 3) uint8 arrays of the target that adaptation may use.
        gate_images: Others, for the gate alone.
        config: Steps, budget, seed.
        on_progress: Called with phase (EMBEDDING, ALIGNING, ADAPTING, EVALUATING), share, metrics.

    Raises:
        AdaptationError: TOO_FEW_IMAGES (none to adapt on), NAN_LOSS.

    Source: UDAIR (arXiv 2505.22284) for projection and CORAL; matching, re-degradation, candidates
    and the gate are ours (docs/method.md).
    """
    config = config or RecipeConfig()
    if not adapt_images:
        raise AdaptationError("TOO_FEW_IMAGES", "there are 0 images to adapt on; expected 1, better 20 or more.")
    report = on_progress or (lambda phase, share, metrics: None)
    device = bundle.model.enter.weight.device
    generator = torch.Generator().manual_seed(config.seed)
    started = time.monotonic()
    deadline = started + config.budget_s
    metrics: dict[str, float] = {}

    report("EMBEDDING", 0.0, {})
    crops = PatchSource(adapt_images, device).crops(EMBED_CROPS, CROP, generator)
    with torch.no_grad():
        embedding_ND = bundle.model.embed(crops).embedding_BD.float()
    metrics["in_domain_share"] = in_domain_share(embedding_ND, bundle.stats)
    report("EMBEDDING", 1.0, dict(metrics))

    report("ALIGNING", 0.0, {})
    identity = identity_adapter(bundle.model, bundle.digest)
    aligned, figures = align(embedding_ND, bundle.stats, identity.row)
    metrics |= figures
    scenes = bundle.replay_train_NCHW.float() / 255
    matches = match(
        bundle.model,
        look(bundle.model, crops),
        _crop_scenes(scenes, MATCH_SCENES, CROP, generator),
        trials=config.match_trials,
        generator=generator,
        deadline=started + 0.4 * config.budget_s,
        on_trial=lambda share: report("ALIGNING", share, {}),
    )
    if matches:
        metrics["match_distance"] = matches[0].distance
    report("ALIGNING", 1.0, dict(metrics))

    gate_pairs = _matched_pairs(bundle, matches, generator)
    candidates = {"coral": Adapter(bundle.digest, aligned, {"candidate": "coral"})}
    candidates |= _zero_gradient(identity)
    if matches and config.steps:
        trained, losses = _train(bundle, matches, embedding_ND, config, deadline, generator, report)
        metrics |= losses
        trained = _scoped(bundle, trained, crops, matches, generator)
        full = Adapter(bundle.digest, trained, {"candidate": "re-degradation"})
        for share in (1.0, 0.75, 0.5, 0.25):
            name = "re-degradation" if share == 1.0 else f"re-degradation x {share:g}"
            candidates[name] = replace(full.interpolate(share), notes={"candidate": name})

    report("EVALUATING", 0.0, {})
    gains = {name: gate_pairs.gain_db(bundle.model, c.row) for name, c in candidates.items()} if gate_pairs else {}
    report("EVALUATING", 0.4, {})
    adapter, evidence = _choose(bundle, candidates, gains, gate_pairs, identity, gate_images, len(adapt_images), config)
    metrics |= {"seconds": time.monotonic() - started, "matched_gain_db": evidence.matched_gain_db}
    report("EVALUATING", 1.0, dict(metrics))
    described = {"matched": [m.to_dict() for m in matches]}
    return Adaptation(adapter, evidence, metrics, described, gains)


def _zero_gradient(identity: Adapter) -> dict[str, Adapter]:
    """Candidates that cost nothing: more of the residual that the source model already gives."""
    made = {}
    for gain in (0.25, 0.5):
        row = replace(identity.row, gain_B=torch.full_like(identity.row.gain_B, gain))
        name = f"residual gain {1 + gain:g}"
        made[name] = Adapter(identity.base_digest, row, {"candidate": name})
    return made


def _crop_scenes(scenes_NCHW: Tensor, count: int, side: int, generator: torch.Generator) -> Tensor:
    pick = torch.randint(len(scenes_NCHW), (count,), generator=generator)
    height, width = scenes_NCHW.shape[2:]
    corners = torch.rand(count, 2, generator=generator)
    crops = []
    for index, (down, right) in zip(pick.tolist(), corners.tolist(), strict=True):
        top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
        crops.append(scenes_NCHW[index, :, top : top + side, left : left + side])
    return torch.stack(crops)


def _degrade_mixed(matches: Sequence[Matched], clean: Tensor, generator: torch.Generator, jitter: float) -> Tensor:
    """Each sample takes one of the matched degradations, the nearest more often."""
    weights = torch.tensor([1.0 / (1 + rank) for rank in range(len(matches))])
    which = torch.multinomial(weights, len(clean), replacement=True, generator=generator)
    degraded = clean.clone()
    for rank, matched in enumerate(matches):
        rows = (which == rank).nonzero().squeeze(1)
        if len(rows):
            degraded[rows] = matched.degrade(clean[rows], generator, jitter)
    return degraded


def _matched_pairs(bundle: Bundle, matches: Sequence[Matched], generator: torch.Generator) -> Pairs | None:
    if not matches:
        return None
    clean = bundle.replay_gate_NCHW.float() / 255
    return Pairs.make(bundle.model, _degrade_mixed(matches, clean, generator, jitter=0.03), clean)


def _source_pairs(bundle: Bundle, seed: int) -> Pairs:
    """Held-out scenes with the degradations of source training, for the do-no-harm check."""
    scenes = _photos(bundle.replay_gate_NCHW.float() / 255)
    generator = torch.Generator(bundle.replay_NCHW.device).manual_seed(seed + 1)
    drawn = make_batch(scenes, SOURCE_PAIRS, CROP, generator)
    return Pairs.make(bundle.model, drawn.degraded_BCHW, drawn.clean_BCHW)


def _train(
    bundle: Bundle,
    matches: Sequence[Matched],
    embedding_ND: Tensor,
    config: RecipeConfig,
    deadline: float,
    generator: torch.Generator,
    report: Progress,
) -> tuple[Modulation, dict[str, float]]:
    """Train the adapter alone on clean scenes that carry the matched degradation.

    The published row is the running average of the trained one. A small CORAL term keeps projected
    target embeddings at the second-order statistics that they had: a projection that tears them
    apart helps no image.
    """
    model = bundle.model
    row = model.identity()
    parameters = {name: getattr(row, name).clone().requires_grad_(True) for name in TRAINED}
    groups = [{"params": [p], "lr": config.learning_rate * TRAINED[n]} for n, p in parameters.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    averaged = {name: p.detach().clone() for name, p in parameters.items()}
    rates = [group["lr"] for group in optimizer.param_groups]
    scenes = bundle.replay_train_NCHW.float() / 255
    cov_DD = covariance(embedding_ND)
    first = last = 0.0
    steps = 0
    report("ADAPTING", 0.0, {})
    for step in range(config.steps):
        if time.monotonic() > deadline:
            break
        decay = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / config.steps)).item())
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (0.05 + 0.95 * decay)
        clean = _crop_scenes(scenes, config.batch, config.patch, generator)
        degraded = _degrade_mixed(matches, clean, generator, jitter=0.05)
        current = replace(row, **parameters)
        loss = restoration_loss(model(degraded, current), clean)
        moved_ND = embedding_ND + embedding_ND @ parameters["projection_BDD"][0].T + parameters["bias_BD"]
        loss = loss + config.coral_weight * coral_distance(cov_DD, covariance(moved_ND)) * cov_DD.shape[0] ** 2
        if not torch.isfinite(loss):
            raise AdaptationError(
                "NAN_LOSS", f"adaptation loss is {loss.item()} at step {step}; the source model is kept. "
                f"Lower recipe.learning_rate (now {config.learning_rate:g})."
            )  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), 1.0)
        optimizer.step()
        steps += 1
        last = float(loss.detach()) if step == 0 else 0.9 * last + 0.1 * float(loss.detach())
        first = last if step == 0 else first
        keep = min(0.95, (1 + step) / (10 + step))
        for name, value in averaged.items():
            value.lerp_(parameters[name].detach(), 1 - keep)
        report("ADAPTING", (step + 1) / config.steps, {"loss": last})
    report("ADAPTING", 1.0, {"loss": last})
    return replace(row, **averaged), {"loss_first": first, "loss_last": last, "steps": float(steps)}


def _scoped(
    bundle: Bundle, row: Modulation, crops: Tensor, matches: Sequence[Matched], generator: torch.Generator
) -> Modulation:
    """Limit the adapter to images like the target's, or like scenes with its degradation."""
    scenes = _crop_scenes(bundle.replay_train_NCHW.float() / 255, 2 * EMBED_CROPS, CROP, generator)
    alike = torch.cat([crops, _degrade_mixed(matches, scenes[:EMBED_CROPS], generator, jitter=0.05)])
    others = make_batch(_photos(scenes), 2 * EMBED_CROPS, CROP, generator).degraded_BCHW
    return fit_scope(row, _features(bundle, alike), _features(bundle, others))


def _photos(scenes_NCHW: Tensor) -> PatchSource:
    return PatchSource([to_array(scene) for scene in scenes_NCHW], scenes_NCHW.device)


@torch.no_grad()
def _features(bundle: Bundle, image_NCHW: Tensor) -> Tensor:
    return torch.cat([scope_features(bundle.model.embed(p).embedding_BD, p) for p in image_NCHW.split(32)])


def _choose(
    bundle: Bundle,
    candidates: dict[str, Adapter],
    gains: dict[str, float],
    matched: Pairs | None,
    identity: Adapter,
    gate_images: Sequence[ImageArray],
    adapt_count: int,
    config: RecipeConfig,
) -> tuple[Adapter, Evidence]:
    """The candidate with the best gain among those that pass the standard gate.

    None passes: the best one is published with its evidence, so that people see what was refused.
    None even gains: the identity, and the domain keeps the source model.
    """
    device = bundle.model.enter.weight.device
    images = [_centre(torch.from_numpy(image).permute(2, 0, 1).float() / 255) for image in gate_images[:GATE_IMAGES]]
    source = _source_pairs(bundle, config.seed)
    yardstick = Yardstick(
        bundle, matched or source, source, [image.to(device) for image in images],
        adapt_count + len(gate_images), config.seed,
    )  # fmt: skip
    policy = GatePolicy()
    promising = sorted((n for n in gains if gains[n] >= policy.min_matched_gain_db), key=lambda n: -gains[n])
    refused: tuple[Adapter, Evidence] | None = None
    for name in promising[:MEASURED_CANDIDATES]:
        evidence = yardstick.measure(candidates[name])
        if judge(evidence, policy).verdict == "PASSED":
            return candidates[name], evidence
        refused = refused or (candidates[name], evidence)
    return refused or (identity, yardstick.measure(identity))


def _centre(image_CHW: Tensor) -> Tensor:
    height, width = image_CHW.shape[1:]
    tall, wide = min(height, GATE_SIDE), min(width, GATE_SIDE)
    top, left = (height - tall) // 2, (width - wide) // 2
    return image_CHW[:, top : top + tall, left : left + wide]
