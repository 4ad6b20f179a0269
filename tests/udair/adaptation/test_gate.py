import math
from dataclasses import MISSING, asdict, fields, replace

import pytest

from udair.adaptation.gate import AT_LEAST, POLICIES, Check, Evidence, GatePolicy, GateReport, judge
from udair.errors import ConfigError

GOOD = Evidence(
    target_images=40, gate_images=24, matched_gain_db=0.8, source_loss_db=0.01, niqe_source=6.0, niqe_adapted=5.5,
    niqe_worsening_low=-0.9, disagreement_ratio=1.0, drift=0.0, clipped_share_growth=0.0, finite=True,
)  # fmt: skip


def test_good_evidence_passes_with_every_figure_in_the_report():
    report = judge(GOOD, GatePolicy())
    assert report.verdict == "PASSED"
    assert report.check("matched gain").measured == 0.8
    assert report.check("matched gain").limit == 0.5


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
        ({"matched_gain_low_db": 0.1}, "matched gain"),
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
        (-0.73, 2.45, -1.88), (-0.11, 0.91, -0.64), (0.038, 1.27, -0.21), (0.0631, 0.35, 0.35), (0.0878, 0.67, 0.38), (0.0497, 1.21, -0.42),
    ],
)  # fmt: skip
def test_the_gate_is_right_on_every_measured_adapter(flat, busy, true_db):
    report = judge(replace(KEPT, flat_gain_low=flat, busy_change=busy), GatePolicy())
    assert (report.verdict == "PASSED") == (true_db > 0)


def test_too_few_images_are_inconclusive_and_say_how_many_are_needed():
    report = judge(replace(GOOD, target_images=7), GatePolicy())
    assert report.verdict == "INCONCLUSIVE"
    assert report.check("target images").limit == 8


def test_an_adapter_that_changes_nothing_is_never_judged_nor_asked_about():
    report = judge(replace(GOOD, identity=True, matched_gain_db=0.0), GatePolicy())
    assert report.verdict == "NOT_NEEDED"
    assert not any(check.judged for check in report.checks)
    for few in (0, 3):
        report = judge(replace(GOOD, identity=True, target_images=few), GatePolicy(min_images=40))
        assert report.verdict == "NOT_NEEDED"
        assert not any(check.judged for check in report.checks)


def test_naturalness_is_not_judged_on_few_images():
    report = judge(replace(GOOD, gate_images=4, niqe_worsening_low=2.0), GatePolicy())
    assert report.verdict == "PASSED"
    assert not report.check("naturalness").judged


RETONED = replace(KEPT, retones=True, looks_gain=0.3)
ONLY_TONE = replace(KEPT, denoises=False)
V1 = {
    "target images": ("target_images", "min_images"),
    "matched gain": ("matched_gain_db", 0.5),
    "match": ("match_distance", "max_match_distance"),
    "source loss": ("source_loss_db", "max_source_loss_db"),
    "naturalness": ("niqe_worsening_low", "max_niqe_worsening"),
    "colour drift": ("drift", "max_drift"),
    "disagreement": ("disagreement_ratio", "max_disagreement_ratio"),
    "clipping": ("clipped_share_growth", "max_clipped_share"),
}
V2 = {
    "target images": ("target_images", "min_images"),
    "matched gain": ("matched_gain_low_db", "min_matched_gain_db"),
    "gain over the input": ("input_gain_low_db", None),
    "flat places": ("flat_gain_low", "min_flat_gain"),
    "texture": ("busy_change", "max_busy_change"),
    "tone": ("tone_shift", "max_tone_shift"),
    "source loss": ("source_loss_db", "max_source_loss_db"),
    "clipping": ("clipped_share_growth", "max_clipped_share"),
}
# What is judged of which evidence: the field that is measured, and the policy's limit (None is zero) or a number, by check.
JUDGED = [
    (GOOD, V1),
    (KEPT, V2),
    (
        RETONED,
        V2
        | {
            "looks": ("looks_gain", None),
            "flat places": ("flat_gain_low", -0.02),
            "source loss": ("source_loss_db", "max_source_loss_toned_db"),
        },
    ),
    (ONLY_TONE, {name: fields for name, fields in V2.items() if name not in ("flat places", "texture")}),
]


@pytest.mark.parametrize(("good", "judged"), JUDGED)
def test_a_measurement_at_its_limit_holds_and_one_beyond_fails(good, judged):
    policy = GatePolicy()
    report = judge(good, policy)
    assert report.verdict == "PASSED"
    assert {check.name for check in report.checks if check.judged} == {*judged, "finite"}
    for name, (measured, limit) in judged.items():
        most = getattr(policy, limit) if isinstance(limit, str) else limit or 0.0
        worse = -1 if name in AT_LEAST else 1
        beyond = most + worse if name == "target images" else math.nextafter(most, worse * math.inf)
        check = judge(replace(good, **{measured: most}), policy).check(name)
        assert (check.measured, check.limit, check.passed) == (most, most, True), name
        for value in (beyond, worse * math.inf, -worse * math.inf, math.nan):
            worst = judge(replace(good, **{measured: value}), policy)
            assert not worst.check(name).passed, (name, value)
            assert worst.verdict == ("INCONCLUSIVE" if name == "target images" else "FAILED")


def test_what_is_only_reported_holds_whatever_it_is():
    for name, field in (("naturalness", "niqe_worsening_low"), ("disagreement", "disagreement_ratio")):
        for value in (99.0, math.nan):
            check = judge(replace(KEPT, **{field: value}), GatePolicy()).check(name)
            assert (check.passed, check.judged) == (True, False)
    assert not judge(replace(GOOD, disagreement_ratio=99.0), GatePolicy()).check("disagreement").passed


def test_naturalness_is_judged_from_as_many_images_as_the_policy_wants():
    worse, policy = replace(GOOD, niqe_worsening_low=0.5), GatePolicy()
    for images, verdict, told in ((4, "PASSED", "; not judged below 5 gate images"), (5, "FAILED", "")):
        report = judge(replace(worse, gate_images=images), policy)
        assert report.verdict == verdict
        assert report.check("naturalness").detail == f"NIQE 6.00 -> 5.50, lower 95 % bound of the rise{told}"
    assert judge(KEPT, policy).check("naturalness").detail.endswith("; reported")


def test_too_few_images_say_nothing_even_of_what_fails():
    few = replace(KEPT, target_images=7, flat_gain_low=0.0, finite=False)
    assert judge(few, GatePolicy()).verdict == "INCONCLUSIVE"
    report = judge(replace(KEPT, finite=False), GatePolicy())
    finite = report.check("finite")
    assert (report.verdict, finite.passed, finite.judged, finite.measured) == ("FAILED", False, True, None)


def test_the_limits_that_versions_are_judged_by_change_on_purpose_only():
    standard = {
        "min_matched_gain_db": 0.2,
        "max_match_distance": 1.55,
        "max_source_loss_db": 0.25,
        "max_source_loss_toned_db": 1.5,
        "max_niqe_worsening": 0.0,
        "min_niqe_images": 5,
        "max_disagreement_ratio": 1.5,
        "max_drift": 0.05,
        "max_clipped_share": 0.02,
        "min_flat_gain": 0.12,
        "max_busy_change": 1.5,
        "max_tone_shift": 2.5 / 255,
        "min_images": 8,
    }
    tighter = {"min_matched_gain_db": 1.0, "max_source_loss_db": 0.05, "max_drift": 0.03, "max_disagreement_ratio": 1.2}
    assert asdict(GatePolicy.named("standard")) == asdict(GatePolicy()) == standard
    assert asdict(GatePolicy.named("strict")) == standard | tighter
    assert set(POLICIES) == {"standard", "strict"}


def test_a_report_is_written_with_every_check():
    report = judge(replace(KEPT, finite=False), GatePolicy())
    written = report.to_dict()
    assert written["verdict"] == "FAILED"
    assert written["checks"][-1] == {
        "name": "finite",
        "measured": None,
        "limit": None,
        "passed": False,
        "judged": True,
        "detail": "no NaN or infinity in any output",
    }
    assert [check["name"] for check in written["checks"]] == [check.name for check in report.checks]
    assert GateReport("PASSED").checks == ()
    assert Check("x", 1.0, 2.0, True) == Check("x", 1.0, 2.0, True, True, "")


def test_what_could_not_be_measured_is_null_in_json_and_what_an_earlier_release_left_out_is_harmless():
    read = Evidence.from_dict(GOOD.to_dict() | {"matched_gain_db": None, "notes": ["a", "b"]})
    assert math.isnan(read.matched_gain_db)
    assert read.notes == ("a", "b")
    required = {f.name: getattr(GOOD, f.name) for f in fields(Evidence) if f.default is MISSING}
    later = {
        "match_distance": 0.0,
        "identity": False,
        "version": 1,
        "denoises": True,
        "retones": False,
        "looks_gain": 0.0,
        "matched_gain_low_db": 0.0,
        "input_gain_low_db": 0.0,
        "harmed_share": math.nan,
        "flat_gain_low": 0.0,
        "busy_change": 0.0,
        "tone_shift": 0.0,
        "notes": (),
    }
    assert Evidence.from_dict(required).to_dict() == required | later


def test_a_policy_wants_finite_limits_and_at_least_one_image():
    assert GatePolicy(min_images=1).min_images == 1
    for wrong in ({"min_images": 0}, {"max_drift": math.inf}, {"min_flat_gain": math.nan}):
        with pytest.raises(ConfigError, match=f"gate.{next(iter(wrong))} is"):
            GatePolicy(**wrong)


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
