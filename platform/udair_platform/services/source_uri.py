"""Where a domain's images may be: the one judge of source URIs and of the roles that read them.

The grammar is the storage's own (`udair_jobs.storage.location.parse`); this adds what a place of a customer's must be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from udair_jobs.errors import InvalidKey
from udair_jobs.storage.location import Location, parse
from udair_platform.contract.domains import BUCKET, MAX_URI_CHARS
from udair_platform.errors import FieldError, Invalid

# Numbers between dots are read as an address of some machine by whatever puts it into a URL.
_ADDRESS = re.compile(r"(0x[0-9a-f]+|[0-9]+)(\.(0x[0-9a-f]+|[0-9]+))+")
_FILE = "file://"
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}")


def check_source_uri(uri: str, *, folders: Sequence[Path] = (), field: str = "source_uri") -> str:
    """`uri`, if it may be a domain's source of images; a folder's without any symbolic link in it.

    Args:
        field: What names it: its references are a place, too.
        folders: In which `file:///folder` may be; an operator's decision, because whoever may create
            domains then reads files of the machine that runs jobs.

    Raises:
        Invalid: Points at the field.
    """
    problem = _problem(uri)
    if problem:
        raise _invalid(field, f"{field} {uri[:120]!r} {problem}")
    return f"{_FILE}{quote(str(_folder_in(uri, folders, field)))}" if uri.startswith(_FILE) else uri


def check_folders(uris: Sequence[str | None], folders: Sequence[Path]) -> None:
    """Refuse a domain's folder that is no longer in one of `folders`, or is by now a link that leads elsewhere.

    Raises:
        Invalid: It is; points at the field.
    """
    for uri in uris:
        if uri is None or not uri.startswith(_FILE):
            continue
        if _folder_in(uri, folders, "source_uri") != Path(unquote(uri.removeprefix(_FILE))):
            raise _invalid("source_uri", f"{uri[:200]} is a link by now that leads elsewhere; nothing of it is read.")


def _folder_in(uri: str, folders: Sequence[Path], field: str) -> Path:
    try:
        place = Path(unquote(uri.removeprefix(_FILE))).resolve()
        inside = any(place.is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long
        raise _invalid(field, f"{field} {uri[:120]!r} cannot be resolved: {error}.") from None
    if not inside:
        how = "Start the platform with `udair up --allow-folder DIR` (UDAIR_ALLOW_FOLDERS), or upload the images."
        raise _invalid(
            field, f"{field} {uri[:120]!r} is a local folder, and in none that this platform may read in place. {how}"
        )
    return place


def check_apart(source_uri: str, store_uri: str, *, field: str = "source_uri") -> None:
    """Refuse a place that overlaps with the platform's own store, which holds every tenant's results.

    Raises:
        Invalid: It does, or it names no place at all; points at the field.
    """
    try:
        source, store = _steps(parse(source_uri)), _steps(parse(store_uri))
    except InvalidKey as error:
        raise _invalid(field, str(error)) from error
    shared = min(len(source), len(store))
    if source[:shared] == store[:shared]:
        where = f"{field} {source_uri[:120]!r}"
        raise _invalid(field, f"{where} overlaps with the platform's own store; expected a place of yours.")


def check_role(arn: str | None, source_uri: str, *, required: bool, field: str = "source_uri") -> None:
    """Refuse a role that cannot read the place, or a bucket without one where `required`.

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
        raise _invalid("source_role_arn", f"{can}; {field} is {source_uri[:120]}.")


def check_references(uri: str, role_arn: str | None, store_uri: str, *, folders: Sequence[Path], required: bool) -> str:
    """`uri`, if it may be the place of a domain's good pictures; it is read with the role of its source.

    Raises:
        Invalid: Points at /reference_uri, or at /source_role_arn.
    """
    uri = check_source_uri(uri, folders=folders, field="reference_uri")
    check_role(role_arn, uri, required=required, field="reference_uri")
    check_apart(uri, store_uri, field="reference_uri")
    return uri


def _problem(uri: str) -> str | None:
    if len(uri) > MAX_URI_CHARS:
        return f"has {len(uri)} characters; expected at most {MAX_URI_CHARS}."
    if any(ord(char) < 32 or ord(char) == 127 for char in uri):
        return "holds control characters."
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in ("s3", "file"):
        return "has an unknown scheme; expected s3://bucket/prefix."
    if scheme == "file":
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
