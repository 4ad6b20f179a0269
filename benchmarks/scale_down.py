"""A scale-down under load: what callers wait, and how many of them for an adapter, with and without `min_ready`.

python benchmarks/scale_down.py --json benchmarks/results/scale_down.json

The whole data plane on Ray Serve, an ingress before three backbones; each has its own copies of adapters, as on nodes of
its own, and the store is a folder here (an S3 endpoint adds its latency to every cold fetch). Callers ask 48 domains in
turns until every adapter is where its domain lives; under the same load one backbone is taken away. `on_demand` is
`min_ready` 0, `held` is 1. A cold fetch is a request that found no adapter where it came. Both in one run, repeat by repeat;
the model is `tiny`, so that the fetch is seen beside the forward pass.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import load
import numpy as np
import torch
from report import Figure, arguments, publish

from udair.adaptation.adapter import Adapter, adapter_digest, adapter_to_bytes
from udair.bundle import load_bundle
from udair.data.images import encode_png
from udair.weights import packaged
from udair_jobs.storage import NotFound, open_storage
from udair_platform.documents.store_paths import REPORTS, ROUTES, route_shard
from udair_platform.keys import Claims, issue
from udair_platform.local.ports import free_ports
from udair_platform.serving.deployment import APP, build_app
from udair_platform.serving.endpoint import ServingConfig
from udair_platform.serving.model.config import BackboneConfig
from udair_platform.serving.routing.autoscaling import Scaling
from udair_platform.telemetry import configure

BASE, SIDE, DOMAINS, SLOTS, REPLICAS = "tiny", 96, 48, 64, 3
CALLERS = 4
KEY, TENANT = b"b" * 32, "bench"
MODES = {"on_demand": 0, "held": 1}


@dataclass(frozen=True)
class Passed:
    """One scale-down.

    Attributes:
        before, through: Of the callers, with all the backbones and while one went.
        cold: Requests that waited for an adapter after it went.
    """

    before: load.Result
    through: load.Result
    cold: int


def main() -> None:
    configure("console", "WARNING")
    options = arguments(__doc__ or "")
    seconds, repeats = (6.0, 1) if options.quick else (20.0, 3)
    found: dict[str, list[Passed]] = {name: [] for name in MODES}
    for repeat in range(repeats):
        for name, min_ready in MODES.items():
            print(f"{name} {repeat + 1}", flush=True)
            with tempfile.TemporaryDirectory() as folder, _plane(Path(folder), min_ready, options) as plane:
                found[name].append(_scale_down(*plane, seconds))
    figures: dict[str, Figure] = {}
    for name, passed in found.items():
        figures[f"{name}_cold_fetches"] = Figure.median_of([float(one.cold) for one in passed], "requests")
        for phase in ("before", "through"):
            results = [getattr(one, phase) for one in passed]
            for share in (0.5, 0.99):
                values = [result.quantile(share) for result in results]
                figures[f"{name}_{phase}_p{100 * share:.0f}_ms"] = Figure.median_of(values, "ms")
        lost = [float(sum(n for status, n in one.through.statuses.items() if status != "200")) for one in passed]
        figures[f"{name}_not_answered"] = Figure.median_of(lost, "requests")
    asked = {name: [len(one.through.latency_ms) for one in passed] for name, passed in found.items()}
    details = {"base": BASE, "size": [SIDE, SIDE], "callers": CALLERS, "domains": DOMAINS, "replicas": [REPLICAS, 2]}
    publish("scale_down", figures, options, **details, answers=asked)


def _scale_down(
    port: int, said: Callable[[], dict[str, Any]], requests: list[dict[str, Any]], seconds: float
) -> Passed:
    def ask(length_s: float, warm_s: float = 0.0) -> load.Result:
        return load.run(port, requests, list(range(DOMAINS)), callers=CALLERS, seconds=length_s, warm_s=warm_s)

    before = ask(seconds / 2, warm_s=5.0)
    time.sleep(2)
    missed = {replica: report["load"]["misses"] for replica, report in said().items()}
    with ThreadPoolExecutor(1) as pool:
        through = pool.submit(ask, seconds)
        time.sleep(1.5)
        _scale(REPLICAS - 1)
        result = through.result()
    _until(lambda: len(said()) == REPLICAS - 1)
    time.sleep(2)
    return Passed(before, result, sum(report["load"]["misses"] - missed[id] for id, report in said().items()))


@contextmanager
def _plane(folder: Path, min_ready: int, options: argparse.Namespace) -> Iterator[Any]:
    """A data plane: its port, what its replicas last said, and a request of each domain."""
    import ray
    from ray import serve

    store = open_storage(str(folder / "store"))
    digest = _publish(store, min_ready, options.seed)
    (folder / "key").write_bytes(KEY)
    (port,) = free_ports(1)
    # No cache that is shared: every backbone fetches for itself.
    backbone = BackboneConfig(str(packaged(BASE)), digest, store.uri, slots=SLOTS, threads=1, poll_s=0.2, report_s=0.5)
    config = ServingConfig(backbone, BASE, str(folder / "key"), scaling=Scaling(REPLICAS, REPLICAS), spill=64)

    def said() -> dict[str, Any]:
        reports: list[Any] = []
        with suppress(NotFound):  # none has said anything yet
            reports = [json.loads(store.get(item.key)) for item in store.list(REPORTS)]
        return {report["replica"]: report for report in reports if not report.get("ended") and report["load"]}

    pixels = np.random.default_rng(options.seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    headers = {"Authorization": f"Bearer {issue(KEY, Claims('bench', TENANT, ('restore:invoke',)))}"}
    requests = [
        {"path": f"/v1/domains/d{number}:restore", "headers": headers, "body": encode_png(pixels)}
        for number in range(DOMAINS)
    ]
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        serve.run(build_app(config), name=APP, route_prefix="/", external_scaler_enabled=True)
        _until(lambda: len(said()) == REPLICAS)
        yield port, said, requests
    finally:
        serve.shutdown()
        ray.shutdown()


def _publish(store: Any, min_ready: int, seed: int) -> str:
    """Adapters and routes of all domains; the base model's digest."""
    bundle, generator = load_bundle(packaged(BASE)), torch.Generator().manual_seed(seed)
    entries: dict[str, Any] = {}
    for number in range(DOMAINS):
        row = bundle.model.identity()
        film = 0.01 * torch.randn(row.film_BF.shape, generator=generator)
        data = adapter_to_bytes(Adapter(bundle.digest, replace(row, film_BF=film)))
        at = store.at(f"candidates/{number}")
        at.put("adapter.safetensors", data)
        adapter = {"version": 1, "adapter_digest": adapter_digest(data), "candidate_uri": at.uri}
        entries[f"{TENANT}/d{number}"] = adapter | {"min_ready": min_ready}
    key = route_shard("d-00", 1, "0")
    document = {
        "schema_version": 2,
        "generation": 1,
        "shards": {"d-00": {"generation": 1, "key": key, "previous": None}},
        "revoked_keys": [],
        "base_model": {"name": BASE, "digest": bundle.digest, "uri": f"packaged:{BASE}"},
    }
    store.put(key, json.dumps(entries).encode())
    store.put(ROUTES, json.dumps(document).encode())
    return bundle.digest


def _scale(replicas: int) -> None:
    """Say how many backbones there shall be, as an autoscaler does."""
    import ray
    from ray.serve._private.common import DeploymentID
    from ray.serve.context import _get_global_client

    controller: Any = _get_global_client()
    ray.get(controller._controller.update_deployment_replicas.remote(DeploymentID("Backbone", APP), replicas))


def _until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"the data plane did not get there within {within_s:g} s")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
