"""The first start makes what is missing; every later one finds it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from udair_platform.errors import SettingsError
from udair_platform.keys import verify
from udair_platform.operations import first_start
from udair_platform.services import api_keys


def test_signing_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "signing.key"

    key = first_start.ensure_signing_key(path)

    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert first_start.ensure_signing_key(path) == key
    assert [item.name for item in path.parent.iterdir()] == ["signing.key"]


def test_signing_key_that_is_open_or_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(b"x" * 32)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        first_start.ensure_signing_key(path)
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="5 bytes"):
        first_start.ensure_signing_key(path)


def test_admin_key_is_the_same_at_every_start_and_new_after_it_was_revoked(plane) -> None:
    def start():
        with plane.database.read() as state:
            base = state.bases.current()
        return first_start.ensure_platform(
            plane.database, signing_key=plane.signing_key, base=base, tenant="acme", now=plane.clock()
        )

    again = start()
    assert (again.admin_token, again.created) == (plane.admin_token, False)
    claims = verify(plane.signing_key, again.admin_token, plane.clock().timestamp())
    assert (claims.tenant, claims.scopes) == ("acme", ("admin",))

    with plane.change() as tx:
        api_keys.revoke_key(tx, tenant="acme", kid=claims.kid)
    assert start().created


def test_base_model_is_known_by_its_manifest(tmp_path: Path) -> None:
    manifest = {"name": "udair-x", "digest": "f" * 64, "files": {}}
    (tmp_path / "bundle.json").write_text(json.dumps(manifest))

    base = first_start.read_base_model(str(tmp_path))

    assert (base.name, base.digest, base.uri) == ("udair-x", "f" * 64, str(tmp_path))


@pytest.mark.parametrize("uri", ["packaged:none", "/nowhere", "file:///nowhere", "gs://x/y"])
def test_missing_base_model_is_a_settings_error(uri: str) -> None:
    with pytest.raises(SettingsError, match="UDAIR_BASE_URI"):
        first_start.read_base_model(uri)


def test_returning_to_an_earlier_base_model_makes_it_current(plane) -> None:
    with plane.database.read() as state:
        first = state.bases.current()
    from dataclasses import replace

    with plane.database.write() as state:
        state.bases.add(replace(first, digest="e" * 64, name="newer"))
        assert state.bases.current().name == "newer"
        state.bases.add(first)
        assert state.bases.current().digest == first.digest
        assert len(state.bases.all()) == 2


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        (
            "udair_platform.api.app, udair_platform.operations.first_start, udair_platform.state.database, "
            "udair_platform.scheduler.reconciler, udair_platform.scheduler.launchers.local",
            "torch ray hydra",
        ),
        ("udair_platform.client", "torch ray boto3 sqlalchemy fastapi structlog udair_platform.errors"),
        ("udair_platform.cli", "torch ray boto3 sqlalchemy fastapi httpx pydantic"),
        ("udair_platform.scheduler.launchers.ray", "torch ray"),
        ("udair_platform.scheduler.launchers.supervise", "pydantic structlog sqlalchemy"),
    ],
)
def test_rooms_load_no_more_than_they_need(modules: str, forbidden: str) -> None:
    script = f"import sys, {modules}\nprint([name for name in {forbidden.split()!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
