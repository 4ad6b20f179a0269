"""Links that log a browser in: once, for minutes, as the key that asked; and where nothing in particular leads."""

from __future__ import annotations

import pytest
from command_line import udair
from console_visitor import words
from sqlalchemy import func, select

from udair_platform.console.app import mount_console
from udair_platform.console.session import COOKIE
from udair_platform.services.login_links import GOOD_FOR
from udair_platform.signing import Purpose, seal
from udair_platform.state.tables import USED_LINKS


@pytest.fixture
def plane(make_plane):
    made = make_plane()
    mount_console(made.client.app)
    made.client.headers.pop("Authorization")
    made.client.follow_redirects = False
    return made


def _link(plane, token: str | None = None) -> str:
    headers = {"Authorization": f"Bearer {token or plane.admin_token}"}
    answer = plane.client.post("/v1/loginLinks", headers=headers)
    assert answer.status_code == 201, answer.text
    url = answer.json()["url"]
    assert url.startswith("http://testserver/console/login?once=")
    return url.removeprefix("http://testserver")


def _refused(plane, link: str, told: str) -> None:
    plane.client.cookies.clear()
    answer = plane.client.get(link)
    assert answer.status_code == 401
    assert told in words(answer.text), words(answer.text)
    assert COOKIE not in answer.cookies


def test_a_link_logs_in_once_as_the_key_that_asked(plane):
    reader = plane.token("domain:read")
    link = _link(plane, reader)
    answer = plane.client.get(link)
    assert answer.status_code == 200, (
        "a page that leads on: a strict cookie is not sent along a redirect from elsewhere"
    )
    assert 'http-equiv="refresh" content="0; url=/console/"' in answer.text
    assert plane.client.get("/console/").status_code == 200
    assert plane.client.get("/console/keys").status_code == 403, "it may no more than its key"

    again = plane.client.get(link)
    assert (again.status_code, again.headers["location"]) == (303, "/console/"), "who is logged in is led on"
    _refused(plane, link, "The login link was used already; it works once. `udair login-link` makes another.")
    with plane.database.read() as state:
        kinds = [event.kind for event in state.events.newest_first("acme", noun="key", size=5)]
    assert kinds.count("key.link_used") == 1


def test_a_link_ends_with_its_time_its_key_and_a_logout(plane, other_tenant):
    late = _link(plane)
    plane.clock.forward(GOOD_FOR.total_seconds())
    _refused(plane, late, "The login link was good until")

    for end in ("revoke", "log_out"):
        token = plane.token("domain:read")
        link, kid = _link(plane, token), token.partition(".")[0].removeprefix("ak_")
        plane.clock.forward(1)
        with plane.change() as tx:
            getattr(tx.state.keys, end)("acme", kid, at=plane.clock())
        _refused(plane, link, "is not good any more" if end == "revoke" else "Somebody logged out")

    forged = seal(plane.signing_key, Purpose.CONSOLE_SESSION, b'["acme", "x", 0, 9e9, ""]')
    for bad in ("none", forged, _link(plane).partition("=")[2] + "A"):
        _refused(plane, f"/console/login?once={bad}", "This is no login link of this platform.")


def test_links_whose_time_is_over_are_forgotten(plane):
    for _ in range(3):
        assert plane.client.get(_link(plane)).status_code == 200
    plane.clock.forward(GOOD_FOR.total_seconds() + 1)
    assert plane.client.get(_link(plane)).status_code == 200
    with plane.database.read() as state:
        assert state.used_links._connection.scalar(select(func.count()).select_from(USED_LINKS)) == 1


def test_guesses_are_counted(make_plane):
    plane = make_plane(failed_auth_per_minute=3)
    mount_console(plane.client.app)
    answers = [plane.client.get(f"/console/login?once={number}").status_code for number in range(5)]
    assert answers == [401, 401, 401, 429, 429]


def test_the_platforms_address_leads_to_the_console(plane):
    for path in ("/", "/console"):
        answer = plane.client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/console/")
    assert plane.client.get("/nothing").status_code == 404


def test_the_command_line_prints_a_link(live):
    out, err = udair(live, "login-link")
    assert out.startswith(f"{live.url}/console/login?once=")
    assert "works once, until " in err
    assert '"expires_time"' in udair(live, "login-link", "-o", "json")[0]
