"""Which adapter to try first, and what training holds on to."""

import torch

from udair.adaptation.adapter import Adapter, identity_adapter
from udair.adaptation.pairs import Pairs, Trial, by_promise
from udair.adaptation.scope import fit_scope, source_pairs_inside
from udair.models.degradation import scope_features


def test_of_those_that_cannot_be_told_apart_the_one_that_changes_least_is_first():
    trials = {
        "whole": Trial(gain_db=1.00, error_db=0.1, change=0.04),
        "three quarters": Trial(gain_db=0.98, error_db=0.1, change=0.03),
        "half": Trial(gain_db=0.80, error_db=0.1, change=0.02),
        "harm": Trial(gain_db=-1.0, error_db=0.1, change=0.01),
    }
    assert by_promise(trials, 0.1) == ["three quarters", "whole", "half"]


def test_nothing_that_promises_too_little_is_tried():
    assert by_promise({"little": Trial(0.05, 0.1, 0.01)}, 0.1) == []


def test_a_picture_is_harmed_that_loses_more_than_anybody_would_overlook():
    clean = torch.zeros(4, 3, 8, 8)
    source = clean + 0.1  # 20 dB from the truth
    # 0.05 dB and 0.2 dB worse, as good, and 6 dB better
    restored = torch.stack([clean[0] + level for level in (0.1 * 10**0.0025, 0.1 * 10**0.01, 0.1, 0.05)])
    assert Pairs(clean, clean, source).harmed_share(restored) == 0.25


def test_anchors_are_the_source_samples_inside_the_scope(bundle):
    generator = torch.Generator().manual_seed(0)
    everywhere = identity_adapter(bundle.model, bundle.digest).row
    degraded, clean = source_pairs_inside(bundle, everywhere, 40, 48, generator)
    assert len(degraded) == len(clean) == 40
    with torch.no_grad():
        features = scope_features(bundle.model.embed(degraded).embedding_BD, degraded)
    dark = features[:, bundle.model.config.code_dim] < features[:, bundle.model.config.code_dim].median()
    scope = fit_scope(everywhere, features[dark], features[~dark])
    kept, _ = source_pairs_inside(bundle, scope, 40, 48, torch.Generator().manual_seed(0))
    assert 0 < len(kept) < 40
    with torch.no_grad():
        assert bool(scope.inside(scope_features(bundle.model.embed(kept).embedding_BD, kept)).all())


def test_an_adapter_takes_the_scope_of_another_row_and_keeps_what_it_does(bundle):
    adapter = identity_adapter(bundle.model, bundle.digest)
    features = torch.randn(30, adapter.row.scope_weight_BS.shape[1], generator=torch.Generator().manual_seed(0))
    scope = fit_scope(adapter.row, features[:15] + 1, features[15:] - 1)
    bounded = Adapter(bundle.digest, adapter.row, {"candidate": "coral"}).within(scope)
    assert torch.equal(bounded.row.scope_weight_BS, scope.scope_weight_BS)
    assert bounded.notes == {"candidate": "coral"}
    assert bounded.is_identity
