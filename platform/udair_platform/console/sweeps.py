"""Hyperparameter sweeps and batch restorations of the tenant: those kept in `sweeps/TENANT/NAME` and
`batches/TENANT/NAME` of the platform's store, as `udair sweep` and `udair batch` beside a platform keep them.

python -m udair_jobs.sweep sweep=tta output_uri=$UDAIR_STORE_URI/sweeps/acme/tta-2026-11 ...
python -m udair_jobs.restore_batch kept_uri=$UDAIR_STORE_URI/batches/acme/cams-2026-11 ...
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from udair_jobs.restore_batch.specs import BatchResult, BatchSpec
from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import Storage, StorageError
from udair_jobs.sweep.specs import SweepResult, SweepSpec, Trial
from udair_platform.api.context import Context, Ctx
from udair_platform.console import charts
from udair_platform.console.rendering import page
from udair_platform.console.session import Session, TenantReader
from udair_platform.console.sweep_commands import KINDS, Wish, command
from udair_platform.documents import store_paths
from udair_platform.errors import FieldError, Invalid, NotFound, StoreDown

router = APIRouter()
# What `udair_jobs.sweep` writes; its module needs Ray.
_SPEC, _RESULT, _PROGRESS, _TRIALS = "spec.json", "result.json", "progress.json", "trials.parquet"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_BYTES = 16 * 2**20
_SHOWN, _NAMES = 200, 200
Field = Annotated[str, Query(max_length=1024)]


@dataclass(frozen=True)
class Batch:
    """A batch restoration as its folder tells it.

    Attributes:
        result: None while it runs, and when it ended without one.
        progress: Phase, percent and seconds to go, as the job last said.
    """

    name: str
    began: str
    spec: BatchSpec
    result: BatchResult | None
    progress: dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A sweep as its folder tells it.

    Attributes:
        result: None while it runs, and when it ended without one.
        progress: Phase and percent, as the job last said.
    """

    name: str
    began: str
    spec: SweepSpec
    result: SweepResult | None
    progress: dict[str, Any]


@router.get("/sweeps")
def list_sweeps(
    request: Request,
    context: Ctx,
    visitor: TenantReader,
    domain: Field = "",
    kind: Field = Wish.kind,
    trials: Field = Wish.trials,
    concurrent: Field = Wish.concurrent,
    clean: Field = "",
) -> HTMLResponse:
    """Every sweep, the newest first, and how another is begun: for a domain, the command with its values filled in."""
    wish = Wish(domain.strip(), kind, trials, concurrent, clean)
    domains, typed, refused = _begun(context, visitor, wish)
    prefix = store_paths.sweeps(visitor.principal.tenant)
    folder = context.store.at(prefix)
    try:
        listed = [(item.last_modified, item.key) for item in folder.list() if item.key.endswith(f"/{_SPEC}")]
    except NoObject:
        listed = []
    except StorageError as error:
        raise StoreDown(f"Sweeps cannot be listed now: {error}") from error
    batches = _batches(context.store.at(store_paths.batches(visitor.principal.tenant)))
    names = [(time, key.removesuffix(f"/{_SPEC}")) for time, key in sorted(listed, reverse=True)]
    found = [_sweep(folder.at(name), name, time) for time, name in names[:_SHOWN] if _NAME.fullmatch(name)]
    return page(
        request,
        "sweeps.html",
        visitor,
        refused.status if refused else 200,
        sweeps=[sweep for sweep in found if sweep],
        batches=batches,
        place=f"{context.store.uri}/{prefix}/NAME",
        wish=wish,
        kinds=KINDS,
        domains=domains,
        typed=typed,
        said={error.pointer.removeprefix("/"): error.detail for error in refused.errors} if refused else {},
    )


@router.get("/sweeps/{name}")
def show_sweep(request: Request, name: str, context: Ctx, visitor: TenantReader) -> HTMLResponse:
    """One sweep: what was tried, what mattered, and what was best."""
    folder = (
        context.store.at(f"{store_paths.sweeps(visitor.principal.tenant)}/{name}") if _NAME.fullmatch(name) else None
    )
    sweep = _sweep(folder, name, "") if folder else None
    if folder is None or sweep is None:
        raise NotFound(f"There is no sweep {name[:64]!r}.")
    trials = _trials(folder)
    best, default = (
        one.trial_id if one else ""
        for one in (
            sweep.result.best if sweep.result else None,
            sweep.result.default if sweep.result else None,
        )
    )
    axes, lines = charts.parallel(sweep.spec, trials, best, default)
    importance = sorted((sweep.result.importance if sweep.result else {}).items(), key=lambda item: -item[1])
    return page(
        request,
        "sweep.html",
        visitor,
        sweep=sweep,
        trials=trials[:_SHOWN],
        count=len(trials),
        axes=axes,
        lines=lines,
        importance=importance,
        best=best,
        default=default,
        width=charts.WIDTH,
        height=charts.HEIGHT,
    )


def _begun(context: Context, visitor: Session, wish: Wish) -> tuple[list[str], str, Invalid | None]:
    """Names of domains, the command that begins what is wished for, and why there is none; empty without a domain."""
    who = visitor.principal
    with context.database.read() as state:
        names = [one.name for one in state.domains.page(who.tenant, size=_NAMES)]
        if not wish.domain:
            return names, "", None
        try:
            domain = who.domain(state, wish.domain)
        except NotFound as error:
            return names, "", Invalid(error.detail, errors=[FieldError("/domain", error.detail)])
        base = state.bases.current()
    try:
        return names, command(wish, domain, base, context.settings, context.store.uri, now=context.clock()), None
    except Invalid as error:
        return names, "", error


def _batches(folder: Storage) -> list[Batch]:
    """Every batch restoration that was kept here, the newest first."""
    try:
        listed = sorted(((i.last_modified, i.key) for i in folder.list() if i.key.endswith(f"/{_SPEC}")), reverse=True)
        names = [(time, key.removesuffix(f"/{_SPEC}")) for time, key in listed]
        found = [_batch(folder.at(name), name, time) for time, name in names[:_SHOWN] if _NAME.fullmatch(name)]
    except NoObject:
        return []
    except StorageError as error:
        raise StoreDown(f"Batches cannot be listed now: {error}") from error
    return [batch for batch in found if batch]


def _batch(folder: Storage, name: str, began: str) -> Batch | None:
    """None where it cannot be read."""
    try:
        spec = BatchSpec.model_validate_json(folder.get(_SPEC, max_bytes=_MAX_BYTES))
        result, progress = _optional(folder, _RESULT), _optional(folder, _PROGRESS)
        ended = BatchResult.model_validate_json(result) if result else None
        return Batch(name, began, spec, ended, json.loads(progress) if progress else {})
    except (NoObject, ValueError):
        return None


def _sweep(folder: Storage, name: str, began: str) -> Sweep | None:
    """None where there is no sweep that can be read."""
    try:
        spec = SweepSpec.model_validate_json(folder.get(_SPEC, max_bytes=_MAX_BYTES))
        result, progress = _optional(folder, _RESULT), _optional(folder, _PROGRESS)
        data = json.loads(progress) if progress else {}
        return Sweep(name, began, spec, SweepResult.model_validate_json(result) if result else None, data)
    except (NoObject, ValueError):
        return None
    except StorageError as error:
        raise StoreDown(f"The sweep cannot be read now: {error}") from error


def _trials(folder: Storage) -> list[Trial]:
    """What became of each configuration, the best score first; none before the sweep has ended."""
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(io.BytesIO(folder.get(_TRIALS, max_bytes=_MAX_BYTES))).to_pylist()
        return [_trial(row) for row in rows]
    except (NoObject, ValueError, pyarrow.ArrowException):
        return []
    except StorageError as error:
        raise StoreDown(f"The sweep's trials cannot be read now: {error}") from error


def _trial(row: dict[str, Any]) -> Trial:
    values = {name.removeprefix("values."): value for name, value in row.items() if name.startswith("values.")}
    rest = {name: value for name, value in row.items() if not name.startswith("values.")}
    return Trial(values={name: value for name, value in values.items() if value is not None}, **rest)


def _optional(folder: Storage, name: str) -> bytes | None:
    try:
        return folder.get(name, max_bytes=_MAX_BYTES)
    except NoObject:
        return None
