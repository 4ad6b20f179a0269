"""Serving: our endpoint beside the raw forward pass and beside other servers, and what a domain costs.

python benchmarks/serving.py --json benchmarks/results/serving.json [--peers PYTHON]

Images are 256 x 256 photographs in JPEG, answers are PNG, the model is the shipped `base`; the load comes from a
process of its own. `raw` is one process with as many threads as there are cores, in batches of four, on
tensors in memory. `serve` is the whole data plane: keys checked, routes looked up, Ray Serve's proxy, an
ingress, a backbone of one thread per core; `serve_haproxy` is the same behind HAProxy, in Serve's
throughput mode. `--peers` names a Python that has litserve and bentoml beside torch; FastAPI runs anyway. All
servers have the same bundle and the same number of workers of one thread. Every request of ours names one of sixteen
domains, and has its adapter; so do the peers' (`serving_peers.py`), but for those that are `_plain`.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import load
import numpy as np
import torch
from PIL import Image
from report import Figure, publish

from udair.adaptation.adapter import Adapter, adapter_digest, adapter_to_bytes
from udair.adaptation.bank import AdapterBank
from udair.bundle import Bundle, load_bundle
from udair.data.scenes import dead_leaves
from udair.models.served import as_served
from udair.weights import packaged, read_manifest
from udair_jobs.storage import open_storage
from udair_platform.documents.store_paths import ROUTES, route_shard
from udair_platform.keys import Claims, issue
from udair_platform.serving.model.adapters import Adapters
from udair_platform.serving.model.engine import Engine
from udair_platform.serving.routing.table import Target
from udair_platform.telemetry import configure

HERE = Path(__file__).parent
BASE, SIDE, CORES = "base", 256, len(os.sched_getaffinity(0))
KEY = b"b" * 32
TENANT, NEIGHBOUR = "bench", "neighbour"
CALLERS, FLOOD = 8, 32
DOMAINS = 16  # that requests are of, in turns


def main() -> None:
    configure("console", "WARNING")
    options = _options()
    seconds, repeats = (6.0, 1) if options.quick else (20.0, 3)
    images = _images(16, options.seed)
    figures: dict[str, Figure] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    rates: dict[str, list[float]] = {}
    latency: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plane = _Store(folder, options.seed)
        plane.write(64 if options.quick else 1000)
        servers: dict[str, Callable[[], Any]] = {
            "serve": lambda: _ours(folder, plane),
            "serve_haproxy": lambda: _ours(folder, plane, haproxy=True),
            "serve_apart": lambda: _ours(folder, plane, colocated=False),
        }
        pythons = {"fastapi": sys.executable}
        if options.peers:
            pythons |= dict.fromkeys(("litserve", "bentoml"), options.peers)
        for name, python in pythons.items():
            servers[name] = partial(_peer, name, python, DOMAINS)
            servers[f"{name}_plain"] = partial(_peer, name, python, 0)
        for repeat in range(repeats):
            _say(f"raw {repeat + 1}")
            rates.setdefault("raw", []).append(_raw(images))
            for name, start in servers.items():
                _say(f"{name} {repeat + 1}")
                with start() as (port, requests):
                    measured = _measure(port, requests(images), name, seconds)
                    rates.setdefault(name, []).append(measured.per_s)
                    latency.setdefault(name, []).append(measured.quantile(0.5))
                    if repeat == 0:
                        curves[name] = _curve(port, requests(images), seconds / 2)
                    if repeat == 0 and name == "serve":
                        figures |= _zipf(port, plane, images, seconds)
                        figures |= _flood(port, images, seconds)
        figures |= _ratios(rates)
        figures |= {f"{name}_p50_ms": Figure.median_of(found, "ms") for name, found in latency.items()}
        figures |= _mixed(options.seed, repeats)
        figures |= _memory(plane)
        figures |= _woken(folder, plane, images[0])
        figures |= _cold_and_swap(folder, plane, 60 if options.quick else 200)
    publish("serving", figures, options, base=BASE, size=[SIDE, SIDE], callers=CALLERS, workers=CORES, curves=curves)
    if options.picture:
        _draw(curves, options.picture)


def _ratios(rates: dict[str, list[float]]) -> dict[str, Figure]:
    figures = {f"{name}_images_per_s": Figure.median_of(found, "1/s") for name, found in rates.items()}
    ours = [max(pair) for pair in zip(rates["serve"], rates["serve_haproxy"], strict=True)]
    peers = [name for name in rates if name != "raw" and not name.startswith("serve")]
    plain = [name for name in peers if name.endswith("_plain")]
    best, best_plain = (
        max(some, key=lambda name: median(rates[name])) for some in ([p for p in peers if p not in plain], plain)
    )

    def over(mine: list[float], other: str, floor: float | None = None, aim: float | None = None) -> Figure:
        return Figure.median_of([a / b for a, b in zip(mine, rates[other], strict=True)], "times", floor, aim)

    figures["serve_over_raw_forward"] = over(ours, "raw", 0.95, 0.98)
    figures["serve_python_proxy_over_raw_forward"] = over(rates["serve"], "raw")
    figures["serve_apart_over_raw_forward"] = over(rates["serve_apart"], "raw")
    figures["serve_over_best_peer"] = over(ours, best, 1.0, 1.5)
    figures["serve_over_best_peer_plain"] = over(ours, best_plain, 0.95, 1.0)
    figures |= {f"serve_over_{name}": over(ours, name) for name in peers}
    return figures


def _raw(images: list[bytes]) -> float:
    """Images per second of one process that does nothing else; the faster of threads in one pass, and passes apart."""
    code = (
        "import sys, time, torch; sys.path.insert(0, sys.argv[1]); from serving_peers import model_of, forward\n"
        "model = model_of(sys.argv[2]); torch.set_num_threads(int(sys.argv[3]))\n"
        "batch = list(torch.rand(4, 3, 256, 256)); forward(model, batch); forward(model, batch)\n"
        "began, count = time.perf_counter(), 0\n"
        "while time.perf_counter() - began < 10: forward(model, batch); count += 4\n"
        "print(count / (time.perf_counter() - began))"
    )
    command = [sys.executable, "-c", code, str(HERE), str(packaged(BASE)), str(CORES)]
    environment = os.environ | {"OMP_NUM_THREADS": str(CORES)}
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


class _Store:
    """The platform's store with adapters of many domains in it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.store = open_storage(str(folder / "store"))
        self.bundle: Bundle = load_bundle(packaged(BASE))
        self.generator = torch.Generator().manual_seed(seed)
        self.targets: list[Target] = []

    def adapter(self) -> Adapter:
        """A small random adapter: every number of its row is in use."""
        row = self.bundle.model.identity()
        film = 0.01 * torch.randn(row.film_BF.shape, generator=self.generator)
        readout = 0.001 * torch.randn(row.readout_BOC.shape, generator=self.generator)
        return Adapter(self.bundle.digest, replace(row, film_BF=film, readout_BOC=readout))

    def add(self) -> Target:
        """Publish one more adapter."""
        data = adapter_to_bytes(self.adapter())
        at = self.store.at(f"candidates/{len(self.targets)}")
        at.put("adapter.safetensors", data)
        self.targets.append(Target(1, adapter_digest(data), at.uri))
        return self.targets[-1]

    def write(self, domains: int) -> None:
        """Publish adapters and the routes of so many domains."""
        while len(self.targets) < domains:
            self.add()
        entries = {f"{TENANT}/d{number}": vars(target) for number, target in enumerate(self.targets)}
        entries[f"{NEIGHBOUR}/d0"] = vars(self.targets[0])
        document = {
            "schema_version": 2,
            "generation": 1,
            "shards": {"d-00": {"generation": 1, "key": route_shard("d-00", 1, "0"), "previous": None}},
            "revoked_keys": [],
            "base_model": {"name": BASE, "digest": self.bundle.digest, "uri": f"packaged:{BASE}"},
        }
        self.store.put(route_shard("d-00", 1, "0"), json.dumps(entries).encode())
        self.store.put(ROUTES, json.dumps(document).encode())


@contextmanager
def _process(command: list[str], port: int, environment: dict[str, str], path: str) -> Iterator[None]:
    """A server, ended with all its processes."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | environment, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 180
            while not _answers(port, path):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise SystemExit(f"{command} does not answer: {output.read()[-3000:].decode()}")
                time.sleep(0.3)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int, path: str) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3)
    except urllib.error.HTTPError as error:
        return path == "/" and error.code < 500
    except OSError:
        return False
    return True


@contextmanager
def _ours(
    folder: Path, plane: _Store, *, haproxy: bool = False, colocated: bool = True, least: int = CORES
) -> Iterator[tuple[int, Callable[[list[bytes]], list[Any]]]]:
    port = _free_port()
    environment = {
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",  # as `udair up` sets it
    }
    if haproxy:
        environment |= {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        }
    (folder / "key").write_bytes(KEY)
    settings = {
        "base": str(packaged(BASE)),
        "digest": plane.bundle.digest,
        "store": plane.store.uri,
        "port": port,
        "cache": str(folder / f"cache-{port}"),
        "key": str(folder / "key"),
        "colocated": colocated,
        "least": least,
    }
    headers = _bearer()

    def requests(images: list[bytes], domains: int = DOMAINS) -> list[Any]:
        return [
            {
                "path": f"/v1/domains/d{number % domains}:restore",
                "headers": headers,
                "body": images[number % len(images)],
            }
            for number in range(max(len(images), domains))
        ]

    with _process(
        [sys.executable, str(HERE / "serving.py"), "--serve", json.dumps(settings)], port, environment, "/readyz"
    ):
        yield port, requests


@contextmanager
def _peer(name: str, python: str, adapters: int) -> Iterator[tuple[int, Callable[[list[bytes]], list[Any]]]]:
    port = _free_port()
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE.parent}:{HERE}", "BENCH_ADAPTERS": str(adapters)}

    def asked(number: int, body: bytes) -> dict[str, Any]:
        domain = f"d{number % max(adapters, 1)}"
        if name == "fastapi":
            return {"path": f"/restore?domain={domain}", "headers": {"Content-Type": "image/jpeg"}, "body": body}
        head = f'--x\r\nContent-Disposition: form-data; name="images"; filename="{domain}.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=x", "X-Domain": domain}
        return {"path": "/restore", "headers": headers, "body": head.encode() + body + b"\r\n--x--\r\n"}

    def requests(images: list[bytes]) -> list[Any]:
        return [asked(number, body) for number, body in enumerate(images)]

    command = [python, str(HERE / "serving_peers.py"), name, str(port), str(packaged(BASE)), str(CORES)]
    with _process(command, port, environment, "/"):
        time.sleep(3)  # its workers load their models after it answers
        yield port, requests


def _measure(port: int, requests: list[Any], name: str, seconds: float) -> load.Result:
    found = load.run(port, requests, list(range(len(requests))), callers=CALLERS, seconds=seconds, warm_s=3.0)
    if set(found.statuses) != {"200"}:
        raise SystemExit(f"{name} answered {found.statuses}")
    return found


def _curve(port: int, requests: list[Any], seconds: float) -> list[dict[str, float]]:
    points = []
    for callers in (1, 2, 4, 8, 16, 32):
        found = load.run(port, requests, list(range(len(requests))), callers=callers, seconds=seconds)
        if found.latency_ms:
            points.append(
                {
                    "callers": callers,
                    "per_s": round(found.per_s, 2),
                    "p50_ms": round(found.quantile(0.5), 1),
                    "p99_ms": round(found.quantile(0.99), 1),
                    "refused": float(found.statuses.get("429", 0)),
                }
            )
    return points


def _zipf(port: int, plane: _Store, images: list[bytes], seconds: float) -> dict[str, Figure]:
    """A thousand domains, the n-th asked for 1/n as often as the first, beside one domain."""
    count = len(plane.targets)
    headers = _bearer()
    requests = [
        {"path": f"/v1/domains/d{number}:restore", "headers": headers, "body": images[number % len(images)]}
        for number in range(count)
    ]
    shares = 1 / np.arange(1, count + 1)
    order = np.random.default_rng(0).choice(count, 20_000, p=shares / shares.sum()).tolist()
    ratios = []
    for _ in range(2):
        one = load.run(port, requests[:1], [0], callers=CALLERS // 2, seconds=seconds, warm_s=2.0)
        many = load.run(port, requests, order, callers=CALLERS // 2, seconds=seconds, warm_s=0.0)
        ratios.append(many.quantile(0.99) / one.quantile(0.99))
    return {"zipf_1000_p99_ratio": Figure.median_of(ratios, "times", 1.3)}


def _flood(port: int, images: list[bytes], seconds: float) -> dict[str, Figure]:
    """One caller of one tenant, beside thirty-two of another and beside none."""

    def asks(tenant: str) -> list[dict[str, Any]]:
        path = "/v1/domains/d0:restore"
        return [{"path": path, "headers": _bearer(tenant), "body": body} for body in images]

    def neighbour() -> float:
        return load.run(
            port, asks(NEIGHBOUR), list(range(len(images))), callers=1, seconds=seconds, warm_s=2.0
        ).quantile(0.99)

    ratios = []
    for _ in range(2):
        alone = neighbour()
        with ThreadPoolExecutor() as pool:
            order = list(range(len(images)))
            flood = pool.submit(load.run, port, asks(TENANT), order, callers=FLOOD, seconds=seconds + 4.0)
            time.sleep(1.0)
            ratios.append(neighbour() / alone)
            flood.result()
    return {"flood_neighbour_p99_ratio": Figure.median_of(ratios, "times", 2.0)}


def _woken(folder: Path, plane: _Store, image: bytes) -> dict[str, Figure]:
    """The first request to a platform that sleeps: held until a replica has started. Everything is on this machine."""
    spent = []
    with _ours(folder, plane, colocated=False, least=0) as (port, _):
        url = f"http://127.0.0.1:{port}/v1/domains/d0"
        for _ in range(3):
            asleep = urllib.request.Request(f"{url}/route", headers=_bearer())
            while json.load(urllib.request.urlopen(asleep, timeout=30))["replica"]:
                time.sleep(1.0)
            time.sleep(5.0)  # its replica ends
            began = time.perf_counter()
            urllib.request.urlopen(urllib.request.Request(f"{url}:restore", image, _bearer()), timeout=120).read()
            spent.append(time.perf_counter() - began)
    return {"wake_from_zero_s": Figure.median_of(spent, "s")}


def _mixed(seed: int, repeats: int) -> dict[str, Figure]:
    """Batches of 64 domains beside batches of one domain, through the engine."""
    torch.set_num_threads(1)
    bundle = load_bundle(packaged(BASE))
    model = as_served(bundle.model)
    engine = Engine(model, 4 * SIDE**2, max_waiting=10_000)
    rows = []
    generator = torch.Generator().manual_seed(seed)
    for _ in range(64):
        row = model.identity()
        rows.append(replace(row, film_BF=0.01 * torch.randn(row.film_BF.shape, generator=generator)))
    image = dead_leaves(1, SIDE, seed=seed)[0]

    async def rate(chosen: list[int]) -> float:
        began = time.perf_counter()
        await asyncio.gather(*(engine.submit(image, rows[index], name=str(index), timeout_s=600) for index in chosen))
        return len(chosen) / (time.perf_counter() - began)

    ratios = []
    for _ in range(repeats + 1):
        mixed = asyncio.run(rate(list(range(64))))
        single = asyncio.run(rate([0] * 64))
        ratios.append(mixed / single)
    engine.close()
    return {"mixed_over_single_domain": Figure.median_of(ratios[1:], "times", 0.95, 1.0)}


def _memory(plane: _Store) -> dict[str, Figure]:
    """Resident memory: 16 whole models beside one with a bank, and what one more adapter adds."""
    size = len(adapter_to_bytes(plane.adapter()))

    def resident(domains: int, whole: bool) -> int:
        command = [
            sys.executable,
            str(HERE / "serving.py"),
            "--resident",
            str(packaged(BASE)),
            str(domains),
            str(int(whole)),
        ]
        # One of five starts with forty megabytes fewer, whatever is asked of it.
        found = [int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(5)]
        return int(median(found))

    none = resident(0, True)
    usual, ours = resident(16, True) - none, resident(16, False) - none
    few, many = resident(100, False), resident(1100, False)
    return {
        "memory_saving_16_domains": Figure(round(usual / ours, 2), "times", 10.0, 14.0),
        "memory_per_domain_over_adapter": Figure(round((many - few) / 1000 / size, 3), "times", 1.1),
        "adapter_bytes": Figure(size, "bytes"),
    }


def _resident(folder: str, domains: int, whole: bool) -> None:
    """Print this process's resident bytes with so many domains ready to be served."""
    torch.set_num_threads(1)
    image = torch.rand(1, 3, SIDE, SIDE)
    bundle = load_bundle(Path(folder), replay=False)
    kept: list[Any] = [bundle.model]
    if whole:
        kept = [load_bundle(Path(folder), replay=False).model for _ in range(domains)]
    else:
        bank = AdapterBank(bundle.model, bundle.digest, domains)
        for number in range(domains):
            row = bundle.model.identity()
            bank.put(str(number), Adapter(bundle.digest, replace(row, film_BF=row.film_BF + 1e-4 * number)))
        kept.append(bank)
    with torch.inference_mode():
        for model in kept[:1]:  # working memory is the same for both
            model(image)
    if whole:
        del bundle
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(pages * os.sysconf("SC_PAGE_SIZE"))


def _cold_and_swap(folder: Path, plane: _Store, count: int) -> dict[str, Figure]:
    """What the first request of a cold domain waits for beyond a warm one, from an S3 endpoint over HTTP."""
    environment = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= environment
    port = _free_port()
    moto = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    with _process(moto, port, environment, "/moto-api/"):
        import boto3

        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="bench")
        store = open_storage("s3://bench/platform", endpoint_url=url)
        targets = []
        for number in range(count):
            data = adapter_to_bytes(plane.adapter())
            at = store.at(f"candidates/{number}")
            at.put("adapter.safetensors", data)
            targets.append(Target(1, adapter_digest(data), at.uri))
        adapters = Adapters(plane.bundle, count, folder / "cold", store=store)
        disk = Adapters(plane.bundle, count, folder / "cold", store=store)

        async def spent(bank: Adapters, chosen: list[Target]) -> list[float]:
            found = []
            for target in chosen:
                began = time.perf_counter()
                await bank.row(target)
                found.append(1000 * (time.perf_counter() - began))
            return found

        asyncio.run(spent(adapters, targets[:5]))  # connections and imports
        cold = asyncio.run(spent(adapters, targets[5:]))
        from_disk = asyncio.run(spent(disk, targets[5:]))
        # A resident domain to a new version: fetched beside the old one, so that a request pays for taking
        # the new row instead of the old.
        swap = asyncio.run(spent(adapters, targets[5:]))
    return {
        "cold_adapter_p50_ms": Figure(round(float(np.quantile(cold, 0.5)), 2), "ms", 15.0),
        "cold_adapter_p99_ms": Figure(round(float(np.quantile(cold, 0.99)), 2), "ms", 300.0, 60.0),
        "cold_from_disk_p50_ms": Figure(round(float(np.quantile(from_disk, 0.5)), 2), "ms"),
        "swap_p50_ms": Figure(round(float(np.quantile(swap, 0.5)), 3), "ms", 10.0, 1.0),
    }


def _serve(settings: dict[str, Any]) -> None:
    """Our data plane, until a signal."""
    import ray
    from ray import serve

    from udair_platform.serving.deployment import APP, build_app
    from udair_platform.serving.endpoint import ServingConfig
    from udair_platform.serving.model.config import BackboneConfig
    from udair_platform.serving.routing.autoscaling import Scaling

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": settings["port"]})
    backbone = BackboneConfig(
        settings["base"], settings["digest"], settings["store"], cache=settings["cache"], threads=1, report_s=30.0
    )
    config = ServingConfig(
        backbone,
        str(read_manifest(Path(settings["base"]))["name"]),
        settings["key"],
        scaling=Scaling(settings["least"], CORES, down_after_s=5.0),
        spill=1,
        colocated=settings["colocated"],
    )
    serve.run(build_app(config), name=APP, route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


def _bearer(tenant: str = TENANT) -> dict[str, str]:
    token = issue(KEY, Claims("bench", tenant, ("restore:invoke",)))
    return {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}


def _images(count: int, seed: int) -> list[bytes]:
    found = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(dead_leaves(1, SIDE, seed=seed + number)[0]).save(buffer, "JPEG", quality=90)
        found.append(buffer.getvalue())
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, points in curves.items():
        line = axes.plot([p["per_s"] for p in points], [p["p50_ms"] for p in points], marker="o", label=name)
        axes.plot([p["per_s"] for p in points], [p["p99_ms"] for p in points], ls=":", color=line[0].get_color())
    axes.set(
        xlabel="images per second (256 x 256)", ylabel="latency, ms: p50, dotted p99", yscale="log", xlim=(0, None)
    )
    axes.legend()
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> Any:
    import argparse

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--picture", type=Path, help="draw throughput and latency there")
    parser.add_argument("--peers", help="a Python with litserve, bentoml and torch")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(json.loads(sys.argv[2]))
    elif sys.argv[1:2] == ["--resident"]:
        _resident(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1")
    else:
        main()
