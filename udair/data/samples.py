"""Samples of any kind to 8 bits, by what the file says is white.

Eight bits are taken as they are. Wider ones are scaled from black and white to 0 and 255, and white is what the
format or the file says: a guess would turn a camera's 12 bits in 16 into a picture that is nearly black and
looks usable. Where nothing says it, the image is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from udair.errors import ImageError

_BITS, _PHOTOMETRIC, _MAX, _FORMAT, _SMAX = 258, 262, 281, 339, 341  # tags of TIFF
_SIGNED, _FLOAT = 2, 3
_WHITE_IS_ZERO = 0
# A resampled [0, 1] overshoots a little; further beyond, 1 may not be white.
_OVERSHOOT = 1.25


def is_wide(image: Image.Image) -> bool:
    """Whether samples have more than 8 bits after Pillow opened them: grey of 16 or 32 bits, or floats."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def grey8(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Wide grey to (H, W) uint8; pixels that the file calls transparent become white.

    Raises:
        ImageError: UNSUPPORTED: nothing says which value is white.
    """
    tags: Any = getattr(image, "tag_v2", None)
    values = np.array(image, dtype=np.float32)
    clear = values == image.info["transparency"] if isinstance(image.info.get("transparency"), int) else None
    if image.mode == "F":
        white = _float_white(values, tags)
    elif image.format == "TIFF":
        white = _integer_white(values, tags)
    else:
        white = 65535.0  # PNG's and PNM's, which Pillow scales to 16 bits
    values *= 255.0 / white
    if tags is not None and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 255.0 - values
    grey = np.clip(np.rint(values, out=values), 0, 255).astype(np.uint8)
    if clear is not None:
        grey[clear] = 255
    return grey


def check_depth(image: Image.Image, rgb: npt.NDArray[np.uint8]) -> None:
    """Refuse colour of 16 bits of which the upper 8, which Pillow keeps, are not what was photographed.

    Raises:
        ImageError: UNSUPPORTED.
    """
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None or max(tags.get(_BITS, (8,))) <= 8:
        return
    said = _said(tags)
    white = _whole_bits(said) if said else 65535.0
    if white < 65535.0 or int(rgb.max(initial=0)) < 16:
        raise _unknown(f"colour of 16 bits whose brightest sample is below {256 * (int(rgb.max(initial=0)) + 1)}")


def _float_white(values: npt.NDArray[np.float32], tags: Any) -> float:
    brightest = float(values.max(initial=0.0))
    if not np.isfinite(values).all():
        raise ImageError("UNSUPPORTED", "floating-point samples hold NaN or infinity; expected finite values.")
    said = _said(tags) if tags is not None else None
    if said:
        return said
    if brightest <= _OVERSHOOT:
        return 1.0
    raise _unknown(f"floating-point samples up to {brightest:g}")


def _integer_white(values: npt.NDArray[np.float32], tags: Any) -> float:
    bits = int(max(tags.get(_BITS, (8,))))
    signed = max(tags.get(_FORMAT, (1,))) == _SIGNED
    said = _said(tags)
    if said:
        return _whole_bits(said)
    brightest = float(values.max(initial=0.0))
    if signed or bits > 16:
        raise _unknown(f"{'signed ' if signed else ''}samples of {bits} bits up to {brightest:g}")
    if bits == 16 and brightest < 4096:
        raise _unknown(f"samples of 16 bits up to {brightest:g}")
    return 2.0**bits - 1


def _said(tags: Any) -> float | None:
    """The white that a TIFF names, if it does and it is one."""
    for tag in (_SMAX, _MAX):
        value = tags.get(tag)
        found = max(value) if isinstance(value, tuple) and value else value
        if isinstance(found, int | float) and np.isfinite(found) and found > 0:
            return float(found)
    return None


def _whole_bits(said: float) -> float:
    """The white of as many bits as hold `said`: some programs write the brightest sample there."""
    return 2.0 ** int(said).bit_length() - 1


def _unknown(what: str) -> ImageError:
    return ImageError(
        "UNSUPPORTED",
        f"{what}, and nothing says which value is white; save it with 8 bits, scaled to the full 16, or with the tag "
        "SMaxSampleValue.",
    )
