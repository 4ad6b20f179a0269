"""The Ray Serve application: a thin ingress in front of backbones that hold the adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from udair.data.images import ImageArray
from udair_jobs.storage import open_storage
from udair_platform.serving.ingress import create_ingress
from udair_platform.serving.replica import Backbone, Restored
from udair_platform.serving.router import Route, Router

APP = "udair"


def build_app(
    *,
    base_folder: str,
    base_digest: str,
    base_name: str,
    store_uri: str,
    store_endpoint_url: str | None,
    signing_key_file: str,
    replicas: int = 1,
    threads: int = 0,
    poll_s: float = 1.0,
) -> serve.Application:
    """The application that `serve.run` deploys.

    Args:
        base_folder, base_digest, base_name: The base model, readable on every node.
        store_uri, store_endpoint_url: The platform's store: routes.json and adapters.
        signing_key_file: Path of the key that checks API keys, readable on every node. Its content
            never travels through Ray.
        replicas: Backbones.
        threads: CPU threads of each backbone's forward pass; 0 leaves torch's default.
        poll_s: Seconds after which a promotion is visible.
    """
    # Same domain, same backbone: its adapter is resident there. The domain travels as session id
    # and never as a multiplexed model id, by which Serve would split batches.
    routing: Any = RequestRouterConfig(
        request_router_class="ray.serve.experimental.consistent_hash_router.ConsistentHashRouter",  # type: ignore[arg-type]
        request_router_kwargs={"num_fallback_replicas": 1},
    )
    backbone: Any = serve.deployment(
        Backbone,
        name="Backbone",
        num_replicas=replicas,
        max_ongoing_requests=64,
        max_queued_requests=256,
        request_router_config=routing,
        ray_actor_options={"num_cpus": 0.5},
        graceful_shutdown_timeout_s=5,
    )
    bound = backbone.bind(base_folder, base_digest, store_endpoint_url, threads=threads)

    def ingress_app() -> Any:
        handle: DeploymentHandle[Any] | None = None

        async def infer(domain: str, image: ImageArray, route: Route) -> Restored:
            nonlocal handle
            if handle is None:
                handle = serve.get_deployment_handle("Backbone", app_name=APP)
            restored: Restored = await handle.options(session_id=domain).infer.remote(image, route)
            return restored

        router = Router(open_storage(store_uri, endpoint_url=store_endpoint_url), poll_s)
        return create_ingress(router, Path(signing_key_file).read_bytes(), infer, base_name)

    ingress: Any = serve.deployment(
        serve.ingress(ingress_app)(Ingress),
        name="Ingress",
        num_replicas=1,
        max_ongoing_requests=128,
        ray_actor_options={"num_cpus": 0.1},
        graceful_shutdown_timeout_s=5,
    )
    application: serve.Application = ingress.bind(bound)
    return application


class Ingress:
    """HTTP in front of the backbones; the application is built where the replica runs.

    Args:
        backbone: Handle of the backbone deployment: it makes Serve deploy it with this one.
    """

    def __init__(self, backbone: DeploymentHandle[Any]) -> None:
        self._backbone = backbone
