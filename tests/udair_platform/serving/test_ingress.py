"""The data plane's HTTP application over a real backbone and a real store, without Ray between them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch
import uvicorn

from udair.adaptation.adapter import Adapter, adapter_digest, adapter_to_bytes
from udair.bundle import load_bundle
from udair.data.images import DecodeLimits, decode, encode_png
from udair.data.patches import to_array
from udair.weights import packaged
from udair_jobs.storage import open_storage
from udair_platform.keys import Claims, issue
from udair_platform.local.ports import free_ports
from udair_platform.registry.layout import ROUTES
from udair_platform.serving.ingress import create_ingress
from udair_platform.serving.replica import Backbone
from udair_platform.serving.router import Router

KEY = b"k" * 32
BUNDLE = load_bundle(packaged("tiny"))


def _token(**claims) -> dict[str, str]:
    made = {"kid": "kid1", "tenant": "acme", "scopes": ("restore:invoke",)} | claims
    return {"Authorization": f"Bearer {issue(KEY, Claims(**made))}"}


class Plane:
    """A data plane of one process, with domains to play with."""

    def __init__(self, folder) -> None:
        self.store = open_storage(str(folder))
        self.adapters: dict[str, Adapter] = {}
        self._routes: dict[str, dict] = {}
        self._generation = 0
        self.route("plain", None)
        self.backbone = Backbone(str(packaged("tiny")), BUNDLE.digest, slots=2, window_s=0.05, threads=1)

        async def infer(domain, image, route):
            return await self.backbone.infer(image, route)

        router = Router(self.store, poll_s=0.0)
        limits = DecodeLimits(max_bytes=300_000, max_pixels=200_000)
        self.app = create_ingress(router, KEY, infer, "udair-tiny", limits)

    def route(self, name: str, adapter: Adapter | None, version: int = 1, data: bytes | None = None) -> None:
        entry = {"version": 0, "adapter_digest": None, "candidate_uri": None}
        if adapter is not None:
            encoded = adapter_to_bytes(adapter)
            at = self.store.at(f"candidates/{name}-{version}")
            at.put("adapter.safetensors", encoded if data is None else data)
            entry = {"version": version, "adapter_digest": adapter_digest(encoded), "candidate_uri": at.uri}
            self.adapters[name] = adapter
        self._routes[f"acme/{name}"] = entry
        self.write()

    def write(self, revoked=()) -> None:
        self._generation += 1
        document = {
            "schema_version": 1, "generation": self._generation, "domains": self._routes,
            "base_model": {"name": "udair-tiny", "digest": BUNDLE.digest, "uri": "packaged:tiny"},
            "revoked_keys": list(revoked),
        }  # fmt: skip
        self.store.put(ROUTES, json.dumps(document).encode())


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    made = Plane(tmp_path_factory.mktemp("store"))
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(made.app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    made.url = f"http://127.0.0.1:{port}"
    yield made
    server.should_exit = True
    thread.join(10)


def _adapter(value: float) -> Adapter:
    identity = BUNDLE.model.identity()
    return Adapter(BUNDLE.digest, replace(identity, film_BF=identity.film_BF + value))


def _image(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _post(plane, name: str, body: bytes, **claims) -> httpx.Response:
    return httpx.post(f"{plane.url}/v1/domains/{name}:restore", content=body, headers=_token(**claims), timeout=60)


def _offline(image: np.ndarray, adapter: Adapter | None) -> np.ndarray:
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return to_array(BUNDLE.model(tensor, adapter.row if adapter else None)[0])


def _apart(a: np.ndarray, b: np.ndarray) -> int:
    """Largest difference in levels; sums in another order may round to the next one."""
    return int(abs(a.astype(int) - b.astype(int)).max())


def test_a_domain_without_an_adapter_is_served_by_the_source_model(plane):
    image = _image()
    answer = _post(plane, "plain", encode_png(image))
    assert answer.status_code == 200
    assert answer.headers["x-adapter-version"] == "0"
    assert answer.headers["x-fallback"] == "none"
    assert answer.headers["x-base-model"] == "udair-tiny"
    assert answer.headers["x-request-id"]
    assert "forward;dur=" in answer.headers["server-timing"]
    assert _apart(decode(answer.content), _offline(image, None)) <= 1


def test_one_batch_mixes_domains_and_gives_the_pixels_of_each_alone(plane):
    for index in range(5):
        plane.route(f"mixed-{index}", _adapter(0.05 * (index + 1)))
    images = [_image(index) for index in range(5)]

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda i: _post(plane, f"mixed-{i}", encode_png(images[i])), range(5)))

    assert max(int(answer.headers["x-batch"]) for answer in answers) > 1
    for index, answer in enumerate(answers):  # five adapters in two slots
        assert _apart(decode(answer.content), _offline(images[index], plane.adapters[f"mixed-{index}"])) <= 1


def test_a_promotion_and_a_rollback_are_a_new_route(plane):
    image = _image(7)
    plane.route("moving", _adapter(0.1), version=1)
    assert _post(plane, "moving", encode_png(image)).headers["x-adapter-version"] == "1"
    plane.route("moving", _adapter(0.4), version=2)
    second = _post(plane, "moving", encode_png(image))
    assert second.headers["x-adapter-version"] == "2"
    plane.route("moving", None)
    back = _post(plane, "moving", encode_png(image))
    assert back.headers["x-adapter-version"] == "0"
    assert _apart(decode(back.content), _offline(image, None)) <= 1


@pytest.mark.parametrize("kind", ["altered", "gone", "other base"])
def test_an_adapter_that_cannot_be_trusted_falls_back_to_the_source_model(plane, kind):
    # A digest of its own: what is loaded already needs no store.
    image, adapter, name = _image(9), _adapter(0.5 + len(kind) / 100), kind.replace(" ", "-")
    if kind == "altered":
        data = bytearray(adapter_to_bytes(adapter))
        data[-1] ^= 1
        plane.route(name, adapter, data=bytes(data))
    elif kind == "other base":
        plane.route(name, replace(adapter, base_digest="f" * 64))
    else:
        plane.route(name, adapter)
        plane.store.delete(f"candidates/{name}-1/adapter.safetensors")
    answer = _post(plane, name, encode_png(image))
    assert answer.headers["x-fallback"] == "source"
    assert answer.headers["x-adapter-version"] == "0"
    assert _apart(decode(answer.content), _offline(image, None)) <= 1


def test_large_images_are_tiled(plane):
    answer = _post(plane, "plain", encode_png(np.full((300, 270, 3), 90, np.uint8)))
    assert decode(answer.content).shape == (300, 270, 3)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "BAD_REQUEST"),
        (b"no image", 422, "VALIDATION_FAILED"),
        (encode_png(_image())[:-100], 422, "VALIDATION_FAILED"),
        (encode_png(np.zeros((1, 1, 3), np.uint8)), 422, "VALIDATION_FAILED"),
        (encode_png(np.zeros((600, 600, 3), np.uint8)), 413, "BODY_TOO_LARGE"),
        (bytes(400_000), 413, "BODY_TOO_LARGE"),
    ],
)
def test_bad_bodies_are_refused_with_a_problem(plane, body, status, code):
    answer = _post(plane, "plain", body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code


@pytest.mark.parametrize(
    ("claims", "status", "code"),
    [
        ({"scopes": ("domain:read",)}, 403, "FORBIDDEN"),
        ({"domains": ("other",)}, 403, "FORBIDDEN"),
        ({"exp": 1}, 401, "KEY_EXPIRED"),
        ({"tenant": "globex"}, 404, "NOT_FOUND"),
    ],
)
def test_keys_are_checked_without_the_control_plane(plane, claims, status, code):
    answer = _post(plane, "plain", encode_png(_image()), **claims)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_forged_missing_and_revoked_keys_are_refused(plane):
    url = f"{plane.url}/v1/domains/plain:restore"
    body = encode_png(_image())
    forged = issue(b"x" * 32, Claims("kid1", "acme", ("admin",)))
    assert httpx.post(url, content=body).status_code == 401
    assert httpx.post(url, content=body, headers={"Authorization": f"Bearer {forged}"}).json()["code"] == "KEY_INVALID"
    plane.write(revoked=["kid1"])
    try:
        assert _post(plane, "plain", body).json()["code"] == "KEY_REVOKED"
    finally:
        plane.write()


def test_many_first_requests_load_an_adapter_once(plane):
    plane.route("cold", _adapter(0.3), version=4)

    async def together():
        from udair_platform.serving.router import Route

        entry = plane._routes["acme/cold"]
        route = Route(4, entry["adapter_digest"], entry["candidate_uri"])
        backbone = Backbone(str(packaged("tiny")), BUNDLE.digest, threads=1)
        loads = []
        original = backbone._load
        backbone._load = lambda digest, uri: loads.append(digest) or original(digest, uri)
        await asyncio.gather(*(backbone.infer(_image(i), route) for i in range(6)))
        return loads

    assert len(asyncio.run(together())) == 1
