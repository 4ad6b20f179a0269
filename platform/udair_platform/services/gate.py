"""A domain's gate rules applied to an adapter's evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from udair.adaptation.gate import POLICIES, Evidence, GatePolicy, GateReport, judge
from udair.errors import ConfigError
from udair_platform.contract.domains import GateRules
from udair_platform.entities.version import VersionState
from udair_platform.errors import CandidateInvalid, FieldError, Invalid

LIMITS = tuple(item.name for item in fields(GatePolicy))
_COUNTS = ("min_niqe_images", "min_images")

# INCONCLUSIVE waits: too little evidence is no permission. NOT_NEEDED is settled: nobody is asked about no change.
STATE_AFTER: Mapping[str, VersionState] = {
    "PASSED": VersionState.ACTIVE,
    "FAILED": VersionState.REJECTED,
    "INCONCLUSIVE": VersionState.PENDING_APPROVAL,
    "NOT_NEEDED": VersionState.ARCHIVED,
    "WAIVED": VersionState.ACTIVE,
}


def policy_of(rules: GateRules) -> GatePolicy:
    """The limits that `rules` amount to.

    Raises:
        Invalid: An unknown policy or limit, or a value out of range; points at the field.
    """
    if rules.policy not in POLICIES:
        raise _invalid("/gate/policy", f"gate policy {rules.policy!r} is unknown; expected {', '.join(POLICIES)}.")
    for name, value in rules.limits.items():
        if name not in LIMITS:
            raise _invalid(f"/gate/limits/{name}", f"limit {name!r} is unknown; expected one of {', '.join(LIMITS)}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _invalid(f"/gate/limits/{name}", f"limit {name} is {value!r}; expected a finite number.")
        if name in _COUNTS and (value != int(value) or value < 1):
            raise _invalid(f"/gate/limits/{name}", f"limit {name} is {value!r}; expected a whole number, 1 or more.")
    limits: dict[str, Any] = {
        name: int(value) if name in _COUNTS else float(value) for name, value in rules.limits.items()
    }
    try:
        return replace(GatePolicy.named(rules.policy), **limits)
    except ConfigError as error:
        raise _invalid("/gate/limits", str(error)) from error


def evaluate(evidence: Evidence, rules: GateRules) -> GateReport:
    """The verdict of `rules` on `evidence`, with every check behind it."""
    return judge(evidence, policy_of(rules))


def report_of(report: GateReport, rules: GateRules) -> dict[str, Any]:
    """The report as it is stored: JSON-ready, with the rules that it was judged by."""
    return {**finite(report.to_dict()), "rules": rules.model_dump()}


def read_evidence(value: object) -> Evidence:
    """Evidence as a job wrote it; a null measurement was not finite and fails its check.

    Raises:
        CandidateInvalid: It is no evidence.
    """
    if not isinstance(value, Mapping):
        raise CandidateInvalid(f"The evidence is {type(value).__name__}; expected an object.")
    measured = {key: math.nan if item is None else item for key, item in value.items()}
    try:
        return Evidence.from_dict(measured)
    except (ConfigError, TypeError) as error:
        raise CandidateInvalid(f"The evidence cannot be read: {error}.") from error


def finite(value: Any) -> Any:
    """`value` with null in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _invalid(pointer: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(pointer, detail)])
