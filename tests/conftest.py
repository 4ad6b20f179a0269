"""Fixtures that several packages' tests share: a real S3 server, spoken to over HTTP only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

import udair  # noqa: F401 - before torch, which takes its threads from the environment


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--postgres", action="store_true", help="run the control plane's tests on PostgreSQL")
    parser.addoption("--rewrite-wire", action="store_true", help="write tests/udair_platform/wire.txt anew")


@dataclass(frozen=True)
class S3Server:
    """A running S3 server that belongs to this test session."""

    endpoint_url: str

    def bucket(self, name: str | None = None) -> str:
        """Create a bucket (a new name unless one is given) and return its name."""
        name = name or f"test-{uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def client(self, access_key: str = "testing", secret_key: str = "testing"):
        """A boto3 client of it that goes round the project's own storage code."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
        )

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Upload one object as a customer would."""
        self.client().put_object(Bucket=bucket, Key=key, Body=data)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_s3(log: Path, **environment: str) -> tuple[subprocess.Popen[bytes], S3Server]:
    """Start a moto server on a free port and wait until it answers; the caller terminates it."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment})
    server = S3Server(f"http://127.0.0.1:{port}")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"moto_server ended with {process.returncode}: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(f"{server.endpoint_url}/moto-api/", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return process, server
    stop(process)
    raise RuntimeError(f"moto_server did not answer within 60 s: {log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End one child process by its pid."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server for the session, and the environment that a job needs to use it."""
    process, server = start_s3(tmp_path_factory.mktemp("s3") / "moto.log")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ENDPOINT_URL", server.endpoint_url)
        environment.setenv("AWS_CONFIG_FILE", os.devnull)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            environment.delenv(name, raising=False)
        try:
            yield server
        finally:
            stop(process)


@pytest.fixture(scope="session")
def radosgw(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A Ceph object gateway with the same keys: it checks signatures, expiry and session policies."""
    needed = ("radosgw", "ceph-mon", "ceph-osd", "curl")
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        pytest.fail(
            f"{', '.join(missing)} not found; "
            "install: apt-get install -y --no-install-recommends radosgw ceph-mon ceph-osd curl"
        )
    folder = tmp_path_factory.mktemp("radosgw")
    port = free_port()
    script = Path(__file__).parent / "servers" / "radosgw.sh"
    try:
        started = subprocess.run(
            [script, folder, str(port)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
        )
        if started.returncode != 0:
            raise RuntimeError(f"{script.name} ended with {started.returncode}: {started.stderr[-2000:]}")
        yield S3Server(f"http://127.0.0.1:{port}")
    finally:
        for name in ("rgw", "osd", "mon"):
            pid = folder / "run" / f"{name}.pid"
            if pid.exists():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid.read_text()), signal.SIGKILL)


@dataclass(frozen=True)
class StrictS3Server(S3Server):
    """An S3 server that checks credentials.

    Bucket ``guarded`` may be read and written by one user, and read with one role, which another user may
    assume who has no other rights and knows the external id.
    """

    allowed: tuple[str, str]
    without_policy: tuple[str, str]
    assuming: tuple[str, str]
    role_arn: str
    external_id: str = "ext-4711"

    def refused_as(self, code: str) -> tuple[str, str]:
        """Credentials that the server answers with the error `code`."""
        return {
            "InvalidAccessKeyId": ("AKIAUNKNOWN000000000", "nosuchsecretnosuchsecret"),
            "SignatureDoesNotMatch": (self.allowed[0], "wrongsecretwrongsecret"),
            "AccessDenied": self.without_policy,
        }[code]


@pytest.fixture(scope="session")
def strict_s3(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictS3Server]:
    """A second server, because moto checks credentials for all requests or for none."""
    process, server = start_s3(tmp_path_factory.mktemp("strict-s3") / "moto.log")
    try:
        server.client().create_bucket(Bucket="guarded")
        iam = boto3.session.Session().client(
            "iam",
            endpoint_url=server.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        pairs = []
        for name, effect, action in (
            ("allowed", "Allow", "s3:*"),
            ("without-policy", "Deny", "s3:*"),
            ("assuming", "Allow", "sts:AssumeRole"),
        ):
            iam.create_user(UserName=name)
            iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=_policy(Effect=effect, Action=action))
            key = iam.create_access_key(UserName=name)["AccessKey"]
            pairs.append((key["AccessKeyId"], key["SecretAccessKey"]))
        trust = {
            "Principal": {"AWS": "arn:aws:iam::123456789012:user/assuming"},
            "Condition": {"StringEquals": {"sts:ExternalId": StrictS3Server.external_id}},
        }
        role = iam.create_role(
            RoleName="reader",
            AssumeRolePolicyDocument=_policy(**trust, Effect="Allow", Action="sts:AssumeRole", Resource=None),
        )
        reading = _policy(Effect="Allow", Action=["s3:GetObject", "s3:ListBucket"])
        iam.put_role_policy(RoleName="reader", PolicyName="p", PolicyDocument=reading)
        check_from_here_on = urllib.request.Request(
            f"{server.endpoint_url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(check_from_here_on).close()
        yield StrictS3Server(server.endpoint_url, *pairs, role["Role"]["Arn"])
    finally:
        stop(process)


def _policy(**statement: object) -> str:
    allowed = {name: value for name, value in ({"Resource": "*"} | statement).items() if value is not None}
    return json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
