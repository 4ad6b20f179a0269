"""Nothing changes state outside its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udair_platform.contract.base_models import BaseModelInfo
from udair_platform.contract.domains import GateRules
from udair_platform.entities import domain, job, snapshot, version
from udair_platform.entities.domain import Domain, DomainState
from udair_platform.entities.intent import Intent
from udair_platform.entities.job import Attempt, AttemptState, Job, JobState, Priority
from udair_platform.entities.names import check_domain_name, derived_id
from udair_platform.entities.snapshot import Snapshot, SnapshotState
from udair_platform.entities.version import AdapterVersion, VersionState
from udair_platform.errors import Invalid, InvalidState
from udair_platform.services.source_uri import check_source_uri

from datetime import UTC, datetime, timedelta  # isort: skip

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


# The moves that customers are promised, in words of their own: a table that loses or gains one fails here.
WAYS = {
    JobState: """
        QUEUED: PROVISIONING CANCELLED FAILED EXPIRED
        PROVISIONING: RUNNING RECOVERING CANCELLING FAILED EXPIRED
        RUNNING: SUCCEEDED RECOVERING CANCELLING FAILED EXPIRED
        RECOVERING: PROVISIONING CANCELLED FAILED EXPIRED
        CANCELLING: CANCELLED
        SUCCEEDED:
        FAILED:
        CANCELLED:
        EXPIRED:
    """,
    AttemptState: """
        PENDING: LAUNCHED FAILED STOPPED
        LAUNCHED: RUNNING FAILED STOPPED
        RUNNING: SUCCEEDED FAILED STOPPED
        SUCCEEDED:
        FAILED:
        STOPPED:
    """,
    VersionState: """
        CREATING: EVALUATING FAILED
        EVALUATING: PENDING_APPROVAL ACTIVE REJECTED ARCHIVED FAILED
        PENDING_APPROVAL: ACTIVE REJECTED
        ACTIVE: ARCHIVED
        ARCHIVED: DELETED
        REJECTED: DELETED
        FAILED: DELETED
        DELETED:
    """,
}


@pytest.mark.parametrize("table", [job.JOB_TRANSITIONS, job.ATTEMPT_TRANSITIONS, version.TRANSITIONS])
def test_a_table_has_the_moves_that_were_promised_and_no_other(table: Mapping[Any, frozenset[Any]]) -> None:
    lines = WAYS[type(next(iter(table)))].split("\n")
    told = {
        state.strip(): set(ways.split()) for state, _, ways in (line.partition(":") for line in lines) if state.strip()
    }
    assert {state.value: {to.value for to in ways} for state, ways in table.items()} == told


def test_a_refusal_says_where_one_could_go_instead() -> None:
    with pytest.raises(
        InvalidState,
        match=r"^Job j-1 is QUEUED and cannot become SUCCEEDED; it may become CANCELLED, EXPIRED, FAILED, PROVISIONING[.]",
    ):
        job.advance(make(JobState.QUEUED), JobState.SUCCEEDED, now=NOW)
    with pytest.raises(InvalidState, match=r"^Attempt j-1-1 is FAILED"):
        job.advance_attempt(make(AttemptState.FAILED), AttemptState.RUNNING, now=NOW)
    with pytest.raises(InvalidState, match=r"it may become nothing: the state is final[.]"):
        job.advance(make(JobState.FAILED), JobState.QUEUED, now=NOW)


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


def test_what_an_attempt_had_reached_ends_with_it() -> None:
    running = replace(
        make(JobState.RUNNING), phase="ADAPTING", progress_percent=40.0, eta_s=12.0, not_before=NOW, started_time=NOW
    )
    later = NOW + timedelta(minutes=5)

    def shown(to: JobState) -> tuple[object, ...]:
        moved = job.advance(running, to, now=later, reason="WHY", detail="that")
        assert (moved.updated_time, moved.reason, moved.detail, moved.started_time) == (later, "WHY", "that", NOW)
        return moved.phase, moved.progress_percent, moved.eta_s, moved.not_before, moved.finished_time

    assert shown(JobState.RECOVERING) == (None, 0.0, None, NOW, None)
    assert shown(JobState.CANCELLING) == ("ADAPTING", 40.0, 12.0, NOW, None)
    assert shown(JobState.FAILED) == (None, 40.0, 12.0, None, later)
    assert shown(JobState.SUCCEEDED) == (None, 100.0, 0.0, None, later)


def test_a_job_and_an_attempt_begin_with_nothing_done() -> None:
    fresh, tried = make(JobState.QUEUED), make(AttemptState.PENDING)

    assert (fresh.attempt, fresh.progress_percent, fresh.tone, fresh.row_version, fresh.seq) == (0, 0.0, "keep", 1, 0)
    assert tried.row_version == 1
    assert fresh.base_model == BaseModelInfo(name="b", digest="d")
    meant = replace(fresh, tone="restore", tone_aim=0.4, reference_uri="s3://good/days")
    assert meant.intent == Intent("restore", 0.4, "s3://good/days")
    assert job.submission_id("j-1", 2) == "j-1-2"
    assert [state for state in JobState if make(state).done] == ["SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"]
    assert [priority.value for priority in Priority] == ["LOW", "NORMAL", "HIGH"]


def test_a_job_began_when_it_first_ran() -> None:
    first = job.advance(make(JobState.PROVISIONING), JobState.RUNNING, now=NOW)
    later = NOW + timedelta(minutes=5)
    again = replace(first, state=JobState.PROVISIONING)

    assert (first.started_time, first.finished_time) == (NOW, None)
    assert job.advance(again, JobState.RUNNING, now=later).started_time == NOW
    assert job.advance(make(JobState.QUEUED), JobState.PROVISIONING, now=NOW).started_time is None


@pytest.mark.parametrize("state", list(JobState))
def test_a_job_is_held_while_it_waits_and_never_ran(state: JobState) -> None:
    waits = state in (JobState.QUEUED, JobState.RECOVERING)
    one = replace(make(state), reason="BUDGET_SPENT", started_time=None)
    assert (one.unbegun, one.held) == (waits, waits)
    assert not replace(one, reason="NO_CAPACITY").held
    assert not replace(one, started_time=NOW).unbegun


def test_an_attempt_says_when_it_was_launched_and_when_it_ended() -> None:
    launched = job.advance_attempt(make(AttemptState.PENDING), AttemptState.LAUNCHED, now=NOW)
    ran = job.advance_attempt(launched, AttemptState.RUNNING, now=NOW + timedelta(minutes=1))
    ended = job.advance_attempt(ran, AttemptState.FAILED, now=NOW + timedelta(minutes=2), reason="OOM", detail="of it")

    assert (launched.launched_time, launched.finished_time) == (NOW, None)
    assert (ran.launched_time, ran.finished_time) == (NOW, None)
    assert (ended.launched_time, ended.finished_time) == (NOW, NOW + timedelta(minutes=2))
    assert (ended.reason, ended.detail) == ("OOM", "of it")


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
    assert check_source_uri(uri) == uri


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
        check_source_uri(uri)
    assert caught.value.errors[0].pointer == "/source_uri"


def test_local_sources_are_an_operators_decision() -> None:
    assert check_source_uri("file:///photos", folders=[Path("/")]) == "file:///photos"
    with pytest.raises(Invalid):
        check_source_uri("file:///photos/../etc", folders=[Path("/")])


def test_derived_ids_do_not_confuse_their_parts() -> None:
    assert derived_id("j", "a", "b") == derived_id("j", "a", "b")
    assert derived_id("j", "ab", "c") != derived_id("j", "a", "bc")
