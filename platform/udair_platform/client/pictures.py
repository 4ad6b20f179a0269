"""Images on their way in and out: bytes, a path, a PIL image or a NumPy array in; what was restored out.

Pillow and NumPy are loaded only when one of their images is given or asked for.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union

from udair_platform.client.errors import ClientError
from udair_platform.contract.receipts import Receipt

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

Picture: TypeAlias = Union[bytes, "str | os.PathLike[str]", "Image", "np.ndarray[Any, Any]"]
FORMATS = {
    "png": "image/png",
    "png16": "image/png;depth=16",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "tiff": "image/tiff",
}


class Restored(NamedTuple):
    """A restored image, encoded, and the reply's headers (lower case names)."""

    image: bytes
    headers: dict[str, str]

    @property
    def version(self) -> str | None:
        """The adapter version that made it; ``0`` is the source model."""
        return self.headers.get("x-adapter-version")

    @property
    def fallback(self) -> str | None:
        """Why something else than what was asked for answered; None if nothing did."""
        message = self.headers.get("x-fallback", "none")
        return None if message == "none" else message

    @property
    def tone(self) -> str:
        """What might change: ``keep`` (exposure, colour and haze stay) or ``restore``."""
        return self.headers.get("x-tone", "keep")

    @property
    def as_it_came(self) -> bool:
        """Whether the image was not restored: the base model loses against doing nothing for this domain."""
        return self.headers.get("x-restoration") == "none"

    @property
    def timing_ms(self) -> dict[str, float]:
        """Milliseconds that each step of the data plane took, by its name (``Server-Timing``)."""
        parts = (part.partition(";dur=") for part in self.headers.get("server-timing", "").split(","))
        return {name.strip(): float(value) for name, _, value in parts if value}

    @property
    def receipt_text(self) -> str:
        """The receipt as it is kept beside the picture and checked by `Client.verify_receipt`; empty if none came."""
        return self.headers.get("x-receipt", "")

    @property
    def receipt(self) -> Receipt | None:
        """What made the picture, as the platform signed it; None if none came."""
        return Receipt.parse(self.receipt_text) if self.receipt_text else None

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to `path` as it was encoded. Raises OSError."""
        target = Path(path)
        target.write_bytes(self.image)
        return target

    def pil(self) -> Image:
        """As a PIL image."""
        return _decoded(self.image)

    def numpy(self) -> np.ndarray[Any, Any]:
        """As an array, (H, W, 3) uint8, RGB."""
        import numpy as np

        return np.asarray(_decoded(self.image).convert("RGB"))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, bytes]:
        return {media_type(self.image): self.image}


@dataclass(frozen=True)
class RestoreOptions:
    """How an image is restored and handed back.

    Attributes:
        format: ``png``, ``png16`` (16 bits a channel), ``jpeg``, ``webp`` or ``tiff``.
        quality: Of JPEG and WebP, 1 to 100.
        key: Requests with the same key meet the same version while a canary runs.
        test_time: Also adapt to this one image.
        priority: ``low`` has an eighth of the model's time while others wait; empty is normal.
        tone: ``keep`` or ``restore``: whether exposure, colour and haze may be corrected; empty leaves it to the domain.
        content_type: Of the image that is sent; guessed from its first bytes if None.
    """

    format: str = "png"
    quality: int = 95
    key: str = ""
    test_time: bool = False
    tone: str = ""
    content_type: str | None = None
    priority: str = ""

    def __post_init__(self) -> None:
        if self.tone not in ("", "keep", "restore"):
            raise ClientError(f"tone is {self.tone!r}; expected keep or restore.")
        if self.priority not in ("", "normal", "low"):
            raise ClientError(f"priority is {self.priority!r}; expected normal or low.")
        if self.format not in FORMATS:
            raise ClientError(f"format is {self.format!r}; expected one of {', '.join(FORMATS)}.")

    def headers(self, image: bytes) -> dict[str, str]:
        """The request's headers."""
        headers = {"Content-Type": self.content_type or media_type(image), "Accept": FORMATS[self.format]}
        return headers | ({"X-Routing-Key": self.key} if self.key else {})

    def params(self) -> dict[str, str]:
        """The request's query."""
        chosen = {"quality": str(self.quality)} | ({"test_time": "true"} if self.test_time else {})
        named = {"tone": self.tone, "priority": self.priority}
        return chosen | {name: value for name, value in named.items() if value}


def encoded(image: Picture) -> bytes:
    """An image as it is sent: bytes and files as they are, others as PNG.

    Args:
        image: Encoded bytes; a path; a PIL image; or an array, (H, W, 3) or (H, W), uint8 or floating point
            in [0, 1], RGB.

    Raises:
        ClientError: It is none of these, or the file cannot be read.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise ClientError(f"{os.fspath(image)} cannot be read: {error.strerror}.") from None
    picture: Any = _of_array(image) if type(image).__name__ == "ndarray" else image
    if not hasattr(picture, "save"):
        raise ClientError(f"{type(image).__name__} is no image; expected bytes, a path, a PIL image or a NumPy array.")
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def media_type(image: bytes) -> str:
    """The media type of an encoded image, by its first bytes."""
    for start, kind in ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"BM", "image/bmp")):
        if image.startswith(start):
            return kind
    if image[:4] in (b"II*\0", b"MM\0*"):
        return "image/tiff"
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    return "application/octet-stream"


def _of_array(array: Any) -> Image:
    import numpy as np
    from PIL import Image

    values = np.asarray(array)
    shape_is_good = values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3)
    if not shape_is_good or not values.size:
        raise ClientError(f"The array has shape {values.shape}; expected (H, W, 3) or (H, W).")
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise ClientError(
                f"The array's values go from {values.min():g} to {values.max():g}; expected floating point in [0, 1]."
            )
        values = (values * 255 + 0.5).astype(np.uint8)
    if values.dtype != np.uint8:
        raise ClientError(f"The array is of {values.dtype}; expected uint8, or floating point in [0, 1].")
    return Image.fromarray(values)


def _decoded(image: bytes) -> Image:
    from PIL import Image

    return Image.open(io.BytesIO(image))
