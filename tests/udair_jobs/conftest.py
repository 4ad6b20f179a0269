"""Pictures, good and bad, that the jobs' tests upload."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Picture = Callable[..., bytes]


@pytest.fixture(scope="session")
def picture() -> Picture:
    """Make one encoded picture: smooth, seeded, different for every seed."""

    def make(seed: int = 0, size: tuple[int, int] = (48, 32), kind: str = "PNG", mode: str = "RGB") -> bytes:
        rng = np.random.default_rng(seed)
        small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        if mode == "I;16":
            wide = np.asarray(image.convert("L"), dtype=np.uint16) * 257
            image = Image.fromarray(wide)
        else:
            image = image.convert(mode)
        exif = Image.Exif()
        if kind == "ROTATED":
            exif[0x0112] = 6  # the camera was held upright: rotate by 90 degrees to view
        buffer = io.BytesIO()
        image.save(buffer, "JPEG" if kind == "ROTATED" else kind, exif=exif)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """A PNG whose header promises 30,000 x 30,000 pixels and whose body is 40 bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A complete but untrained base model of size `tiny`: its folder and digest."""
    import torch

    from udair.bundle import save_bundle
    from udair.config import ModelConfig
    from udair.data.patches import PatchSource
    from udair.models.restorer import Restorer
    from udair.source_stats import source_statistics

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Restorer(ModelConfig.named("tiny")).eval()
    scenes = rng.integers(0, 256, (8, 128, 128, 3), dtype=np.uint8)
    stats = source_statistics(model, PatchSource(list(scenes)), batches=4, batch=14, patch=96)
    folder = tmp_path_factory.mktemp("base") / "tiny"
    digest = save_bundle(folder, "test-tiny", model, stats, torch.from_numpy(scenes).permute(0, 3, 1, 2))
    return folder, digest


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """Ray in this process, for one module."""
    import ray

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")
        environment.setenv("OMP_NUM_THREADS", "1")
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()
