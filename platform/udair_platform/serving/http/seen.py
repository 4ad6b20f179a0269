"""What the platform sees in one picture, in plain words, without any model: size, light, colour, noise, compression."""

from __future__ import annotations

import numpy as np
import torch

from udair.data.images import ImageArray
from udair.estimation import jpeg
from udair.estimation.looks import Looks
from udair.estimation.noise import noise_bank

_LOOKED_AT = 768  # of the middle, pixels: noise and compression are alike all over a picture
_MOST_UNEVEN = 2.0  # above that the flattest places hold texture, too
_DARK, _BRIGHT = 0.2, 0.8
_FLAT = 0.28  # contrast over brightness of photographs in haze, or of nothing
_CAST = 0.25  # of the logarithm of red or blue over green
_GRAIN_WORDS = ((1.5, "hardly any grain"), (5.0, "a little fine grain"), (14.0, "much fine grain"))


def sentences(data: bytes, image: ImageArray) -> list[str]:
    """What is seen in a file and in its pixels, (H, W, 3) uint8."""
    height, width = image.shape[:2]
    top, left = max(0, height - _LOOKED_AT) // 2 // 8 * 8, max(0, width - _LOOKED_AT) // 2 // 8 * 8
    middle = np.ascontiguousarray(image[top : top + _LOOKED_AT, left : left + _LOOKED_AT])
    with torch.inference_mode():
        found = [f"{width} x {height} pixels.", *_light(middle), _grain(middle), *_compression(data, middle)]
    return [one for one in found if one]


def changed(before: ImageArray, after: ImageArray) -> str:
    """How far the restoration is from what came."""
    step = max(1, before.shape[0] * before.shape[1] // 500_000)
    came, left = (one.reshape(-1, 3)[::step].astype(np.float32) for one in (before, after))
    levels = float(np.abs(came - left).mean())
    return f"The restoration changed it by {levels:.1f} of 255 grey levels on average."


def _light(image: ImageArray) -> list[str]:
    mean, contrast, red, blue = (float(value) for value in Looks.of([image]).statistic_NS[0, 3:])
    light = "dark" if mean < _DARK else "very bright" if mean > _BRIGHT else "of ordinary brightness"
    told = [f"It is {light}: {100 * mean:.0f} % of white on average."]
    if contrast < _FLAT and mean >= _DARK:
        told.append("Its contrast is low, as in haze, fog or behind a dirty window.")
    if abs(red) > _CAST or abs(blue) > _CAST:
        warm = red - blue
        kind = "warm" if warm > _CAST else "cold" if warm < -_CAST else "green" if red < 0 else "purple"
        told.append(f"Its colours lean to the {kind} side.")
    return told


def _grain(image: ImageArray) -> str:
    bank = noise_bank([image])
    if bank is None:
        return "Its noise cannot be told: it is too small, or black or white nearly everywhere."
    level = 255 * bank.level
    word = next((word for below, word in _GRAIN_WORDS if level < below), "very much grain")
    if bank.evenness > _MOST_UNEVEN:
        return f"It has no flat places, so its grain is at most {level:.0f} grey levels."
    return f"It has {word}: about {level:.1f} grey levels in its flattest places."


def _compression(data: bytes, image: ImageArray) -> list[str]:
    table = jpeg.luminance_table(data)
    if table is not None:
        quality = jpeg.quality_of(table)
        word = "strongly" if quality < 50 else "visibly" if quality < 80 else "lightly" if quality < 95 else "hardly"
        return [f"It is a JPEG, {word} compressed (quality {quality})."]
    quality_before = jpeg.quality_of_pixels([image])
    return [] if quality_before is None else [f"Its pixels were a JPEG of quality {quality_before} before."]
