"""Adapt one domain: detect, align, match its degradation, train an adapter on it, gather evidence.

Inputs are unlabelled images of the target, split *adapt* and *gate*; the base model brings its
source statistics and replay scenes. Only the adapter moves.

Axes: N images or crops, B a batch, C channels, H x W pixels, D code width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from udair.adaptation.adapter import Adapter, identity_adapter
from udair.adaptation.candidates import zero_gradient
from udair.adaptation.detection import Detection, detect
from udair.adaptation.evidence import Yardstick, gate_view
from udair.adaptation.fitting import fit_adapter
from udair.adaptation.flat_bank import FLATTEST, candidates_of, find_noise, held_out_pairs, over, train_on_banks
from udair.adaptation.gate import Evidence, GatePolicy, judge
from udair.adaptation.matching import Matched, look, match, matches_of, state_of
from udair.adaptation.pairs import Pairs, Trial, by_promise, crop_scenes, degrade_mixed, matched_pairs, source_pairs
from udair.adaptation.phase_state import PhaseState, PhaseStates, remembered
from udair.adaptation.projection import align, assigned_cluster
from udair.adaptation.scope import scoped, source_pairs_inside
from udair.bundle import Bundle
from udair.config import RecipeConfig, Tone, check_tone
from udair.data.images import ImageArray
from udair.data.patches import PatchSource
from udair.errors import AdaptationError, AdapterError, OutOfTime
from udair.models.appearance import appearance
from udair.models.modulation import Modulation

Progress = Callable[[str, float, dict[str, float]], None]

CROP = 96  # side of the crops that are embedded and matched, pixels
EMBED_CROPS = 64
MATCH_SCENES = 16
GATE_IMAGES = 24
FEWEST_VIEWS = 8  # below it the evidence looks at images that adaptation saw, too, and says so
SOURCE_PAIRS = 48
MEASURED_CANDIDATES = 6
SHARES = (1.0, 0.75, 0.5, 0.25)  # of the trained adapter, between it and the source model
ANCHOR_SHARE = 0.125  # of a training batch: source samples inside the scope
ANCHOR_DRAWS = 256  # source samples among which those are looked for
FLAT = 1.0  # standard deviation, of 255, below which an image shows nothing


@dataclass(frozen=True)
class Observed:
    """What the model sees of a target.

    Attributes:
        crops_NCHW: RGB in [0, 1].
        embedding_ND: Their unmodulated embeddings.
        histogram_K: Mean share of each code.
        found: Whether it is clean, and how many domains it looks like.
    """

    crops_NCHW: Tensor
    embedding_ND: Tensor
    histogram_K: Tensor
    found: Detection


@dataclass(frozen=True)
class Adaptation:
    """What one adaptation gave.

    Attributes:
        adapter: The chosen candidate; the identity when none promised a gain.
        evidence: Measured on it, for the gate.
        metrics: Figures of the run.
        match: The degradations that were matched, JSON-ready.
        candidates: Gain on held-out matched pairs of each candidate, dB.
        adapters: Every candidate, for benchmarks and reports.
    """

    adapter: Adapter
    evidence: Evidence
    metrics: dict[str, float]
    match: dict[str, Any]
    candidates: dict[str, float]
    adapters: Mapping[str, Adapter] = field(default_factory=dict)


def adapt(
    bundle: Bundle,
    adapt_images: Sequence[ImageArray],
    gate_images: Sequence[ImageArray],
    config: RecipeConfig | None = None,
    on_progress: Progress | None = None,
    *,
    tone: Tone = "keep",
    champion: Adapter | None = None,
    states: PhaseStates | None = None,
) -> Adaptation:
    """Adapt a base model to one domain.

    A target that is clean already, or one with fewer images than the gate needs, gets the
    identity at once: there is nothing to gain, or no way to show a gain.

    Args:
        bundle: The base model with statistics and replay scenes.
        adapt_images: (H, W, 3) uint8 arrays of the target that adaptation may use.
        gate_images: Others, for the gate alone.
        config: Steps, budget, seed.
        on_progress: Called with phase (EMBEDDING, ALIGNING, ADAPTING, EVALUATING), share, metrics.
        tone: The intent that the adapter is made for: with ``keep``, haze and exposure of the target are no damage.
        champion: The domain's adapter so far: training starts from it, and it competes itself.
        states: Remembers what ALIGNING and ADAPTING made; a repeated call goes on from there and gives the
            same adapter. The other phases take seconds.

    Raises:
        AdaptationError: TOO_FEW_IMAGES (none to adapt on, or none that shows anything), NAN_LOSS.
        AdapterError: The champion was made for the other intent.
        ConfigError: The tone is none.

    Source: UDAIR (arXiv 2505.22284) for projection and CORAL; matching, re-degradation, candidates
    and the gate are ours (docs/method.md).
    """
    config = config or RecipeConfig()
    check_tone(tone)
    if champion is not None and champion.tone != tone:
        raise AdapterError(
            f"the domain's adapter was made for tone {champion.tone!r}; this adaptation is for {tone!r}. Start without it."
        )
    report = on_progress or (lambda phase, share, metrics: None)
    started = time.monotonic()
    generator = torch.Generator().manual_seed(config.seed)
    shown, gate_shown, notes = _shown(adapt_images, gate_images)

    report("EMBEDDING", 0.0, {})
    target = observe(bundle, shown, config.seed, generator)
    found = target.found
    metrics = {
        "in_domain_share": found.in_domain_share,
        "clean_share": found.clean_share,
        "separation": found.separation,
    }
    if len(found.groups) > 1:
        notes.append(f"target looks like {len(found.groups)} domains (separation {found.separation:.2f}); split it")
    report("EMBEDDING", 1.0, dict(metrics))

    needed = GatePolicy().min_images
    total = len(shown) + len(gate_shown)
    identity = identity_adapter(bundle.model, bundle.digest, tone)
    made = _Candidates()
    run = _Run(bundle, target, config, started + config.budget_s, generator, report, states, identity, champion)
    try:
        if total < needed:
            notes.append(f"{total} usable images; {needed} are needed to judge an adapter")
        elif tone == "keep":
            made = _for_noise(run, shown, gate_shown)
        elif found.clean:
            notes.append(f"{found.clean_share:.0%} of crops look clean already; the domain keeps the source model")
        else:
            made = _for_matches(run)
    except OutOfTime as error:
        notes.append(f"the budget of {config.budget_s:g} s ran out {error}; nothing was adapted, give it more")
    metrics |= made.metrics
    candidates, held_out = made.adapters, made.held_out

    report("EVALUATING", 0.0, {})
    trials = {name: held_out.trial(bundle.model, c.row) for name, c in candidates.items()} if held_out else {}
    report("EVALUATING", 0.4, {})
    views = gate_shown[:GATE_IMAGES]
    if candidates and len(views) < FEWEST_VIEWS:
        seen = shown[: FEWEST_VIEWS - len(views)]
        notes.append(
            f"{len(seen)} images that the adapter was trained for were looked at as well: few others there were"
        )
        views = [*views, *seen]
    adapter, evidence = _choose(bundle, candidates, trials, held_out, identity, views, total, config.seed)
    notes = [*made.words, *notes]
    evidence = replace(evidence, notes=(*evidence.notes, *notes))
    metrics |= {"seconds": time.monotonic() - started, "matched_gain_db": evidence.matched_gain_db}
    report("EVALUATING", 1.0, dict(metrics))
    described = {"matched": [m.to_dict() for m in made.matches], "words": list(made.words)}
    gains = {name: trial.gain_db for name, trial in trials.items()}
    return Adaptation(adapter, evidence, metrics, described, gains, candidates)


def _shown(
    adapt_images: Sequence[ImageArray], gate_images: Sequence[ImageArray]
) -> tuple[list[ImageArray], list[ImageArray], list[str]]:
    """The images that show something; all-black and all-white ones are counted, not used."""
    if not adapt_images:
        raise AdaptationError("TOO_FEW_IMAGES", "there are 0 images to adapt on; expected 1, better 20 or more.")
    shown, gate_shown = ([image for image in images if image.std() >= FLAT] for images in (adapt_images, gate_images))
    flat = len(adapt_images) + len(gate_images) - len(shown) - len(gate_shown)
    if not shown:
        raise AdaptationError(
            "TOO_FEW_IMAGES",
            f"all {len(adapt_images)} images to adapt on are of one colour (lens cap? blown out?); expected photographs.",
        )
    return shown, gate_shown, [f"{flat} images of one colour were not used"] if flat else []


def observe(bundle: Bundle, images: Sequence[ImageArray], seed: int, generator: torch.Generator) -> Observed:
    """Cut crops from the target's images, embed them, and see what kind of target it is."""
    crops = PatchSource(images, bundle.model.enter.weight.device).crops(EMBED_CROPS, CROP, generator)
    with torch.no_grad():
        seen = bundle.model.embed(crops)
    embedding_ND = seen.embedding_BD.float()
    found = detect(embedding_ND, appearance(crops), bundle.stats, seed)
    return Observed(crops, embedding_ND, seen.histogram_BK.mean(0), found)


@dataclass(frozen=True)
class _Run:
    """What the ways to an adapter have in common."""

    bundle: Bundle
    target: Observed
    config: RecipeConfig
    deadline: float
    generator: torch.Generator
    report: Progress
    states: PhaseStates | None
    identity: Adapter
    champion: Adapter | None

    @property
    def start(self) -> Modulation:
        """Where training starts from."""
        return self.identity.row if self.champion is None else self.champion.row

    def as_described(self) -> tuple[dict[str, Adapter], dict[str, float]]:
        """The domain's adapter so far, and UDAIR's alignment alone; with the alignment's figures."""
        self.report("ALIGNING", 0.0, {})
        aligned, figures = align(self.target.embedding_ND, self.bundle.stats, self.identity.row, self.config.alignment)
        made = {"coral": Adapter(self.bundle.digest, aligned, {"candidate": "coral"}, self.identity.tone)}
        if self.champion is not None:
            made["champion"] = replace(self.champion, notes={"candidate": "champion"})
        return made, figures


@dataclass(frozen=True)
class _Candidates:
    """What one way to an adapter gave.

    Attributes:
        adapters: By name.
        held_out: Pairs that they are compared on; None where there are none.
        metrics: Figures.
        matches: What was matched, if anything was.
        words: What was found, for people.
    """

    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    held_out: Pairs | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    matches: Sequence[Matched] = ()
    words: Sequence[str] = ()


def _for_noise(run: _Run, shown: Sequence[ImageArray], gate_shown: Sequence[ImageArray]) -> _Candidates:
    """Where tone is kept: noise is what can be told from unlabelled pictures (docs/adr/0024)."""
    bundle, tone, config, generator = run.bundle, run.identity.tone, run.config, run.generator
    adapters, metrics = run.as_described()
    found = find_noise(bundle, shown)
    run.report("ALIGNING", 1.0, metrics)
    words = [found.describe()]
    if found.reason:
        return _Candidates(metrics=metrics, words=words)
    metrics |= {"noise_level": found.banks[FLATTEST[0]].level, "noise_left_share": found.left}
    scope = scoped(bundle, run.identity.row, run.target.crops_NCHW, over(found.banks[FLATTEST[0]]), generator, tone)
    if config.steps:
        run.report("ADAPTING", 0.0, {})

        def train() -> PhaseState:
            return train_on_banks(
                bundle, found, run.target.embedding_ND,
                source_pairs_inside(bundle, scope, ANCHOR_DRAWS, config.patch, generator, tone), ANCHOR_SHARE,
                config, run.deadline, generator, lambda share, loss: run.report("ADAPTING", share, {"loss": loss}),
                run.start,
            )  # fmt: skip

        state = remembered(run.states, "ADAPTING", generator, train)
        metrics |= state.facts
        adapters |= candidates_of(state, bundle.digest)
        run.report("ADAPTING", 1.0, {})
    adapters = {name: candidate.within(scope) for name, candidate in adapters.items()}
    return _Candidates(adapters, held_out_pairs(bundle, found, gate_shown, generator), metrics, words=words)


def _for_matches(run: _Run) -> _Candidates:
    """Where tone is to be restored: search for the degradation that makes clean scenes look like the target."""
    bundle, tone, config, generator = run.bundle, run.identity.tone, run.config, run.generator
    adapters, metrics = run.as_described()
    target = run.target
    cluster = assigned_cluster(target.embedding_ND, bundle.stats)
    adapters |= zero_gradient(bundle, run.identity, target.crops_NCHW, target.histogram_K, cluster)
    state = remembered(
        run.states,
        "ALIGNING",
        generator,
        lambda: state_of(match_target(bundle, target, config, generator, run.deadline, run.report)),
    )
    matches = matches_of(state)
    run.report("ALIGNING", 1.0, metrics)
    if not matches:
        return _Candidates(metrics=metrics)
    metrics["match_distance"] = matches[0].distance

    def degrade(clean_NCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return degrade_mixed(matches, clean_NCHW, generator, 0.05, tone)

    scope = scoped(bundle, run.identity.row, target.crops_NCHW, degrade, generator, tone)
    if config.steps:

        def train() -> PhaseState:
            row, losses = train_on_matches(
                bundle,
                matches,
                target.embedding_ND,
                scope,
                config,
                run.deadline,
                generator,
                run.report,
                run.start,
                tone,
            )
            return PhaseState({item.name: getattr(row, item.name) for item in fields(row)}, losses)

        trained = remembered(run.states, "ADAPTING", generator, train)
        metrics |= trained.facts
        row = Modulation(**{item.name: trained.tensors[item.name] for item in fields(Modulation)})
        full = Adapter(bundle.digest, row, tone=tone)
        for share in SHARES:
            name = "re-degradation" if share == 1.0 else f"re-degradation x {share:g}"
            adapters[name] = replace(full.interpolate(share), notes={"candidate": name})
    adapters = {name: candidate.within(scope) for name, candidate in adapters.items()}
    return _Candidates(adapters, matched_pairs(bundle, matches, generator, tone), metrics, matches)


def match_target(
    bundle: Bundle,
    target: Observed,
    config: RecipeConfig,
    generator: torch.Generator,
    deadline: float,
    report: Progress,
) -> list[Matched]:
    """Match every domain that the target holds; each weighs as its share of the crops."""
    scenes = crop_scenes(bundle.replay_train_NCHW.float() / 255, MATCH_SCENES, CROP, generator)
    matches: list[Matched] = []
    groups, crops = target.found.groups, target.crops_NCHW
    for index, group in enumerate(groups):
        share = len(group) / len(crops)
        own = match(
            bundle.model,
            look(bundle.model, crops[group]),
            scenes,
            trials=config.match_trials // len(groups),
            generator=generator,
            deadline=deadline,
            on_trial=lambda done, index=index: report("ALIGNING", (index + done) / len(groups), {}),  # type: ignore[misc]
        )
        matches += [replace(matched, weight=matched.weight * share) for matched in own]
    return matches


def train_on_matches(
    bundle: Bundle,
    matches: Sequence[Matched],
    embedding_ND: Tensor,
    scope: Modulation,
    config: RecipeConfig,
    deadline: float,
    generator: torch.Generator,
    report: Progress,
    start: Modulation | None = None,
    tone: Tone = "keep",
) -> tuple[Modulation, dict[str, float]]:
    """Train an adapter on clean scenes that are degraded as the target is.

    A part of every batch carries the source domain's own degradations: those that the scope cannot tell
    from the target's, which the adapter would otherwise forget.
    """
    scenes = bundle.replay_train_NCHW.float() / 255
    kept = source_pairs_inside(bundle, scope, ANCHOR_DRAWS, config.patch, generator, tone)

    def draw(batch: int, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        anchors = min(round(ANCHOR_SHARE * batch), len(kept[0]))
        clean = crop_scenes(scenes, batch - anchors, patch, generator)
        degraded, wanted = degrade_mixed(matches, clean, generator, 0.05, tone)
        pick = torch.randint(max(len(kept[0]), 1), (anchors,), generator=generator)
        return torch.cat([degraded, kept[0][pick]]), torch.cat([wanted, kept[1][pick]])

    report("ADAPTING", 0.0, {})
    fitted = fit_adapter(
        bundle.model, draw, embedding_ND, config, generator=generator, deadline=deadline, start=start,
        on_step=lambda share, loss: report("ADAPTING", share, {"loss": loss}), tone=tone,
    )  # fmt: skip
    report("ADAPTING", 1.0, {})
    return fitted


def _choose(
    bundle: Bundle,
    candidates: Mapping[str, Adapter],
    trials: Mapping[str, Trial],
    matched: Pairs | None,
    identity: Adapter,
    gate_images: Sequence[ImageArray],
    target_images: int,
    seed: int,
) -> tuple[Adapter, Evidence]:
    """The most promising candidate among those that pass the standard gate.

    None passes: the best one is published with its evidence, so that people see what was refused.
    None even gains: the identity, and the domain keeps the source model.
    """
    device = bundle.model.enter.weight.device
    images = [gate_view(image) for image in gate_images[:GATE_IMAGES]]
    source = source_pairs(bundle, SOURCE_PAIRS, CROP, seed, identity.tone)
    yardstick = Yardstick(
        bundle, matched or source, source, [image.to(device) for image in images], target_images, seed
    )
    policy = GatePolicy()
    refused: tuple[Adapter, Evidence] | None = None
    for name in by_promise(trials, policy.min_matched_gain_db)[:MEASURED_CANDIDATES]:
        evidence = yardstick.measure(candidates[name])
        if judge(evidence, policy).verdict == "PASSED":
            return candidates[name], evidence
        refused = refused or (candidates[name], evidence)
    return refused or (identity, yardstick.measure(identity))
