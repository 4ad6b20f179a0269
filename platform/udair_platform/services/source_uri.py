"""Where a domain's images may be: the one judge of source URIs and of the roles that read them.

The grammar is the storage's own (`udair_jobs.storage.location.parse`); this adds what a place of a customer's must be.
"""

from __future__ import annotations

import re

from udair_jobs.errors import InvalidKey
from udair_jobs.storage import Storage
from udair_jobs.storage.location import Location, parse
from udair_platform.contract.domains import BUCKET, MAX_URI_CHARS
from udair_platform.documents import store_paths
from udair_platform.errors import FieldError, Invalid

# Numbers between dots are read as an address of some machine by whatever puts it into a URL.
_ADDRESS = re.compile(r"(0x[0-9a-f]+|[0-9]+)(\.(0x[0-9a-f]+|[0-9]+))+")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}")


def check_source_uri(uri: str, *, allow_local: bool) -> str:
    """`uri`, if it may be a domain's source of images.

    Args:
        allow_local: Accept `file:///folder`; an operator's decision, because whoever may create
            domains then reads files of the machine that runs jobs.

    Raises:
        Invalid: Points at /source_uri.
    """
    problem = _problem(uri, allow_local)
    if problem:
        raise _invalid("source_uri", f"source_uri {uri[:120]!r} {problem}")
    return uri


def check_apart(source_uri: str, store_uri: str) -> None:
    """Refuse a source that overlaps with the platform's own store, which holds every tenant's results.

    Raises:
        Invalid: It does, or it names no place at all; points at /source_uri.
    """
    try:
        source, store = _steps(parse(source_uri)), _steps(parse(store_uri))
    except InvalidKey as error:
        raise _invalid("source_uri", str(error)) from error
    shared = min(len(source), len(store))
    if source[:shared] == store[:shared]:
        where = f"source_uri {source_uri[:120]!r}"
        raise _invalid("source_uri", f"{where} overlaps with the platform's own store; expected a place of yours.")


def check_role(arn: str | None, source_uri: str, *, required: bool) -> None:
    """Refuse a role that cannot read the source, or a bucket without one where `required`.

    Raises:
        Invalid: Points at /source_role_arn.
    """
    in_bucket = source_uri.startswith("s3://")
    if arn is None:
        if required and in_bucket:
            why = "this platform reads no bucket with its own rights. Name a role of yours."
            raise _invalid("source_role_arn", f"source_role_arn is missing; {why}")
        return
    if not _ROLE.fullmatch(arn):
        expected = "expected arn:aws:iam::123456789012:role/name."
        raise _invalid("source_role_arn", f"source_role_arn {arn[:120]!r} is no role; {expected}")
    if not in_bucket:
        can = f"source_role_arn {arn} can read s3://bucket/prefix only"
        raise _invalid("source_role_arn", f"{can}; source_uri is {source_uri[:120]}.")


def managed_uri(store: Storage, tenant: str, name: str) -> str:
    """Where the images of a domain without a bucket are uploaded to.

    Raises:
        Invalid: The platform's store is a folder, which nobody can upload to.
    """
    if not store.uri.startswith("s3://"):
        why = "this platform's store is a folder; expected s3://bucket/prefix."
        raise _invalid("source_uri", f"source_uri is missing, and {why}")
    return f"{store.uri}/{store_paths.images(tenant, name)}"


def _problem(uri: str, allow_local: bool) -> str | None:
    if len(uri) > MAX_URI_CHARS:
        return f"has {len(uri)} characters; expected at most {MAX_URI_CHARS}."
    if any(ord(char) < 32 or ord(char) == 127 for char in uri):
        return "holds control characters."
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in ("s3", "file"):
        return "has an unknown scheme; expected s3://bucket/prefix."
    if scheme == "file":
        if not allow_local:
            return "is a local folder, which this platform does not read (UDAIR_ALLOW_LOCAL_SOURCES)."
        return (
            None
            if rest.startswith("/") and ".." not in rest.split("/")
            else "is not absolute; expected file:///folder."
        )
    bucket, _, prefix = rest.partition("/")
    if not re.fullmatch(BUCKET, bucket) or ".." in bucket or _ADDRESS.fullmatch(bucket):
        return "names no valid bucket; expected 3 to 63 of a-z, 0-9, '.' and '-', no address."
    return "holds '..'." if ".." in prefix.split("/") else None


def _steps(place: Location) -> tuple[str, ...]:
    if place.folder is not None:
        return ("file", *place.folder.resolve().parts[1:])
    return ("s3", str(place.bucket), *(step for step in place.prefix.split("/") if step))


def _invalid(field: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(f"/{field}", detail)])
