"""API keys as services make them, take them back and replace them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from udair_platform.documents import routes
from udair_platform.entities.api_key import ApiKey
from udair_platform.errors import AlreadyExists, Invalid, InvalidState, NotFound
from udair_platform.keys import MAX_TOKEN_CHARS, Claims, verify
from udair_platform.services import api_keys


@pytest.fixture
def create(plane):
    def made(**fields):
        asked = {"tenant": "acme", "name": "ci", "scopes": ["domain:read"]} | fields
        with plane.change() as tx:
            return api_keys.create_key(tx, plane.signing_key, **asked)

    return made


@pytest.fixture
def rotate(plane):
    def made(kid: str, grace_s: int = 60, new: str | None = None):
        with plane.change() as tx:
            return api_keys.rotate_key(tx, plane.signing_key, tenant="acme", kid=kid, grace_s=grace_s, new=new)

    return made


def events(plane, kid: str) -> list[tuple[str, dict]]:
    with plane.database.read() as state:
        return [(event.kind, dict(event.data)) for event in state.events.page("acme", noun="key", name=kid)]


def generation(plane) -> int:
    with plane.database.read() as state:
        return state.counters.value(routes.GENERATION)


def stored(plane, kid: str):
    with plane.database.read() as state:
        return state.keys.find("acme", kid)


def test_a_key_says_what_was_asked_for(plane, create) -> None:
    until = plane.clock() + timedelta(hours=1)
    key, token = create(scopes=["job:run", "domain:read"], domains=["foggy-cams"], expires=until, kid="chosen")

    claims = Claims("chosen", "acme", ("job:run", "domain:read"), ("foggy-cams",), int(until.timestamp()))
    assert verify(plane.signing_key, token, plane.clock().timestamp()) == claims
    assert (key.name, key.expires_time, key.revoked_time, key.first_kid) == ("ci", until, None, "")
    assert stored(plane, "chosen").scopes == ("job:run", "domain:read")
    told = {"scopes": ["job:run", "domain:read"], "domains": ["foggy-cams"]}
    assert events(plane, "chosen") == [("key.created", told)]
    for domains, data in ((None, None), ([], [])):
        key, token = create(domains=domains)
        assert verify(plane.signing_key, token, 0).domains == (None if domains is None else ())
        assert events(plane, key.kid) == [("key.created", {"scopes": ["domain:read"], "domains": data})]
        assert verify(plane.signing_key, token, 1e12).exp is None


@pytest.mark.parametrize(
    ("wrong", "pointer", "said"),
    [
        ({"scopes": ["root", "domain:read"]}, "/scopes", "scopes ['root'] are unknown; expected some of domain:read,"),
        ({"scopes": []}, "/scopes", "scopes [] are unknown"),
        ({"expires": timedelta(0)}, "/expires_time", "has passed; expected a time to come"),
        ({"domains": [f"cams-{number}" for number in range(600)]}, "/domains", "600 domains make a key of"),
    ],
)
def test_what_no_key_can_say_is_pointed_at(plane, create, wrong: dict, pointer: str, said: str) -> None:
    if "expires" in wrong:
        wrong = {"expires": plane.clock() + wrong["expires"]}
        plane.clock.now = wrong["expires"]
    with pytest.raises(Invalid) as caught:
        create(**wrong, kid="wrong-one")
    assert [error.pointer for error in caught.value.errors] == [pointer]
    assert said in caught.value.detail
    assert stored(plane, "wrong-one") is None


def test_a_key_may_be_as_long_as_one_that_is_read(plane, create) -> None:
    def length(kid: str, size: int) -> int:
        key = ApiKey(kid, "acme", "ci", ("domain:read",), ("d" * size,), plane.clock())
        return len(api_keys.token_of(plane.signing_key, key))

    tried = ((f"longest-{'k' * more}", size) for more in range(9) for size in range(2900, 3000))
    kid, size = next((kid, size) for kid, size in tried if length(kid, size) == MAX_TOKEN_CHARS)
    assert len(create(kid=kid, domains=["d" * size])[1]) == MAX_TOKEN_CHARS
    with pytest.raises(Invalid, match="1 domains make a key of 41"):
        create(kid="another", domains=["d" * (size + len(kid))])


def test_the_same_wish_is_the_same_key_and_another_is_refused(plane, create) -> None:
    first = create(kid="derived", domains=["foggy-cams"])
    again = create(kid="derived", domains=["foggy-cams"])
    assert (again[0].kid, again[1]) == ("derived", first[1])
    assert len(events(plane, "derived")) == 1
    for other in ({"name": "other"}, {"scopes": ["admin"]}, {"domains": None}):
        with pytest.raises(AlreadyExists, match="derived"):
            create(**{"kid": "derived", "domains": ["foggy-cams"], **other})
    with plane.change() as tx:
        api_keys.revoke_key(tx, tenant="acme", kid="derived")
    with pytest.raises(AlreadyExists):
        create(kid="derived", domains=["foggy-cams"])


def test_a_key_is_taken_back_once(plane, create) -> None:
    key, _ = create()

    def revoke(kid: str = key.kid):
        with plane.change() as tx:
            return api_keys.revoke_key(tx, tenant="acme", kid=kid)

    before, now = generation(plane), plane.clock.now
    assert revoke().revoked_time == stored(plane, key.kid).revoked_time >= now
    assert [kind for kind, _ in events(plane, key.kid)] == ["key.created", "key.revoked"]
    assert generation(plane) == before + 1, "the data plane is told"
    assert revoke().revoked_time == stored(plane, key.kid).revoked_time
    assert len(events(plane, key.kid)) == 2
    assert generation(plane) == before + 1
    with pytest.raises(NotFound):
        revoke("nobody")


def test_a_key_that_takes_anothers_place_says_the_same_for_the_same_bearer(plane, create, rotate) -> None:
    until = plane.clock() + timedelta(days=1)
    old, _ = create(domains=["foggy-cams"], expires=until)
    before = generation(plane)
    plane.clock.forward(5)
    second, token = rotate(old.kid, grace_s=90)
    third, _ = rotate(second.kid)

    assert verify(plane.signing_key, token, 0).kid == second.kid
    assert (second.name, second.scopes, second.domains, second.expires_time) == (
        old.name,
        old.scopes,
        old.domains,
        until,
    )
    assert (second.first_kid, third.first_kid) == (old.kid, old.kid)
    assert second.created_time > old.created_time
    assert stored(plane, old.kid).revoked_time == second.created_time + timedelta(seconds=90)
    assert generation(plane) == before + 2
    assert events(plane, second.kid)[0] == ("key.created", {"replaces": old.kid})
    assert events(plane, old.kid)[1:] == [("key.rotated", {"replaced_by": second.kid, "grace_s": 90})]
    with plane.database.read() as state:
        bearers = {api_keys.bearer_of(state, "acme", f"key:{one.kid}") for one in (old, second, third)}
        assert bearers == {f"key:{old.kid}"}
        for actor in ("user:ann", f"user:{second.kid}", "schedule", "key:nobody"):
            assert api_keys.bearer_of(state, "acme", actor) == actor
        assert api_keys.bearer_of(state, "globex", f"key:{second.kid}") == f"key:{second.kid}"


def test_a_repeated_rotation_is_the_same_and_what_has_ended_is_not_rotated(plane, create, rotate) -> None:
    old, _ = create(expires=plane.clock() + timedelta(minutes=5))
    once = rotate(old.kid, new="derived-kid")
    assert once[0].kid == "derived-kid"
    again = rotate(old.kid, new="derived-kid")
    assert (again[0].kid, again[1]) == (once[0].kid, once[1])
    assert len(events(plane, "derived-kid")) == 1
    with pytest.raises(InvalidState, match=f"{old.kid} is revoked from"):
        rotate(old.kid)
    with pytest.raises(NotFound, match="'nobody'"):
        rotate("nobody")
    for_ever, _ = create()
    assert rotate(for_ever.kid)[0].expires_time is None
    plane.clock.now = once[0].expires_time
    with pytest.raises(InvalidState, match="derived-kid expired"):
        rotate("derived-kid")
