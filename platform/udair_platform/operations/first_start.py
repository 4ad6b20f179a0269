"""What must be there before the platform can answer: signing key, tenant, admin key, base model.

Safe to run at every start: what is there stays as it is. Torch-free: only manifests are read.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from udair.errors import BundleError
from udair.weights import packaged, read_manifest
from udair_jobs.storage import StorageError, open_storage
from udair_platform.documents import routes
from udair_platform.entities.api_key import ApiKey
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.errors import SettingsError
from udair_platform.files import write_whole
from udair_platform.keys import SIGNING_KEY_BYTES, new_signing_key
from udair_platform.services import api_keys
from udair_platform.services.change import Change
from udair_platform.state.database import Database

ADMIN = "admin"
_PACKAGED = "packaged:"


@dataclass(frozen=True)
class FirstStart:
    """What a start found or made.

    Attributes:
        admin_token: The admin key of the tenant. It follows from the signing key, so it is the
            same at every start; whoever may read the signing key may know it.
        created: Whether the admin key was made just now.
    """

    tenant: str
    admin_token: str
    base: RegisteredModel
    created: bool


def ensure_signing_key(path: Path) -> bytes:
    """The platform's signing key: 32 random bytes in a file that only its owner may read.

    Raises:
        SettingsError: The file is no signing key, is open to others, or cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return read_signing_key(path)
        with contextlib.suppress(FileExistsError):  # another process that starts at the same time was first
            write_whole(path, new_signing_key(), mode=0o600, replace=False, sync=True)
        return read_signing_key(path)
    except OSError as error:
        raise SettingsError(f"UDAIR_SIGNING_KEY_PATH ({path}) cannot be used: {error.strerror}.") from error


def read_signing_key(path: Path) -> bytes:
    """The signing key in the file `path`.

    Raises:
        SettingsError: There is none, it has the wrong size, or it is open to others.
    """
    if not path.is_file():
        raise SettingsError(f"The signing key {path} does not exist; expected a file of {SIGNING_KEY_BYTES} bytes.")
    found = path.stat()
    # A file that another user (kubelet, of a Secret) put there for our group may be read by that group.
    mode = found.st_mode & (0o077 if found.st_uid == os.geteuid() else 0o037)
    if mode:
        raise SettingsError(f"The signing key {path} is open to others (mode {mode:03o}). Run: chmod 600 {path}")
    key = path.read_bytes()
    if len(key) != SIGNING_KEY_BYTES:
        raise SettingsError(
            f"The signing key {path} has {len(key)} bytes; expected {SIGNING_KEY_BYTES}. Restore it from a "
            "backup, or delete it to make a new one: every API key then stops working."
        )
    return key


def read_base_model(uri: str, *, endpoint_url: str | None = None) -> RegisteredModel:
    """The base model at `uri`, by its manifest: 'packaged:NAME', a folder, file:// or s3://.

    Raises:
        SettingsError: There is no base model.
    """
    try:
        if uri.startswith(_PACKAGED):
            manifest = read_manifest(packaged(uri.removeprefix(_PACKAGED)))
        else:
            data = open_storage(uri, endpoint_url=endpoint_url).get("bundle.json", max_bytes=2**20)
            manifest = json.loads(data)
        return RegisteredModel(str(manifest["name"]), str(manifest["digest"]), uri, datetime.now(UTC))
    except (BundleError, StorageError, ValueError, KeyError) as error:
        raise SettingsError(f"UDAIR_BASE_URI has value {uri!r}, which is no base model: {error}") from error


def ensure_platform(
    database: Database, *, signing_key: bytes, base: RegisteredModel, tenant: str, now: datetime | None = None
) -> FirstStart:
    """Create what is missing: the tenant, its admin key, and `base` as the current base model."""
    now = now or datetime.now(UTC)
    with database.write() as state:
        state.tenants.ensure(tenant, now=now)
        before = state.bases.current()
        state.bases.add(base)
        if before is None or before.digest != base.digest or before.uri != base.uri:
            routes.all_changed(state)
        key, created = _admin_key(Change(state, "platform", now), signing_key, tenant)
    return FirstStart(tenant, api_keys.token_of(signing_key, key), base, created)


def _admin_key(tx: Change, signing_key: bytes, tenant: str) -> tuple[ApiKey, bool]:
    for key in tx.state.keys.page(tenant, size=10_000):
        says = (key.name, key.scopes, key.domains, key.expires_time, key.revoked_time)
        if says == (ADMIN, (ADMIN,), None, None, None):
            return key, False
    key, _ = api_keys.create_key(tx, signing_key, tenant=tenant, name=ADMIN, scopes=(ADMIN,))
    return key, True
