"""The way in from outside: Gateway API or Ingress, with certificates, timeouts and body sizes as each needs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployments import cluster_for, written

from udair_platform.deploy.cluster import Cluster, ClusterError
from udair_platform.deploy.render import render
from udair_platform.deploy.settings import load
from udair_platform.deploy.status import secrets_of
from udair_platform.deploy.status import status as look
from udair_platform.errors import SettingsError

pytestmark = pytest.mark.k8s

HOSTS = {"udair.example.com", "restore.udair.example.com"}
ROUTES = ("gateway.networking.k8s.io", "v1")


@pytest.fixture
def empty(tmp_path: Path):
    """A cluster of its own, with the definitions of KubeRay and the Gateway API and no others."""
    with cluster_for(tmp_path) as double:
        yield double


def test_a_gateway_of_ones_own_has_a_listener_for_each_host_and_streams_have_no_end(tmp_path: Path) -> None:
    made = render(load(written(tmp_path, gateway={"class_name": "istio"})))
    assert not list(made.of_kind("Ingress"))
    spec = made.get("Gateway", "udair")["spec"]
    assert spec["gatewayClassName"] == "istio"
    assert {listener["hostname"] for listener in spec["listeners"]} == HOSTS
    assert made.get("HTTPRoute", "udair-api")["spec"]["rules"][0]["timeouts"] == {"request": "0s"}
    (rule,) = made.get("HTTPRoute", "udair-restore")["spec"]["rules"]
    assert rule["timeouts"] == {"request": "130s"}
    assert rule["backendRefs"] == [{"name": "udair-serve-svc", "port": 8000}]


def test_a_gateway_that_is_there_is_joined_and_keeps_its_certificates(tmp_path: Path) -> None:
    settings = load(written(tmp_path, gateway={"name": "shared", "namespace": "infra"}))
    made = render(settings)
    assert not list(made.of_kind("Gateway"))
    for route in made.of_kind("HTTPRoute"):
        assert route["spec"]["parentRefs"] == [{"name": "shared", "namespace": "infra"}]
    assert ("udair", "udair-tls") not in secrets_of(settings)


@pytest.mark.parametrize(
    ("name", "annotation", "value"),
    [
        ("nginx", "nginx.ingress.kubernetes.io/proxy-body-size", "32m"),
        ("alb", "alb.ingress.kubernetes.io/target-type", "ip"),
    ],
)
def test_an_ingress_says_what_its_controller_needs_and_what_it_is_told(tmp_path, name, annotation, value) -> None:
    settings = load(written(tmp_path, gateway=None, ingress_class=name, ingress_annotations={"a": "b"}))
    ingress = render(settings).get("Ingress", "udair")
    assert ingress["metadata"]["annotations"][annotation] == value
    assert ingress["metadata"]["annotations"]["a"] == "b"
    assert ingress["spec"]["tls"] == [
        {"hosts": ["udair.example.com", "restore.udair.example.com"], "secretName": "udair-tls"}
    ]
    other = settings.model_copy(update={"ingress_annotations": {annotation: "mine"}, "tls_secret": None})
    ingress = render(other).get("Ingress", "udair")
    assert ingress["metadata"]["annotations"][annotation] == "mine"
    assert "secretName" not in ingress["spec"]["tls"][0], "the controller finds the certificate by the hosts"
    assert not {name for _, name in secrets_of(other)} & {"udair-tls", None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gateway": None}, "one way in is needed"),
        ({"ingress_class": "alb"}, "one way in is needed"),
        (
            {"gateway": {"class_name": "eg", "name": "shared", "namespace": "infra"}},
            "either class_name, or name and namespace",
        ),
        ({"gateway": {"name": "shared"}}, "either class_name, or name and namespace"),
    ],
)
def test_there_is_one_way_in(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(written(tmp_path, **changes))


def test_a_role_is_asked_of_tenants_where_stores_have_roles(tmp_path: Path) -> None:
    def asked(**changes) -> str:
        made = render(load(written(tmp_path, **changes)))
        return made.get("ConfigMap", "udair-settings")["data"]["UDAIR_REQUIRE_SOURCE_ROLE"]

    assert asked() == "false", "the example's store is not AWS"
    assert asked(store={"uri": "s3://acme/store"}) == "true"
    assert asked(settings={"UDAIR_REQUIRE_SOURCE_ROLE": "true"}) == "true"


def test_status_says_whether_the_controller_takes_the_routes(empty, tmp_path: Path) -> None:
    cluster, settings = Cluster(empty.kubeconfig), load(written(tmp_path))
    made = render(settings)
    cluster.apply_all(made.ordered())
    assert {done.result for done in cluster.apply_all(made.ordered())} == {"unchanged"}

    def state(name: str = "route udair-api") -> tuple[str, str]:
        return next((one.state, one.message) for one in look(cluster, settings, made) if one.check == name)

    def told(status: str, reason: str, message: str) -> None:
        condition = {"type": "Accepted", "status": status, "reason": reason, "message": message}
        condition |= {"lastTransitionTime": "2026-01-01T00:00:00Z"}
        parent = {"parentRef": {"name": "udair"}, "controllerName": "example.org/eg", "conditions": [condition]}
        empty.custom.patch_namespaced_custom_object_status(
            *ROUTES, "udair", "httproutes", "udair-api", {"status": {"parents": [parent]}}
        )

    assert state() == ("waiting", "no controller has looked at it; is there a GatewayClass of that name?")
    told("False", "NoMatchingListenerHostname", "no listener takes udair.example.com")
    assert state() == ("FAIL", "NoMatchingListenerHostname: no listener takes udair.example.com")
    told("True", "Accepted", "Route is accepted")
    assert state() == ("ok", "accepted")


def test_a_cluster_without_the_gateway_api_says_what_to_install(tmp_path: Path) -> None:
    with cluster_for(tmp_path) as double:
        double.custom.delete_cluster_custom_object(
            "apiextensions.k8s.io", "v1", "customresourcedefinitions", "httproutes.gateway.networking.k8s.io"
        )
        cluster, settings = Cluster(double.kubeconfig), load(written(tmp_path))
        with pytest.raises(ClusterError, match=r"no HTTPRoute .* install the Gateway API"):
            cluster.apply_all(render(settings).ordered())
        assert cluster.get("v1", "Namespace", "udair") is None, "nothing was written"
