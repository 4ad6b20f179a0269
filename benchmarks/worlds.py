"""Shifted domains with a hidden truth, damaged by code that shares nothing with the matcher's families.

Everything here is numpy and Pillow: photon counts, a real JPEG encoder, drawn rain, camera-shake kernels
that were recorded (Levin et al. 2009). So an adapter that gains here does not gain because the
benchmark speaks the matcher's language.

Images are (H, W, 3) uint8 RGB; planes inside are float64 in [0, 1].
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from camera import ISO_STEPS, shoot
from photographs import centre, folder, pairs, scene_split
from PIL import Image, ImageDraw, ImageFilter

from udair.config import Tone
from udair.data.images import ImageArray, decode

Plane = npt.NDArray[np.float64]
Damage = Callable[[Plane, np.random.Generator], Plane]


@dataclass(frozen=True)
class World:
    """One deployment domain.

    Attributes:
        name: What it is called in tables.
        adapt, gate: Unlabelled images that a job may see.
        inputs, truths: Test pairs of other scenes, hidden from adaptation.
        adapt_truths: Clean versions of `adapt`, for the oracle alone.
        shifted: False for the control inside the source domain.
        tone: The intent that its truth is right with.
        references: Unpaired good pictures that a customer might have; of other scenes than any above.
        tone_aim: Brightness that a person asks for.
    """

    name: str
    adapt: list[ImageArray]
    gate: list[ImageArray]
    inputs: list[ImageArray]
    truths: list[ImageArray]
    adapt_truths: list[ImageArray]
    shifted: bool = True
    tone: Tone = "keep"
    references: tuple[ImageArray, ...] = ()
    tone_aim: float | None = None


def to_plane(image: ImageArray) -> Plane:
    return np.asarray(image, dtype=np.float64) / 255


def to_image(plane: Plane) -> ImageArray:
    return np.asarray(np.clip(np.rint(plane * 255), 0, 255).astype(np.uint8))


def gaussian(sigma: float) -> Damage:
    return lambda plane, rng: plane + rng.normal(0, sigma / 255, plane.shape)


def photons(full_well: float, spread: float) -> Damage:
    """Photon counting, then the smoothing of a demosaicer: Poisson noise, correlated over pixels."""

    def damage(plane: Plane, rng: np.random.Generator) -> Plane:
        noise = rng.poisson(plane * full_well) / full_well - plane
        axis = np.arange(-3, 4)
        line = np.exp(-(axis**2) / (2 * spread**2))
        line /= np.sqrt((line**2).sum())
        for side in (0, 1):
            noise = np.apply_along_axis(lambda row: np.convolve(row, line, mode="same"), side, noise)
        return plane + noise

    return damage


def rain(drops: float, length: float, angle: float, veil: float) -> Damage:
    """Drawn strokes at twice the size, blurred, screened over the scene, under a grey veil."""

    def damage(plane: Plane, rng: np.random.Generator) -> Plane:
        height, width = plane.shape[:2]
        canvas = Image.new("L", (2 * width, 2 * height))
        pen = ImageDraw.Draw(canvas)
        for _ in range(int(drops * height * width)):
            x, y = rng.uniform(0, 2 * width), rng.uniform(-length, 2 * height)
            tilt = np.deg2rad(angle + rng.normal(0, 3))
            reach = 2 * length * rng.uniform(0.6, 1.4)
            end = (x + reach * np.sin(tilt), y + reach * np.cos(tilt))
            pen.line([(x, y), end], fill=int(rng.uniform(90, 230)), width=int(rng.integers(2, 4)))
        soft = canvas.filter(ImageFilter.GaussianBlur(1.0)).resize((width, height), Image.Resampling.BOX)
        streaks = np.asarray(soft, dtype=np.float64)[..., None] / 255
        rained = 1 - (1 - plane) * (1 - 0.8 * streaks)
        return rained * (1 - veil) + 0.7 * veil

    return damage


def dusk(exposure: float, gamma: float, cast: tuple[float, float, float], full_well: float) -> Damage:
    """A dark, tinted tone curve, then photon counting."""

    def damage(plane: Plane, rng: np.random.Generator) -> Plane:
        dark = np.clip(exposure * np.clip(plane, 0, 1) ** gamma * np.array(cast), 0, 1)
        return np.asarray(rng.poisson(dark * full_well) / full_well)

    return damage


def fog(thickness: float, airlight: tuple[float, float, float]) -> Damage:
    """Koschmieder's law over a ground plane that rises to a horizon, with bumps."""

    def damage(plane: Plane, rng: np.random.Generator) -> Plane:
        height, width = plane.shape[:2]
        y, x = np.mgrid[0:height, 0:width]
        horizon = rng.uniform(0.1, 0.4)
        depth = 1 / (0.25 + 1.5 * np.clip(y / height - horizon, 0, 1))
        depth = depth / depth.max() + 0.1 * np.sin(2 * np.pi * (x / width * rng.uniform(0.5, 2) + rng.random()))
        transmission = np.exp(-thickness * np.clip(depth, 0, 2))[..., None]
        return np.asarray(plane * transmission + np.array(airlight) * (1 - transmission))

    return damage


def shake(kernels: list[Plane]) -> Damage:
    """Convolution with one of the recorded kernels, by FFT, with mirrored borders."""

    def damage(plane: Plane, rng: np.random.Generator) -> Plane:
        kernel = kernels[int(rng.integers(len(kernels)))]
        pad = max(kernel.shape)
        padded = np.pad(plane, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
        size = padded.shape[:2]
        spectrum = np.fft.rfft2(kernel, size)[..., None]
        blurred = np.fft.irfft2(np.fft.rfft2(padded, axes=(0, 1)) * spectrum, size, axes=(0, 1))
        down, right = kernel.shape[0] // 2, kernel.shape[1] // 2
        return blurred[pad + down : pad + down + plane.shape[0], pad + right : pad + right + plane.shape[1]]

    return damage


def jpeg(quality: int) -> Damage:
    """Through Pillow's encoder and back."""

    def damage(plane: Plane, rng: np.random.Generator) -> Plane:
        buffer = io.BytesIO()
        Image.fromarray(to_image(plane)).save(buffer, "JPEG", quality=quality)
        return to_plane(decode(buffer.getvalue()))

    return damage


def after(*steps: Damage) -> Damage:
    """One damage after the other; the sensor clips between them."""

    def damage(plane: Plane, rng: np.random.Generator) -> Plane:
        for step in steps:
            plane = np.clip(step(plane, rng), 0, 1)
        return plane

    return damage


def levin_kernels(data: Path) -> list[Plane]:
    """Recorded camera-shake kernels, each summing to one."""
    kernels = [to_plane(image).mean(2) for image in folder(data, "test/Levin/kernels")]
    return [kernel / kernel.sum() for kernel in kernels]


def damages(data: Path) -> dict[str, Damage]:
    """Damage of every synthetic world, the control last."""
    kernels = levin_kernels(data)
    return {
        "sigma75": gaussian(75),
        "correlated_poisson": photons(28, 0.9),
        "heavy_rain": rain(0.012, 22, 48, 0.15),
        "dark_cast": dusk(0.14, 1.7, (1.12, 1.0, 0.72), 400),
        "camera_shake": after(shake(kernels), gaussian(2)),
        "jpeg_noise": after(gaussian(30), jpeg(14)),
        "fog_shake_noise": after(fog(1.6, (0.82, 0.84, 0.9)), shake(kernels), gaussian(8)),
        "control_sigma25": gaussian(25),
    }


# Their truth is daylight without veil or cast: what tone restored means.
RESTORED = ("heavy_rain", "dark_cast", "fog_shake_noise", "sots_haze")
REFERENCES = 12  # CBSD68 scenes that no job sees degraded
AIM = 0.45


def worlds(data: Path, *, side: int = 256, count: int = 56, test: int = 24, seed: int = 0) -> list[World]:
    """Every world of the benchmark. Adaptation sees CBSD68 scenes, the test is on Kodak24.

    Args:
        data: Folder of the photographs.
        side: Largest side of an image, pixels.
        count: Unlabelled images of a synthetic world, a quarter of them for the gate.
        test: Test pairs of each world at most.
        seed: Of the damages.
    """
    scenes = [centre(image, side) for image in folder(data, "test/CBSD68/target")]
    unlabelled, references = scenes[:count], tuple(scenes[-REFERENCES:])
    truths = [centre(image, side) for image in folder(data, "test/Kodak24/target", test)]
    made = []
    for index, (name, damage) in enumerate(damages(data).items()):
        rng = np.random.default_rng([seed, index])
        seen = [to_image(damage(to_plane(image), rng)) for image in unlabelled]
        inputs = [to_image(damage(to_plane(image), rng)) for image in truths]
        split = len(seen) * 3 // 4
        made.append(
            World(
                name,
                seen[:split],
                seen[split:],
                inputs,
                truths,
                unlabelled[:split],
                not name.startswith("control"),
                "restore" if name in RESTORED else "keep",
            )
        )
    made += _cameras(unlabelled, truths, seed)
    made += _small(made)
    made += _told(made, references)
    for name, path in (("polyu", "test/PolyU_real_noise"), ("sots_haze", "test/SOTS_indoor")):
        degraded, clean = ([centre(image, side) for image in images] for images in pairs(data, path))
        split = scene_split(data, path, "_")
        gate = split * 3 // 4
        tested = slice(split, split + test)
        tone: Tone = "restore" if name in RESTORED else "keep"
        made.append(
            World(name, degraded[:gate], degraded[gate:split], degraded[tested], clean[tested], clean[:gate], tone=tone)
        )
    return made


def _told(made: list[World], references: tuple[ImageArray, ...]) -> list[World]:
    """Worlds of which somebody said how they should look, and what is told of one that needs nothing."""
    told = [
        replace(world, name=f"{world.name}_references", references=references)
        for world in made
        if world.name in ("dark_cast", "fog_shake_noise", "camera_soft_iso3200")
    ]
    dark = next(world for world in made if world.name == "dark_cast")
    plain = next(world for world in made if world.name == "control_sigma25")
    control = replace(plain, name="control_restore_references", tone="restore", references=references)
    return [*told, replace(dark, name="dark_cast_aim", tone_aim=AIM), control]


def _cameras(unlabelled: list[ImageArray], truths: list[ImageArray], seed: int) -> list[World]:
    """A camera at five gains, one that sees softer scenes, and its control: the lowest gain there is."""
    made = []
    for name, iso, scale in (
        *((f"camera_iso{iso}", iso, 1) for iso in ISO_STEPS),
        ("camera_soft_iso3200", 3200, 2),
        ("control_iso100", 100, 1),
    ):
        rng = np.random.default_rng([seed, 100 + iso, scale])
        scenes, tested = ([_softer(image, scale) for image in images] for images in (unlabelled, truths))
        seen = [shoot(image, iso, rng) for image in scenes]
        split = len(seen) * 3 // 4
        made.append(
            World(
                name,
                seen[:split],
                seen[split:],
                [shoot(i, iso, rng) for i in tested],
                [shoot(i, None, rng) for i in tested],
                [shoot(i, None, rng) for i in scenes[:split]],
                not name.startswith("control"),
            )
        )
    return made


def _softer(image: ImageArray, scale: int) -> ImageArray:
    """The middle of an image, enlarged to the size of the whole."""
    if scale == 1:
        return image
    height, width = image.shape[:2]
    middle = Image.fromarray(centre(image, min(height, width) // scale))
    return np.asarray(middle.resize((min(height, width),) * 2, Image.Resampling.BICUBIC))


def _small(made: list[World]) -> list[World]:
    """Two of the worlds with eight unlabelled pictures, and with small ones."""
    some = []
    for world in (w for w in made if w.name in ("camera_iso3200", "control_sigma25")):
        few = replace(
            world,
            name=f"{world.name}_8",
            adapt=world.adapt[:6],
            gate=world.gate[:2],
            adapt_truths=world.adapt_truths[:6],
        )
        little = replace(
            world,
            name=f"{world.name}_160px",
            adapt=[centre(i, 160) for i in world.adapt],
            gate=[centre(i, 160) for i in world.gate],
            adapt_truths=[centre(i, 160) for i in world.adapt_truths],
        )
        some += [few, little]
    return some
