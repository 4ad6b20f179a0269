"""Generated clean scenes: occluding textured shapes of all sizes, with the statistics of photographs.

They make the replay set of a base model: nobody's copyright, any number, seeded. Occlusion with
power-law sizes gives the 1/f spectrum and heavy-tailed edges of natural images; a restorer trained
on nothing else comes within about 1 dB of one trained on photographs (Achddou et al. 2021).

Source: Lee, Mumford & Huang 2001, dead leaves model.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from udair.data.images import ImageArray
from udair.errors import ConfigError

Plane = npt.NDArray[np.float64]


def dead_leaves(count: int, side: int, seed: int = 0) -> list[ImageArray]:
    """`count` generated scenes of `side` x `side` pixels, (side, side, 3) uint8.

    Raises:
        ConfigError: `side` is below 32.
    """
    if side < 32:
        raise ConfigError(f"scene side is {side}; expected 32 or more.")
    return [_scene(side, np.random.default_rng([seed, index])) for index in range(count)]


def _scene(side: int, rng: np.random.Generator) -> ImageArray:
    big = 2 * side  # painted at twice the size, so that edges are anti-aliased
    palette = _palette(rng)
    canvas = np.empty((big, big, 3))
    canvas[:] = palette[0]
    canvas += _texture(big, rng)[..., None] * 0.02
    # Large surfaces first, then the power law's many small things on top of them.
    large = np.exp(rng.uniform(np.log(big / 10), np.log(big / 1.5), 70))
    for radius in np.sort(np.concatenate([large, _power_law(rng, 45, 8.0, big / 4)]))[::-1]:
        _paint(canvas, float(radius), palette[rng.integers(len(palette))], rng)
    small = _lens(canvas.reshape(side, 2, side, 2, 3).mean((1, 3)), rng.uniform(0.05, 0.25))
    light = 0.75 + 0.5 * _ramp(side, rng)  # one soft light over the whole scene
    grain = rng.normal(0, rng.uniform(0.001, 0.012), small.shape)  # clean photographs have some, too
    return np.asarray(np.clip(np.rint((small * light[..., None] + grain) * 255), 0, 255).astype(np.uint8))


def _lens(image: Plane, strength: float) -> Plane:
    """A mild blur: no lens and no demosaicing draws an edge one pixel wide."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, after = np.delete(padded, (-1, -2), axis), np.delete(padded, (0, 1), axis)
        image = (1 - strength) * image + strength * 0.5 * (before + after)
    return image


def _palette(rng: np.random.Generator) -> Plane:
    """A scene's colours: wide in luminance, narrow in hue, now and then one that is vivid."""
    luminance = rng.beta(1.5, 2.0, size=(12, 1))
    cast = rng.normal((0.03, 0.01, -0.04), 0.06, size=(1, 3))  # photographs are warm on average
    chroma = rng.normal(0, 1, size=(12, 3)) * rng.choice([0.02, 0.05, 0.16], size=(12, 1), p=[0.4, 0.4, 0.2])
    return np.asarray(np.clip(luminance + cast + chroma - chroma.mean(1, keepdims=True), 0.0, 1.0))


def _power_law(rng: np.random.Generator, count: int, low: float, high: float) -> Plane:
    # Density r^-3: each octave of sizes covers the same area, hence scale invariance.
    uniform = rng.random(count)
    return np.asarray(1 / np.sqrt(1 / low**2 + uniform * (1 / high**2 - 1 / low**2)))


def _paint(canvas: Plane, radius: float, colour: Plane, rng: np.random.Generator) -> None:
    size = canvas.shape[0]
    cy, cx = rng.uniform(-0.1, 1.1, 2) * size
    top, left = max(0, int(cy - radius)), max(0, int(cx - radius))
    bottom, right = min(size, int(cy + radius) + 1), min(size, int(cx + radius) + 1)
    if top >= bottom or left >= right:
        return
    y, x = np.mgrid[top:bottom, left:right]
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.35, 1.0)
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = ((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)) / ratio
    inside = (u**2 + v**2 <= radius**2) if rng.random() < 0.6 else (np.maximum(abs(u), abs(v)) <= radius * 0.7)
    shade = 1 + rng.uniform(-0.35, 0.35) * u / radius
    leaf = np.clip(colour[None, None] * shade[..., None], 0, 1)
    strength = rng.choice([0.0, 0.01, 0.03, 0.08], p=[0.35, 0.3, 0.25, 0.1])
    if strength:
        noise = _texture(max(bottom - top, right - left), rng)[: bottom - top, : right - left]
        leaf = leaf + strength * noise[..., None]
    if rng.random() < 0.05:  # stripes: fences, bricks, windows
        period = rng.uniform(4, max(5.0, radius / 2))
        leaf = leaf * (1 - rng.uniform(0.1, 0.5) * (np.sin(2 * np.pi * u / period) > 0))[..., None]
    region = canvas[top:bottom, left:right]
    region[inside] = leaf[inside]


def _texture(size: int, rng: np.random.Generator) -> Plane:
    """1/f noise of unit standard deviation."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.normal(size=(size, size))) / frequency ** rng.uniform(0.8, 1.6)
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(size, size))
    return np.asarray(field / max(float(field.std()), 1e-9))


def _ramp(side: int, rng: np.random.Generator) -> Plane:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:side, 0:side] / (side - 1) - 0.5
    return np.asarray(0.5 + (x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.2, 0.7))
