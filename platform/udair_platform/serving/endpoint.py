"""A backbone that answers HTTP itself: inside Ray Serve, or as a process of its own where there is no Ray."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from udair_platform.http.server import serve_http
from udair_platform.serving.http.app import create_ingress
from udair_platform.serving.http.restore import Infer
from udair_platform.serving.model.config import BackboneConfig
from udair_platform.serving.model.replica import Backbone
from udair_platform.serving.routing.autoscaling import Scaling
from udair_platform.serving.routing.router import Router


@dataclass(frozen=True)
class ServingConfig:
    """How the application is set up.

    Attributes:
        backbone: Of every replica.
        base_name: Name of the base model, for answers' headers.
        signing_key_file: Path of the key that checks API keys, readable on every node. Its content
            never travels through Ray.
        previous_signing_key_file: As above, while the keys that it signed shall still be good.
        source_endpoint_url: S3 endpoint of customers' buckets, if not AWS.
        scaling: Bounds and speeds of the number of backbones.
        ingresses: Replicas of the ingress.
        cpus, gpus: Of each backbone.
        spill: Requests on a domain's own replica beyond which the next ones go to others, too.
        drain_s: How long a replica that is stopped may work on what it has.
        hold_s: Where no replica need run: how long a request waits for the one that is started for it, and the
            longest that the model may take on top.
        ingress_resources: Ray's resources that an ingress needs, beside a tenth of a processor.
        colocated: Answer HTTP in the backbones' own processes. On CPUs that saves a hop of every image and
            its copies; a GPU wants ingresses of its own, so that formats do not take its time.
    """

    backbone: BackboneConfig
    base_name: str
    signing_key_file: str
    previous_signing_key_file: str | None = None
    source_endpoint_url: str | None = None
    scaling: Scaling = field(default_factory=Scaling)
    ingresses: int = 1
    cpus: float = 0.5
    gpus: float = 0.0
    spill: int = 4
    drain_s: float = 20.0
    hold_s: float = 45.0
    ingress_resources: dict[str, float] = field(default_factory=dict)
    colocated: bool = False

    def __post_init__(self) -> None:
        if self.colocated and not self.scaling.min_replicas:
            raise ValueError("colocated with no replicas at the least; expected an ingress apart: it holds what comes.")


class HttpBackbone(Backbone):
    """A backbone that answers HTTP itself."""

    def __init__(self, config: ServingConfig) -> None:
        super().__init__(config.backbone, affine=False)
        self._serving = config

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve where the replica runs."""
        return self.app()

    def app(self, **more: Any) -> FastAPI:
        """Its HTTP application; `more` is for `create_ingress`."""

        async def ready() -> bool:
            return self.ready()

        async def describe(name: str) -> dict[str, Any]:
            return self.describe(name)

        return ingress_of(
            self._serving, self.router, self.infer, store=self.store, ready=ready, describe=describe, **more
        )


def ingress_of(config: ServingConfig, router: Router, infer: Infer, **parts: Any) -> FastAPI:
    """The HTTP application in front of `infer`; `parts` are for `create_ingress`."""
    previous = config.previous_signing_key_file
    return create_ingress(
        router,
        Path(config.signing_key_file).read_bytes(),
        infer,
        config.base_name,
        previous_signing_key=Path(previous).read_bytes() if previous else None,
        source_endpoint_url=config.source_endpoint_url,
        metrics_names=config.backbone.metrics_names,
        **{"emit_request_id": False} | parts,  # Serve's proxy emits it
    )


def serve_alone(config: ServingConfig, host: str, port: int) -> None:
    """Answer HTTP with one backbone in this process, until a signal: no Ray, no second replica, no exporter."""
    backbone = HttpBackbone(config)
    try:
        serve_http(backbone.app(emit_request_id=True), host, port, streams=True)
    finally:
        backbone.shutdown()
