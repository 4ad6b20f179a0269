"""The data plane on Ray Serve: two backbones, an ingress before or inside them, real HTTP, and no control plane."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import threading
import time
from collections import Counter

import httpx
import pytest
from data_plane import BUNDLE, KEY, MARK, Routes, apart, bearer, make_adapter, make_image, offline, until

from udair.data.images import decode, encode_png
from udair.weights import packaged
from udair_platform.client.replies import may_repeat
from udair_platform.local.ports import free_ports
from udair_platform.serving.deployment import APP, ServingConfig, build_app
from udair_platform.serving.model.config import BackboneConfig
from udair_platform.serving.routing.autoscaling import Scaling


@pytest.fixture(scope="module", params=["apart", "colocated"])
def plane(request, tmp_path_factory):
    import ray
    from ray import serve

    folder = tmp_path_factory.mktemp("serve")
    (folder / "key").write_bytes(KEY)
    made = Routes(folder)
    (port,) = free_ports(1)
    backbone = BackboneConfig(
        str(packaged("tiny")),
        BUNDLE.digest,
        made.store.uri,
        cache=str(folder / "cache"),
        slots=8,
        threads=1,
        poll_s=0.1,
        report_s=0.5,
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")
        environment.setenv(MARK, str(os.getpid()))
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        config = ServingConfig(
            backbone,
            "udair-tiny",
            str(folder / "key"),
            scaling=Scaling(2, 2),
            spill=4,
            colocated=request.param == "colocated",
        )
        serve.run(build_app(config), name=APP, route_prefix="/")
        made.url = f"http://127.0.0.1:{port}"
        yield made
        serve.shutdown()
        ray.shutdown()


BOTH = pytest.mark.parametrize("plane", [pytest.param("apart", marks=pytest.mark.slow), "colocated"], indirect=True)


def _post(plane, name: str, image, headers=None) -> httpx.Response:
    url = f"{plane.url}/v1/domains/{name}:restore"
    return httpx.post(url, content=encode_png(image), headers=bearer() | (headers or {}), timeout=60)


def _route(plane, name: str) -> httpx.Response:
    return httpx.get(f"{plane.url}/v1/domains/{name}/route", headers=bearer(), timeout=30)


def _many(plane, name: str, count: int, callers: int = 8, side: int | None = None):
    """Answers of `count` requests by so many callers at once."""
    image = make_image(5) if side is None else make_image(5, side, side)
    with concurrent.futures.ThreadPoolExecutor(callers) as pool:
        return list(pool.map(lambda _: _post(plane, name, image), range(count)))


def test_it_is_ready_only_with_its_backbones(plane):
    assert httpx.get(f"{plane.url}/readyz", timeout=30).json()["status"] == "ok"
    assert len(plane.pids()) == 2


@BOTH
def test_a_promotion_under_full_load_loses_no_request_and_mixes_no_versions(plane):
    adapters = {0: None, 1: make_adapter(0.1), 2: make_adapter(0.5)}
    plane.route("moving", adapters[1], 1)
    until(lambda: _post(plane, "moving", make_image(5)).status_code == 200)
    expected = {version: offline(make_image(5), adapter) for version, adapter in adapters.items()}
    stop = threading.Event()

    def promote() -> None:
        turn = 0
        while not stop.wait(0.7):
            version = (2, 0, 1)[turn % 3]
            plane.route("moving", adapters[version], version)
            turn += 1

    promoting = threading.Thread(target=promote)
    promoting.start()
    try:
        answers = _many(plane, "moving", 1000)
    finally:
        stop.set()
        promoting.join()
    assert Counter(answer.status_code for answer in answers) == {200: 1000}
    assert {answer.headers["x-fallback"] for answer in answers} == {"none"}
    assert {answer.headers["x-adapter-version"] for answer in answers} == {"0", "1", "2"}
    for answer in answers:
        assert apart(decode(answer.content), expected[int(answer.headers["x-adapter-version"])]) <= 1


@BOTH
def test_a_killed_replica_under_load_loses_nothing_without_an_error_and_is_replaced(plane):
    plane.route("killed", make_adapter(0.2))
    until(lambda: _post(plane, "killed", make_image(5)).headers.get("x-adapter-version") == "1")
    victim = plane.pids()[0]
    timer = threading.Timer(0.5, lambda: os.kill(victim, signal.SIGKILL))
    timer.start()
    answers = _many(plane, "killed", 300)
    timer.join()
    assert sum(answer.is_success for answer in answers) >= 285
    for answer in answers:
        if not answer.is_success:
            assert may_repeat(answer), answer.text
        else:
            assert apart(decode(answer.content), offline(make_image(5), plane.adapters["killed"])) <= 1
    until(lambda: len(plane.pids()) == 2 and victim not in plane.pids(), within_s=60)


@pytest.mark.parametrize("plane", ["apart"], indirect=True)
def test_a_domain_stays_on_one_backbone_and_a_busy_one_spreads(plane):
    plane.route("quiet", None)
    until(lambda: len(_post(plane, "quiet", make_image(5)).headers.get_list("x-request-id")) == 1)
    until(lambda: _route(plane, "quiet").status_code == 200)
    assert len({_route(plane, "quiet").json()["replica"] for _ in range(6)}) == 1
    for number in range(8):
        plane.route(f"busy-{number}", None)
    until(lambda: _post(plane, "busy-7", make_image(5)).status_code == 200)
    for number in range(8):
        # Large enough that requests wait for the model, not the model for the callers.
        _many(plane, f"busy-{number}", 24, callers=16, side=320)

    def usage() -> list[dict]:
        reports = [json.loads(plane.store.get(item.key)) for item in plane.store.list("serving/reports")]
        return [
            {name: told["usage"]["images"] for name, told in report["domains"].items() if "busy" in name}
            for report in reports
        ]

    until(lambda: sum(sum(found.values()) for found in usage()) >= 8 * 24)
    spread = Counter(name for found in usage() for name, images in found.items() if images)
    assert min(spread.values()) == 2, "sixteen callers spill over four"


def test_a_caller_that_hangs_up_costs_no_pixels(plane):
    plane.route("left", None)
    until(lambda: _post(plane, "left", make_image(5)).status_code == 200)
    large = make_image(1, 2500, 2500)
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{plane.url}/v1/domains/left:restore", content=encode_png(large), headers=bearer(), timeout=0.7)
    answer = _post(plane, "left", make_image(5))
    assert answer.status_code == 200
    until(lambda: time.monotonic() - began > 6)
    told: list[httpx.Response] = []
    until(lambda: told.append(_route(plane, "left")) or told[-1].status_code == 200)
    assert told[-1].json()["usage"]["pixels"] < 2500 * 2500, [answer.text for answer in told]
