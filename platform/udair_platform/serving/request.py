"""What a caller asks for beside the image."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from udair.config import TONES, Tone, check_tone
from udair_platform.errors import BadRequest, NotAcceptable

PNG, PNG16, JPEG, WEBP, TIFF = "image/png", "image/png;depth=16", "image/jpeg", "image/webp", "image/tiff"
Priority = Literal["normal", "low"]
_PRIORITIES: Mapping[str, Priority] = {name: name for name in get_args(Priority)}
MEDIA_TYPES = (PNG, PNG16, JPEG, WEBP, TIFF)


@dataclass(frozen=True)
class RestoreRequest:
    """What a caller asks for beside the image.

    Attributes:
        name: ``tenant/domain``.
        key: Decides about canary and shadow; the same key always meets the same version.
        media_type: One of `MEDIA_TYPES`.
        quality: Of JPEG and WebP.
        test_time: Also adapt to this one image.
        tone: What may change; None leaves it to the domain.
        trial: An entry as routes.json has them, which answers instead of the domain's; nothing is counted then.
        describe: Also say what is seen in the image.
        priority: Images of low priority have an eighth of the model's time while others wait.
        timeout_s: How long the caller waits; after that no work is done. None is as long as the replica allows.
        trace: W3C ``traceparent`` of the caller's span, if it has one.
    """

    name: str
    key: str
    media_type: str = PNG
    quality: int = 95
    test_time: bool = False
    trace: str = ""
    tone: Tone | None = None
    trial: Mapping[str, Any] | None = None
    describe: bool = False
    priority: Priority = "normal"
    timeout_s: float | None = None

    @property
    def bits16(self) -> bool:
        """Whether 16 bits a channel are asked for."""
        return self.media_type == PNG16


def accepted(header: str) -> str:
    """The media type that an `Accept` header likes best of those there are; PNG if it does not care.

    Raises:
        NotAcceptable: It names only others.
    """
    wishes: list[tuple[float, int, str]] = []
    for place, part in enumerate(filter(None, (part.strip() for part in header.lower().split(",")))):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        values = dict(piece.partition("=")[::2] for piece in parameters)
        try:
            quality = float(values.get("q", "1"))
        except ValueError:
            quality = 0.0
        kind = "image/jpeg" if kind == "image/jpg" else kind
        if kind in ("*/*", "image/*"):
            kind = PNG
        elif kind == PNG and values.get("depth") == "16":
            kind = PNG16
        if quality > 0 and kind in MEDIA_TYPES:
            wishes.append((-quality, place, kind))
    if header.strip() and not wishes:
        raise NotAcceptable(f"Accept is {header[:100]!r}; expected one of {', '.join(MEDIA_TYPES)}, or */*.")
    return min(wishes)[2] if wishes else PNG


def quality_of(quality: str | None) -> int:
    """The `quality` of JPEG and WebP, 1 to 100.

    Raises:
        BadRequest: It is no such number.
    """
    if quality is None:
        return 95
    if not re.fullmatch(r"[0-9]{1,3}", quality) or not 1 <= int(quality) <= 100:
        raise BadRequest(f"quality is {quality[:20]!r}; expected 1 to 100.")
    return int(quality)


def priority_of(priority: str | None) -> Priority:
    """Whose turn is next: see `RestoreRequest`.

    Raises:
        BadRequest: It is no priority.
    """
    if priority is None:
        return "normal"
    if priority not in _PRIORITIES:
        raise BadRequest(f"priority is {priority[:20]!r}; expected {' or '.join(_PRIORITIES)}.")
    return _PRIORITIES[priority]


def timeout_of(seconds: str | None) -> float | None:
    """How long a caller waits, seconds, or None.

    Raises:
        BadRequest: It is no number above 0.
    """
    if seconds is None:
        return None
    try:
        value = float(seconds)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise BadRequest(f"timeout_s is {seconds[:20]!r}; expected seconds, more than 0.")
    return value


def tone_of(tone: str | None) -> Tone | None:
    """The intent that a request names, or None.

    Raises:
        BadRequest: It is none.
    """
    if tone is None:
        return None
    if tone not in TONES:
        raise BadRequest(f"tone is {tone[:20]!r}; expected {' or '.join(TONES)}.")
    return check_tone(tone)
