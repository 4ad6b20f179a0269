"""`udair doctor`: what commands, jobs and a platform need of this machine, each with a remedy."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, table

if TYPE_CHECKING:
    from udair_platform.client import Client

_FLOORS = {"torch": "2.11", "ray": "2.60", "boto3": "1.43", "s3fs": "2026.9", "pyarrow": "22", "httpx": "0.28"}
_DISK_BYTES = 3 * 2**30
_DOMAINS = 1000  # that are looked through
_CLOCK_S = 60.0  # a signature of S3 is good for 15 minutes, a key's expiry is checked to 30 s


@dataclass(frozen=True)
class Diagnosis:
    """What was looked at: `ok`, `warn` (some commands will not work) or `FAIL`; and what to do."""

    check: str
    result: str
    found: str
    remedy: str = ""


def doctor(
    store: Annotated[
        str | None, typer.Option(help="Also try this bucket or folder: s3://bucket/prefix. Writes and removes one key.")
    ] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="S3 endpoint of --store, if not AWS.")] = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Check versions, disk, GPU, Ray, S3 and the platform. Says a remedy for each fault. Ends with 1 if one fails."""
    checks: list[Callable[[], list[Diagnosis]]] = [_python, _packages, _disk, _gpu, _ray, lambda: _platform(home), _aws]
    if store:
        checks.append(lambda: _store(store, endpoint_url))
    found = [finding for check in checks for finding in check()]
    columns: dict[str, str | None] = dict.fromkeys(("check", "result", "found", "remedy"))
    table(output, found, columns, empty="")
    if any(finding.result == "FAIL" for finding in found):
        note("something above fails; the remedies say what to do")
        raise typer.Exit(exits.ERROR)


def _python() -> list[Diagnosis]:
    version = sys.version.split()[0]
    good = sys.version_info >= (3, 11)
    return [Diagnosis("python", "ok" if good else "FAIL", version, "" if good else "install Python 3.11 or later")]


def _packages() -> list[Diagnosis]:
    findings = []
    for name, floor in _FLOORS.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            message = "pip install 'udair[all]', if this machine shall run jobs or a platform"
            findings.append(Diagnosis(name, "warn", "not installed", message))
            continue
        good = _numbers(version) >= _numbers(floor)
        remedy = "" if good else f"pip install '{name}>={floor}'"
        findings.append(Diagnosis(name, "ok" if good else "FAIL", version, remedy))
    return findings


def _disk() -> list[Diagnosis]:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    good = free >= _DISK_BYTES
    message = f"{free / 2**30:.1f} GiB free at {folder}"
    return [
        Diagnosis(
            "disk", "ok" if good else "warn", message, "" if good else "udair up wants 3 GiB; choose another --home"
        )
    ]


def _gpu() -> list[Diagnosis]:
    try:
        import torch
    except ImportError:
        return []
    if torch.cuda.is_available():
        name, total = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory
        return [Diagnosis("gpu", "ok", f"{torch.cuda.device_count()} x {name}, {total / 2**30:.0f} GiB")]
    driver = shutil.which("nvidia-smi")
    remedy = "the driver is here: install torch's CUDA build" if driver else "none is needed; CPUs are slower"
    return [Diagnosis("gpu", "warn", f"torch {torch.__version__} sees none", remedy)]


def _ray() -> list[Diagnosis]:
    address = os.environ.get("UDAIR_RAY_ADDRESS")
    if not address:
        return [Diagnosis("ray", "ok", "UDAIR_RAY_ADDRESS is not set: udair up starts a cluster of its own")]
    import httpx

    token = os.environ.get("RAY_AUTH_TOKEN")
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        reply = httpx.get(f"{address}/api/version", headers=headers, timeout=10.0)
    except httpx.TransportError as error:
        return [
            Diagnosis(
                "ray", "FAIL", f"{address} does not answer: {error}", "start the cluster, or mend UDAIR_RAY_ADDRESS"
            )
        ]
    if reply.status_code in (401, 403):
        return [
            Diagnosis("ray", "FAIL", f"{address} wants another token", "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN")
        ]
    return [
        Diagnosis(
            "ray", "ok" if reply.is_success else "FAIL", f"{address} answers {reply.status_code}: {reply.text[:80]}"
        )
    ]


def _platform(home: str) -> list[Diagnosis]:
    from udair_platform.client import ApiError, ClientError

    try:
        client = connect(home)
    except ClientError as error:
        return [Diagnosis("platform", "warn", str(error), "udair up, or udair login URL")]
    try:
        begun = time.monotonic()
        platform = client.platform()
        took_ms = 1000 * (time.monotonic() - begun)
    except ApiError as error:
        return [
            Diagnosis(
                "platform", "FAIL", f"{client.url}: {error.code} {error}", "udair login URL with a key that is good"
            )
        ]
    except ClientError as error:
        return [Diagnosis("platform", "FAIL", str(error), "start it with udair up; a proxy or firewall may be between")]
    message = (
        f"{client.url}, version {platform.version}, tenant {platform.tenant}, {took_ms:.0f} ms (from {client.origin})"
    )
    return [
        Diagnosis("platform", "ok", message),
        *_skew(client.url),
        *_data_plane(platform.serve_url),
        *_domains(client),
    ]


def _skew(url: str) -> list[Diagnosis]:
    from email.utils import parsedate_to_datetime

    import httpx

    message = httpx.get(f"{url}/healthz", timeout=10.0).headers.get("Date")
    if not message:
        return []
    skew_s = abs(parsedate_to_datetime(message).timestamp() - time.time())
    good = skew_s < _CLOCK_S
    remedy = "" if good else "set this machine's clock (NTP): signatures and keys depend on it"
    return [Diagnosis("clock", "ok" if good else "FAIL", f"{skew_s:.0f} s from the platform's", remedy)]


def _data_plane(url: str) -> list[Diagnosis]:
    import httpx

    try:
        reply = httpx.get(f"{url}/readyz", timeout=10.0)
    except httpx.TransportError as error:
        return [
            Diagnosis(
                "data plane", "FAIL", f"{url} does not answer: {error}", "udair endpoint show; serving may be starting"
            )
        ]
    good = reply.is_success
    return [
        Diagnosis(
            "data plane",
            "ok" if good else "FAIL",
            f"{url} answers {reply.status_code}",
            "" if good else reply.text[:120],
        )
    ]


def _domains(client: Client) -> list[Diagnosis]:
    """Those that are not served by what was promoted for them, or not restored at all."""
    from udair_platform.client import ApiError

    findings: list[Diagnosis] = []
    try:
        domains = list(client.domains.list(limit=_DOMAINS))
    except ApiError as error:
        return [Diagnosis("domains", "warn", f"{error.code} {error}", "udair login URL with a key that may read them")]
    for domain in domains:
        if domain.out_of_use:
            remedy = f"udair run {domain.name}, and promote its version; until then the base model answers"
            findings.append(Diagnosis(f"domain {domain.name}", "warn", domain.out_of_use, remedy))
        elif domain.passthrough and not domain.champion:
            remedy = f"udair run {domain.name}, and promote its version; until then images are served as they came"
            findings.append(Diagnosis(f"domain {domain.name}", "warn", domain.passthrough, remedy))
    return findings


def _aws() -> list[Diagnosis]:
    try:
        import boto3
    except ImportError:
        return []
    found = boto3.Session().get_credentials()
    if found is None:
        remedy = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, or a role; not needed for folders"
        return [Diagnosis("s3 credentials", "warn", "none", remedy)]
    return [Diagnosis("s3 credentials", "ok", f"by {found.method}, key …{found.access_key[-4:]}")]


def _store(uri: str, endpoint_url: str | None) -> list[Diagnosis]:
    from udair_jobs.storage import PreconditionFailed, StorageError, open_storage

    key = f"doctor-{os.getpid()}-{time.time_ns()}"
    findings: list[Diagnosis] = []
    try:
        storage = open_storage(uri, endpoint_url=endpoint_url)
        storage.put(key, b"udair doctor", if_absent=True)
        findings.append(Diagnosis("store", "ok", f"{uri} can be written and read"))
        try:
            storage.put(key, b"again", if_absent=True)
            remedy = "use a store with atomic conditional writes: two jobs could both believe that they published"
            findings.append(Diagnosis("store: If-None-Match", "FAIL", "a key was written twice", remedy))
        except PreconditionFailed:
            findings.append(Diagnosis("store: If-None-Match", "ok", "a key is written once"))
        same = storage.get(key) == b"udair doctor"
        findings.append(
            Diagnosis("store: reads", "ok" if same else "FAIL", "what was written" if same else "something else")
        )
        storage.delete(key)
    except StorageError as error:
        findings.append(
            Diagnosis("store", "FAIL", str(error), "check the URI, --endpoint-url, credentials and the bucket's policy")
        )
    return findings


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split("+")[0].split(".") if part.isdigit()]
