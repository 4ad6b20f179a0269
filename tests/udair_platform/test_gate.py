"""A domain's rules decide; measurements that are not finite never pass."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import get_args

import pytest

from udair.adaptation.gate import POLICIES, Evidence, Verdict
from udair_platform.contract.domains import GateRules
from udair_platform.entities.version import VersionState
from udair_platform.errors import CandidateInvalid, Invalid
from udair_platform.services import gate


@pytest.mark.parametrize("verdict", ["PASSED", "FAILED", "INCONCLUSIVE"])
def test_standard_rules_give_each_verdict(evidence: dict[str, Evidence], verdict: str) -> None:
    assert gate.evaluate(evidence[verdict], GateRules()).verdict == verdict


def test_limits_of_the_domain_replace_those_of_the_policy(evidence: dict[str, Evidence]) -> None:
    assert gate.policy_of(GateRules(policy="strict")) == POLICIES["strict"]
    strictest = GateRules(policy="strict", limits={"min_matched_gain_db": 5.0, "min_images": 12.0})

    assert gate.policy_of(strictest).min_images == 12
    assert gate.policy_of(strictest).max_source_loss_db == POLICIES["strict"].max_source_loss_db
    assert gate.evaluate(evidence["PASSED"], strictest).verdict == "FAILED"


@pytest.mark.parametrize(
    ("rules", "pointer"),
    [
        (GateRules(policy="lenient"), "/gate/policy"),
        (GateRules(limits={"max_magic": 1.0}), "/gate/limits/max_magic"),
        (GateRules(limits={"max_drift": math.nan}), "/gate/limits/max_drift"),
        (GateRules(limits={"min_images": 2.5}), "/gate/limits/min_images"),
        (GateRules(limits={"min_images": 0}), "/gate/limits/min_images"),
    ],
)
def test_bad_rules_point_at_the_field(rules: GateRules, pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        gate.policy_of(rules)
    assert caught.value.errors[0].pointer == pointer


def test_stored_report_is_json_even_when_a_measurement_is_not_finite(evidence: dict[str, Evidence]) -> None:
    broken = replace(evidence["PASSED"], matched_gain_db=math.nan, niqe_source=math.inf)

    report = gate.report_of(gate.evaluate(broken, GateRules()), GateRules())

    assert report["verdict"] == "FAILED"
    json.dumps(report, allow_nan=False)
    json.dumps(gate.finite(broken.to_dict()), allow_nan=False)


def test_null_measurement_was_not_finite_and_fails(evidence: dict[str, Evidence]) -> None:
    written = {**evidence["PASSED"].to_dict(), "matched_gain_db": None}

    assert gate.evaluate(gate.read_evidence(written), GateRules()).verdict == "FAILED"


@pytest.mark.parametrize("value", [None, [], {"finite": True}, {"magic": 1}])
def test_what_is_no_evidence_is_refused(value: object) -> None:
    with pytest.raises(CandidateInvalid):
        gate.read_evidence(value)


def test_every_verdict_has_a_state() -> None:
    assert gate.STATE_AFTER["INCONCLUSIVE"] is VersionState.PENDING_APPROVAL
    assert set(gate.STATE_AFTER) == set(get_args(Verdict))
