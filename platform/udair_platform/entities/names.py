"""How things are called: names that customers choose, and ids that we make."""

from __future__ import annotations

import hashlib
import re
import secrets

from udair_platform.errors import FieldError, Invalid

DOMAIN_NAME = r"^[a-z][a-z0-9-]{2,62}$"
TENANT_NAME = DOMAIN_NAME
ALIAS_NAME = r"^[a-z][a-z0-9-]{1,30}$"


def new_id(prefix: str) -> str:
    """A fresh id, e.g. ``j-5f0c1e2ab94d``: sortable by nobody, guessable by nobody."""
    return f"{prefix}-{secrets.token_hex(6)}"


def derived_id(prefix: str, *parts: str) -> str:
    """The id that `parts` always give: makes a repeated request the same request."""
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{prefix}-{digest[:16]}" if prefix else digest[:16]


def check_domain_name(name: str) -> str:
    """`name`, if a domain may be called so.

    Raises:
        Invalid: Points at /name.
    """
    if not re.fullmatch(DOMAIN_NAME, name):
        detail = f"{name!r} is no domain name; expected 3 to 63 of a-z, 0-9 and '-', starting with a letter."
        raise Invalid(detail, errors=[FieldError("/name", detail)])
    return name


def check_tenant_name(name: str) -> str:
    """`name`, if a tenant may be called so.

    Raises:
        Invalid: Points at /name.
    """
    if not re.fullmatch(TENANT_NAME, name):
        detail = f"{name[:80]!r} is no tenant name; expected 3 to 63 of a-z, 0-9 and '-', starting with a letter."
        raise Invalid(detail, errors=[FieldError("/name", detail)])
    return name
