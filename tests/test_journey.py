"""The three journeys over real parts: S3 over HTTP, a Ray cluster, Ray Serve, SQLite, the public API and CLI."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import httpx
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image
from processes import listens

from udair.data.images import decode, encode_png
from udair_platform.client import Client, NotFound
from udair_platform.demo.customer import night_camera, photographs
from udair_platform.local.children import marked
from udair_platform.local.options import LocalOptions
from udair_platform.local.platform import LocalPlatform
from udair_platform.serving.observation.metrics import DomainLabels

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def platform(s3, tmp_path_factory):
    options = LocalOptions(
        tmp_path_factory.mktemp("home"), port=0, serve_port=0, s3_endpoint_url=s3.endpoint_url, launcher="ray"
    )
    running = LocalPlatform(options)
    with running:
        yield running
    left = {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in marked(running._mark)}
    assert not left, f"a stopped platform leaves no process behind: {left}"


@pytest.fixture(scope="module")
def client(platform):
    with Client(platform.url, platform.api_key) as made:
        yield made


@pytest.fixture(scope="module")
def dusk():
    rng = np.random.default_rng(0)
    return [night_camera(photo, rng) for photo in photographs(None, 12)]


def _cli(platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "udair_platform.cli", *arguments]
    environment = os.environ | {"UDAIR_URL": platform.url, "UDAIR_API_KEY": platform.api_key}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def test_adapt_promote_and_serve_while_the_scheduler_is_killed(platform, client, s3, dusk, tmp_path):
    bucket = s3.bucket()
    for index, image in enumerate(dusk):
        s3.put(bucket, f"night shift/été {index}.png", encode_png(image))
    cut = io.BytesIO()
    Image.fromarray(dusk[0]).save(cut, "JPEG")
    s3.put(bucket, "night shift/cut.jpg", cut.getvalue()[:2000])
    domain = client.domains.create("night-cams", f"s3://{bucket}/night shift/", gate={"policy": "standard"})
    job = domain.adapt(steps=20)

    # Kill the scheduler without warning in the middle of the job; the platform starts another.
    deadline = time.monotonic() + 240
    while job.refresh().state not in ("RUNNING", "SUCCEEDED") and time.monotonic() < deadline:
        time.sleep(0.3)
    child = platform._children["scheduler"]
    os.kill(child._process.pid, signal.SIGKILL)
    child.wait(10)
    platform._revive("scheduler")
    job = job.wait(timeout_s=400)

    assert job.state == "SUCCEEDED", job.detail
    assert [version.number for version in domain.versions()] == [job.version] == [1]
    summary = domain.snapshot(job.snapshot_id).summary
    assert summary["images"] == 12
    assert summary["skipped_by_reason"] == {"TRUNCATED": 1}
    gate = domain.version(1).report()
    assert gate.verdict in ("PASSED", "FAILED", "INCONCLUSIVE")
    assert {check.name for check in gate.checks} >= {"matched gain", "source loss"}

    source = client.restore(encode_png(dusk[0]), "night-cams")
    assert source.version == "0"
    assert decode(source.image).shape == dusk[0].shape
    if gate.verdict == "PASSED":
        promoted = _cli(platform, "promote", "night-cams@1")
        assert promoted.returncode == 0, promoted.stderr
        _until_served(client, "night-cams", dusk[0], "1")
        assert _cli(platform, "rollback", "night-cams").returncode == 0
        _until_served(client, "night-cams", dusk[0], "0")
        assert [change.to_version for change in domain.history()][-2:] in ([1, 0], [0, 1])
    else:
        refused = _cli(platform, "promote", "night-cams@1")
        assert refused.returncode == 4, refused.stderr

    before, after = tmp_path / "in.png", tmp_path / "out.png"
    before.write_bytes(encode_png(dusk[1]))
    restored = _cli(platform, "restore", str(before), "-d", "night-cams", "-o", str(after))
    assert restored.returncode == 0, restored.stderr
    assert decode(after.read_bytes()).shape == dusk[1].shape


def test_the_examples_do_what_they_say(platform, client, s3, dusk, tmp_path):
    """Submit, watch, look, promote, restore; a folder at once; and the notebook shows pictures."""
    bucket = s3.bucket()
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    out.mkdir()
    for index, image in enumerate(dusk):
        s3.put(bucket, f"cams/{index}.png", encode_png(image))
        (photos / f"{index}.png").write_bytes(encode_png(image))
    (photos / "no image.png").write_bytes(b"text")
    environment = os.environ | {"UDAIR_URL": platform.url, "UDAIR_API_KEY": platform.api_key}

    def example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(EXAMPLES / name), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)

    arguments = ("dusk-cams", f"s3://{bucket}/cams/", str(photos / "0.png"), "--quick", "--out", str(out))
    adapted = example("adapt.py", *arguments)
    assert adapted.returncode == 0, adapted.stdout + adapted.stderr
    if "rejected by the gate" not in adapted.stdout:
        assert "data:image/webp" in (out / "dusk-cams-1.html").read_text()
        assert decode((out / "0-restored.png").read_bytes()).shape == dusk[0].shape
    folder = example("restore_many.py", "dusk-cams", str(photos), str(out / "many"))
    assert folder.returncode == 1, "one of them is no image"
    assert "12 restored" in folder.stdout
    assert "no image.png" in folder.stderr

    notebook = nbformat.read(EXAMPLES / "before_after.ipynb", as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"UDAIR_DOMAIN": "dusk-cams", **environment}.items():
            patch.setenv(name, value)
        ran = NotebookClient(notebook, timeout=120).execute()
    shown = {kind for cell in ran.cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert {"text/html", "image/webp"} <= shown


def test_prometheus_finds_the_data_planes_metrics(platform, client, dusk):
    client.domains.create("counted-cams", "s3://acme-photos/cams")
    _until_served(client, "counted-cams", dusk[0], "0")
    names = ("udair_requests", "udair_stage_seconds_bucket", "udair_bytes", "udair_batch_images_bucket", "udair_bank")
    # Figures of this domain, too: those of others may be there already.
    wanted = [*(f"ray_{name}" for name in names), f'domain="{DomainLabels().label("default/counted-cams")}"']
    deadline, missing = time.monotonic() + 60, list(wanted)
    while missing and time.monotonic() < deadline:
        text = httpx.get(platform.metrics_url, timeout=10).text
        missing = [name for name in wanted if name not in text]
        time.sleep(1)
    assert not missing
    assert "counted-cams" not in text, "the exporter asks for no key"


def test_of_the_platform_only_what_asks_for_the_token_listens_beyond_this_machine(platform):
    listening = [
        (Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:120], listens(pid))
        for pid in marked(platform._mark)
    ]
    for whose in (
        "bootstrap api",
        "gcs_server",
        "raylet/raylet",
        "ray::DashboardAgent",
        "ray::Serve",
        "ray::ProxyActor",
    ):
        assert any(found for command, found in listening if whose in command), f"{whose}: {listening}"
    beyond = [
        (command, port)
        for command, found in listening
        for address, port in found
        if address not in ("127.0.0.1", "::1")
    ]
    # Replicas of Serve call one another there, and Ray has no setting for it.
    assert all("ray::ServeReplica" in command for command, _ in beyond), beyond
    for _, port in beyond:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/ray.serve.ASGIService/HandleRequest")(b"", timeout=10)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def _until_served(client, domain: str, image: np.ndarray, version: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if client.restore(encode_png(image), domain).version == version:
                return
        except NotFound:  # the routes are polled
            pass
        assert time.monotonic() < deadline, f"version {version} was not served"
        time.sleep(0.3)


@pytest.mark.parametrize(
    ("name", "prefix", "reason"),
    [
        ("empty-cams", "nothing/", "DATA_EMPTY"),
        ("text-cams", "text/", "DATA_UNREADABLE"),
        ("lost-cams", None, "SOURCE_NOT_FOUND"),
    ],
)
def test_a_job_on_unusable_data_fails_with_its_reason_and_is_not_retried(client, s3, name, prefix, reason):
    bucket = s3.bucket()
    s3.put(bucket, "text/a.png", b"no image")
    s3.put(bucket, "text/b.txt", b"no image either")
    uri = f"s3://{bucket}/{prefix}" if prefix else "s3://no-such-bucket-here/cams/"
    job = client.domains.create(name, uri).adapt().wait(timeout_s=240)
    assert (job.state, job.reason, job.attempt) == ("FAILED", reason, 1)
    assert job.detail


@pytest.mark.slow
def test_a_restarted_platform_goes_on_with_nothing_lost(s3, tmp_path):
    options = LocalOptions(tmp_path / "home", port=0, serve_port=0, s3_endpoint_url=s3.endpoint_url, launcher="local")
    bucket = s3.bucket()
    with LocalPlatform(options) as first:
        with Client(first.url, first.api_key) as client:
            client.domains.create("kept-cams", f"s3://{bucket}/cams/")
        key = first.api_key
    with LocalPlatform(options) as second, Client(second.url, key) as client:
        assert [domain.name for domain in client.domains.list()] == ["kept-cams"]
        assert client.restore(encode_png(np.full((32, 32, 3), 99, np.uint8)), "kept-cams").version == "0"
