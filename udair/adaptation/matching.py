"""Degradation pattern matching: which degradation makes clean scenes look like the target?

A search over degradation families and their chains for the parameters whose degraded replay scenes
land on the target's distribution of degradation embeddings and appearance. The answer turns clean
replay scenes into training pairs that carry the target's own degradation.

Axes: N target images, R replay scenes, B a batch, D code width, P parameters of a chain.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from udair.adaptation.phase_state import PhaseState
from udair.config import Tone
from udair.data.degradations import FAMILIES, Chain
from udair.data.patches import PatchSource
from udair.errors import OutOfTime
from udair.models.appearance import PHOTOMETRIC
from udair.models.degradation import scope_features
from udair.models.restorer import Restorer

# Every single family and every pair; clean (no family) competes too.
CHAINS: tuple[tuple[str, ...], ...] = (
    (),
    *((name,) for name in FAMILIES),
    *itertools.combinations(FAMILIES, 2),
)
TRIES_PER_CHAIN = 6
NEAR = 1.25  # parameters up to this much farther than the nearest are believed, too
AS_NEAR = 1.1  # other chains up to this much farther


@dataclass(frozen=True)
class Matched:
    """One parameter set that makes clean scenes look like the target.

    Attributes:
        chain: Names of its families.
        unit_P: Its position in the search space's unit cube.
        distance: To the target; lower is nearer.
        weight: How often training draws it, relative to the others that were matched.
    """

    chain: tuple[str, ...]
    unit_P: Tensor
    distance: float
    weight: float = 1.0

    def degrade(self, clean_BCHW: Tensor, generator: torch.Generator, jitter: float = 0.0) -> Tensor:
        """Degrade a batch with these parameters, each sample's moved a little by `jitter`."""
        unit_BP = self._around(len(clean_BCHW), generator, jitter)
        return Chain(self.chain).degrade(clean_BCHW, unit_BP, generator, "search")

    def pairs(
        self, clean_BCHW: Tensor, generator: torch.Generator, jitter: float = 0.0, tone: Tone = "keep"
    ) -> tuple[Tensor, Tensor]:
        """A batch degraded with these parameters, and what a restoration with this intent should make of it."""
        if tone == "restore":
            return self.degrade(clean_BCHW, generator, jitter), clean_BCHW
        unit_BP = self._around(len(clean_BCHW), generator, jitter)
        return Chain(self.chain).degrade_keeping_tone(clean_BCHW, unit_BP, generator, "search")

    def _around(self, batch: int, generator: torch.Generator, jitter: float) -> Tensor:
        unit_BP = self.unit_P.expand(batch, -1)
        if jitter:
            noise = torch.randn(unit_BP.shape, generator=generator, device=unit_BP.device)
            unit_BP = (unit_BP + jitter * noise).clamp(0, 1)
        return unit_BP

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: physical values by family."""
        return {"distance": round(self.distance, 4), "parameters": Chain(self.chain).describe(self.unit_P)}


def state_of(matches: Sequence[Matched]) -> PhaseState:
    """Matches as tensors and facts; `matches_of` reads them back."""
    return PhaseState(
        {f"match.{number}": matched.unit_P for number, matched in enumerate(matches)},
        {"matches": [{"chain": m.chain, "distance": m.distance, "weight": m.weight} for m in matches]},
    )


def matches_of(state: PhaseState) -> list[Matched]:
    """What `state_of` wrote."""
    return [
        Matched(tuple(fact["chain"]), state.tensors[f"match.{number}"], fact["distance"], fact["weight"])
        for number, fact in enumerate(state.facts["matches"])
    ]


@dataclass(frozen=True)
class Look:
    """How a set of images looks to the matcher.

    Attributes:
        mean_S, spread_S: Of per-image features: embedding, then appearance.
        histogram_K: Mean code histogram.
    """

    mean_S: Tensor
    spread_S: Tensor
    histogram_K: Tensor


@torch.no_grad()
def look(model: Restorer, image_BCHW: Tensor) -> Look:
    """Summarise a set of equal-sized images."""
    seen = model.embed(image_BCHW)
    features = scope_features(seen.embedding_BD, image_BCHW)
    return Look(features.mean(0), features.std(0), seen.histogram_BK.mean(0))


def distance(a: Look, b: Look, embedding_width: int) -> float:
    """How differently two sets look: effect sizes of the features plus the histograms' divergence.

    The root mean square is taken over embedding and appearance apart, so that neither drowns the
    other; both saturate, so that one wild statistic does not decide.
    """
    spread = (0.5 * (a.spread_S.square() + b.spread_S.square())).sqrt()
    spread = spread + 0.1 * spread.mean() + 1e-3
    effect = ((a.mean_S - b.mean_S) / spread).abs().clamp(max=6.0)
    embedding = effect[:embedding_width].square().mean().sqrt()
    # Brightness and colour say as much of the scene as of the damage: they count for less.
    weight = torch.ones_like(effect[embedding_width:])
    weight[:PHOTOMETRIC] = 0.8
    looks = ((effect[embedding_width:] * weight).square().sum() / weight.square().sum()).sqrt()
    return float(0.5 * embedding + looks + 0.5 * _jensen_shannon(a.histogram_K, b.histogram_K))


@torch.no_grad()
def match_gaps(model: Restorer, source: PatchSource, scenes_RCHW: Tensor, *, draws: int = 6, seed: int = 5) -> Tensor:
    """How far a perfect match is: photographs and scenes with the same parameters; (C, C) over families, 0 for none.

    A distance means little by itself: haze shows what a scene consists of and noise hides it. The gate
    takes it in units of these.

    Args:
        model: In evaluation mode.
        source: Photographs.
        scenes_RCHW: Clean replay scenes, floats in [0, 1].
        draws: Parameter sets of each chain.
        seed: Of everything random.
    """
    device, side = scenes_RCHW.device, scenes_RCHW.shape[-1]
    gaps_CC = torch.ones(len(FAMILIES) + 1, len(FAMILIES) + 1)
    order = list(FAMILIES)
    for names in CHAINS:
        chain, found = Chain(names), []
        for draw in range(draws):
            generator = torch.Generator(device).manual_seed(seed + draw)
            photographs = source.crops(len(scenes_RCHW), side, generator)
            matched = Matched(names, chain.sample(1, generator)[0], 0.0)
            seen, made = (look(model, matched.degrade(x, generator)) for x in (photographs, scenes_RCHW))
            found.append(distance(seen, made, model.config.code_dim))
        a, b = ([0, 0] + [order.index(name) + 1 for name in names])[-2:]
        gaps_CC[a, b] = gaps_CC[b, a] = sum(found) / draws
    return gaps_CC


def match(
    model: Restorer,
    target: Look,
    replay_RCHW: Tensor,
    *,
    trials: int,
    generator: torch.Generator,
    keep: int = 4,
    deadline: float | None = None,
    on_trial: Callable[[float], None] | None = None,
) -> list[Matched]:
    """Search for the target's degradation; the best few, nearest first.

    Half of the trials explores by successive halving over chains; the rest perturbs the best found
    with a shrinking radius, and now and then lends it a family or takes one away.

    Args:
        model: The source model, whose embeddings are compared.
        target: Look of the target's crops.
        replay_RCHW: Clean scenes of the same side as the target's crops, floats in [0, 1].
        trials: How many parameter sets to try.
        generator: Of everything random.
        keep: How many to return.
        deadline: `time.monotonic()` at which to give up.
        on_trial: Called with the share done.

    Raises:
        OutOfTime: The deadline came first: what was found by then would depend on the machine.
    """
    if trials < 1:
        return []
    width = model.config.code_dim
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    found: list[Matched] = []

    def attempt(chain: tuple[str, ...], unit_P: Tensor) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise OutOfTime(f"at try {len(found)} of {trials} for a match")
        # Common random numbers: two parameter sets differ by their parameters alone.
        noise = torch.Generator(replay_RCHW.device).manual_seed(seed)
        trial = Matched(chain, unit_P, 0.0)
        gap = distance(look(model, trial.degrade(replay_RCHW, noise)), target, width)
        # A small price for each parameter: the simplest explanation that fits.
        found.append(Matched(chain, unit_P, gap + 0.02 * len(chain)))
        if on_trial is not None:
            on_trial(len(found) / trials)

    # Explore: every chain gets the same number of random tries, then the better half of the chains
    # some more; one lucky chain must not starve the others.
    chains = [Chain(names) for names in CHAINS]
    while chains and len(found) < max(1, trials // 2):
        for chain in chains:
            for _ in range(TRIES_PER_CHAIN):
                if len(found) < trials:
                    attempt(chain.names, chain.sample(1, generator)[0])
        chains = sorted(chains, key=lambda chain: _nearest(found, chain.names))[: max(2, len(chains) // 2)]
    # Refine: perturb the best of each of the few best chains with a shrinking radius.
    refinements, begun = trials - len(found), len(found)
    while len(found) < trials:
        done = (len(found) - begun) / max(refinements, 1)
        elite = _elite(found, 4 if done < 0.4 else 2 if done < 0.7 else 1, 3)
        parent = elite[int(torch.randint(len(elite), (1,), generator=generator))]
        names, unit_P = _neighbour(parent, 0.25 * (1 - done) + 0.02, generator)
        attempt(names, unit_P)
    return _distinct(sorted(found, key=lambda m: m.distance), keep)


def _nearest(found: Sequence[Matched], names: tuple[str, ...]) -> float:
    """Distance of a chain's best try; infinity if few trials left none for it."""
    return min((matched.distance for matched in found if matched.chain == names), default=float("inf"))


def _elite(found: Sequence[Matched], chains: int, each: int) -> list[Matched]:
    """The nearest few of each of the nearest few chains."""
    by_chain: dict[tuple[str, ...], list[Matched]] = {}
    for matched in sorted(found, key=lambda m: m.distance):
        by_chain.setdefault(matched.chain, []).append(matched)
    return [matched for group in list(by_chain.values())[:chains] for matched in group[:each]]


def _neighbour(parent: Matched, radius: float, generator: torch.Generator) -> tuple[tuple[str, ...], Tensor]:
    chance = float(torch.rand(1, generator=generator))
    absent = [name for name in FAMILIES if name not in parent.chain]
    if chance < 0.12 and len(parent.chain) < 2:
        added = absent[int(torch.randint(len(absent), (1,), generator=generator))]
        child = Chain([*parent.chain, added])
        parts = _parts(parent)
        fresh = torch.rand(len(FAMILIES[added].parameters), generator=generator)
        return child.names, torch.cat([parts.get(name, fresh) for name in child.names])
    if chance > 0.92 and len(parent.chain) > 1:
        dropped = parent.chain[int(torch.randint(len(parent.chain), (1,), generator=generator))]
        child = Chain([name for name in parent.chain if name != dropped])
        parts = _parts(parent)
        return child.names, torch.cat([parts[name] for name in child.names])
    # Move some of the parameters, not all: most of a good match is already right.
    chosen = (torch.rand(parent.unit_P.shape, generator=generator) < 0.5).float()
    step = radius * torch.randn(parent.unit_P.shape, generator=generator)
    return parent.chain, (parent.unit_P + chosen * step).clamp(0, 1)


def _parts(matched: Matched) -> dict[str, Tensor]:
    sizes = [len(FAMILIES[name].parameters) for name in matched.chain]
    return dict(zip(matched.chain, matched.unit_P.split(sizes), strict=True)) if matched.chain else {}


def _distinct(ordered: Sequence[Matched], keep: int) -> list[Matched]:
    """The best few that are not much worse than the best: a spread of explanations, not of nonsense.

    The best of each chain comes before the second best of any: where noise and blur look as well as low
    light does, an adapter should be right for both.
    """
    nearest = ordered[0].distance
    near = [matched for matched in ordered if matched.distance <= NEAR * nearest + 0.02]
    firsts = [
        matched
        for rank, matched in enumerate(near)
        if matched.distance <= AS_NEAR * nearest and all(matched.chain != better.chain for better in near[:rank])
    ]
    others = [m for m in near if m.chain == ordered[0].chain and m is not ordered[0]]
    return [replace(matched, weight=1.0 / (1 + rank)) for rank, matched in enumerate((firsts + others)[:keep])]


def _jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    p, q = p + 1e-8, q + 1e-8
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    return 0.5 * ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum())
