"""The test images of the quality benchmarks, and the proof that no training list holds them.

The folder is laid out as `train/clean`, `train/pairs/<task>/{input,target}`, `test/<set>/{input,target}`;
a pair's files share their stem. Images are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path

from udair.data.images import ImageArray, decode, pixel_hash
from udair.data.patches import SUFFIXES


def folder(data: Path, name: str, limit: int | None = None) -> list[ImageArray]:
    """Images of one folder below `data`, in name order."""
    paths = sorted(p for p in (data / name).iterdir() if p.suffix.lower() in SUFFIXES)[:limit]
    if not paths:
        raise SystemExit(f"{data / name} holds no images; name the data folder with --data.")
    return [decode(path.read_bytes()) for path in paths]


def pairs(data: Path, name: str, limit: int | None = None) -> tuple[list[ImageArray], list[ImageArray]]:
    """Degraded and clean images of `test/<name>`, in name order."""
    targets = {p.stem: p for p in (data / name / "target").iterdir() if p.suffix.lower() in SUFFIXES}
    inputs = sorted(p for p in (data / name / "input").iterdir() if p.suffix.lower() in SUFFIXES)[:limit]
    missing = [p.name for p in inputs if p.stem not in targets]
    if missing or not inputs:
        raise SystemExit(
            f"{data / name} has {len(inputs)} inputs, {len(missing)} of them without a target: {missing[:3]}"
        )
    decoded = [(decode(p.read_bytes()), decode(targets[p.stem].read_bytes())) for p in inputs]
    return [d for d, _ in decoded], [c for _, c in decoded]


def scene_split(data: Path, name: str, key: str) -> int:
    """Index nearest to the middle at which no scene of `name` is cut in two.

    Args:
        data, name: As for `pairs`.
        key: What ends the part of a file's stem that names its scene, from the right.
    """
    stems = sorted(p.stem for p in (data / name / "input").iterdir() if p.suffix.lower() in SUFFIXES)
    scenes = [stem.rpartition(key)[0] for stem in stems]
    cuts = [index for index in range(1, len(scenes)) if scenes[index] != scenes[index - 1]]
    return min(cuts, key=lambda index: abs(index - len(scenes) / 2))


def centre(image: ImageArray, side: int) -> ImageArray:
    """The middle of an image, at most `side` x `side` pixels."""
    height, width = image.shape[:2]
    tall, wide = min(height, side), min(width, side)
    top, left = (height - tall) // 2, (width - wide) // 2
    return image[top : top + tall, left : left + wide]


def leaked(images: Iterable[ImageArray], trained: Container[str]) -> list[str]:
    """Pixel hashes of test images that are also training images: must be none."""
    return [digest for digest in map(pixel_hash, images) if digest in trained]
