"""The BentoML service of `serving_peers.py`: a file of its own, because BentoML imports it by name."""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
from serving_peers import MAX_BATCH, WINDOW_S, decoded, encoded, forward, model_of


@bentoml.service(
    workers=int(os.environ.get("BENCH_WORKERS", "1")), resources={"cpu": "1"}, logging={"access": {"enabled": False}}
)
class Restorer:
    """Restores images in batches."""

    def __init__(self) -> None:
        self.model = model_of(os.environ["BENCH_BUNDLE"])

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000, route="/restore")
    def restore(self, images: list[Path]) -> list[bytes]:
        """Encoded images in, encoded images out."""
        restored = forward(self.model, [decoded(Path(path).read_bytes()) for path in images])
        return [encoded(image) for image in restored]


__all__ = ["WINDOW_S", "Restorer"]
