"""One room signs everything; what it has signed stays good."""

from __future__ import annotations

import ast
import hashlib
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import udair_platform
from udair_platform.api.paging import Page
from udair_platform.entities.webhook import Webhook
from udair_platform.keys import Claims, issue
from udair_platform.services.webhooks import secret_of
from udair_platform.signing import Purpose, seal, sign, unseal

KEY = bytes(range(32))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SESSION = b'["acme","abcdef123456",2000000000]'


def test_what_a_running_platform_gave_out_keeps_its_bytes() -> None:
    """Values of the release before signing had a room of its own."""
    claims = Claims("abcdef123456", "acme", ("domain:read", "job:run"), ("foggy-cams",), 2_000_000_000)
    cookie = "t1RTYF9Krx1VVUrUAIXMLkVDozmr-mLH8-qcFqx1wkRbImFjbWUiLCJhYmNkZWYxMjM0NTYiLDIwMDAwMDAwMDBd"
    form = "ae469aed6a329288981612591436792a09c33176ab4d325b69f8a9a4f2493572"

    assert issue(KEY, claims).endswith("InRlbmFudCI6ImFjbWUifQ.cvgoYp9OSt84KmlFKAUx2y8galxeH3s31WKkQyvylg8")
    assert seal(KEY, Purpose.CONSOLE_SESSION, SESSION) == cookie
    assert unseal(KEY, Purpose.CONSOLE_SESSION, cookie) == SESSION
    assert sign(KEY, Purpose.CONSOLE_FORM, cookie.encode()).hex() == form


def test_secret_of_a_webhook_keeps_its_bytes() -> None:
    webhook = Webhook("w-1", "acme", "https://a.example", ("*",), "", 0, NOW, NOW)

    assert secret_of(KEY, webhook, 2) == "whsec_wxhxzeEBStPOKys48b55Y3+E+EPogAKWCv1NtZkBu+0="


def test_page_token_keeps_its_bytes() -> None:
    _, token = Page(None, 1, hashlib.sha256(b'["acme","/v1/domains",[]]').digest(), KEY).cut([7, 8], int)
    assert token == "nudnJju2USx5VeFmUYQ8x0YDwyQ"


def test_no_prefix_begins_another() -> None:
    assert not any(one.startswith(other) for one, other in permutations(Purpose, 2))


def test_what_is_sealed_is_good_for_one_purpose_one_key_and_what_it_is_bound_to() -> None:
    token = seal(KEY, Purpose.PAGE_TOKEN, b"7", bound_to=b"list", size=12)

    assert unseal(KEY, Purpose.PAGE_TOKEN, token, bound_to=b"list", size=12) == b"7"
    assert unseal(KEY, Purpose.PAGE_TOKEN, token, bound_to=b"other", size=12) is None
    assert unseal(KEY, Purpose.CONSOLE_SESSION, token, bound_to=b"list", size=12) is None
    assert unseal(KEY[::-1], Purpose.PAGE_TOKEN, token, bound_to=b"list", size=12) is None


@given(st.text(max_size=80))
def test_no_other_text_is_unsealed(token: str) -> None:
    assert unseal(KEY, Purpose.CONSOLE_SESSION, token) is None


def test_nothing_else_of_the_platform_signs() -> None:
    room = Path(udair_platform.__file__).parent
    users = [
        path.relative_to(room).as_posix()
        for path in room.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(alias.name == "hmac" for alias in node.names)
    ]
    assert users == ["signing.py"]


def test_a_token_has_one_text() -> None:
    """Base64 ignores the last bits of a text's end: `...Q` and `...R` are the same bytes, and one of the two was signed."""
    token = seal(KEY, Purpose.PAGE_TOKEN, b"7", size=12)

    spellings = [token[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
    assert [text for text in spellings if unseal(KEY, Purpose.PAGE_TOKEN, text, size=12) == b"7"] == [token]
