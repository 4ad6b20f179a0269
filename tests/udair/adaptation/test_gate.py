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


NEW = (
    "version", "matched_gain_low_db", "input_gain_low_db", "flat_gain_low", "busy_change", "tone_shift"
)  # fmt: skip
KEPT = replace(
    GOOD,
    version=2,
    matched_gain_low_db=2.0,
    input_gain_low_db=1.0,
    flat_gain_low=0.4,
    busy_change=1.1,
    tone_shift=0.001,
)


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        ({"matched_gain_low_db": 0.3}, "matched gain"),
        ({"input_gain_low_db": -0.1}, "gain over the input"),
        ({"flat_gain_low": 0.08}, "flat places"),
        ({"flat_gain_low": float("nan")}, "flat places"),
        ({"busy_change": 1.8}, "texture"),
        ({"tone_shift": 0.02}, "tone"),
        ({"source_loss_db": 0.3}, "source loss"),
        ({"clipped_share_growth": 0.1}, "clipping"),
        ({"finite": False}, "finite"),
    ],
)
def test_where_tone_is_kept_flat_places_texture_and_tone_are_judged(harm, check):
    report = judge(replace(KEPT, **harm), GatePolicy())
    assert report.verdict == "FAILED"
    assert [c.name for c in report.checks if not c.passed] == [check]


def test_where_tone_is_kept_naturalness_and_disagreement_are_reported_and_not_judged():
    report = judge(replace(KEPT, niqe_worsening_low=3.0, disagreement_ratio=9.0), GatePolicy())
    assert report.verdict == "PASSED"
    assert report.check("naturalness").measured == 3.0


# Measured on domains whose truth is known (docs/adr/0024): flat gain, busy change, true gain in dB.
@pytest.mark.parametrize(
    ("flat", "busy", "true_db"),
    [
        (0.73, 0.86, 1.65), (0.29, 0.88, 0.78), (0.24, 0.75, 0.85), (0.17, 0.76, 0.85), (0.36, 0.85, 0.10),
        (0.037, 1.15, -0.16), (0.063, 1.23, -0.67), (0.054, 3.11, -2.88), (0.052, 1.98, -2.93), (0.094, 1.18, -1.04),
        (-0.73, 2.45, -1.88), (-0.11, 0.91, -0.64), (0.038, 1.27, -0.21),
    ],
)  # fmt: skip
def test_the_gate_is_right_on_every_measured_adapter(flat, busy, true_db):
    report = judge(replace(KEPT, flat_gain_low=flat, busy_change=busy), GatePolicy())
    assert (report.verdict == "PASSED") == (true_db > 0)


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
    assert Evidence.from_dict(KEPT.to_dict()) == KEPT
    old = {name: value for name, value in GOOD.to_dict().items() if name not in NEW}
    assert judge(Evidence.from_dict(old), GatePolicy()).verdict == "PASSED"  # what an earlier release wrote
    with pytest.raises(ConfigError, match="surprise"):
        Evidence.from_dict(GOOD.to_dict() | {"surprise": 1})
    with pytest.raises(KeyError):
        judge(GOOD, GatePolicy()).check("beauty")
