"""Keys say what they say, and nobody else can say it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udair_platform.errors import KeyExpired, KeyInvalid
from udair_platform.keys import LEEWAY_S, Claims, issue, new_kid, new_signing_key, verify
from udair_platform.roles import ROLES, SCOPES, role_of
from udair_platform.signing import Purpose, encode, sign

SIGNING_KEY = bytes(range(32))
CLAIMS = Claims("abcdef123456", "acme", ("domain:read", "job:run"), ("foggy-cams",), 2_000_000_000)


def test_verified_key_says_what_was_issued() -> None:
    assert verify(SIGNING_KEY, issue(SIGNING_KEY, CLAIMS), now=1_999_999_999) == CLAIMS


def test_same_claims_give_the_same_key() -> None:
    assert issue(SIGNING_KEY, CLAIMS) == issue(SIGNING_KEY, CLAIMS)


def test_key_ends_at_its_expiry() -> None:
    with pytest.raises(KeyExpired, match="abcdef123456"):
        verify(SIGNING_KEY, issue(SIGNING_KEY, CLAIMS), now=2_000_000_000 + LEEWAY_S)


def test_key_of_another_platform_is_refused() -> None:
    with pytest.raises(KeyInvalid):
        verify(new_signing_key(), issue(SIGNING_KEY, CLAIMS), now=0)


def test_claims_cannot_be_exchanged() -> None:
    prefix, _, signature = issue(SIGNING_KEY, CLAIMS).split(".")
    payload = {"kid": CLAIMS.kid, "tenant": "globex", "scopes": ["admin"], "domains": None, "exp": None}
    forged = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode()

    with pytest.raises(KeyInvalid):
        verify(SIGNING_KEY, f"{prefix}.{forged}.{signature}", now=0)


def test_signature_binds_the_name() -> None:
    _, body, signature = issue(SIGNING_KEY, CLAIMS).split(".")

    with pytest.raises(KeyInvalid):
        verify(SIGNING_KEY, f"ak_000000000000.{body}.{signature}", now=0)


@pytest.mark.parametrize("token", ["", "ak_", "ak_abcd.x", "ak_abcd.!!.??", "Bearer x", "ak_ab/cd.e.f", "a" * 5000])
def test_malformed_key_is_refused(token: str) -> None:
    with pytest.raises(KeyInvalid):
        verify(SIGNING_KEY, token, now=0)


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_is_accepted_or_breaks_the_check(body: str, signature: str) -> None:
    with pytest.raises(KeyInvalid):
        verify(SIGNING_KEY, f"ak_abcdef.{body}.{signature}", now=0)


def test_unknown_scope_and_short_signing_key_are_refused() -> None:
    with pytest.raises(KeyInvalid, match="root"):
        issue(SIGNING_KEY, Claims("abcd", "acme", ("root",)))
    with pytest.raises(KeyInvalid, match="5 bytes"):
        issue(b"short", CLAIMS)


def test_a_key_allows_what_it_says_and_reaches_every_domain_unless_it_names_some() -> None:
    reader = Claims("abcd", "acme", ("domain:read",))

    assert reader.allows("domain:read")
    assert not reader.allows("domain:write")
    assert reader.reaches("foggy-cams")
    assert verify(SIGNING_KEY, issue(SIGNING_KEY, reader), now=0) == reader
    nowhere = Claims("abcd", "acme", ("domain:read",), ())
    assert verify(SIGNING_KEY, issue(SIGNING_KEY, nowhere), now=0) == nowhere
    assert not nowhere.reaches("foggy-cams")


def test_a_key_without_an_expiry_never_ends() -> None:
    for_ever = Claims("abcd", "acme", ("admin",))

    assert verify(SIGNING_KEY, issue(SIGNING_KEY, for_ever), now=1e12) == for_ever


def test_a_key_is_read_up_to_the_length_that_proxies_let_through() -> None:
    body = "A" * 4
    kid = "a" * ((4096 - len(f"ak_.{body}.")) % 4 + 4)

    def of_size(size: int) -> str:
        return f"ak_{kid}.{body}.".ljust(size, "A")

    with pytest.raises(KeyInvalid, match="signature of key"):
        verify(SIGNING_KEY, of_size(4096), now=0)
    with pytest.raises(KeyInvalid, match="malformed; expected ak_"):
        verify(SIGNING_KEY, of_size(4097), now=0)


def test_signed_claims_of_another_name_are_refused() -> None:
    """Nothing issues such a key; who has the signing key could."""
    payload = {"kid": "eve123456789", "tenant": "acme", "scopes": ["admin"], "domains": None, "exp": None}
    body = encode(json.dumps(payload).encode())
    signature = encode(sign(SIGNING_KEY, Purpose.API_KEY, f"abcdef123456.{body}".encode()))

    with pytest.raises(KeyInvalid, match="claims of another key"):
        verify(SIGNING_KEY, f"ak_abcdef123456.{body}.{signature}", now=0)


def test_new_names_and_keys_are_long_enough_to_be_guessed_by_nobody() -> None:
    assert len({new_kid() for _ in range(100)}) == 100
    assert {len(new_kid()) for _ in range(10)} == {12}
    assert len({new_signing_key() for _ in range(100)}) == 100
    assert LEEWAY_S == 30  # docs/security.md


def test_admin_has_every_scope_and_domains_limit_it() -> None:
    admin = Claims(new_kid(), "acme", ("admin",), ("foggy-cams",))

    assert all(admin.allows(scope) for scope in SCOPES)
    assert admin.reaches("foggy-cams")
    assert not admin.reaches("rain-cams")


def test_key_is_good_for_the_leeway_after_its_expiry() -> None:
    token = issue(SIGNING_KEY, CLAIMS)
    assert verify(SIGNING_KEY, token, now=2_000_000_000 + LEEWAY_S - 1) == CLAIMS
    with pytest.raises(KeyExpired):
        verify(SIGNING_KEY, token, now=2_000_000_000 + LEEWAY_S)


def test_keys_of_the_previous_signing_key_are_good_while_it_is_named() -> None:
    fresh, token = new_signing_key(), issue(SIGNING_KEY, CLAIMS)

    assert verify(fresh, token, now=0, previous=SIGNING_KEY) == CLAIMS
    assert verify(fresh, issue(fresh, CLAIMS), now=0, previous=SIGNING_KEY) == CLAIMS
    for previous in (None, new_signing_key()):
        with pytest.raises(KeyInvalid):
            verify(fresh, token, now=0, previous=previous)
    with pytest.raises(KeyInvalid, match="5 bytes"):
        verify(fresh, token, now=0, previous=b"short")


def test_roles_and_scopes_are_those_that_are_documented() -> None:
    assert SCOPES == (
        "domain:read",
        "domain:write",
        "job:run",
        "version:approve",
        "restore:invoke",
        "metrics:read",
        "admin",
    )
    assert ROLES == {
        "viewer": ("domain:read",),
        "operator": ("domain:read", "domain:write", "job:run", "restore:invoke"),
        "approver": ("domain:read", "version:approve"),
        "admin": ("admin",),
    }
    assert role_of(("version:approve", "domain:read")) == "approver"


def test_roles_hold_known_scopes_and_only_the_admin_submits_and_approves() -> None:
    for role, scopes in ROLES.items():
        assert set(scopes) <= set(SCOPES)
        assert role_of(scopes) == role
        assert role == "admin" or not {"job:run", "version:approve"} <= set(scopes)
    assert role_of(("job:run",)) is None
