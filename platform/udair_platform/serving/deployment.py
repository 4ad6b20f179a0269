"""The Ray Serve application: a thin ingress in front of backbones that hold the adapters, or inside each of them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import DeploymentStatusOverview

from udair.data.images import ImageArray
from udair_jobs.storage import open_storage
from udair_platform.errors import PlatformError, TooManyRequests, Unavailable
from udair_platform.serving.endpoint import HttpBackbone, ServingConfig, ingress_of
from udair_platform.serving.model.replica import Backbone, RestoredImage
from udair_platform.serving.observation.windows import UNSEEN
from udair_platform.serving.request import RestoreRequest
from udair_platform.serving.routing.autoscaling import PixelPolicy, Scaling
from udair_platform.serving.routing.router import Router

APP = "udair"
_FAILED = ("UNHEALTHY", "DEPLOY_FAILED")  # Serve gave up on starting one
_START_S = 30  # after which whoever was not held any longer may ask again


def build_app(config: ServingConfig) -> serve.Application:
    """The application that `serve.run` deploys."""
    return _colocated(config) if config.colocated else _apart(config)


def _apart(config: ServingConfig) -> serve.Application:
    # Same domain, same backbone: its adapter is resident there. The domain travels as session id
    # and never as a multiplexed model id, by which Serve would split batches.
    routing: Any = RequestRouterConfig(
        request_router_class="udair_platform.serving.routing.affinity.AdapterAffinityRouter",  # type: ignore[arg-type]
        request_router_kwargs={"spill": config.spill},
    )
    backbone: Any = serve.deployment(
        Backbone,
        name="Backbone",
        max_ongoing_requests=64,
        max_queued_requests=256,
        request_router_config=routing,
        **_resources(config),
    )
    ingress: Any = serve.deployment(
        serve.ingress()(Ingress),
        name="Ingress",
        num_replicas=config.ingresses,
        max_ongoing_requests=256,
        max_queued_requests=512,
        ray_actor_options={"num_cpus": 0.1, "resources": config.ingress_resources},
        graceful_shutdown_timeout_s=config.drain_s,
    )
    application: serve.Application = ingress.bind(config, backbone.bind(config.backbone))
    return application


def _colocated(config: ServingConfig) -> serve.Application:
    # Serve lets more in than the engine takes: the engine refuses with 429, and says when to come back.
    backbone: Any = serve.deployment(
        serve.ingress()(HttpBackbone),
        name="Backbone",
        max_ongoing_requests=config.backbone.max_waiting + 64,
        max_queued_requests=512,
        **_resources(config),
    )
    application: serve.Application = backbone.bind(config)
    return application


def _resources(config: ServingConfig) -> dict[str, Any]:
    scaling = config.scaling
    fixed = scaling.min_replicas == scaling.max_replicas
    return {
        "ray_actor_options": {"num_cpus": config.cpus, "num_gpus": config.gpus},
        "graceful_shutdown_timeout_s": config.drain_s,
        "health_check_period_s": 5,
        **({"num_replicas": scaling.min_replicas} if fixed else {"autoscaling_config": _autoscaling(scaling)}),
    }


class Ingress:
    """HTTP in front of the backbones.

    Args:
        config: Of the application.
        backbone: Handle of the backbone deployment: it makes Serve deploy it with this one.
    """

    def __init__(self, config: ServingConfig, backbone: DeploymentHandle[Any]) -> None:
        self._config, self._backbone = config, backbone

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve where the replica runs."""
        backbones, config = Backbones(self._config), self._config.backbone
        store = open_storage(config.store_uri, endpoint_url=config.store_endpoint_url)
        router = Router(store, config.poll_s, Path(config.cache) / "routes.json" if config.cache else None)
        router.watch()
        return ingress_of(
            self._config, router, backbones.infer, store=store, ready=backbones.ready, describe=backbones.describe
        )


class Backbones:
    """The backbones behind one ingress; where there may be none, requests are held while one starts.

    Args:
        config: Of the application.
    """

    def __init__(self, config: ServingConfig) -> None:
        self._handle: DeploymentHandle[Any] | None = None
        self._may_sleep = config.scaling.min_replicas == 0
        self._patience_s = config.backbone.timeout_s + config.hold_s if self._may_sleep else None

    async def infer(self, asked: RestoreRequest, image: ImageArray) -> RestoredImage | PlatformError:
        """Restore one image; if its replica dies on the way, another does, once."""
        for last in (False, True):
            try:
                coming = _answer(self._handle_for(asked.name).infer.remote(asked, image))
                answer: RestoredImage | PlatformError = await asyncio.wait_for(coming, self._patience_s)
                return answer
            except TimeoutError:
                if self._patience_s is None:  # not ours
                    raise
                return Unavailable(
                    f"No replica answered within {self._patience_s:g} s; where none ran, one is being started. "
                    "Send it again.",
                    retry_after_s=_START_S,
                )
            except BackPressureError:
                return TooManyRequests("Every replica of the backbone has a full queue; send it again later.")
            except DeploymentUnavailableError as error:
                return Unavailable(f"The backbone is not deployed: {error}")
            except RayActorError as error:  # it died; restoring twice restores the same
                if last:
                    return Unavailable(f"The replica that worked on it was lost: {type(error).__name__}.")
        raise AssertionError("the last try returns")

    async def ready(self) -> bool:
        """Whether a backbone answers within two seconds; where none need run, that the last one asked for could start."""
        try:
            if self._may_sleep:
                return (await asyncio.to_thread(_backbones)).status.value not in _FAILED
            return bool(await asyncio.wait_for(_answer(self._handle_for("ready").ready.remote()), 2.0))
        except Exception:  # whatever stands in the way, it is not ready
            return False

    async def describe(self, name: str) -> dict[str, Any]:
        """What the replica of a domain says of it; none is started for that."""
        if self._may_sleep and not await asyncio.to_thread(_running):
            return {"replica": None, "blocked": None, "held": None, "unheld": "", **UNSEEN}
        data: dict[str, Any] = await self._handle_for(name).describe.remote(name)
        return data

    def _handle_for(self, session: str) -> DeploymentHandle[Any]:
        if self._handle is None:
            self._handle = serve.get_deployment_handle("Backbone", app_name=APP)
        return self._handle.options(session_id=session)


async def _answer(response: Any) -> Any:
    return await response


def _running() -> int:
    """Backbones that answer, as Serve counts them."""
    return sum(count for state, count in _backbones().replica_states.items() if state == "RUNNING")


def _backbones() -> DeploymentStatusOverview:
    return serve.status().applications[APP].deployments["Backbone"]


def _autoscaling(scaling: Scaling) -> AutoscalingConfig:
    return AutoscalingConfig(
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.max_replicas,
        # The policy has delays of its own.
        upscale_delay_s=0,
        downscale_delay_s=0,
        look_back_period_s=5,
        policy=AutoscalingPolicy(  # type: ignore[no-untyped-call]
            policy_function=PixelPolicy, policy_kwargs=asdict(scaling)
        ),
    )
