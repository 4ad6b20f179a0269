"""The composition root: builds each process of the platform from settings.

    python -m udair_platform.bootstrap api | scheduler | serving

It is the only place that knows all the concrete classes. The processes never import each other.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from udair_jobs.storage import Storage, open_storage
from udair_platform.documents import routes
from udair_platform.errors import PlatformError, SettingsError
from udair_platform.operations import first_start
from udair_platform.settings import Settings, load_settings
from udair_platform.state.database import Database, migrate, open_database
from udair_platform.telemetry import configure, logger

if TYPE_CHECKING:
    from ray.serve import Application

    from udair_platform.serving.endpoint import ServingConfig

_log = logger("bootstrap")


def prepare(settings: Settings) -> tuple[Database, Storage, bytes, first_start.FirstStart]:
    """What every process of the control plane stands on; safe to run at every start.

    Returns:
        The migrated database, the platform's store, the signing key, and what the first start made.

    Raises:
        SettingsError: A setting, the signing key or the base model is unusable.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(settings.database_url)
    store = open_storage(settings.store_uri, endpoint_url=settings.store_endpoint_url)
    signing_key = first_start.ensure_signing_key(settings.signing_key_file)
    base = first_start.read_base_model(settings.base_uri, endpoint_url=settings.store_endpoint_url)
    made = first_start.ensure_platform(database, signing_key=signing_key, base=base, tenant=settings.default_tenant)
    routes.publish(database, store)
    return database, store, signing_key, made


def run_migrate(settings: Settings) -> None:
    """Bring the database to the newest schema, and end."""
    migrate(settings.database_url)
    _log.info("the database has the newest schema")


def run_api(settings: Settings) -> None:
    """Serve the control API until a signal."""
    from udair_platform.api.app import create_app
    from udair_platform.console.app import mount_console
    from udair_platform.http.server import serve_http

    database, store, signing_key, _ = prepare(settings)
    app = create_app(
        settings,
        database=database,
        store=store,
        signing_key=signing_key,
        previous_signing_key=_previous_signing_key(settings),
    )
    mount_console(app)
    serve_http(app, settings.api_host, settings.api_port)


def run_scheduler(settings: Settings) -> None:
    """Reconcile until a signal."""
    from udair_platform.http.outbound import Outbound
    from udair_platform.scheduler.launchers import make_launcher
    from udair_platform.scheduler.reconciler import Reconciler, utc_now
    from udair_platform.scheduler.webhook_dispatcher import WebhookDispatcher

    database, store, signing_key, _ = prepare(settings)
    stop = _stop_on_signal()
    outbound = Outbound(allow_private=settings.webhook_allow_private)
    previous = _previous_signing_key(settings)
    deliveries = WebhookDispatcher(database, [signing_key, previous] if previous else [signing_key], outbound, utc_now)
    telling = threading.Thread(target=deliveries.run_forever, args=(stop, settings.webhook_interval_s), daemon=True)
    telling.start()
    launcher = make_launcher(settings)
    try:
        Reconciler(database, store, launcher, settings).run_forever(stop, beat=(settings.home / ALIVE).touch)
    finally:
        launcher.close()


def run_serving(settings: Settings) -> None:
    """Serve pixels until a signal: on the Ray cluster at UDAIR_RAY_GCS, or without one in this process alone."""
    host, _, port = settings.serve_url.removeprefix("http://").rpartition(":")
    previous = settings.previous_signing_key_path
    if previous:
        first_start.read_signing_key(previous)  # refuse to start rather than to refuse requests
    cluster = os.environ.get("UDAIR_RAY_GCS")
    if cluster:
        _serve_on(cluster, settings, host, int(port))
    else:
        from udair_platform.serving.endpoint import serve_alone

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when it has ended
        serve_alone(_serving_config(settings), host, int(port))


def _serve_on(cluster: str, settings: Settings, host: str, port: int) -> None:
    import ray
    from ray import serve

    from udair_platform.serving.deployment import APP, build_app

    stop = _stop_on_signal()
    ray.init(address=cluster, namespace="udair", log_to_driver=False, logging_level=logging.WARNING)
    serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
    serve.run(build_app(_serving_config(settings)), name=APP, route_prefix="/", blocking=False)
    _log.info("serving", url=settings.serve_url)
    stop.wait()


def serving_app(arguments: dict[str, str]) -> Application:
    """The Serve application where something else deploys it, e.g. KubeRay's RayService.

    Settings are those of the environment that every node has; `arguments` are settings that differ, by name.
    """
    from udair_platform.serving.deployment import build_app

    settings = load_settings(**arguments)
    configure(settings.log_format, settings.log_level)
    return build_app(_serving_config(settings))


def _serving_config(settings: Settings) -> ServingConfig:
    from udair.weights import read_manifest
    from udair_jobs.published.base_models import local_folder
    from udair_platform.serving.endpoint import ServingConfig
    from udair_platform.serving.model.config import BackboneConfig
    from udair_platform.serving.routing.autoscaling import Scaling

    with local_folder(settings.base_uri, endpoint_url=settings.store_endpoint_url) as base:
        manifest = read_manifest(base)
    previous = settings.previous_signing_key_path
    backbone = BackboneConfig(
        base_uri=settings.base_uri,
        base_digest=str(manifest["digest"]),
        store_uri=settings.store_uri,
        store_endpoint_url=settings.store_endpoint_url,
        cache=str(settings.home / "serving"),
        slots=settings.serve_slots,
        threads=settings.serve_threads,
        window_s=settings.drift_window_s,
        metrics_names=settings.metrics_names,
    )
    return ServingConfig(
        backbone,
        base_name=str(manifest["name"]),
        signing_key_file=str(settings.signing_key_file),
        previous_signing_key_file=str(previous) if previous else None,
        source_endpoint_url=settings.s3_endpoint_url,
        scaling=Scaling(settings.serve_min_replicas, settings.serve_max_replicas),
        gpus=settings.serve_gpus,
        hold_s=settings.serve_hold_s,
        ingress_resources={"ingress": 0.01} if settings.serve_ingress_on_head else {},
        colocated=not settings.serve_gpus and settings.serve_min_replicas > 0,
    )


ALIVE = "scheduler.alive"  # touched at every turn of the reconciler: what a liveness probe looks at
ROLES = {"api": run_api, "scheduler": run_scheduler, "serving": run_serving, "migrate": run_migrate}


def main(arguments: list[str]) -> int:
    """Run one process of the platform; returns its exit status."""
    if len(arguments) != 1 or arguments[0] not in ROLES:
        print(f"usage: python -m udair_platform.bootstrap {' | '.join(ROLES)}", file=sys.stderr)
        return 2
    try:
        settings = load_settings()
        configure(settings.log_format, settings.log_level)
        ROLES[arguments[0]](settings)
    except SettingsError as error:
        print(f"SettingsError: {error}", file=sys.stderr)
        return 2
    except PlatformError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _previous_signing_key(settings: Settings) -> bytes | None:
    path = settings.previous_signing_key_path
    return None if path is None else first_start.read_signing_key(path)


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
