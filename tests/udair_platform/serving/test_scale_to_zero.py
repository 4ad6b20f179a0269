"""No backbone runs until one is asked for; what cannot start is not called ready."""

from __future__ import annotations

import concurrent.futures
import os
from dataclasses import replace

import httpx
import pytest
from data_plane import BUNDLE, KEY, MARK, Routes, bearer, make_image, until

from udair.data.images import decode, encode_png
from udair.weights import packaged
from udair_platform.local.ports import free_ports
from udair_platform.serving.deployment import APP, build_app
from udair_platform.serving.endpoint import ServingConfig
from udair_platform.serving.model.config import BackboneConfig
from udair_platform.serving.routing.autoscaling import Scaling

pytestmark = pytest.mark.slow


@pytest.fixture
def asleep(tmp_path):
    import ray
    from ray import serve

    (tmp_path / "key").write_bytes(KEY)
    made = Routes(tmp_path)
    (port,) = free_ports(1)
    made.url = f"http://127.0.0.1:{port}"
    backbone = BackboneConfig(
        str(packaged("tiny")), BUNDLE.digest, made.store.uri, slots=8, threads=1, poll_s=0.1, report_s=0.5
    )
    config = ServingConfig(backbone, "udair-tiny", str(tmp_path / "key"), scaling=Scaling(0, 1), hold_s=20)

    def start(**changes):
        serve.run(build_app(replace(config, backbone=replace(backbone, **changes))), name=APP, route_prefix="/")
        return made

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")
        environment.setenv(MARK, str(os.getpid()))
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        yield start
        serve.shutdown()
        ray.shutdown()


def _restore(plane, image) -> httpx.Response:
    url = f"{plane.url}/v1/domains/plain:restore"
    return httpx.post(url, content=encode_png(image), headers=bearer(), timeout=300)


def _running() -> int:
    from ray import serve

    states = serve.status().applications[APP].deployments["Backbone"].replica_states
    return sum(count for state, count in states.items() if state == "RUNNING")


def test_the_first_request_is_held_while_a_backbone_starts(asleep):
    plane = asleep()
    until(lambda: httpx.get(f"{plane.url}/readyz").status_code == 200)
    assert _running() == 0
    image = make_image(1)
    reply = _restore(plane, image)
    assert reply.status_code == 200, reply.text
    assert decode(reply.content).shape == image.shape
    assert _running() == 1


def test_a_backbone_that_cannot_start_is_not_ready(asleep):
    plane = asleep(base_digest="0" * 64)
    until(lambda: httpx.get(f"{plane.url}/readyz").status_code == 200)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        held = pool.submit(_restore, plane, make_image(1))
        until(lambda: httpx.get(f"{plane.url}/readyz").status_code == 503, within_s=200)
        assert held.result().status_code == 503
