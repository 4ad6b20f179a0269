"""The way to an API server of Kubernetes, and who we are there."""

from __future__ import annotations

import os
from pathlib import Path

from kubernetes import client, config

from udair_platform.kubernetes.answers import KubernetesAway
from udair_platform.telemetry import redact_text


def connection_by(kubeconfig: Path | None, context: str | None, *, retries: int | bool = False) -> client.ApiClient:
    """A client by the kubeconfig that is named, by KUBECONFIG, by the pod's own account, or as kubectl does.

    Raises:
        KubernetesAway: There is none of these, or the kubeconfig cannot be read.
    """
    chosen = client.Configuration()
    path = str(kubeconfig or "") or os.environ.get("KUBECONFIG")
    try:
        if path is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=chosen)  # type: ignore[no-untyped-call]
        else:
            config.load_kube_config(path, context, client_configuration=chosen, persist_config=False)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        raise KubernetesAway(f"No way to the Kubernetes API server: {redact_text(str(error))[:300]}.") from error
    chosen.retries = retries
    return client.ApiClient(chosen)
