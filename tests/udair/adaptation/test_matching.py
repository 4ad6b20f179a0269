from dataclasses import replace

import pytest
import torch

from udair.adaptation.adapter import identity_adapter
from udair.adaptation.evidence import Yardstick
from udair.adaptation.matching import Matched, match_gaps
from udair.adaptation.pairs import matched_pairs
from udair.data.degradations import FAMILIES
from udair.data.patches import PatchSource


def test_a_gap_is_known_for_every_chain_and_the_gate_takes_distances_in_it(bundle, scenes):
    gaps = match_gaps(bundle.model, PatchSource(scenes), bundle.replay_gate_NCHW.float() / 255, draws=1)
    assert torch.equal(gaps, gaps.T)
    stats = replace(bundle.stats, match_gap_CC=gaps)
    places = {name: place + 1 for place, name in enumerate(FAMILIES)}
    assert stats.match_gap(()) == float(gaps[0, 0])
    assert stats.match_gap(("rain",)) == float(gaps[0, places["rain"]])
    assert stats.match_gap(("rain", "noise")) == float(gaps[places["rain"], places["noise"]])
    assert stats.match_gap(("haze", "rain", "noise")) == min(
        stats.match_gap(pair) for pair in (("haze", "rain"), ("haze", "noise"), ("rain", "noise"))
    )
    twice = replace(bundle, stats=replace(bundle.stats, match_gap_CC=2 * torch.ones_like(gaps)))
    matched = Matched(("noise",), torch.full((3,), 0.5), 0.0)
    images = [torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    distances = []
    for base in (bundle, twice):
        pairs = matched_pairs(base, [matched], torch.Generator().manual_seed(0))
        distances.append(
            Yardstick(base, pairs, pairs, images, 8, seed=0)
            .measure(identity_adapter(base.model, base.digest))
            .match_distance
        )
    assert distances[0] == pytest.approx(2 * distances[1])
