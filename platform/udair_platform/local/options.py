"""What `udair up` is told, and what its processes are told in turn."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from udair_platform.client.connection import CLIENT_FILE
from udair_platform.errors import SettingsError
from udair_platform.files import write_whole
from udair_platform.local.children import MARK


@dataclass(frozen=True)
class LocalOptions:
    """What `udair up` is told.

    Attributes:
        home: Everything that survives a restart.
        port, serve_port: Of the API and of the data plane on 127.0.0.1; 0 picks free ones.
        store: URI of the platform's own objects; a folder under home if None.
        s3_endpoint_url: S3 endpoint of customers' buckets (and of `store`, if that is S3); AWS if None.
        launcher: ``ray`` for jobs and serving on Ray, ``local`` for processes without it, ``auto`` for the first
            that this machine can do.
        allow_folders: In which folders of this machine may be domains, read where they are.
    """

    home: Path
    port: int = 8080
    serve_port: int = 8000
    store: str | None = None
    s3_endpoint_url: str | None = None
    launcher: Literal["auto", "ray", "local"] = "auto"
    allow_folders: tuple[Path, ...] = ()


def environment_of(options: LocalOptions, home: Path, mark: str, port: int, serve_url: str) -> dict[str, str]:
    """The environment of every process, as long as there is no Ray."""
    environment = {
        **os.environ,
        MARK: mark,
        "UDAIR_HOME": str(home),
        "UDAIR_API_PORT": str(port),
        "UDAIR_SERVE_URL": serve_url,
        "UDAIR_LAUNCHER": "local",
        "UDAIR_JOB_PYTHON": sys.executable,
        # The cluster runs whatever it is told to run: nobody without the token may tell it.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _secret(home / "ray.token"),
        # Ray on Linux binds to every interface, whatever address its node is given; as one that makes no clusters, which
        # is how it is on macOS and Windows, to loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "PYTHONUNBUFFERED": "1",
    }
    # Serve's own choice is ten times a second: with it, controller and control store took a twentieth of a core while
    # 16 requests a second were served.
    environment.setdefault("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "0.5")
    for other in ("RAY_ADDRESS", "UDAIR_RAY_ADDRESS", "UDAIR_RAY_GCS"):  # another cluster's
        environment.pop(other, None)
    if options.store:
        environment["UDAIR_STORE_URI"] = options.store
    if options.s3_endpoint_url:
        environment["UDAIR_S3_ENDPOINT_URL"] = options.s3_endpoint_url
    # One endpoint for all that is S3, unless the store has another of its own; AWS_ENDPOINT_URL is heard by itself.
    if (endpoint := environment.get("UDAIR_S3_ENDPOINT_URL")) and environment.get("UDAIR_STORE_URI", "").startswith(
        "s3:"
    ):
        environment["UDAIR_STORE_ENDPOINT_URL"] = (
            options.s3_endpoint_url or environment.get("UDAIR_STORE_ENDPOINT_URL") or endpoint
        )
    if options.allow_folders:
        environment["UDAIR_ALLOW_FOLDERS"] = os.pathsep.join(_folder(one) for one in options.allow_folders)
    return environment


def _folder(path: Path) -> str:
    """An allowed folder as the setting names it. Raises SettingsError."""
    place = path.expanduser().absolute()
    if not place.is_dir() or os.pathsep in str(place):
        why = f"has a {os.pathsep!r} in its path" if place.is_dir() else "is no folder here"
        raise SettingsError(f"--allow-folder {path} {why}; expected a folder of photographs.")
    return str(place)


def endpoint_of(environment: Mapping[str, str]) -> str:
    """The S3 endpoint of customers' buckets; empty: AWS."""
    names = ("UDAIR_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return next((environment[name] for name in names if environment.get(name)), "")


def prepare_home(home: Path, url: str, environment: Mapping[str, str]) -> str:
    """Migrate the database and write client.json; returns the admin key."""
    from udair_platform.bootstrap import prepare
    from udair_platform.settings import Settings, load_settings

    prefix = "UDAIR_"
    fields = set(Settings.model_fields)
    chosen = {
        name.removeprefix(prefix).lower(): value
        for name, value in environment.items()
        if name.startswith(prefix) and name.removeprefix(prefix).lower() in fields
    }
    settings = load_settings(**chosen)
    database, _, _, made = prepare(settings)
    database.close()
    client = {
        "url": url,
        "api_key": made.admin_token,
        "s3_endpoint_url": endpoint_of(environment),
        "store_uri": settings.store_uri,
        "tenant": settings.default_tenant,
    }
    data = json.dumps({name: value for name, value in client.items() if value})
    write_whole(home / CLIENT_FILE, data.encode(), mode=0o600)
    return made.admin_token


def _secret(path: Path) -> str:
    if not path.exists():
        write_whole(path, secrets.token_hex(32).encode(), mode=0o600, replace=False)
    return path.read_text().strip()
