"""How things are called: names that customers choose, ids that we make, and locations of data."""

from __future__ import annotations

import hashlib
import re
import secrets

from udair_platform.errors import FieldError, Invalid

DOMAIN_NAME = r"^[a-z][a-z0-9-]{2,62}$"
TENANT_NAME = DOMAIN_NAME
ALIAS_NAME = r"^[a-z][a-z0-9-]{1,30}$"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Numbers between dots are read as an address of some machine by whatever puts it into a URL.
_ADDRESS = re.compile(r"(0x[0-9a-f]+|[0-9]+)(\.(0x[0-9a-f]+|[0-9]+))+")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}")
MAX_URI_CHARS = 1024


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


def check_role_arn(arn: str) -> str:
    """`arn`, if it may name a role.

    Raises:
        Invalid: Points at /source_role_arn.
    """
    if not _ROLE.fullmatch(arn):
        detail = f"source_role_arn {arn[:120]!r} is no role; expected arn:aws:iam::123456789012:role/name."
        raise Invalid(detail, errors=[FieldError("/source_role_arn", detail)])
    return arn


def check_source_uri(uri: str, *, allow_local: bool) -> str:
    """`uri`, if it may be a domain's source of images.

    Args:
        allow_local: Accept `file:///folder`; an operator's decision, because whoever may create
            domains then reads files of the machine that runs jobs.

    Raises:
        Invalid: Points at /source_uri.
    """
    problem = _source_problem(uri, allow_local)
    if problem:
        detail = f"source_uri {uri[:120]!r} {problem}"
        raise Invalid(detail, errors=[FieldError("/source_uri", detail)])
    return uri


def _source_problem(uri: str, allow_local: bool) -> str | None:
    if len(uri) > MAX_URI_CHARS:
        return f"has {len(uri)} characters; expected at most {MAX_URI_CHARS}."
    if any(ord(char) < 32 or ord(char) == 127 for char in uri):
        return "holds control characters."
    scheme, separator, rest = uri.partition("://")
    if separator and scheme == "file":
        if not allow_local:
            return "is a local folder, which this platform does not read (UDAIR_ALLOW_LOCAL_SOURCES)."
        if not rest.startswith("/") or ".." in rest.split("/"):
            return "is not absolute; expected file:///folder."
        return None
    if not separator or scheme != "s3":
        return "has an unknown scheme; expected s3://bucket/prefix."
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket or _ADDRESS.fullmatch(bucket):
        return "names no valid bucket; expected 3 to 63 of a-z, 0-9, '.' and '-', no address."
    if ".." in prefix.split("/"):
        return "holds '..'."
    return None
