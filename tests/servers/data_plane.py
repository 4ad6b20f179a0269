"""A data plane of one process over a real store, and what its answers should be."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import uvicorn
from route_document import put_routes

from udair.adaptation.adapter import Adapter, adapter_digest, adapter_to_bytes
from udair.bundle import load_bundle
from udair.data.images import DecodeLimits
from udair.data.patches import to_array
from udair.models.served import as_served
from udair.weights import packaged
from udair_jobs.storage import open_storage
from udair_platform.keys import Claims, issue
from udair_platform.local.ports import free_ports
from udair_platform.serving.http.app import create_ingress
from udair_platform.serving.model.config import BackboneConfig
from udair_platform.serving.model.replica import Backbone
from udair_platform.serving.routing.router import Router

MARK = "UDAIR_TEST_PLANE"  # in the environment of a Ray cluster that tests began: their process

KEY, PREVIOUS_KEY = b"k" * 32, b"p" * 32
BUNDLE = load_bundle(packaged("tiny"))
SERVED = as_served(BUNDLE.model)


def bearer(**claims) -> dict[str, str]:
    made = {"kid": "kid1", "tenant": "acme", "scopes": ("restore:invoke",)} | claims
    return {"Authorization": f"Bearer {issue(KEY, Claims(**made))}"}


class Plane:
    """A data plane of one process, with domains to play with.

    Args:
        folder: For everything that is not in the store.
        store: The platform's store; below `folder` if None.
        limits: Of one image.
        key: The signing key, of a control plane beside it.
        clock: Seconds since the epoch.
        config: Of the backbone, where it differs.
    """

    stream_idle_s = 30.0

    def __init__(self, folder, store=None, limits=None, key=KEY, clock=time.time, **config) -> None:
        self.store = store or open_storage(str(folder / "store"))
        self.source = open_storage(str(folder / "photos"))
        self.adapters: dict[str, Adapter] = {}
        self._routes: dict[str, dict] = {}
        self._generation = 0
        self.route("plain", None)
        self.config = BackboneConfig(
            str(packaged("tiny")),
            BUNDLE.digest,
            self.store.uri,
            cache=str(folder / "cache"),
            **{"slots": 2, "poll_s": 0.02, "threads": 1, "report_s": 0.2} | config,
        )
        self.backbone = Backbone(self.config)

        async def infer(question, image):
            return await self.backbone.infer(question, image)  # whatever a test puts there by now

        async def describe(name):
            return self.backbone.describe(name)

        limits = limits or DecodeLimits(max_bytes=300_000, max_pixels=200_000)
        self.app = create_ingress(
            Router(self.store, poll_s=0.0),
            key,
            infer,
            "udair-tiny",
            store=self.store,
            previous_signing_key=PREVIOUS_KEY,
            limits=limits,
            describe=describe,
            body_timeout_s=1.0,
            stream_idle_s=self.stream_idle_s,
            clock=clock,
        )

    def entry(self, name: str, adapter: Adapter | None, version: int = 1, data: bytes | None = None) -> dict:
        """Publish an adapter; its place in the routes."""
        if adapter is None:
            return {"version": 0, "adapter_digest": None, "candidate_uri": None}
        encoded = adapter_to_bytes(adapter)
        at = self.store.at(f"candidates/{name}-{version}")
        at.put("adapter.safetensors", encoded if data is None else data)
        self.adapters[name] = adapter
        return {"version": version, "adapter_digest": adapter_digest(encoded), "candidate_uri": at.uri}

    def route(self, name: str, adapter: Adapter | None, version: int = 1, data: bytes | None = None, **more) -> None:
        self._routes[f"acme/{name}"] = self.entry(name, adapter, version, data) | more
        self.write()

    def write(self, revoked=()) -> None:
        self._generation += 1
        document = {
            "generation": self._generation,
            "base_model": {"name": "udair-tiny", "digest": BUNDLE.digest, "uri": "packaged:tiny"},
            "revoked_keys": revoked if isinstance(revoked, dict) else list(revoked),
        }
        put_routes(self.store, document, {"d-00": self._routes})
        self.known()

    def known(self) -> None:
        """Wait until the replica has the routes as they are now."""
        deadline = time.monotonic() + 10
        while hasattr(self, "backbone") and self.backbone.router.table().generation != self._generation:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@contextlib.contextmanager
def answering(plane: Plane) -> Iterator[Plane]:
    """The plane at `plane.url`, over HTTP; it is shut down at the end."""
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(plane.app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    plane.url = f"http://127.0.0.1:{port}"
    try:
        yield plane
    finally:
        server.should_exit = True
        thread.join(10)
        plane.backbone.shutdown()


def make_adapter(value: float) -> Adapter:
    identity = BUNDLE.model.identity()
    return Adapter(BUNDLE.digest, replace(identity, film_BF=identity.film_BF + value))


def make_image(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def offline(image: np.ndarray, adapter: Adapter | None) -> np.ndarray:
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return to_array(SERVED(tensor, adapter.row if adapter else None)[0])


def apart(a: np.ndarray, b: np.ndarray) -> int:
    """Largest difference in levels; sums in another order may round to the next one."""
    return int(abs(a.astype(int) - b.astype(int)).max())


def until(condition, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Routes(Plane):
    """Writes adapters and routes; the replicas are Serve's."""

    def __init__(self, folder: Path) -> None:
        self.store = open_storage(str(folder / "store"))
        self.adapters, self._routes, self._generation = {}, {}, 0
        self.url = ""
        self.route("plain", None)

    def pids(self) -> list[int]:
        """Processes of the backbones."""
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit()
            and b"ServeReplica:udair:Backbone" in _read(entry / "cmdline")
            # Another platform may be at work on this machine.
            and f"{MARK}={os.getpid()}".encode() in _read(entry / "environ")
        ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
