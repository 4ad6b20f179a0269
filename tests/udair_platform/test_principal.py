"""Who is asking: a header becomes a bearer or a refusal, and a route lets in who may."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi import Request
from starlette.testclient import TestClient

from udair_platform.api.access.oidc import User
from udair_platform.api.principal import Principal, principal_of, refused
from udair_platform.entities.names import derived_id
from udair_platform.errors import Forbidden, KeyInvalid, KeyRevoked, NotFound, TooManyRequests, Unauthenticated
from udair_platform.keys import Claims, issue
from udair_platform.services import api_keys


@pytest.fixture
def context(plane):
    return plane.client.app.state.context


def ask(plane, token: str, path: str = "/v1/domains", method: str = "GET"):
    return plane.client.request(method, path, headers={"Authorization": f"Bearer {token}"}, json={})


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER   {}  "])
def test_a_header_speaks_for_the_bearer_of_its_key(plane, context, form: str) -> None:
    token = plane.token("job:run", only=("foggy-cams",))
    who = principal_of(context, form.format(token))

    assert (who.tenant, who.claims.scopes, who.claims.domains, who.user) == (
        "acme",
        ("job:run",),
        ("foggy-cams",),
        None,
    )
    assert who.actor == f"key:{who.claims.kid}"


@pytest.mark.parametrize("form", ["", "Bearer", "Bearer ", "Bearer    ", "Basic {}", "{}", "Token {}"])
def test_a_header_without_a_key_is_told_what_to_send(plane, context, form: str) -> None:
    with pytest.raises(Unauthenticated, match="has no key"):
        principal_of(context, form.format(plane.admin_token))


def test_a_key_that_is_not_known_or_was_taken_back_is_refused(plane, context) -> None:
    with pytest.raises(KeyInvalid, match="ak_abcdef is not known here"):
        principal_of(context, f"Bearer {issue(plane.signing_key, Claims('abcdef', 'acme', ('admin',)))}")
    with plane.change() as tx:
        key, token = api_keys.create_key(tx, plane.signing_key, tenant="acme", name="x", scopes=["domain:read"])
        tx.state.keys.revoke("acme", key.kid, at=plane.clock() + timedelta(seconds=10))
    plane.clock.forward(9.9)
    assert principal_of(context, f"Bearer {token}").claims.kid == key.kid
    plane.clock.forward(0.1)  # it is good until then, and not then
    with pytest.raises(KeyRevoked, match=f"ak_{key.kid} was revoked"):
        principal_of(context, f"Bearer {token}")


def test_what_is_of_the_whole_tenant_is_closed_to_keys_of_some_domains(plane) -> None:
    assert ask(plane, plane.token("domain:read"), "/v1/budget").status_code == 200
    assert ask(plane, plane.token("job:run"), "/v1/budget").status_code == 403
    refusal = ask(plane, plane.token("domain:read", only=("foggy-cams",)), "/v1/budget")
    assert "limited to its domains" in refusal.json()["detail"]


class _Provider:
    """An OpenID provider's tokens are checked in `test_oidc`; here they are as good as these."""

    def __init__(self) -> None:
        self.users = {
            "eyJ.ann": User("https://id.example", "ann", "acme", ("viewer", "approver")),
            "eyJ.eve": User("https://id.example", "eve", "t" * 100, ("admin",)),
        }

    def verify(self, token: str) -> User:
        return self.users[token]


def test_a_token_of_the_provider_speaks_for_a_user_and_a_key_for_itself(plane, context) -> None:
    with_provider = replace(context, identity=_Provider())

    ann = principal_of(with_provider, "Bearer eyJ.ann")
    assert (ann.tenant, ann.user, ann.actor) == ("acme", "ann", "user:ann")
    assert ann.claims.scopes == ("domain:read", "version:approve")
    assert ann.claims.kid == derived_id("u", "https://id.example", "ann")
    assert ann.claims.domains is None
    assert principal_of(with_provider, f"Bearer {plane.admin_token}").user is None
    with pytest.raises(Forbidden, match=f"of tenant '{'t' * 63}', which is not known here"):
        principal_of(with_provider, "Bearer eyJ.eve")
    with pytest.raises(KeyInvalid):
        principal_of(context, "Bearer eyJ.ann")


def test_a_bearer_sees_the_domains_that_its_key_reaches(plane) -> None:
    domain = plane.domain()
    claims = Claims("abcdef", "acme", ("domain:read",), ("foggy-cams",))
    with plane.database.read() as state:
        assert Principal(claims).domain(state, "foggy-cams") == state.domains.get("acme", domain.name)
        for who, name in ((claims, "rainy-cams"), (replace(claims, domains=()), "foggy-cams")):
            with pytest.raises(NotFound, match=f"no domain '{name}'"):
                Principal(who).domain(state, name)
        with pytest.raises(NotFound):
            Principal(replace(claims, tenant="globex")).domain(state, "foggy-cams")


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("domain:read", "GET", "/v1/domains"),
        ("domain:write", "PATCH", "/v1/domains/foggy-cams"),
        ("job:run", "POST", "/v1/domains/foggy-cams/jobs"),
        ("version:approve", "POST", "/v1/domains/foggy-cams/versions/0:promote"),
        ("admin", "GET", "/v1/apiKeys"),
    ],
)
def test_a_route_lets_in_who_has_its_scope_and_says_which_it_is(plane, scope: str, method: str, path: str) -> None:
    plane.domain()
    assert ask(plane, plane.token(scope), path, method).is_success
    reply = ask(plane, plane.token("restore:invoke", "metrics:read"), path, method)
    assert (reply.status_code, reply.json()["code"]) == (403, "FORBIDDEN")
    assert reply.json()["detail"].endswith(f"has restore:invoke, metrics:read; this needs {scope}.")


def test_any_key_asks_what_the_platform_is_and_only_a_whole_tenants_admin_administers(plane) -> None:
    plane.domain()
    assert ask(plane, plane.token("metrics:read"), "/v1/platform").is_success
    limited = plane.token("admin", only=("foggy-cams",))
    assert ask(plane, limited, "/v1/domains/foggy-cams").is_success
    reply = ask(plane, limited, "/v1/apiKeys")
    assert reply.status_code == 403
    assert "is limited to its domains; this needs a key of the whole tenant" in reply.json()["detail"]


def test_a_request_is_counted_once_for_its_bearer_and_a_bad_key_for_its_address(make_plane) -> None:
    plane = make_plane(rate_limit_per_minute=2, failed_auth_per_minute=1)
    plane.domain()
    other = plane.token("domain:read")
    left = [ask(plane, plane.admin_token).headers["ratelimit-remaining"] for _ in range(2)]
    full = ask(plane, plane.admin_token)

    assert left == ["1", "0"]
    assert (full.status_code, full.headers["ratelimit-remaining"]) == (429, "0")
    assert "has sent 2 requests within a minute; no more are answered" in full.json()["detail"]
    assert int(full.headers["retry-after"]) == full.json()["retry_after_s"] > 0
    assert ask(plane, other).is_success
    assert [ask(plane, "ak_bad").status_code for _ in range(2)] == [401, 429]
    assert ask(plane, other).is_success, "a good key does not suffer from a neighbour's bad ones"


@pytest.mark.parametrize(
    "path", ["/v1/domains", "/v1/usage"]
)  # one that asks before its dependencies do, one that does not
@pytest.mark.parametrize("header", ["", "Basic dXNlcjpwYXNz"])
def test_a_request_without_a_key_is_answered_by_us_and_not_by_the_framework(plane, header: str, path: str) -> None:
    reply = plane.client.get(path, headers={"Authorization": header})
    assert (reply.status_code, reply.json()["code"]) == (401, "UNAUTHENTICATED")
    assert reply.json()["detail"] == "The request has no key. Send the header `Authorization: Bearer ak_…`."


def test_bad_keys_are_counted_by_address_and_where_there_is_none_together(make_plane) -> None:
    plane = make_plane(failed_auth_per_minute=1)

    def guess(address: str) -> int:
        client = TestClient(plane.client.app, client=(address, 5000))
        return client.get("/v1/domains", headers={"Authorization": "Bearer ak_bad"}).status_code

    assert [guess(address) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1")] == [401, 401, 429]
    nowhere = Request({"type": "http", "app": plane.client.app, "client": None, "headers": []})
    refused(nowhere)
    with pytest.raises(TooManyRequests):
        refused(nowhere)
