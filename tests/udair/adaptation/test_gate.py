from dataclasses import replace

import pytest

from udair.adaptation.gate import Evidence, GatePolicy, judge
from udair.errors import ConfigError

GOOD = Evidence(
    target_images=40, gate_images=24, matched_gain_db=0.8, source_loss_db=0.01, niqe_source=6.0, niqe_adapted=5.5,
    niqe_worsening_low=-0.9, disagreement_ratio=1.0, drift=0.0, clipped_share_growth=0.0, finite=True,
)  # fmt: skip


def test_good_evidence_passes_with_every_figure_in_the_report():
    report = judge(GOOD, GatePolicy())
    assert report.verdict == "PASSED"
    assert report.check("matched gain").measured == 0.8
    assert report.check("matched gain").limit == GatePolicy().min_matched_gain_db


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        ({"matched_gain_db": 0.05}, "matched gain"),
        ({"matched_gain_db": float("nan")}, "matched gain"),
        ({"source_loss_db": 0.3}, "source loss"),
        ({"niqe_worsening_low": 0.1}, "naturalness"),
        ({"disagreement_ratio": 1.6}, "disagreement"),
        ({"drift": 0.2}, "colour drift"),
        ({"clipped_share_growth": 0.1}, "clipping"),
        ({"finite": False}, "finite"),
    ],
)
def test_each_harm_fails_its_own_check(harm, check):
    report = judge(replace(GOOD, **harm), GatePolicy())
    assert report.verdict == "FAILED"
    assert [c.name for c in report.checks if not c.passed] == [check]


def test_too_few_images_are_inconclusive_and_say_how_many_are_needed():
    report = judge(replace(GOOD, target_images=7), GatePolicy())
    assert report.verdict == "INCONCLUSIVE"
    assert report.check("target images").limit == 8


def test_identity_is_inconclusive_never_failed():
    assert judge(replace(GOOD, identity=True, matched_gain_db=0.0), GatePolicy()).verdict == "INCONCLUSIVE"


def test_naturalness_is_not_judged_on_few_images():
    report = judge(replace(GOOD, gate_images=4, niqe_worsening_low=2.0), GatePolicy())
    assert report.verdict == "PASSED"
    assert not report.check("naturalness").judged


def test_policies_and_evidence_round_trip():
    assert GatePolicy.named("strict").min_matched_gain_db > GatePolicy.named("standard").min_matched_gain_db
    with pytest.raises(ConfigError, match="lenient"):
        GatePolicy.named("lenient")
    with pytest.raises(ConfigError):
        GatePolicy(max_drift=float("nan"))
    assert Evidence.from_dict(GOOD.to_dict()) == GOOD
    with pytest.raises(ConfigError, match="surprise"):
        Evidence.from_dict(GOOD.to_dict() | {"surprise": 1})
    with pytest.raises(KeyError):
        judge(GOOD, GatePolicy()).check("beauty")
