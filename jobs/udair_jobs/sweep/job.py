"""Search hyperparameters on Ray Tune: of alignment, test-time adaptation, the recipe or source training."""

from __future__ import annotations

import logging
import time

from udair_jobs.errors import JobError, NotFound
from udair_jobs.images.snapshots import Snapshot, take_snapshot
from udair_jobs.published.base_models import digest_at, local_folder
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.reporting import Reporter
from udair_jobs.runtime.threads import set_threads
from udair_jobs.runtime.watching import on_stderr
from udair_jobs.specs import Phase
from udair_jobs.storage import PatientStorage, Storage, open_storage
from udair_jobs.sweep.ranking import conclude, ranked
from udair_jobs.sweep.search import search
from udair_jobs.sweep.specs import Choices, SweepResult, SweepSpec

log = logging.getLogger(__name__)

RESULT = "result.json"
SPEC = "spec.json"


def sweep(spec: SweepSpec, *, cancellation: Cancellation | None = None) -> SweepResult:
    """Search, check the best against the default on pairs that the search did not see, and write it all down.

    Safe to repeat: a sweep that was killed continues with the trials that it had not finished, and one
    that has ended returns its result.

    Raises:
        JobError: INVALID_SPEC, DATA_EMPTY, DATA_UNREADABLE, TOO_FEW_IMAGES, ACCESS_DENIED, USER_CANCELLED,
            NAN_LOSS when every trial diverged, or CONTROLLER_ERROR when none ended or Ray does not start.
        StorageError: A store refuses or does not answer.
    """
    started = time.monotonic()
    cancellation = cancellation or Cancellation()
    output = PatientStorage(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url))
    source = PatientStorage(open_storage(spec.source_uri, endpoint_url=spec.source_endpoint_url))
    clean = spec.clean_uri and PatientStorage(open_storage(spec.clean_uri, endpoint_url=spec.source_endpoint_url))
    # Absolute from here on: trials run in folders of their own.
    spec = spec.model_copy(update={"output_uri": output.uri, "source_uri": source.uri})
    _check(spec)
    _same_spec(output, spec)
    with_result = _earlier(output)
    if with_result is not None:
        log.info("%s has a result already", output.uri)
        return with_result
    weights: dict[Phase, float] = {"FETCHING": 5, "ALIGNING": 15, "SEARCHING": 78, "EXPORTING": 2}
    reporter = Reporter(output, weights, listener=on_stderr("trials"))
    reporter.report("FETCHING")
    snapshot = take_snapshot(
        source,
        output.at("snapshot"),
        snapshot_id="sweep",
        limits=spec.limits,
        on_progress=lambda share, counters: reporter.report("FETCHING", share, counters),
    )
    _prepare(spec, output, source, clean or None, snapshot, reporter)
    cancellation.check()
    trials = ranked(spec, search(spec, reporter, cancellation))
    reporter.report("EXPORTING")
    result = conclude(spec, output, trials, time.monotonic() - started)
    output.put(RESULT, result.model_dump_json(indent=2).encode())
    reporter.report("EXPORTING", 1.0)
    return result


def _check(spec: SweepSpec) -> None:
    from udair_jobs.sweep.trials import config_of, defaults

    for name, value in defaults(spec).items():
        item = spec.space[name]
        inside = value in item.choices if isinstance(item, Choices) else item.low <= value <= item.high
        if not inside:
            allowed = item.choices if isinstance(item, Choices) else f"{item.low:g} to {item.high:g}"
            raise JobError(
                "INVALID_SPEC",
                f"space.{name} is {allowed}, and the default {value} lies outside; the sweep compares with the default: "
                "widen the space, or move the default with fixed.",
            )
        for edge in item.choices if isinstance(item, Choices) else (item.low, item.high):
            as_typed = edge if isinstance(item, Choices) or not item.integer else round(float(edge))
            config_of(spec.kind, {**spec.fixed, name: as_typed})


def _same_spec(output: Storage, spec: SweepSpec) -> None:
    """A sweep continues only as what it was: trials of two spaces cannot be compared."""
    try:
        earlier = SweepSpec.model_validate_json(output.get(SPEC))
    except NotFound:
        output.put(SPEC, spec.model_dump_json(indent=2).encode())
        return
    now, before = spec.model_dump(exclude={"concurrent"}), earlier.model_dump(exclude={"concurrent"})
    changed = sorted(name for name in now if now[name] != before[name])
    if changed:
        raise JobError(
            "INVALID_SPEC",
            f"{output.uri} holds a sweep with another {', '.join(changed)}; choose another output_uri.",
        )


def _earlier(output: Storage) -> SweepResult | None:
    try:
        return SweepResult.model_validate_json(output.get(RESULT))
    except NotFound:
        return None


def _prepare(
    spec: SweepSpec, output: Storage, source: Storage, clean: Storage | None, snapshot: Snapshot, reporter: Reporter
) -> None:
    """Make what trials are scored on, unless an earlier process of this sweep has."""
    from udair_jobs.sweep.trials import PROBLEM

    reporter.report("ALIGNING")
    if spec.kind == "source":
        if snapshot.summary.gate_images < 2:
            raise JobError(
                "TOO_FEW_IMAGES", "a source sweep needs 2 held-out photographs; add some or raise gate_share."
            )
        return
    if output.exists(PROBLEM):
        return
    from udair.bundle import load_bundle
    from udair_jobs.sweep.problem import make_problem

    set_threads()
    with local_folder(spec.base_uri, endpoint_url=spec.store_endpoint_url) as folder:
        digest_at(folder, spec.base_uri)
        bundle = load_bundle(folder)
    problem = make_problem(spec, bundle, source, clean, snapshot, lambda share: reporter.report("ALIGNING", share))
    output.put(PROBLEM, problem.to_bytes())
