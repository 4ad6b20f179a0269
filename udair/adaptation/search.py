"""The way to an adapter where tone is restored: search for the degradation that makes clean scenes look like the target.

Axes: N crops, C channels, H x W pixels.
"""

from __future__ import annotations

from dataclasses import fields, replace

import torch

from udair.adaptation.adapter import Adapter
from udair.adaptation.candidates import zero_gradient
from udair.adaptation.matching import Matched, look, match, matches_of, state_of
from udair.adaptation.pairs import as_matched, crop_scenes, matched_pairs
from udair.adaptation.phase_state import PhaseState, remembered
from udair.adaptation.projection import assigned_cluster
from udair.adaptation.scope import scoped
from udair.adaptation.target import CROP, Candidates, Observed, Progress, Run, anchors_of, train_on
from udair.bundle import Bundle
from udair.config import RecipeConfig
from udair.models.modulation import Modulation

MATCH_SCENES = 16
SHARES = (1.0, 0.75, 0.5, 0.25)  # of the trained adapter, between it and the source model


def adapters_for_matches(run: Run) -> Candidates:
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
        return Candidates(metrics=metrics)
    metrics["match_distance"] = matches[0].distance

    degrade = as_matched(matches, tone)
    scope = scoped(bundle, run.identity.row, target.crops_NCHW, degrade, generator, tone)
    if config.steps:
        run.report("ADAPTING", 0.0, {})

        def train() -> PhaseState:
            row, losses = train_on(
                bundle, degrade, target.embedding_ND, anchors_of(bundle, scope, config, generator, tone), config,
                deadline=run.deadline, generator=generator, start=run.start, tone=tone,
                on_step=lambda share, loss: run.report("ADAPTING", share, {"loss": loss}),
            )  # fmt: skip
            return PhaseState({item.name: getattr(row, item.name) for item in fields(row)}, losses)

        trained = remembered(run.states, "ADAPTING", generator, train)
        run.report("ADAPTING", 1.0, {})
        metrics |= trained.facts
        row = Modulation(**{item.name: trained.tensors[item.name] for item in fields(Modulation)})
        full = Adapter(bundle.digest, row, tone=tone)
        for share in SHARES:
            name = "re-degradation" if share == 1.0 else f"re-degradation x {share:g}"
            adapters[name] = replace(full.interpolate(share), notes={"candidate": name})
    adapters = {name: candidate.within(scope) for name, candidate in adapters.items()}
    return Candidates(adapters, matched_pairs(bundle, matches, generator, tone), metrics, matches)


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
