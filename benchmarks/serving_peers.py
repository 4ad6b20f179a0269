"""The servers that `serving.py` measures ours beside, all with the same bundle, forward pass and tiling.

python benchmarks/serving_peers.py NAME PORT BUNDLE WORKERS

NAME is fastapi, litserve or bentoml; each is run as its documentation recommends for a model of one thread
per worker: processes as workers, and batches where the framework makes them. An image comes as a file of
a form, to FastAPI as the body of a POST, and goes back as PNG. No keys are checked: that is our cost alone.

With BENCH_ADAPTERS a request names one of so many adapters, which every worker holds, and a batch mixes them by the same
row a sample as ours: the work of the model is equal. Without, none has an adapter, and ours alone does.
"""

# No `from __future__ import annotations`: FastAPI looks at the classes of the parameters.
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

os.environ["OMP_NUM_THREADS"] = "1"
MAX_BATCH, WINDOW_S = 4, 0.01


def model_of(folder: str) -> Any:
    """The bundle's model, as fast as our own replica runs it."""
    from udair.bundle import load_bundle
    from udair.models.served import as_served

    torch.set_num_threads(1)
    return as_served(load_bundle(Path(folder)).model)


def adapters_of(model: Any) -> list[Any]:
    """Rows of BENCH_ADAPTERS adapters; every number of them is in use."""
    generator = torch.Generator().manual_seed(0)

    def noise(like: torch.Tensor, size: float) -> torch.Tensor:
        return size * torch.randn(like.shape, generator=generator)

    row = model.identity()
    return [
        replace(row, film_BF=noise(row.film_BF, 0.01), readout_BOC=noise(row.readout_BOC, 0.001))
        for _ in range(int(os.environ.get("BENCH_ADAPTERS", "0")))
    ]


def adapter_named(name: str) -> int:
    """The adapter that a file's name, or a domain's, asks for: ``d7`` and ``d7.jpg`` are 7."""
    return int("".join(filter(str.isdigit, name)) or "0")


def decoded(body: Any) -> torch.Tensor:
    """(3, H, W) in [0, 1]."""
    import numpy as np

    pixels = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def encoded(image_CHW: torch.Tensor) -> bytes:
    """PNG, with the compression that our own answers have."""
    from udair.data.images import PNG_LEVEL

    array = (image_CHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


@torch.inference_mode()
def forward(
    model: Any, images: Sequence[torch.Tensor], adapters: Sequence[Any] = (), chosen: Sequence[int] = ()
) -> list[torch.Tensor]:
    """Restore images of one size together, each with its adapter where there are some."""
    from udair.models.modulation import stack

    return list(model(torch.stack(list(images)), stack([adapters[at] for at in chosen]) if adapters else None))


def fastapi_app() -> Any:
    """A plain FastAPI server: what people write first."""
    from fastapi import FastAPI, Request, Response

    model, app = model_of(os.environ["BENCH_BUNDLE"]), FastAPI()
    adapters = adapters_of(model)

    @app.post("/restore")
    async def restore(request: Request) -> Response:
        body, chosen = await request.body(), adapter_named(request.query_params.get("domain", ""))

        def work() -> bytes:
            return encoded(forward(model, [decoded(body)], adapters, [chosen])[0])

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
