"""The API server as the launcher asks it, whose refusals say what is missing in the cluster."""

from __future__ import annotations

from http import HTTPStatus

from udair_platform.errors import LauncherDown
from udair_platform.kubernetes.answers import ApiRefused, KubernetesAway
from udair_platform.kubernetes.api import KubeApi, Resource
from udair_platform.kubernetes.connection import connection_by
from udair_platform.scheduler.launchers.kuberay.settings import KUBERAY_VERSION, KubeSettings

FIELD_MANAGER = "udair-launcher"
RAYJOBS = Resource("ray.io", "v1", "rayjobs")
PODS = Resource("", "v1", "pods")
EVENTS = Resource("", "v1", "events")


class LauncherApi(KubeApi):
    """An API server that has KubeRay, or ought to."""

    def refusal(self, error: ApiRefused) -> Exception:
        """LauncherDown for what whoever looks after the cluster must mend: no attempt is to blame."""
        if error.code == HTTPStatus.NOT_FOUND and not error.details.get("kind"):
            return LauncherDown(
                f"The cluster has no ray.io/v1 RayJob: install KubeRay {KUBERAY_VERSION}, its CRDs and its operator "
                "(an older one without ray.io/v1 will not do)."
            )
        if error.code == HTTPStatus.UNAUTHORIZED:
            return LauncherDown(
                "The Kubernetes API server does not know us (401): the kubeconfig's credentials are stale."
            )
        if error.code == HTTPStatus.FORBIDDEN and "is forbidden: User" in error.message:
            return LauncherDown(
                f"The launcher's account lacks a permission: {error.message}. "
                "scheduler/launchers/kuberay/rules.py lists all."
            )
        return error


def connect(settings: KubeSettings) -> LauncherApi:
    """The server by the kubeconfig that `settings` name; see `connection_by`.

    Raises:
        LauncherDown: There is no way to it.
    """
    try:
        connection = connection_by(settings.kubeconfig, settings.context)  # the reconciler tries again, and knows when
    except KubernetesAway as error:
        raise LauncherDown(
            f"{error.detail} Set UDAIR_KUBE_KUBECONFIG, or run in a pod with a service account."
        ) from error
    return LauncherApi(connection, FIELD_MANAGER, away_s=2.0)
