"""Nothing changes state outside its table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udair_platform.contract.domains import GateRules
from udair_platform.entities import domain, job, snapshot, version
from udair_platform.entities.domain import Domain, DomainState
from udair_platform.entities.job import Attempt, AttemptState, Job, JobState
from udair_platform.entities.names import check_domain_name, derived_id
from udair_platform.entities.snapshot import Snapshot, SnapshotState
from udair_platform.entities.version import AdapterVersion, VersionState
from udair_platform.errors import Invalid, InvalidState
from udair_platform.services.source_uri import check_source_uri

from datetime import UTC, datetime  # isort: skip

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def make(state: StrEnum) -> Any:
    """A noun in `state`."""
    common = {"tenant": "acme", "created_time": NOW}
    if isinstance(state, DomainState):
        return Domain("d-1", "acme", "foggy", "s3://a/b", GateRules(), NOW, NOW, state=state)
    if isinstance(state, SnapshotState):
        return Snapshot("s-1", "acme", "d-1", "j-1", "/s", NOW, NOW, state)
    if isinstance(state, JobState):
        return Job("j-1", "acme", "d-1", "s-1", "b", "d", "u", "me", NOW, NOW, state)
    if isinstance(state, AttemptState):
        return Attempt("j-1", submission_id="j-1-1", number=1, output_uri="/o", state=state, **common)
    assert isinstance(state, VersionState)
    return AdapterVersion("d-1", "acme", 1, "j-1", "s-1", "b", "d", "a", "/c", NOW, NOW, state)


NOUNS: list[tuple[Mapping[Any, frozenset[Any]], Any]] = [
    (domain.TRANSITIONS, domain.advance),
    (snapshot.TRANSITIONS, snapshot.advance),
    (job.JOB_TRANSITIONS, job.advance),
    (job.ATTEMPT_TRANSITIONS, job.advance_attempt),
    (version.TRANSITIONS, version.advance),
]


@given(st.sampled_from(NOUNS), st.data())
def test_only_moves_of_the_table_are_made(noun: tuple[Mapping[Any, frozenset[Any]], Any], data: st.DataObject) -> None:
    table, advance = noun
    current, to = data.draw(st.sampled_from(list(table))), data.draw(st.sampled_from(list(table)))

    if to in table[current]:
        assert advance(make(current), to, now=NOW).state is to
    else:
        with pytest.raises(InvalidState, match=f"is {current} and cannot become {to}"):
            advance(make(current), to, now=NOW)


@given(st.lists(st.sampled_from(list(JobState)), max_size=12))
def test_no_sequence_of_wishes_leaves_a_final_state(wishes: list[JobState]) -> None:
    current, final = make(JobState.QUEUED), None
    for wish in wishes:
        try:
            current = job.advance(current, wish, now=NOW)
        except InvalidState:
            continue
        assert final is None
        if current.done:
            final = current
            assert current.finished_time == NOW


@pytest.mark.parametrize(("table", "advance"), NOUNS)
def test_every_state_is_in_its_table_and_can_end(table: Mapping[Any, frozenset[Any]], advance: Any) -> None:
    kind = type(next(iter(table)))
    assert set(table) == set(kind)

    def ends(state: Any, seen: frozenset[Any]) -> bool:
        return not table[state] or any(ends(to, seen | {state}) for to in table[state] - seen)

    assert all(ends(state, frozenset()) for state in table)


@pytest.mark.parametrize("name", ["foggy-cams", "abc", "a" * 63])
def test_good_names(name: str) -> None:
    assert check_domain_name(name) == name


@pytest.mark.parametrize("name", ["", "ab", "Foggy", "1abc", "foggy_cams", "a/b", "../x", "a" * 64, "foggy\n", "-ab"])
def test_bad_names_point_at_the_field(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_domain_name(name)
    assert caught.value.errors[0].pointer == "/name"


@pytest.mark.parametrize("uri", ["s3://acme-photos", "s3://acme-photos/cams/", "s3://acme.photos/fotos é/2026"])
def test_good_sources(uri: str) -> None:
    assert check_source_uri(uri, allow_local=False) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/etc",
        "file:///etc",
        "http://169.254.169.254/latest",
        "javascript:alert(1)",
        "s3://",
        "s3://A/b",
        "s3://a/b",
        "s3://acme/../other",
        "s3://acme..photos/x",
        "s3://user:pw@acme/x",
        "s3://acme/a\nb",
        "s3://acme/" + "x" * 2000,
    ],
)
def test_bad_sources_point_at_the_field(uri: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_source_uri(uri, allow_local=False)
    assert caught.value.errors[0].pointer == "/source_uri"


def test_local_sources_are_an_operators_decision() -> None:
    assert check_source_uri("file:///photos", allow_local=True) == "file:///photos"
    with pytest.raises(Invalid):
        check_source_uri("file:///photos/../etc", allow_local=True)


def test_derived_ids_do_not_confuse_their_parts() -> None:
    assert derived_id("j", "a", "b") == derived_id("j", "a", "b")
    assert derived_id("j", "ab", "c") != derived_id("j", "a", "bc")
