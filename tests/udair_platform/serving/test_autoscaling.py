"""The autoscaling policy: its arithmetic, and once for real on Ray Serve."""

from __future__ import annotations

import threading
from types import SimpleNamespace

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


def test_zero_replicas_are_refused_with_the_reason():
    with pytest.raises(ValueError, match="Scaling to zero is not offered"):
        Scaling(0, 3)


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


@pytest.mark.slow
def test_serve_adds_a_replica_under_load_and_takes_it_away_again(tmp_path, monkeypatch):
    import httpx
    import ray
    from data_plane import BUNDLE, KEY, Routes, bearer, make_image, until
    from ray import serve

    from udair.data.images import encode_png
    from udair.weights import packaged
    from udair_platform.local.ports import free_ports
    from udair_platform.serving.deployment import APP, ServingConfig, build_app
    from udair_platform.serving.model.config import BackboneConfig

    for name in ("REPLICA", "HANDLE"):
        monkeypatch.setenv(f"RAY_SERVE_{name}_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "0.5")
    monkeypatch.setenv("RAY_SERVE_REPLICA_AUTOSCALING_METRIC_RECORD_INTERVAL_S", "0.2")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (tmp_path / "key").write_bytes(KEY)
    plane = Routes(tmp_path)
    (port,) = free_ports(1)
    backbone = BackboneConfig(str(packaged("tiny")), BUNDLE.digest, plane.store.uri, threads=1, report_s=0)
    scaling = Scaling(1, 2, target_pixels=2 * 512 * 512, up_after_s=1, down_after_s=8)
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        serve.run(build_app(ServingConfig(backbone, "tiny", str(tmp_path / "key"), scaling=scaling)), name=APP)
        body, stop = encode_png(make_image(1, 512, 512)), threading.Event()

        def load() -> None:
            while not stop.is_set():
                httpx.post(
                    f"http://127.0.0.1:{port}/v1/domains/plain:restore", content=body, headers=bearer(), timeout=60
                ).raise_for_status()

        def replicas() -> int:
            return serve.status().applications[APP].deployments["Backbone"].replica_states.get("RUNNING", 0)

        callers = [threading.Thread(target=load) for _ in range(8)]
        for caller in callers:
            caller.start()
        until(lambda: replicas() == 2, within_s=90)
        stop.set()
        for caller in callers:
            caller.join()
        until(lambda: replicas() == 1, within_s=90)
    finally:
        serve.shutdown()
        ray.shutdown()
