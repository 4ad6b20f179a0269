"""Where an adaptation's spec comes from: a document of the control plane, or what somebody typed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from pydantic import ValidationError

from udair_jobs.errors import JobError, StorageError
from udair_jobs.published.base_models import digest_at, local_folder
from udair_jobs.runtime.command_line import complaints, parsed
from udair_jobs.runtime.results import commit_result
from udair_jobs.specs import AdaptResult, AdaptSpec
from udair_jobs.storage import PATIENCE_S, PatientStorage, Role, Storage, open_storage


def spec_at(uri: str, *, endpoint_url: str | None = None) -> AdaptSpec:
    """The spec at `uri`, as the control plane wrote it.

    An invalid spec that still says where its output goes gets its FAILED result there.

    Raises:
        JobError: INVALID_SPEC with the fields that are wrong.
        StorageError: It cannot be read.
    """
    folder, _, name = uri.rpartition("/")
    store = PatientStorage(open_storage(folder or ".", endpoint_url=endpoint_url))
    data = store.get(name, max_bytes=2**20)
    try:
        return AdaptSpec.model_validate_json(data)
    except ValidationError as error:
        wrong = JobError("INVALID_SPEC", f"{uri} is no adaptation spec: {complaints(error)}")
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, StorageError):
            raw = json.loads(data)
            output = open_storage(raw["output_uri"], endpoint_url=raw.get("store_endpoint_url"))
            commit_result(output, AdaptResult(state="FAILED", reason="INVALID_SPEC", detail=str(wrong)))
        raise wrong from error


def spec_from(values: dict[str, Any]) -> AdaptSpec:
    """A spec from what was typed: the base model's digest and the snapshot's place fill themselves in.

    Raises:
        JobError: INVALID_SPEC with the fields that are wrong or missing.
    """
    values = {key: value for key, value in values.items() if value is not None}
    for name in ("source_uri", "output_uri"):
        if not values.get(name):
            example = "source_uri=photos output_uri=runs/mine"
            raise JobError("INVALID_SPEC", f"{name} is missing; expected e.g. {example}.")
    output_uri = str(values["output_uri"]).rstrip("/")
    values.setdefault("snapshot_uri", f"{output_uri}/snapshot")
    if "base_digest" not in values:
        base_uri = str(values["base_uri"])
        with local_folder(base_uri, endpoint_url=values.get("store_endpoint_url")) as base:
            values["base_digest"] = digest_at(base, base_uri)
    return parsed(AdaptSpec, values)


def source_of(spec: AdaptSpec, patience_s: float = PATIENCE_S) -> Storage:
    """The customer's prefix, read with the rights that the spec names."""
    return _customers(spec, spec.source_uri, spec.source_endpoint_url, patience_s)


def references_of(spec: AdaptSpec, patience_s: float = PATIENCE_S) -> Storage:
    """The customer's good pictures, read with the same rights."""
    assert spec.reference_uri is not None, "asked for where there are references"
    return _customers(spec, spec.reference_uri, spec.reference_endpoint_url, patience_s)


def _customers(spec: AdaptSpec, uri: str, endpoint_url: str | None, patience_s: float) -> Storage:
    role = Role(spec.source_role_arn, spec.source_external_id) if spec.source_role_arn else None
    return PatientStorage(open_storage(uri, endpoint_url=endpoint_url, role=role), patience_s)
