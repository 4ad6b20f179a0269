"""`result.json` of an attempt: written once, after everything else."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable

from udair_jobs.errors import JobError, NotFound, PreconditionFailed
from udair_jobs.specs import AdaptResult
from udair_jobs.storage import Storage

log = logging.getLogger(__name__)

RESULT = "result.json"
MAX_SKIPPED = 1000


def read_result(output: Storage) -> AdaptResult | None:
    """The result of the attempt at `output`, or None while it has none.

    Raises:
        JobError: CONTROLLER_ERROR when the file is no result.
    """
    try:
        return AdaptResult.model_validate_json(output.get(RESULT))
    except NotFound:
        return None
    except ValueError as error:
        raise JobError("CONTROLLER_ERROR", f"{output.uri}/{RESULT} is no result: {error}") from error


def commit_result(output: Storage, result: AdaptResult) -> AdaptResult:
    """Write `result` unless the attempt has one already; returns the one that counts."""
    try:
        output.put(RESULT, result.model_dump_json(indent=2).encode(), if_absent=True)
    except PreconditionFailed:
        earlier = read_result(output)
        if earlier is None:
            raise
        log.warning("%s has a result already; it stands", output.uri)
        return earlier
    return result


def to_json(value: object) -> bytes:
    """`value` as an indented JSON document; what could not be measured becomes null."""
    return json.dumps(_without_nan(value), indent=2, sort_keys=True, allow_nan=False).encode()


def to_json_lines(rows: Iterable[object]) -> bytes:
    """One JSON document a line; what could not be measured becomes null."""
    return b"".join(json.dumps(_without_nan(row), allow_nan=False).encode() + b"\n" for row in rows)


def _without_nan(value: object) -> object:
    """`value` with null for what JSON cannot say: NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value
