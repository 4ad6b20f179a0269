"""The cluster that the contract suite runs on: the double of this process, or a real one by UDAIR_TEST_KUBECONFIG.

UDAIR_TEST_KUBECONFIG: a kubeconfig of somebody who may do everything.
UDAIR_TEST_INSTALL_CRDS=1: install KubeRay's definitions first, by server-side apply; they are left there.
UDAIR_TEST_JOB_IMAGE: an image with Ray, for the tests that let a real operator run a job.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from kubernetes_api import KubernetesDouble
from kubernetes_operator import GROUP, VERSION, OperatorDouble
from kubernetes_schema import GATEWAY, KUBERAY, published_crd

_CRDS = ("apiextensions.k8s.io", "v1", "customresourcedefinitions")
Rules = Iterable[tuple[str, str, Iterable[str]]]


def wait_for(what: Callable[[], Any], within_s: float = 20.0) -> Any:
    """The first true value of `what`; the last one when time is up."""
    ends = time.monotonic() + within_s
    while not (value := what()) and time.monotonic() < ends:
        time.sleep(0.02)
    return value


@dataclass
class Cluster:
    """A cluster, and what tests do to it as somebody who may do everything.

    Attributes:
        kubeconfig: Of that somebody.
        folder: For further kubeconfigs.
        double: The server itself, unless the cluster is a real one.
    """

    kubeconfig: Path
    folder: Path
    double: KubernetesDouble | None = None
    _made: list[str] = field(default_factory=list)
    _roles: list[str] = field(default_factory=list)

    @cached_property
    def connection(self) -> client.ApiClient:
        """A client."""
        chosen = client.Configuration()
        config.load_kube_config(str(self.kubeconfig), client_configuration=chosen, persist_config=False)
        return client.ApiClient(chosen)

    @cached_property
    def core(self) -> client.CoreV1Api:
        """Built-in kinds."""
        return client.CoreV1Api(self.connection)

    @cached_property
    def custom(self) -> client.CustomObjectsApi:
        """Everything else."""
        return client.CustomObjectsApi(self.connection)

    def install_crds(self) -> None:
        """KubeRay's definitions, by server-side apply: they are too large for any other."""
        self._define(map(published_crd, KUBERAY))
        wait_for(self.has_crds)

    def install_gateway(self) -> None:
        """Those of the Gateway API."""
        self._define(published_crd(plural, "gateway.networking.k8s.io") for plural in GATEWAY)

    def _define(self, definitions: Iterable[dict[str, Any]]) -> None:
        for one in definitions:
            self.custom.patch_cluster_custom_object(
                *_CRDS,
                one["metadata"]["name"],
                one,
                field_manager="udair-tests",
                force=True,
                _content_type="application/apply-patch+yaml",
            )

    def has_crds(self) -> bool:
        """Whether RayJobs can be listed."""
        try:
            self.custom.list_cluster_custom_object(GROUP, VERSION, "rayjobs", limit=1)
        except client.ApiException:
            return False
        return True

    @cached_property
    def operated(self) -> bool:
        """Whether an operator acts on RayJobs: one that nobody can run is looked at by it all the same."""
        if self.double:
            return False
        namespace = self.namespace()
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "RayJob",
            "metadata": {"name": "probe"},
            "spec": {"entrypoint": "true"},
        }
        self.custom.create_namespaced_custom_object(GROUP, VERSION, namespace, "rayjobs", body)
        return bool(wait_for(lambda: self.rayjob(namespace, "probe").get("status"), within_s=8))

    def namespace(self, name: str | None = None, **labels: str) -> str:
        """A new namespace, which is deleted in the end."""
        name = name or f"udair-test-{secrets.token_hex(4)}"
        self.core.create_namespace({"metadata": {"name": name, "labels": labels}})
        self._made.append(name)
        with contextlib.suppress(client.ApiException):  # where no controller makes it; pods need it
            self.core.create_namespaced_service_account(name, {"metadata": {"name": "default"}})
        return name

    def rayjob(self, namespace: str, name: str) -> dict[str, Any]:
        """One RayJob."""
        return self.custom.get_namespaced_custom_object(GROUP, VERSION, namespace, "rayjobs", name)

    def rayjobs(self, namespace: str) -> list[dict[str, Any]]:
        """All RayJobs of a namespace."""
        return self.custom.list_namespaced_custom_object(GROUP, VERSION, namespace, "rayjobs")["items"]

    def operator(self, namespace: str) -> OperatorDouble:
        """The operator's double there."""
        return OperatorDouble(self.connection, namespace)

    def account(self, namespace: str, rules: Rules, *, everywhere: Rules = ()) -> Path:
        """A kubeconfig of a new service account that may do there what `rules` say, and more in all namespaces."""
        name = f"udair-test-{secrets.token_hex(3)}"
        rbac = client.RbacAuthorizationV1Api(self.connection)
        subjects = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
        self.core.create_namespaced_service_account(namespace, {"metadata": {"name": name}})
        role = {"metadata": {"name": name}, "rules": _listed(rules)}
        rbac.create_namespaced_role(namespace, role)
        rbac.create_namespaced_role_binding(namespace, _binding(name, "Role", subjects))
        if everywhere:
            rbac.create_cluster_role({"metadata": {"name": name}, "rules": _listed(everywhere)})
            rbac.create_cluster_role_binding(_binding(name, "ClusterRole", subjects))
            self._roles.append(name)
        if self.double is None:
            time.sleep(1)  # until the server's own copy of the rules has them
        token = self.core.create_namespaced_service_account_token(name, namespace, {"spec": {}}).status.token
        return self.kubeconfig_with(token, name)

    def kubeconfig_with(self, token: str, name: str) -> Path:
        """The same cluster by another token."""
        document = yaml.safe_load(self.kubeconfig.read_text())
        current = document.get("current-context")
        context = next(one for one in document["contexts"] if one["name"] == current)
        context["context"]["user"] = name
        for one in document["clusters"]:
            if authority := one["cluster"].get("certificate-authority"):
                one["cluster"]["certificate-authority"] = str(self.kubeconfig.parent / authority)
        document["users"] = [{"name": name, "user": {"token": token}}]
        document["contexts"] = [context]
        path = self.folder / f"kubeconfig-{name}"
        path.write_text(yaml.safe_dump(document))
        return path

    def clean(self) -> None:
        """Delete the namespaces that were made, and what holds them."""
        for name in self._made:
            with contextlib.suppress(client.ApiException):
                for job in self.rayjobs(name):
                    self.custom.patch_namespaced_custom_object(
                        GROUP, VERSION, name, "rayjobs", job["metadata"]["name"], {"metadata": {"finalizers": None}}
                    )
            with contextlib.suppress(client.ApiException):
                self.core.delete_namespace(name)
            with contextlib.suppress(client.ApiException):
                self.operator(name).reap()
        rbac = client.RbacAuthorizationV1Api(self.connection)
        for name in self._roles:
            rbac.delete_cluster_role_binding(name)
            rbac.delete_cluster_role(name)
        self._made.clear()
        self._roles.clear()


def _listed(rules: Rules) -> list[dict[str, Any]]:
    return [{"apiGroups": [group], "resources": [what], "verbs": list(verbs)} for group, what, verbs in rules]


def _binding(name: str, kind: str, subjects: list[dict[str, str]]) -> dict[str, Any]:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    return {"metadata": {"name": name}, "roleRef": ref, "subjects": subjects}


def real_kubeconfig() -> Path | None:
    """Of the real cluster that the suite shall run on, if any."""
    path = os.environ.get("UDAIR_TEST_KUBECONFIG")
    return Path(path) if path else None
