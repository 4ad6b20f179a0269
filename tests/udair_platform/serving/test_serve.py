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
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

from udair.data.images import decode, encode_png
from udair.weights import packaged
from udair_platform.client.replies import may_repeat
from udair_platform.local.ports import free_ports
from udair_platform.serving.deployment import APP, build_app
from udair_platform.serving.endpoint import ServingConfig
from udair_platform.serving.model.config import BackboneConfig
from udair_platform.serving.routing.autoscaling import Scaling


@pytest.fixture(scope="module", params=["apart", "colocated"])
def plane(request, tmp_path_factory):
    import ray
    from ray import serve

    folder = tmp_path_factory.mktemp("serve")
    (folder / "key").write_bytes(KEY)
    made = Routes(folder)
    made.kind = request.param
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
        # With it a test says how many there shall be, as the autoscaler would.
        serve.run(build_app(config), name=APP, route_prefix="/", external_scaler_enabled=True)
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


def _usage(plane, of: str) -> list[tuple[str, dict]]:
    """What each replica last reported of the domains whose names have `of` in them."""
    reports = [json.loads(plane.store.get(item.key)) for item in plane.store.list("serving/reports")]
    return [(name, told["usage"]) for report in reports for name, told in report["domains"].items() if of in name]


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


@BOTH
def test_a_stream_of_pictures_goes_through_the_proxy(plane):
    plane.route("filmed", make_adapter(0.2))
    until(lambda: _post(plane, "filmed", make_image(5)).headers.get("x-adapter-version") == "1")
    images = [make_image(number, side, 64) for number, side in enumerate((256, 64, 128))]
    with connect(f"{plane.url.replace('http', 'ws')}/v1/domains/filmed/stream", additional_headers=bearer()) as stream:
        for image in images:
            stream.send(encode_png(image))
        for number, image in enumerate(images):
            assert json.loads(stream.recv(timeout=60))["number"] == number
            assert apart(decode(stream.recv(timeout=60)), offline(image, plane.adapters["filmed"])) <= 1
        stream.send(b"")
        with pytest.raises(ConnectionClosedOK):
            stream.recv(timeout=20)


@pytest.mark.slow
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

    until(lambda: sum(told["images"] for _, told in _usage(plane, "busy-")) >= 8 * 24)
    spread = Counter(name for name, told in _usage(plane, "busy-") if told["images"])
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
    until(lambda: sum(told["images"] for _, told in _usage(plane, "left")) >= 2)
    assert sum(told["pixels"] for _, told in _usage(plane, "left")) < 2500 * 2500


def _scale(replicas: int) -> None:
    """What an autoscaler does: say how many backbones there shall be."""
    import ray
    from ray.serve._private.common import DeploymentID
    from ray.serve.context import _get_global_client

    controller = _get_global_client()._controller
    ray.get(controller.update_deployment_replicas.remote(DeploymentID("Backbone", APP), replicas))


def _said(plane) -> dict[str, dict]:
    """What each replica last said, by its id."""
    reports = [json.loads(plane.store.get(item.key)) for item in plane.store.list("serving/reports")]
    return {report["replica"]: report for report in reports if not report.get("ended")}


def _settled(plane) -> dict[str, dict]:
    """Each replica's counters, once several reports have said the same."""
    loads, since = {}, time.monotonic()
    while time.monotonic() - since < 3.0:
        time.sleep(0.1)
        now = {replica: report["load"] for replica, report in _said(plane).items()}
        if now != loads:
            loads, since = now, time.monotonic()
    return loads


@pytest.mark.slow
@BOTH
def test_replicas_that_a_scale_down_leaves_fetch_nothing_when_they_are_asked(plane):
    for item in plane.store.list("serving/reports"):
        plane.store.delete(item.key)  # of replicas that were killed: those that live say something new soon
    ready, others = [f"ready-{number}" for number in range(6)], [f"passing-{number}" for number in range(16)]
    for number, name in enumerate(ready):
        plane.route(name, make_adapter(0.05 * number + 0.1), min_ready=1)

    def holders(name: str) -> int:
        return sum(report["domains"].get(f"acme/{name}", {}).get("held") == 1 for report in _said(plane).values())

    try:
        _scale(3)
        # The first of a domain's order and the one in waiting; where requests come to any replica, every one.
        expected = 2 if plane.kind == "apart" else 3
        until(lambda: len(_said(plane)) == 3, within_s=60)
        until(lambda: [holders(name) for name in ready] == [expected] * len(ready), within_s=30)
        for number, name in enumerate(others):  # more than a bank's eight slots
            plane.route(name, make_adapter(0.01 * number + 0.5))
            until(lambda name=name: _post(plane, name, make_image(5)).headers.get("x-adapter-version") == "1")
        before = _settled(plane)
        assert sum(load["misses"] for load in before.values()) >= len(others)
        _scale(2)
        until(lambda: len(plane.pids()) == 2, within_s=60)
        answers = [_post(plane, name, make_image(5)) for name in ready]
        assert {answer.headers["x-adapter-version"] for answer in answers} == {"1"}

        def counted(what: str) -> int:
            return sum(report["load"][what] - before[replica][what] for replica, report in _said(plane).items())

        until(lambda: len(_said(plane)) == 2 and counted("hits") >= len(ready))
        assert counted("misses") == 0
        until(lambda: [holders(name) for name in ready] == [2] * len(ready))
    finally:
        _scale(2)
        until(lambda: len(plane.pids()) == 2, within_s=60)
