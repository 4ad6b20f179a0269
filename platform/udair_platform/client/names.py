"""Names that go into a request's path."""

from __future__ import annotations

import re

from udair_platform.client.errors import ClientError

_NAME = re.compile(r"^[A-Za-z0-9@-]{1,64}$")


def checked(name: str) -> str:
    """`name`, if it can be one: with a slash or a dot in it, it would name another route.

    Raises:
        ClientError: It cannot.
    """
    if not _NAME.match(name):
        raise ClientError(f"{name!r} is no name; expected letters, digits and '-'.")
    return name


def file_name(name: str) -> str:
    """`name`, if it can be a published file's.

    Raises:
        ClientError: It cannot.
    """
    if not re.match(r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}$", name):
        raise ClientError(f"{name!r} is no file's name; expected letters, digits, '.', '_' and '-'.")
    return name
