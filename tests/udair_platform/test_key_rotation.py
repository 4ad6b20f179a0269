"""Keys are replaced without a gap, and the signing key behind them, too."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from udair_platform.api.app import create_app
from udair_platform.documents import routes
from udair_platform.errors import SettingsError
from udair_platform.keys import LEEWAY_S, new_signing_key
from udair_platform.operations import first_start


def ask(plane, token: str) -> tuple[int, str | None]:
    reply = plane.client.get("/v1/domains", headers={"Authorization": f"Bearer {token}"})
    return reply.status_code, reply.json().get("code")


def create(plane, **fields) -> dict:
    return plane.client.post("/v1/apiKeys", json={"name": "ci", "role": "viewer", **fields}).json()


def rotate(plane, kid: str, *, key: str = "", **body):
    headers = {"Idempotency-Key": key} if key else {}
    return plane.client.post(f"/v1/apiKeys/{kid}:rotate", json=body, headers=headers)


def test_new_key_says_the_same_and_the_old_one_ends_at_once(plane) -> None:
    expires = plane.clock() + timedelta(days=90)
    old = create(plane, domains=["foggy-cams"], expires_time=expires.isoformat())

    reply = rotate(plane, old["kid"])
    new = reply.json()

    assert reply.status_code == 201
    assert new["kid"] != old["kid"]
    same = ("name", "role", "scopes", "domains", "expires_time")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert ask(plane, old["token"]) == (401, "KEY_REVOKED")
    assert ask(plane, new["token"]) == (200, None)


def test_grace_lets_the_old_key_work_until_it_ends(plane) -> None:
    old = create(plane)
    new = rotate(plane, old["kid"], grace_s=3600).json()

    assert ask(plane, old["token"]) == ask(plane, new["token"]) == (200, None)
    plane.clock.forward(3600)
    assert ask(plane, old["token"]) == (401, "KEY_REVOKED")
    assert ask(plane, new["token"]) == (200, None)


def test_data_plane_is_told_when_the_grace_ends(plane) -> None:
    old = create(plane)
    rotate(plane, old["kid"], grace_s=3600)

    told = routes.read(plane.store)["revoked_keys"]

    assert told == {old["kid"]: plane.clock().timestamp() + 3600}


def test_key_in_its_grace_can_be_revoked_at_once(plane) -> None:
    old = create(plane)
    rotate(plane, old["kid"], grace_s=3600)

    plane.client.post(f"/v1/apiKeys/{old['kid']}:revoke")

    assert ask(plane, old["token"]) == (401, "KEY_REVOKED")
    assert routes.read(plane.store)["revoked_keys"] == {old["kid"]: plane.clock().timestamp()}


def test_repeated_rotation_shows_the_same_key(plane) -> None:
    old = create(plane)

    first, again = (rotate(plane, old["kid"], key="r-1", grace_s=60).json() for _ in range(2))

    assert first["token"] == again["token"]
    assert len(plane.client.get("/v1/apiKeys").json()["keys"]) == 3


def test_key_that_ended_is_not_rotated(plane) -> None:
    short = create(plane, expires_time=(plane.clock() + timedelta(minutes=5)).isoformat())
    gone, replaced = create(plane), create(plane)
    plane.client.post(f"/v1/apiKeys/{gone['kid']}:revoke")
    rotate(plane, replaced["kid"], grace_s=600)
    plane.clock.forward(300)

    for key in (short, gone, replaced):
        reply = rotate(plane, key["kid"])
        assert (reply.status_code, reply.json()["code"]) == (409, "INVALID_STATE")
    assert rotate(plane, "nobody").status_code == 404
    assert rotate(plane, create(plane)["kid"], grace_s=-1).status_code == 422


def test_events_say_what_replaced_what(plane) -> None:
    old = create(plane)
    new = rotate(plane, old["kid"]).json()

    events = plane.client.get("/v1/events", params={"noun": "key"}).json()["events"][-2:]

    assert [(e["kind"], e["name"]) for e in events] == [("key.created", new["kid"]), ("key.rotated", old["kid"])]
    assert events[1]["data"] == {"replaced_by": new["kid"], "grace_s": 0}


def test_clocks_may_differ_by_the_leeway(plane) -> None:
    key = create(plane, expires_time=(plane.clock() + timedelta(minutes=5)).isoformat())
    plane.clock.forward(300 + LEEWAY_S - 1)
    assert ask(plane, key["token"]) == (200, None)
    plane.clock.forward(1)
    assert ask(plane, key["token"]) == (401, "KEY_EXPIRED")


def test_limited_admin_makes_no_key_that_may_do_more_than_itself(plane) -> None:
    wide = create(plane, role="admin")
    limited = {"Authorization": f"Bearer {plane.token('admin', only=('foggy-cams',))}"}

    for path, body in (
        ("/v1/apiKeys", {"name": "wider", "role": "admin"}),
        (f"/v1/apiKeys/{wide['kid']}:rotate", {}),
        (f"/v1/apiKeys/{wide['kid']}:revoke", {}),
    ):
        reply = plane.client.post(path, json=body, headers=limited)
        assert (reply.status_code, reply.json()["code"]) == (403, "FORBIDDEN")


def served_with(plane, signing_key: bytes, previous: bytes | None) -> TestClient:
    app = create_app(
        plane.settings,
        database=plane.database,
        store=plane.store,
        signing_key=signing_key,
        previous_signing_key=previous,
        clock=plane.clock,
    )
    return TestClient(app)


def test_signing_key_is_changed_without_a_gap(plane) -> None:
    old_token, fresh = plane.admin_token, new_signing_key()

    def status(client: TestClient, token: str) -> int:
        return client.get("/v1/domains", headers={"Authorization": f"Bearer {token}"}).status_code

    during = served_with(plane, fresh, plane.signing_key)
    assert status(during, old_token) == 200
    made = during.post(
        "/v1/apiKeys", json={"name": "n", "role": "viewer"}, headers={"Authorization": f"Bearer {old_token}"}
    )
    new_token = made.json()["token"]
    after = served_with(plane, fresh, None)

    assert (status(after, old_token), status(after, new_token)) == (401, 200)
    assert plane.client.get("/v1/domains", headers={"Authorization": f"Bearer {new_token}"}).status_code == 401


def test_previous_signing_key_is_checked_like_the_current_one(tmp_path) -> None:
    path = tmp_path / "old.key"
    with pytest.raises(SettingsError, match="does not exist"):
        first_start.read_signing_key(path)
    path.write_bytes(bytes(32))
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        first_start.read_signing_key(path)
    path.chmod(0o600)
    assert first_start.read_signing_key(path) == bytes(32)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_key_that_kubelet_mounted_may_be_read_by_our_group_and_by_nobody_else(tmp_path) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(bytes(32))
    os.chown(path, 12345, os.getegid())
    path.chmod(0o440)
    assert first_start.read_signing_key(path) == bytes(32)
    for mode in (0o460, 0o444):
        path.chmod(mode)
        with pytest.raises(SettingsError, match="open to others"):
            first_start.read_signing_key(path)
