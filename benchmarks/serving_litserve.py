"""The LitServe server of `serving_peers.py`: a file of its own, because its workers import it by name."""

# No `from __future__ import annotations`: LitServe looks at the classes of the parameters.
import os

import litserve
import torch
from fastapi import Request, Response
from serving_peers import MAX_BATCH, WINDOW_S, adapter_named, adapters_of, decoded, encoded, forward, model_of

Asked = tuple[torch.Tensor, int]


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Restores images in batches."""

    def setup(self, device: str) -> None:
        """Load the model, in each worker."""
        self.model = model_of(os.environ["BENCH_BUNDLE"])
        self.adapters = adapters_of(self.model)

    def decode_request(self, request: Request) -> Asked:
        """A file of a form, named as its adapter: LitServe reads forms and JSON only."""
        return decoded(request["images"].file.read()), adapter_named(request["images"].filename)

    def batch(self, inputs: list[Asked]) -> list[Asked]:
        """`forward` stacks them."""
        return inputs

    def predict(self, asked: list[Asked] | Asked) -> list[torch.Tensor]:
        """Restore a batch, or the one image that came alone."""
        together = asked if isinstance(asked, list) else [asked]
        return forward(self.model, [image for image, _ in together], self.adapters, [chosen for _, chosen in together])

    def unbatch(self, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """As it is."""
        return outputs

    def encode_response(self, output: torch.Tensor) -> Response:
        """PNG."""
        return Response(encoded(output), media_type="image/png")


def run(port: int, workers: int) -> None:
    """Serve until a signal."""
    api = Api(max_batch_size=MAX_BATCH, batch_timeout=WINDOW_S, api_path="/restore")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")
