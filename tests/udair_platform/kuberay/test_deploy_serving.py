"""A change of settings reaches what serves, and `udair deploy status` says when it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import EXAMPLE, cluster_for, written
from kubernetes_operator import OperatorDouble

from udair_platform import bootstrap
from udair_platform.deploy.cluster import Cluster
from udair_platform.deploy.render import render
from udair_platform.deploy.serving import APPLIED_LIVE
from udair_platform.deploy.settings import load
from udair_platform.deploy.status import status as look
from udair_platform.settings import Settings, load_settings

pytestmark = pytest.mark.k8s

SERVING = yaml.safe_load(EXAMPLE.read_text())["serving"]
OTHER = {"UDAIR_DRIFT_WINDOW_S": "60"}


@pytest.fixture
def empty(tmp_path: Path):
    """A cluster of its own, with KubeRay's definitions and no others."""
    with cluster_for(tmp_path) as double:
        yield double


def service(path: Path) -> dict[str, Any]:
    return render(load(path)).get("RayService", "udair")


def pods(service: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = service["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"][0]["template"]]


def arguments(service: dict[str, Any]) -> dict[str, str]:
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    return application["args"]


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"serving": SERVING | {"max_replicas": 12}}, "serve_max_replicas", "12"),
        ({"serving": SERVING | {"min_replicas": 2}}, "serve_min_replicas", "2"),
        ({"serving": SERVING | {"min_replicas": 0}}, "serve_ingress_on_head", "true"),
        ({"base_uri": "s3://acme/base"}, "base_uri", "s3://acme/base"),
        ({"settings": OTHER}, "drift_window_s", "60"),
        (
            {"settings": {"UDAIR_PREVIOUS_SIGNING_KEY_PATH": "/etc/udair/old"}},
            "previous_signing_key_path",
            "/etc/udair/old",
        ),
    ],
)
def test_what_the_application_reads_is_given_to_the_running_cluster(tmp_path, changes, name, value) -> None:
    before, after = service(EXAMPLE), service(written(tmp_path, **changes))
    assert arguments(before).get(name) != arguments(after)[name] == value
    assert pods(before) == pods(after), "no pod is another one, so that KubeRay builds no second cluster"
    load_settings(home=tmp_path, **arguments(after))


@pytest.mark.parametrize(
    "changes",
    [
        {"secrets_version": "2"},
        {"settings": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c.o:4318"}},
        {"settings": {"AWS_REGION": "eu-west-1"}},
    ],
)
def test_what_processes_read_at_their_start_makes_other_pods(tmp_path, changes) -> None:
    before, after = service(written(tmp_path, settings={})), service(written(tmp_path, **{"settings": {}} | changes))
    for old, new in zip(pods(before), pods(after), strict=True):
        assert old["metadata"]["annotations"] != new["metadata"]["annotations"]


def test_prices_and_quotas_are_nothing_to_the_data_plane(tmp_path: Path) -> None:
    before = service(written(tmp_path, settings={}))
    after = service(written(tmp_path, settings={"UDAIR_PRICE_PER_JOB_HOUR": "2", "UDAIR_TENANT_MAX_DOMAINS": "5"}))
    assert before == after


def test_the_application_reads_no_setting_that_does_not_reach_it(tmp_path: Path) -> None:
    read = set()

    class Watched(Settings):
        def __getattribute__(self, name: str) -> Any:
            if name in Settings.model_fields:
                read.add(name)
            return super().__getattribute__(name)

    settings = Watched(home=tmp_path, base_uri="packaged:base")
    read.clear()
    bootstrap._serving_config(settings)
    of_files = {"home", "signing_key_path"}
    assert "serve_max_replicas" in read
    assert read - of_files <= set(APPLIED_LIVE)


def test_status_says_which_generation_serves(empty, tmp_path: Path) -> None:
    cluster, operator = Cluster(empty.kubeconfig), OperatorDouble(empty.connection, "udair")

    def state(settings) -> tuple[str, str]:
        items = look(cluster, settings, render(settings))
        return next((item.state, item.message) for item in items if item.check == "serving settings")

    first = load(written(tmp_path))
    cluster.apply_all(render(first).ordered())
    operator.serve("udair", "udair-a")
    assert state(first) == ("ok", "generation 1 serves, on udair-a")

    second = load(written(tmp_path, settings=OTHER))
    assert state(second) == ("FAIL", "generation 1 is of other settings than these; udair deploy apply")
    cluster.apply_all(render(second).ordered())
    assert state(second) == ("waiting", "generation 2 is applied; the operator has last reported on 1")
    operator.serve("udair", "udair-a", application="DEPLOYING")
    assert state(second) == ("waiting", "generation 2 is being deployed on udair-a")

    third = load(written(tmp_path, settings=OTHER, secrets_version="2"))
    cluster.apply_all(render(third).ordered())
    operator.serve("udair", "udair-a", pending="udair-b")
    assert state(third) == ("waiting", "generation 3 is being built as udair-b; udair-a serves")
    operator.serve("udair", "udair-b")
    assert state(third) == ("ok", "generation 3 serves, on udair-b")
