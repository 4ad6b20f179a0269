"""The autoscaling policy: its arithmetic, and once for real on Ray Serve."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udair_platform.serving.routing.autoscaling import PixelPolicy, Scaling, decide, wanted

SCALING = Scaling(1, 8, target_pixels=1000, up_after_s=5, down_after_s=60)


def _play(loads, scaling=SCALING, start: int = 1) -> list[int]:
    """Replicas second by second, for so many waiting pixels in each."""
    replicas, state, found = start, {}, []
    for second, pixels in enumerate(loads):
        replicas, state = decide(float(second), replicas, pixels, scaling, state)
        found.append(replicas)
    return found


def test_the_need_is_pixels_over_the_target_within_bounds():
    assert [wanted(pixels, SCALING) for pixels in (0, 1, 1000, 1001, 10**9)] == [1, 1, 1, 2, 8]


def test_a_need_that_lasts_adds_replicas_and_one_large_image_does_not():
    assert max(_play([9000, 9000, 9000] + [0] * 20)) == 1
    assert _play([4000] * 10)[-1] == 4


def test_replicas_go_only_when_they_were_not_needed_for_long():
    played = _play([5000] * 20 + [0] * 59 + [5000] * 10 + [0] * 120)
    assert played[19] == 5
    assert min(played[20:89]) == 5, "a pause removes nothing that the next burst needs"
    assert played[-1] == 1


def test_replicas_go_one_at_a_time_so_that_what_one_held_is_elsewhere_before_the_next():
    played = _play([8000] * 20 + [0] * 200)
    went = [second for second in range(1, len(played)) if played[second] < played[second - 1]]
    assert [played[second - 1] - played[second] for second in went] == [1] * 7
    assert min(b - a for a, b in itertools.pairwise(went)) >= SCALING.handover_s


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=200),
    st.integers(1, 4),
    st.integers(0, 6),
)
def test_it_never_leaves_its_bounds(loads, least, more):
    scaling = Scaling(least, least + more, target_pixels=1000, up_after_s=3, down_after_s=10)
    assert all(least <= replicas <= least + more for replicas in _play(loads, scaling, start=least))


def test_what_is_remembered_stays_small():
    state: dict = {}
    for second in range(5000):
        _, state = decide(float(second), 1, 0.0, SCALING, state)
    assert len(state["needs"]) < 10


def test_from_zero_the_first_request_starts_a_replica_at_once_and_calm_takes_it_away():
    asleep = Scaling(0, 8, target_pixels=1000, up_after_s=5, down_after_s=60)
    assert _play([0, 0, 0], asleep, start=0) == [0, 0, 0]
    assert _play([0, 1, 0, 0], asleep, start=0) == [0, 1, 1, 1], "what waits is gone while the replica starts"
    assert _play([0, 1] + [0] * 59, asleep, start=0)[-1] == 1
    assert _play([0, 1] + [0] * 62, asleep, start=0)[-1] == 0


@pytest.mark.parametrize("bounds", [(-1, 3), (0, 0), (4, 3)])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match="expected 0 <= min <= max"):
        Scaling(*bounds)


def test_the_policy_adds_up_what_replicas_say_and_what_none_has_accepted():
    policy = PixelPolicy(min_replicas=1, max_replicas=8, target_pixels=65536, up_after_s=1, down_after_s=5)
    state: dict = {}
    for second in range(4):
        context = SimpleNamespace(
            aggregated_metrics={"waiting_pixels": {"a": 65536.0, "b": 65536.0}},
            total_queued_requests=2.0,
            current_time=float(second),
            target_num_replicas=2,
            policy_state=state,
        )
        target, state = policy(context)
    assert target == 4


@dataclass(frozen=True)
class Endpoint:
    """A data plane on Ray Serve."""

    url: str

    def restore(self, side: int = 128) -> httpx.Response:
        from data_plane import bearer, make_image

        from udair.data.images import encode_png

        body = encode_png(make_image(1, side, side))
        return httpx.post(f"{self.url}/v1/domains/plain:restore", content=body, headers=bearer(), timeout=90)

    def get(self, path: str) -> httpx.Response:
        from data_plane import bearer

        return httpx.get(f"{self.url}{path}", headers=bearer(), timeout=30)

    @staticmethod
    def replicas() -> int:
        from ray import serve

        from udair_platform.serving.deployment import APP

        return sum(serve.status().applications[APP].deployments["Backbone"].replica_states.values())


@contextlib.contextmanager
def _endpoint(folder: Path, scaling: Scaling, timeout_s: float = 60.0, hold_s: float = 60.0) -> Iterator[Endpoint]:
    import ray
    from data_plane import BUNDLE, KEY, Routes
    from ray import serve

    from udair.weights import packaged
    from udair_platform.local.ports import free_ports
    from udair_platform.serving.deployment import APP, build_app
    from udair_platform.serving.endpoint import ServingConfig
    from udair_platform.serving.model.config import BackboneConfig

    (folder / "key").write_bytes(KEY)
    plane = Routes(folder)
    (port,) = free_ports(1)
    backbone = BackboneConfig(
        str(packaged("tiny")), BUNDLE.digest, plane.store.uri, threads=1, report_s=0, timeout_s=timeout_s
    )
    with pytest.MonkeyPatch.context() as environment:
        for name in ("REPLICA", "HANDLE"):
            environment.setenv(f"RAY_SERVE_{name}_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "0.5")
        environment.setenv("RAY_SERVE_REPLICA_AUTOSCALING_METRIC_RECORD_INTERVAL_S", "0.2")
        environment.setenv("RAY_AUTH_MODE", "disabled")
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
            config = ServingConfig(backbone, "tiny", str(folder / "key"), scaling=scaling, hold_s=hold_s)
            serve.run(build_app(config), name=APP)
            yield Endpoint(f"http://127.0.0.1:{port}")
        finally:
            serve.shutdown()
            ray.shutdown()


@pytest.mark.slow
def test_serve_adds_a_replica_under_load_and_takes_it_away_again(tmp_path):
    from data_plane import until

    scaling = Scaling(1, 2, target_pixels=2 * 512 * 512, up_after_s=1, down_after_s=8)
    with _endpoint(tmp_path, scaling) as endpoint:
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                endpoint.restore(512).raise_for_status()

        callers = [threading.Thread(target=load) for _ in range(8)]
        for caller in callers:
            caller.start()
        until(lambda: endpoint.replicas() == 2, within_s=90)
        stop.set()
        for caller in callers:
            caller.join()
        until(lambda: endpoint.replicas() == 1, within_s=90)


@pytest.mark.slow
def test_with_no_replica_a_request_is_held_until_one_has_started_and_questions_start_none(tmp_path):
    from data_plane import until

    with _endpoint(tmp_path, Scaling(0, 2, up_after_s=1, down_after_s=4)) as endpoint:
        until(lambda: endpoint.replicas() == 0, within_s=60)
        for _ in range(2):
            assert endpoint.get("/readyz").status_code == 200
            told = endpoint.get("/v1/domains/plain/route").json()
            assert (told["replica"], told["usage"]["images"]) == (None, 0)
        assert endpoint.replicas() == 0
        assert endpoint.restore().status_code == 200, "held, not refused"
        assert endpoint.get("/v1/domains/plain/route").json()["replica"]
        until(lambda: endpoint.replicas() == 0, within_s=90)
        assert endpoint.restore().status_code == 200, "and once more"


@pytest.mark.slow
def test_a_request_that_was_held_for_long_enough_is_told_when_to_come_back(tmp_path):
    from data_plane import until

    with _endpoint(tmp_path, Scaling(0, 1), timeout_s=0.4, hold_s=0.1) as endpoint:
        until(lambda: endpoint.replicas() == 0, within_s=60)
        refused = endpoint.restore(16)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        assert "one is being started" in refused.json()["detail"]
        until(lambda: endpoint.restore(16).status_code == 200, within_s=60)


@pytest.mark.parametrize("least", [0, 1])
def test_a_timeout_is_the_wait_for_a_replica_only_where_there_may_be_none(least, monkeypatch, tmp_path):
    import asyncio

    from udair_platform.errors import Unavailable
    from udair_platform.serving.deployment import Backbones
    from udair_platform.serving.endpoint import ServingConfig
    from udair_platform.serving.model.config import BackboneConfig
    from udair_platform.serving.request import RestoreRequest

    async def late(*asked):
        raise TimeoutError

    handle = SimpleNamespace(infer=SimpleNamespace(remote=late))
    monkeypatch.setattr(Backbones, "_handle_for", lambda self, session: handle)
    backbones = Backbones(ServingConfig(BackboneConfig("a", "b", str(tmp_path)), "a", "key", scaling=Scaling(least, 1)))
    asking = backbones.infer(RestoreRequest("acme/cams", "key"), None)
    if least:
        with pytest.raises(TimeoutError):
            asyncio.run(asking)
    else:
        assert isinstance(asyncio.run(asking), Unavailable)
