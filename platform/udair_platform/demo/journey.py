"""The demo itself: bucket, domain, job, gate, promotion, restored pixels, report."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from udair.data.images import ImageArray, decode, encode_png
from udair.data.patches import to_tensor
from udair.metrics import psnr_db
from udair_jobs.storage import open_storage
from udair_platform.client import Client
from udair_platform.client.errors import NotFound
from udair_platform.demo.customer import long_exposure, night_camera, photographs, uploads
from udair_platform.demo.gallery import Case, render, strip
from udair_platform.demo.narrator import Narrator
from udair_platform.local.children import MARK, Child
from udair_platform.local.options import LocalOptions
from udair_platform.local.platform import LocalPlatform, StartFailed
from udair_platform.local.ports import free_ports

BUCKET, PREFIX, DOMAIN = "acme-cams", "night/", "night-cams"
JOB_TIMEOUT_S = 900.0
ROUTE_TIMEOUT_S = 30.0


def run_demo(
    *,
    home: Path | None = None,
    out: Path = Path("runs/demo"),
    images: str | None = None,
    count: int | None = None,
    seed: int = 0,
    steps: int | None = None,
    keep_running: bool = False,
) -> int:
    """Play a customer through the whole journey; returns 0 only if every stage completed.

    A gate that says no is a complete run: the domain keeps the source model, and the report says so.

    Args:
        home: Where the platform keeps its things; a temporary folder if None.
        out: Folder of `report.json`, `gallery.html` and `gallery.png`.
        images: The user's own photographs: a folder or s3:// prefix.
        count: How many photographs.
        seed: Of the camera and the adaptation.
        steps: Adapter-training steps.
        keep_running: Leave the platform up until Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _as_interrupt)
    narrator = Narrator()
    try:
        with contextlib.ExitStack() as stack:
            folder = home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="udair-demo-")))
            report = _journey(stack, narrator, folder, out, images, count, seed, steps)
            _print(report, out)
            if keep_running:
                narrator.say(f"the platform stays up; CLI: udair --help, with --home {folder}. Ctrl-C stops it.")
                threading.Event().wait()
    except KeyboardInterrupt:
        narrator.say("stopped; no process is left behind")
        return 130
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        if os.environ.get("UDAIR_LOG_LEVEL") == "DEBUG":
            raise
        return 2 if getattr(error, "code", "") == "SETTINGS_INVALID" else 1
    return 0


def _journey(
    stack: contextlib.ExitStack,
    narrator: Narrator,
    home: Path,
    out: Path,
    images: str | None,
    count: int | None,
    seed: int,
    steps: int | None,
) -> dict[str, Any]:
    began = time.monotonic()
    with narrator.stage("camera", "photographs, and a phone at night that the base model never saw"):
        clean = photographs(images, count)
        rng = np.random.default_rng(seed)
        degraded = [night_camera(image, rng) for image in clean]
        truths = [long_exposure(image) for image in clean]
    with narrator.stage("s3", "an S3 endpoint with the customer's bucket"):
        endpoint = stack.enter_context(_embedded_s3(home))
        bucket = open_storage(f"s3://{BUCKET}/{PREFIX}", endpoint_url=endpoint)
        _make_bucket(endpoint)
        for key, data in uploads(degraded).items():
            bucket.put(key, data)
        narrator.say(f"{len(degraded)} unlabelled images in s3://{BUCKET}/{PREFIX}, and two objects that are none")
    with narrator.stage("platform", "Ray, control API, scheduler, Ray Serve"):
        options = LocalOptions(home, port=0, serve_port=0, s3_endpoint_url=endpoint)
        platform = stack.enter_context(LocalPlatform(options, narrator.say))
    client = stack.enter_context(Client(platform.url, platform.api_key))
    with narrator.stage("source", "restore every image with the source model, through the endpoint"):
        domain = client.domains.create(_free_name(client), f"s3://{BUCKET}/{PREFIX}")
        source, _ = _restore_all(client, domain.name, degraded, version=0)
    with narrator.stage("job", f"adapt {domain.name} from its unlabelled images"):
        recipe: dict[str, Any] = {"seed": seed} | ({"steps": steps} if steps is not None else {})
        job = domain.adapt(**recipe)
        with narrator.bar() as bar:
            for now in job.stream(timeout_s=JOB_TIMEOUT_S):
                job = now
                bar.update(now.phase or now.state, now.progress_percent or 0.0)
        if job.state != "SUCCEEDED":
            raise StartFailed(f"job {job.id} ended {job.state}: {job.reason}: {job.detail}")
        version = domain.version(job.version or 0)
    gate = version.report()
    narrator.say(f"gate {gate.verdict}, version {version.number}")
    with narrator.stage("promote", "move the champion, if the gate lets it"):
        champion = 0
        if gate.verdict == "PASSED":
            champion = domain.promote(version.number, reason="demo").version
    with narrator.stage("served", "restore every image again, through the endpoint"):
        served, requests_ms = _restore_all(client, domain.name, degraded, version=champion)
    cases = [
        Case(
            f"frame-{index:03d}",
            (camera, before, after, truth),
            (_psnr(camera, truth), _psnr(before, truth), _psnr(after, truth)),
        )
        for index, (camera, before, after, truth) in enumerate(zip(degraded, source, served, truths, strict=True))
    ]
    scores = np.array([case.psnr_db for case in cases]).mean(0)
    snapshot = domain.snapshot(job.snapshot_id).summary or {}
    report = {
        "images": len(degraded),
        "snapshot": snapshot,
        "job": {"id": job.id, "state": job.state, "phases": job.phases},
        "gate": {"verdict": gate.verdict, "checks": [check.model_dump() for check in gate.checks]},
        "psnr_db": {
            name: round(float(value), 3) for name, value in zip(("input", "source", "served"), scores, strict=True)
        },
        "harmed_share": round(float(np.mean([case.gain_db < -0.1 for case in cases])), 3),
        "alias": {"champion": champion},
        "serving": {
            "endpoint": f"{platform.serve_url}/v1/domains/{domain.name}:restore",
            "adapter_version": champion,
            "requests": 2 * len(degraded),
            "p50_ms": round(median(requests_ms), 1),
        },
        "seconds": narrator.seconds | {"start": platform.seconds, "total": round(time.monotonic() - began, 2)},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "gallery.html").write_text(render(cases, report))
    strip(_spread(cases)).save(out / "gallery.png")
    (out / "report.json").write_text(json.dumps(report, indent=1))
    return report


@contextlib.contextmanager
def _embedded_s3(home: Path) -> Iterator[str]:
    """A moto server as the S3 endpoint, spoken to over HTTP only; ended with the demo."""
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    # The embedded endpoint accepts any key; jobs and serving inherit these.
    credentials = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_DEFAULT_REGION": "us-east-1"}
    kept = {name: os.environ.get(name) for name in (*credentials, "AWS_SESSION_TOKEN", "AWS_PROFILE")}
    for name in kept:
        os.environ.pop(name, None)
    os.environ |= credentials
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    child = Child("s3", command, os.environ | {MARK: f"s3-{port}"}, home / "logs" / "s3.log")
    try:
        _await_s3(endpoint, child)
        yield endpoint
    finally:
        child.terminate()
        child.wait(5.0)
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _await_s3(endpoint: str, child: Child) -> None:
    import httpx

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and child.exit_status is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{endpoint}/moto-api/", timeout=2).status_code < 500:
                return
        time.sleep(0.1)
    raise StartFailed(f"the embedded S3 endpoint did not start. The end of {child.log}:\n{child.tail()}")


def _make_bucket(endpoint: str) -> None:
    import boto3

    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)


def _free_name(client: Client) -> str:
    taken = {domain.name for domain in client.domains.list()}
    return next(name for name in (DOMAIN, *(f"{DOMAIN}-{n}" for n in range(2, 10_000))) if name not in taken)


def _restore_all(
    client: Client, domain: str, images: Sequence[ImageArray], *, version: int
) -> tuple[list[ImageArray], list[float]]:
    """Restore every image through the endpoint, once it serves `version`; with milliseconds of each."""
    deadline = time.monotonic() + ROUTE_TIMEOUT_S
    while _served_version(client, domain, images[0]) != str(version):
        if time.monotonic() > deadline:
            raise StartFailed(f"version {version} of {domain} was not served within {ROUTE_TIMEOUT_S:.0f} s.")
        time.sleep(0.3)
    restored, spent_ms = [], []
    for image in images:
        began = time.perf_counter()
        answer = client.restore(encode_png(image), domain)
        spent_ms.append(1000 * (time.perf_counter() - began))
        restored.append(decode(answer.image))
    return restored, spent_ms


def _served_version(client: Client, domain: str, image: ImageArray) -> str | None:
    try:
        return client.restore(encode_png(image), domain).version
    except NotFound:
        return None  # the route of a new domain is on its way


def _psnr(image: ImageArray, truth: ImageArray) -> float:
    return float(psnr_db(to_tensor([image]), to_tensor([truth])))


def _spread(cases: Sequence[Case], rows: int = 4) -> list[Case]:
    """A few cases from worst to best gain."""
    ordered = sorted(cases, key=lambda case: case.gain_db)
    return [ordered[round(index * (len(ordered) - 1) / max(rows - 1, 1))] for index in range(min(rows, len(ordered)))]


def _print(report: dict[str, Any], out: Path) -> None:
    psnr = report["psnr_db"]
    kept = "" if report["alias"]["champion"] else "   the domain keeps the source model"
    print(f"images   {report['images']} usable, {report['snapshot'].get('skipped', 0)} skipped and listed")
    print(f"gate     {report['gate']['verdict']}{kept}")
    print(
        f"psnr     camera {psnr['input']:.2f} dB   source model {psnr['source']:.2f} dB   served {psnr['served']:.2f} dB"
    )
    print(
        f"serving  version {report['alias']['champion']}, {report['serving']['p50_ms']:.0f} ms median, {report['serving']['endpoint']}"
    )
    print(f"seconds  {report['seconds']['total']:.0f} in all, {report['seconds']['job']:.0f} of them adapting")
    print(f"look at  {out / 'gallery.html'}", flush=True)


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt
