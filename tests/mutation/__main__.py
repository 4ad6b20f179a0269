"""Tests that cannot fail: change one thing of a file at a time, and see whether its tests notice. `make mutants`.

python tests/mutation                       every target
python tests/mutation gate leases           some of them
python tests/mutation gate --only 12,40     single mutants, with their tests' output

A mutant is a file with one comparison, operator, constant, condition, return, call, raise, or entry of a table
changed. It lives in memory, and nothing on the disk changes. A change within functions goes into their code in a process that was
forked when the target's tests had been collected; any other into a process that was forked before the project was imported,
and loads the mutant in place of the file. Both run the tests until the first that fails. Survivors that are equivalent to
the original stand in `tests/mutation/equivalents.txt` with the reason; any other survivor fails the target.

A script of our own: mutmut 3.8 changes bodies of functions without decorators only, and cosmic-ray 8.7 has no operator for
entries of tables; here transition tables, limits of policies and decorated methods are what matters.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

from changes import mutants_of
from tries import ROOT, Target, survivors

PLATFORM, TESTS = "platform/udair_platform", "tests/udair_platform"
EQUIVALENTS = Path(__file__).with_name("equivalents.txt")


def _tests(*names: str) -> tuple[str, ...]:
    return tuple(f"{TESTS}/test_{name}.py" for name in names)


TARGETS = {
    "jobs": Target(f"{PLATFORM}/entities/job.py", _tests("entities")),
    "machine": Target(f"{PLATFORM}/entities/machine.py", _tests("entities")),
    "retries": Target(f"{PLATFORM}/scheduler/policy.py", _tests("policy")),
    "gate": Target("udair/adaptation/gate.py", ("tests/udair/adaptation/test_gate.py", *_tests("gate"))),
    "leases": Target(f"{PLATFORM}/state/repositories/events.py", _tests("leases"), ("Leases",)),
    "four-eyes": Target(f"{PLATFORM}/services/approval.py", _tests("approval")),
    "signed-keys": Target(f"{PLATFORM}/keys.py", _tests("keys", "signing")),
    "api-keys": Target(f"{PLATFORM}/services/api_keys.py", _tests("api_keys")),
    "roles": Target(f"{PLATFORM}/roles.py", _tests("keys", "tenants")),
    "principal": Target(f"{PLATFORM}/api/principal.py", _tests("principal")),
    "budgets": Target(f"{PLATFORM}/services/budgets.py", _tests("budgets", "spent_budgets")),
    "metering": Target(f"{PLATFORM}/services/metering.py", _tests("budgets")),
    "tenants": Target(f"{PLATFORM}/services/tenants.py", _tests("quotas")),
}
# What many modules need, imported once before the forks; nothing of the project.
PRELOADED = (
    "hypothesis",
    "fastapi",
    "starlette.testclient",
    "sqlalchemy",
    "alembic.command",
    "boto3",
    "httpx",
)


def explained() -> dict[str, str]:
    """Why each survivor that may live does."""
    lines = [line for line in EQUIVALENTS.read_text().splitlines() if line and not line.startswith("#")]
    return {change: reason for change, _, reason in (line.rpartition("  # ") for line in lines)}


def score(name: str, target: Target, only: set[int], jobs: int) -> bool:
    """Run a target's mutants and print what survived; whether all that did are explained."""
    source, began = (ROOT / target.path).read_text(), time.monotonic()
    chosen = {at: one for at, one in enumerate(mutants_of(source, target.names)) if not only or at in only}
    alive = [(at, chosen[at]) for at in sorted(survivors(target, chosen, jobs=jobs, loud=bool(only)))]
    known, lines = explained(), source.splitlines()
    told = {at: f"{name}: {lines[one.line - 1].strip()}: {one.change}" for at, one in alive}
    fresh = {at: text for at, text in told.items() if text not in known}
    for at, text in fresh.items():
        print(f"  {at:4} line {dict(alive)[at].line}  {text}")
    killed = len(chosen) - len(alive)
    print(
        f"{name:14}{killed:4} of {len(chosen)} noticed, {len(alive) - len(fresh)} equivalent, {len(fresh)} survive,"
        f" {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return not fresh


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(TARGETS)}; all without any")
    parser.add_argument("--only", default="", help="numbers of mutants, with their tests' output")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    options = parser.parse_args()
    wrong = set(options.targets) - set(TARGETS)
    if wrong:
        parser.error(f"no target {sorted(wrong)}; expected some of {', '.join(TARGETS)}")
    for name in PRELOADED:
        importlib.import_module(name)
    only = {int(number) for number in options.only.split(",") if number}
    good = [score(name, TARGETS[name], only, options.jobs) for name in options.targets or TARGETS]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
