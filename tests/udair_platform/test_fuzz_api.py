"""The control API against its own schema: whatever the schema allows, or just does not, is answered as it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

load_all_checks()
RULES = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)


@dataclass
class Fuzzer:
    """Asks a control plane what its schema allows, and what it just does not.

    Attributes:
        answered: How often each status was answered.
    """

    plane: Any
    answered: Counter[int] = field(default_factory=Counter)

    def failures(self, examples: int) -> Iterator[str]:
        """What is wrong, operation by operation."""
        headers = {"Authorization": f"Bearer {self.plane.admin_token}"}
        schema = schemathesis.openapi.from_asgi("/v1/openapi.json", self.plane.client.app, headers=headers)
        for number, found in enumerate(schema.get_all_operations()):
            operation = found.ok()
            try:
                self._ask(operation, self._places(number), headers, number, examples)
            except BaseExceptionGroup as error:  # schemathesis' own, an exception for each rule
                yield f"{operation.label}: {error}"

    def _places(self, number: int) -> dict[str, str]:
        """One of everything that a path may name."""
        domain = self.plane.domain(f"cams-{number}")
        self.plane.version(domain)
        job = self.plane.submit(domain)
        key = self.plane.client.post("/v1/apiKeys", json={"name": "spare", "role": "viewer"}).json()
        return {
            "domain": domain.name,
            "job": job.id,
            "snapshot": job.snapshot_id,
            "version": "1",
            "alias": "champion",
            "kid": key["kid"],
        }

    def _ask(self, operation, real: dict[str, str], headers: dict[str, str], number: int, examples: int) -> None:
        good = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        bad = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

        @seed(number)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(good, bad), known=st.booleans())
        def ask(case, known: bool) -> None:
            if known:
                case.path_parameters.update(
                    {name: real.get(name, value) for name, value in case.path_parameters.items()}
                )
            self.answered[case.call_and_validate(headers=headers, checks=RULES).status_code] += 1

        ask()


@pytest.fixture
def fuzzer(make_plane) -> Fuzzer:
    return Fuzzer(make_plane(rate_limit_per_minute=0, failed_auth_per_minute=0, default_tenant="acme"))


def test_api_answers_as_its_schema_says(fuzzer) -> None:
    assert list(fuzzer.failures(examples=6)) == []
    assert {200, 400, 401, 404, 422} <= set(fuzzer.answered)


@pytest.mark.fuzz
def test_api_answers_as_its_schema_says_at_length(fuzzer) -> None:
    assert list(fuzzer.failures(examples=200)) == []
    assert {200, 201, 202, 400, 401, 404, 409, 412, 422} <= set(fuzzer.answered)


def test_answer_that_the_schema_does_not_tell_is_noticed(fuzzer, monkeypatch) -> None:
    monkeypatch.setattr("udair_platform.api.openapi._statuses", lambda *_: ())
    assert "Undocumented status code" in next(fuzzer.failures(examples=20))
