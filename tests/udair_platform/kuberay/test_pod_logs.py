"""Logs of pods: a kubelet that does not answer is left alone, and nobody else is thought away because of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubernetes_attempt import ID, REQUEST

from udair_platform.errors import LauncherDown
from udair_platform.scheduler.launchers.kuberay.api import connect
from udair_platform.scheduler.launchers.kuberay.pod_logs import PodLogs
from udair_platform.scheduler.launchers.kuberay.settings import load_kube_settings

pytestmark = pytest.mark.k8s


@pytest.fixture
def pods(launcher, operator, double, namespace) -> Iterator[list[dict]]:
    """A head and a worker that have printed something."""
    launcher.launch(REQUEST)
    operator.start(ID)
    found = launcher._pods_of(ID)
    for pod in found:
        container = pod["spec"]["containers"][0]["name"]
        double.logs[namespace, pod["metadata"]["name"], container] = f"of {container}\n"
    yield found
    double.silent.clear()


@pytest.fixture
def api(cluster, namespace):
    settings = load_kube_settings(namespace=namespace, image="example.org/x:1", kubeconfig=cluster.kubeconfig)
    made = connect(settings)
    yield made
    made.close()


def test_a_kubelet_that_does_not_answer_is_asked_ever_more_rarely(pods, api, double) -> None:
    now = 0.0
    logs = PodLogs(api, read_s=0.2, clock=lambda: now)
    assert [log for _, log in logs.of(pods, max_bytes=100)] == ["of ray-head\n", "of ray-worker\n"]
    double.silent.add(pods[1]["metadata"]["name"])
    asked = []
    for second in range(0, 400, 5):
        now = float(second)
        with pytest.raises(LauncherDown) as raised:
            logs.of(pods, max_bytes=100)
        if "asked for again later" not in raised.value.detail:
            asked.append(second)
    assert asked == [0, 10, 30, 70, 150, 310]

    double.silent.clear()
    now = 1000.0
    assert len(logs.of(pods, max_bytes=100)) == 2
    double.silent.add(pods[1]["metadata"]["name"])
    with pytest.raises(LauncherDown):
        logs.of(pods, max_bytes=100)
    now = 1010.0
    with pytest.raises(LauncherDown, match="does not answer:"):
        logs.of(pods, max_bytes=100)  # an answer ends what was before


def test_a_silent_kubelet_is_no_silent_server(pods, api, double, launcher) -> None:
    api.away_s = 60.0
    double.silent.add(pods[0]["metadata"]["name"])
    with pytest.raises(LauncherDown):
        PodLogs(api, read_s=0.2).of(pods, max_bytes=100)
    assert api.version(), "the server is asked as before"
