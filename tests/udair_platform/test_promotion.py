"""What serves is a pointer that moves by compare-and-set, with a history and a way back."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from udair_platform.contract.domains import GateRules
from udair_platform.entities.alias import CANDIDATE
from udair_platform.entities.domain import Domain
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.entities.version import VersionState
from udair_platform.errors import AliasMoved, GateRejected, Invalid, InvalidState, NotFound, PlatformError
from udair_platform.services import domains, promotion, versions


def promote(plane, domain: Domain, number: int, **options) -> int:
    with plane.change("ann") as tx:
        domain = tx.state.domains.get("acme", domain.name)
        alias = promotion.promote(tx, domain, number, reason="why not", **options)
    return alias.version


def rollback(plane, domain: Domain, **options) -> int:
    with plane.change("bob") as tx:
        alias = promotion.rollback(tx, domain, reason="oops", **options)
    return alias.version


def serving(plane, domain: Domain) -> tuple[int, int | None]:
    with plane.database.read() as state:
        previous = state.aliases.find("acme", domain.id, "previous")
        return state.aliases.get("acme", domain.id, "champion").version, previous and previous.version


def test_new_domain_is_served_by_the_source_model(plane) -> None:
    assert serving(plane, plane.domain()) == (0, None)


def test_promotion_and_rollback_move_the_pointer_there_and_back(plane) -> None:
    domain = plane.domain()
    first, second = plane.version(domain), plane.version(domain)

    promote(plane, domain, first)
    promote(plane, domain, second)
    assert serving(plane, domain) == (2, 1)
    assert rollback(plane, domain) == 1
    assert serving(plane, domain) == (1, 2)
    assert rollback(plane, domain) == 2


def test_history_says_what_served_when_and_who_decided(plane) -> None:
    domain = plane.domain()
    promote(plane, domain, plane.version(domain))
    plane.clock.forward(60)
    rollback(plane, domain)

    with plane.database.read() as state:
        moves = state.aliases.history("acme", domain.id, "champion")
    told = [(m.from_version, m.to_version, m.actor, m.reason) for m in moves]
    assert told == [(1, 0, "bob", "oops"), (0, 1, "ann", "why not"), (None, 0, "test", "domain created")]
    assert (moves[0].time - moves[1].time).total_seconds() == 60


def test_failed_gate_leaves_the_champion_in_place(plane, evidence) -> None:
    domain = plane.domain()
    promote(plane, domain, plane.version(domain))
    harmful = plane.version(domain, evidence["FAILED"])

    with pytest.raises(GateRejected, match="rejected by the gate"):
        promote(plane, domain, harmful)

    assert serving(plane, domain) == (1, 0)


def test_inconclusive_version_serves_only_where_the_rules_allow_it(plane, evidence) -> None:
    domain = plane.domain()
    number = plane.version(domain, evidence["INCONCLUSIVE"])
    with pytest.raises(GateRejected, match="could not judge"):
        promote(plane, domain, number)

    with plane.change("ann") as tx:
        domains.change(tx, domain, gate=GateRules(allow_inconclusive=True))

    assert promote(plane, domain, number) == number
    with plane.database.read() as state:
        assert state.versions.get("acme", domain.id, number).state is VersionState.ACTIVE


@pytest.mark.parametrize("images", [40, 3])
def test_a_version_that_changes_nothing_is_settled_and_never_a_candidate(plane, evidence, images) -> None:
    domain = plane.domain(limits={"min_images": 20})
    number = plane.version(domain, replace(evidence["NOT_NEEDED"], target_images=images))

    with pytest.raises(InvalidState, match="changes nothing"):
        promote(plane, domain, number)
    with plane.database.read() as state:
        version = state.versions.get("acme", domain.id, number)
        assert (version.state, version.verdict) == (VersionState.ARCHIVED, "NOT_NEEDED")
        assert state.aliases.find("acme", domain.id, CANDIDATE) is None
        assert not state.versions.unsettled("acme", size=10)


def test_promoting_what_serves_changes_nothing(plane) -> None:
    domain = plane.domain()
    number = plane.version(domain)
    promote(plane, domain, number)
    with plane.database.read() as state:
        before = (state.counters.value("routes"), state.aliases.moves("acme", domain.id))

    promote(plane, domain, number)

    with plane.database.read() as state:
        assert (state.counters.value("routes"), state.aliases.moves("acme", domain.id)) == before
    assert serving(plane, domain) == (1, 0)


def test_compare_and_set_refuses_a_moved_pointer(plane) -> None:
    domain = plane.domain()
    first, second = plane.version(domain), plane.version(domain)
    promote(plane, domain, first, if_current=0)

    with pytest.raises(AliasMoved, match="Version 1 serves"):
        promote(plane, domain, second, if_current=0)
    with pytest.raises(AliasMoved):
        rollback(plane, domain, if_current=0)


def test_of_two_promotions_at_once_one_wins(plane) -> None:
    domain = plane.domain()
    numbers = [plane.version(domain), plane.version(domain)]
    outcomes: list[object] = []

    def race(number: int) -> None:
        try:
            outcomes.append(promote(plane, domain, number, if_current=0))
        except PlatformError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=race, args=[number]) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert "ALIAS_MOVED" in outcomes
    assert serving(plane, domain)[0] in outcomes


def test_source_model_can_always_be_promoted(plane) -> None:
    domain = plane.domain()
    promote(plane, domain, plane.version(domain))

    assert promote(plane, domain, 0) == 0


def test_nothing_to_roll_back_to_is_said(plane) -> None:
    with pytest.raises(InvalidState, match="no way back"):
        rollback(plane, plane.domain())


def test_unknown_archived_and_foreign_versions_do_not_serve(plane) -> None:
    domain = plane.domain()
    number = plane.version(domain)
    with pytest.raises(NotFound):
        promote(plane, domain, 99)

    with plane.database.write() as state:
        state.bases.add(RegisteredModel("newer", "e" * 64, "packaged:newer", plane.clock()))
    with pytest.raises(InvalidState, match="was made for base model"):
        promote(plane, domain, number)

    with plane.change() as tx:
        versions.change(tx, tx.state.versions.get("acme", domain.id, number), VersionState.ARCHIVED)
    with pytest.raises(InvalidState, match="ARCHIVED"):
        promote(plane, domain, number)


def test_own_aliases_can_be_set_and_ours_cannot(plane, evidence) -> None:
    domain = plane.domain()
    harmful = plane.version(domain, evidence["FAILED"])

    def point(alias: str, number: int, **options) -> int:
        with plane.change() as tx:
            return promotion.point(tx, domain, alias, number, reason="", **options).version

    assert point("look-at-this", harmful) == harmful
    with pytest.raises(AliasMoved):
        point("look-at-this", 0, if_current=7)
    for alias in ("previous", "candidate", "No Good", "../x"):
        with pytest.raises(Invalid):
            point(alias, 0)
    with pytest.raises(GateRejected):
        point("champion", harmful)
