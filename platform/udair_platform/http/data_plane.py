"""The data plane as the control plane asks it: over HTTP, at the address that clients use, for one picture that is tried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

import httpx

from udair_platform.errors import BodyTooLarge, Invalid, PlatformError, TooManyRequests, Unavailable

# An image waits for its turn, is restored by a busy processor, and comes back; nobody looks at a page for longer.
_PATIENCE_S = 120.0
_TOLD = (
    "X-Adapter-Version",
    "X-Base-Model",
    "X-Fallback",
    "X-Tone",
    "X-Restoration",
    "X-Dropped",
    "X-Size",
    "Server-Timing",
)


@dataclass(frozen=True)
class Picture:
    """What is tried: the bytes of a file, or the URI of an object of the domain's."""

    data: bytes = b""
    uri: str = ""

    @property
    def media_type(self) -> str:
        """What it shall come back as: JPEG as JPEG, anything else without loss."""
        lossy = self.data.startswith(b"\xff\xd8\xff") or self.uri.lower().endswith((".jpg", ".jpeg"))
        return "image/jpeg" if lossy else "image/png"


@dataclass(frozen=True)
class TriedPicture:
    """A picture that came back.

    Attributes:
        headers: What the data plane says of it, by the names of `X-` headers.
        seen: What it sees in it, in plain sentences.
    """

    data: bytes
    media_type: str
    headers: Mapping[str, str]
    seen: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as the data plane says; nothing is decoded here."""
        width, _, height = self.headers.get("X-Size", "").partition("x")
        return (int(width), int(height)) if width.isdigit() and height.isdigit() else (0, 0)


def try_picture(url: str, ticket: str, picture: Picture, wanted: Literal["restored", "camera"]) -> TriedPicture:
    """The picture restored as the ticket says, or as the camera saw it, in a format that browsers show.

    Args:
        url: The data plane's.

    Raises:
        Invalid, BodyTooLarge: The picture cannot be restored.
        TooManyRequests, Unavailable: The data plane is busy, or is not there.
    """
    kind = "application/json" if picture.uri else "application/octet-stream"
    body = json.dumps({"input_uri": picture.uri}).encode() if picture.uri else picture.data
    headers = {"Authorization": f"Bearer {ticket}", "Accept": picture.media_type, "Content-Type": kind}
    try:
        answer = httpx.post(
            f"{url}/v1/trials", params={"picture": wanted}, content=body, headers=headers, timeout=_PATIENCE_S
        )
    except httpx.HTTPError as error:
        raise Unavailable(
            f"The data plane at {url} does not answer ({type(error).__name__}). `udair doctor` says more."
        ) from error
    if answer.status_code != 200:
        raise _refusal(url, answer)
    return TriedPicture(
        answer.content,
        answer.headers.get("Content-Type", picture.media_type),
        {name: answer.headers[name] for name in _TOLD if name in answer.headers},
        tuple(json.loads(unquote(answer.headers.get("X-Seen", "[]")))),
    )


def _refusal(url: str, answer: httpx.Response) -> PlatformError:
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"The data plane at {url} answered {answer.status_code}, and not why.")
    if answer.status_code == 401 or detail == "Not Found":
        return Unavailable(
            f"The data plane at {url} takes no pictures to try: {detail} Is it of this release and signing key?"
        )
    if answer.status_code >= 500:
        return Unavailable(detail)
    return {413: BodyTooLarge, 429: TooManyRequests}.get(answer.status_code, Invalid)(detail)
