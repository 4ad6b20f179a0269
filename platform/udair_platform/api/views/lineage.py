"""Where a version comes from, and its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from udair_platform.api.views.domains import AliasChangeView
from udair_platform.api.views.platform import BaseView
from udair_platform.entities.alias import AliasChange
from udair_platform.entities.job import Attempt, Job
from udair_platform.entities.snapshot import Snapshot
from udair_platform.entities.version import AdapterVersion


class LineageView(BaseModel):
    """Everything that an answer with `X-Adapter-Version` rests on."""

    version: int
    adapter_digest: str
    candidate_uri: str
    verdict: str | None
    job: str
    attempts: int
    cause_actor: str
    recipe: dict[str, Any]
    config_digest: str
    snapshot: str
    snapshot_digest: str | None
    snapshot_uri: str
    images: int | None
    base_model: BaseView
    code_version: str
    created_time: datetime
    served: list[AliasChangeView]

    @classmethod
    def of(
        cls,
        version: AdapterVersion,
        job: Job,
        attempts: Sequence[Attempt],
        snapshot: Snapshot,
        champion: Sequence[AliasChange],
    ) -> LineageView:
        """The view of `version`; `champion` are the moves of that alias, newest first."""
        recipe = dict(job.recipe)
        canonical = json.dumps(recipe, sort_keys=True, separators=(",", ":")).encode()
        summary = snapshot.summary or {}
        return cls(
            version=version.number,
            adapter_digest=version.adapter_digest,
            candidate_uri=version.candidate_uri,
            verdict=version.verdict,
            job=job.id,
            attempts=len(attempts),
            cause_actor=job.actor,
            recipe=recipe,
            config_digest=hashlib.sha256(canonical).hexdigest(),
            snapshot=snapshot.id,
            snapshot_digest=snapshot.digest,
            snapshot_uri=snapshot.uri,
            images=summary.get("images"),
            base_model=BaseView(name=version.base_name, digest=version.base_digest),
            code_version=version.code_version,
            created_time=version.created_time,
            served=[
                AliasChangeView.of(change)
                for change in champion
                if version.number in (change.to_version, change.from_version)
            ],
        )


class FileView(BaseModel):
    """One file of a version; `url` reads it without a key for 15 minutes, where the store can do that."""

    name: str
    sha256: str
    size_bytes: int
    url: str | None


class FilesView(BaseModel):
    """Every file of a version."""

    files: list[FileView]
