"""The servers that `serving.py` measures ours beside, all with the same bundle, forward pass and tiling.

python benchmarks/serving_peers.py NAME PORT BUNDLE WORKERS

NAME is fastapi, litserve or bentoml; each is run as its documentation recommends for a model of one thread
per worker: processes as workers, and batches where the framework makes them. An image comes as a file of
a form, to FastAPI as the body of a POST, and goes back as PNG. No keys are checked and no domain is looked up: that is our cost alone.
"""

# No `from __future__ import annotations`: FastAPI looks at the classes of the parameters.
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

os.environ["OMP_NUM_THREADS"] = "1"
MAX_BATCH, WINDOW_S = 4, 0.01


def model_of(folder: str) -> Any:
    """The bundle's model, as fast as our own replica runs it."""
    from udair.bundle import load_bundle

    torch.set_num_threads(1)
    return load_bundle(Path(folder)).model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def decoded(body: Any) -> torch.Tensor:
    """(3, H, W) in [0, 1]."""
    import numpy as np

    pixels = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def encoded(image_CHW: torch.Tensor) -> bytes:
    """PNG, with the compression that our own answers have."""
    array = (image_CHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


@torch.inference_mode()
def forward(model: Any, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Restore images of one size together."""
    return list(model(torch.stack(list(images))))


def fastapi_app() -> Any:
    """A plain FastAPI server: what people write first."""
    from fastapi import FastAPI, Request, Response

    model, app = model_of(os.environ["BENCH_BUNDLE"]), FastAPI()

    @app.post("/restore")
    async def restore(request: Request) -> Response:
        body = await request.body()

        def work() -> bytes:
            return encoded(forward(model, [decoded(body)])[0])

        import anyio

        return Response(await anyio.to_thread.run_sync(work), media_type="image/png")

    return app


def main() -> None:
    name, port, bundle, workers = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    os.environ |= {"BENCH_BUNDLE": bundle, "BENCH_WORKERS": str(workers)}
    here = str(Path(__file__).parent)
    if name == "fastapi":
        import uvicorn

        uvicorn.run(
            "serving_peers:fastapi_app",
            factory=True,
            host="127.0.0.1",
            port=port,
            workers=workers,
            log_level="error",
            app_dir=here,
        )
    elif name == "litserve":
        import serving_litserve

        serving_litserve.run(port, workers)
    elif name == "bentoml":
        os.environ["BENTOML_DO_NOT_TRACK"] = "1"
        os.chdir(here)
        os.execv(
            sys.executable,
            [
                sys.executable,
                "-m",
                "bentoml",
                "serve",
                "serving_bento:Restorer",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ],
        )
    else:
        raise SystemExit(f"{name!r} is no peer; expected fastapi, litserve or bentoml.")


if __name__ == "__main__":
    main()
