"""The BentoML service of `serving_peers.py`: a file of its own, because BentoML imports it by name.

Its batches answer in JSON only; images come back as files, one request at a time in each worker.
"""

import os
import tempfile
from pathlib import Path

import bentoml
from serving_peers import adapter_named, adapters_of, decoded, encoded, forward, model_of

_LOGS = {"access": {"enabled": False}}


@bentoml.service(workers=int(os.environ.get("BENCH_WORKERS", "1")), resources={"cpu": "1"}, logging=_LOGS)
class Restorer:
    """Restores images."""

    def __init__(self) -> None:
        self.model = model_of(os.environ["BENCH_BUNDLE"])
        self.adapters = adapters_of(self.model)
        self.folder = Path(tempfile.mkdtemp())

    @bentoml.api(route="/restore")
    def restore(self, images: Path, context: bentoml.Context) -> Path:
        """Encoded image in, encoded image out."""
        out = Path(context.temp_dir) / "restored.png"
        chosen = adapter_named(context.request.headers.get("x-domain", ""))
        restored = forward(self.model, [decoded(images.read_bytes())], self.adapters, [chosen])
        out.write_bytes(encoded(restored[0]))
        return out
