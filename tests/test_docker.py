"""The images: what is installed into each suffices and is no more, and the laptop's compose file keeps its promises."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import tomllib
import urllib.request
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from udair_platform.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]

# Environment variables that are no settings of ours, and whose they are.
FOREIGN = {
    "POSTGRES_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD_FILE",
    "PGDATA",
    "PGPASSFILE",  # PostgreSQL
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_DEFAULT_REGION",  # boto3
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN_PATH",  # Ray
}

OF_RAY = {"psutil", "colorama"}  # Ray carries these inside itself


def argument(name: str, of: str) -> str:
    found = re.search(rf"^ARG {name}=(.+)$", (DOCKER / f"{of}.Dockerfile").read_text(), re.M)
    assert found, f"{of}.Dockerfile has no ARG {name}"
    return found[1]


def closure(extras: str) -> set[str]:
    """Distributions that `pip install .[extras]` brings, by what is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found: set[str] = set()
    open_ = [Requirement(line) for extra in extras.split(",") for line in project[extra]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while open_:
        wanted = open_.pop()
        name, key = canonical(wanted.name), (canonical(wanted.name), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        if name == "udair":
            open_ += [Requirement(line) for extra in wanted.extras for line in project[extra]]
            continue
        with contextlib.suppress(metadata.PackageNotFoundError):  # for another platform
            lines = metadata.requires(name) or []
            found.add(name)
            chosen = [Requirement(line) for line in lines]
            environments = [{"extra": extra} for extra in (*wanted.extras, "")]
            open_ += [r for r in chosen if r.marker is None or any(r.marker.evaluate(e) for e in environments)]
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_with_nothing_but(extras: str, modules: str) -> subprocess.CompletedProcess[str]:
    """Import `modules` where everything that the extras do not bring is hidden."""
    there = closure(extras)
    hidden = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {canonical(owner) for owner in owners} & (there | {"udair"})
        and not ("ray" in there and module in OF_RAY)
    }
    program = f"""
import sys
hidden = {sorted(hidden)!r}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}} in this image", name=name)
sys.meta_path.insert(0, Absent())
for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
    del sys.modules[name]
import {modules}
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_the_linter_finds_nothing() -> None:
    linter = shutil.which("hadolint") or str(Path(sys.executable).with_name("hadolint"))
    assert len(DOCKERFILES) == 2
    done = subprocess.run([linter, *map(str, DOCKERFILES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_pinned_constrained_and_not_run_by_root(path: Path) -> None:
    text = path.read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.M)
    assert len(bases) == 2
    assert all(base.endswith("@${PYTHON_DIGEST}") for base in bases)
    assert re.search(r"^ARG PYTHON_DIGEST=sha256:[0-9a-f]{64}$", text, re.M)
    installs = re.findall(r"pip --python \S+ install(?:[^\n]|\\\n)*", text)
    assert installs
    assert all("--constraint" in install for install in installs)
    user = re.findall(r"^USER (\d+):\d+$", text, re.M)[-1]
    assert user == {"platform": "10001", "worker": "1000"}[path.stem]


def test_users_are_those_of_the_manifests() -> None:
    for name, of in (("api", "platform"), ("scheduler", "platform"), ("serving", "worker")):
        users = set(re.findall(r"runAsUser: (\d+)", (ROOT / f"k8s/base/{name}.yaml").read_text()))
        assert users == {re.findall(r"^USER (\d+)", (DOCKER / f"{of}.Dockerfile").read_text(), re.M)[-1]}


def test_the_platforms_image_has_what_its_processes_import_and_neither_torch_nor_ray() -> None:
    extras = argument("EXTRAS", "platform")
    there = closure(extras)
    assert {"fastapi", "kubernetes", "psycopg", "opentelemetry-exporter-otlp-proto-http"} <= there
    assert not {"torch", "ray", "numpy", "moto", "pytest"} & there
    modules = (
        "udair_platform.bootstrap, udair_platform.api.app, udair_platform.console.app, udair_platform.scheduler.reconciler, "
        "udair_platform.scheduler.webhook_dispatcher, udair_platform.scheduler.launchers, udair_platform.cli, kubernetes, psycopg"
    )
    done = imported_with_nothing_but(extras, modules)
    assert done.returncode == 0, done.stderr


def test_the_workers_image_has_what_serving_and_jobs_import_and_no_server_for_tests() -> None:
    extras = argument("EXTRAS", "worker")
    there = closure(extras)
    assert {"torch", "ray", "hydra-core", "opentelemetry-exporter-otlp-proto-http"} <= there
    assert not {"moto", "kubernetes", "psycopg", "pytest", "mypy"} & there
    modules = (
        "udair_platform.bootstrap, udair_platform.serving.deployment, udair_jobs.adapt_domain, udair_jobs.train_source, "
        "udair_jobs.restore_batch, udair_jobs.sweep, udair_jobs.evaluate"
    )
    done = imported_with_nothing_but(extras, modules)
    assert done.returncode == 0, done.stderr


def test_what_is_hidden_is_really_hidden() -> None:
    assert "in this image" in imported_with_nothing_but(argument("EXTRAS", "platform"), "torch").stderr


def test_the_build_sees_the_wheels_sources_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert {
        "udair",
        "jobs",
        "platform",
        "pyproject.toml",
        "hatch_build.py",
        "constraints.txt",
        "README.md",
        "LICENSE",
    } <= let_in
    assert let_in <= {*os.listdir(ROOT)}
    assert not {".git", "tests", "docker"} & let_in


def test_every_service_is_hardened() -> None:
    assert {"api", "scheduler", "ray", "serving", "postgres", "store"} <= set(SERVICES)
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"\$\{UDAIR_UID:-[1-9]\d*\}:\$\{UDAIR_GID:-[1-9]\d*\}", service["user"]), name
        assert "privileged" not in service, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), f"{name} listens to the network"


def test_images_of_others_are_pinned_by_digest_and_ours_are_built() -> None:
    built = {service["image"]: service["build"]["dockerfile"] for service in SERVICES.values() if "build" in service}
    for name, service in SERVICES.items():
        image = service["image"]
        assert image in built or re.search(r":[^@:]+@sha256:[0-9a-f]{64}$", image), f"{name}: {image}"
    assert {ROOT / path for path in built.values()} == set(DOCKERFILES)


def test_every_variable_is_known_and_no_secret_is_in_the_clear() -> None:
    known = {f"UDAIR_{name.upper()}" for name in Settings.model_fields} | FOREIGN
    seen = 0
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            seen += 1
            assert variable in known, f"{name}: {variable}"
            if re.search(r"PASSWORD|TOKEN|SECRET|KEY|CREDENTIALS|PASSFILE", variable):
                assert value.startswith("/run/secrets/"), f"{name}: {variable} is no file of a secret"
                assert value.removeprefix("/run/secrets/") in service["secrets"], f"{name} lacks {value}"
    assert seen > 20
    text = (DOCKER / "compose.yaml").read_text()
    assert not re.search(r"://[^/\s:@]+:[^@\s]+@", text), "a password in a URL"


def test_settings_of_the_compose_file_are_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from udair_platform.settings import load_settings

    for service in SERVICES.values():
        with monkeypatch.context() as patch:
            for variable, value in service.get("environment", {}).items():
                patch.setenv(variable, value)
            load_settings(home=tmp_path)


def test_secrets_are_made_for_their_owner_alone_and_only_once(tmp_path: Path) -> None:
    shutil.copy(DOCKER / "prepare.sh", tmp_path)

    def prepare() -> dict[str, bytes]:
        subprocess.run(["sh", "prepare.sh"], cwd=tmp_path, check=True, capture_output=True)
        return {path.name: path.read_bytes() for path in (tmp_path / "state/secrets").iterdir()}

    first = prepare()

    assert prepare() == first
    wanted = {Path(secret["file"]) for secret in COMPOSE["secrets"].values()}
    assert {tmp_path / path for path in wanted} == set((tmp_path / "state/secrets").iterdir())
    assert all(stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o600 for path in wanted)
    assert len(first["signing.key"]) == 32
    assert first["pgpass"].decode().endswith(":" + first["postgres_password"].decode() + "\n")
    folders = {line.split(":")[0] for service in SERVICES.values() for line in service.get("volumes", [])}
    assert all((tmp_path / path).is_dir() or (DOCKER / path).is_file() for path in folders)


def test_the_laptop_serves_the_application_that_a_cluster_serves() -> None:
    documents = yaml.safe_load_all((ROOT / "k8s/base/serving.yaml").read_text())
    (service,) = [item for item in documents if item["kind"] == "RayService"]
    assert yaml.safe_load((DOCKER / "serve.yaml").read_text()) == yaml.safe_load(service["spec"]["serveConfigV2"])


@pytest.mark.slow
def test_api_and_scheduler_start_from_what_the_platforms_image_installs(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv/bin/python"
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        "constraints.txt",
        f".[{argument('EXTRAS', 'platform')}]",
    ]
    subprocess.run([python, *install], cwd=ROOT, check=True)
    (tmp_path / "home").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "UDAIR_HOME": str(tmp_path / "home"),
        "UDAIR_API_PORT": str(port),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def program(text: str) -> str:
        done = subprocess.run([python, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    absent = "import importlib.util as u; print([n for n in ('torch', 'ray', 'numpy', 'moto') if u.find_spec(n)])"
    assert program(absent).strip() == "[]"
    assert str(tmp_path) in program("import udair_platform.bootstrap as b; print(b.__file__)")
    started = [
        subprocess.Popen([python, "-m", "udair_platform.bootstrap", role], cwd=tmp_path, env=environment)
        for role in ("api", "scheduler")
    ]
    try:
        until = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as reply:
                    if reply.status == 200 and (tmp_path / "home/scheduler.alive").exists():
                        break
            assert time.monotonic() < until, "not ready after 90 s"
            assert [child.poll() for child in started] == [None, None]
            time.sleep(0.5)
    finally:
        for child in started:
            child.send_signal(signal.SIGTERM)
        ended = [child.wait(20) for child in started]
    assert ended[0] in (0, -signal.SIGTERM)  # uvicorn raises the signal again when it is done
    assert ended[1] == 0


def test_images_are_not_built_in_silence_where_no_engine_answers() -> None:
    done = subprocess.run(["make", "images", "ENGINE="], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no docker or podman answers here" in done.stderr


@pytest.mark.slow
def test_an_audit_that_can_ask_nobody_fails(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    subprocess.run([tmp_path / "bin/pip", "install", "--quiet", "pip-audit"], check=True)
    nobody = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}

    done = subprocess.run(["make", "audit", f"AUDIT={tmp_path}"], cwd=ROOT, env=nobody, capture_output=True, text=True)

    assert done.returncode != 0
    assert "No known vulnerabilities found" not in done.stdout + done.stderr
