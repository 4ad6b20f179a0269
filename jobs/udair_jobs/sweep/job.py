"""Search hyperparameters on Ray Tune: of alignment, test-time adaptation, the recipe or source training."""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udair_jobs.errors import JobCancelled, JobError, NotFound, last_line
from udair_jobs.images.snapshots import Snapshot, take_snapshot
from udair_jobs.published.base_models import digest_at, local_folder
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.intervals import mean_low
from udair_jobs.runtime.ray_cluster import interruptible, start_ray
from udair_jobs.runtime.reporting import Reporter
from udair_jobs.runtime.threads import set_threads
from udair_jobs.storage import PatientStorage, Storage, arrow_filesystem, open_storage
from udair_jobs.sweep.report import (
    TRIALS,
    TUNED,
    distributions,
    write_plots,
    write_table,
    write_tuned,
)
from udair_jobs.sweep.specs import Choices, SweepResult, SweepSpec, Trial

if TYPE_CHECKING:
    from ray.tune import Result, ResultGrid

log = logging.getLogger(__name__)

RESULT = "result.json"
SPEC = "spec.json"
TUNE = "tune"
RUN = "sweep"


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
    reporter = Reporter(output, {"FETCHING": 5, "ALIGNING": 15, "SEARCHING": 78, "EXPORTING": 2})
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
    trials = _trials(spec, _search(spec, reporter, cancellation))
    reporter.report("EXPORTING")
    result = _conclude(spec, output, trials, time.monotonic() - started)
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
    with tempfile.TemporaryDirectory(prefix="udair-") as scratch:
        folder = local_folder(spec.base_uri, Path(scratch), endpoint_url=spec.store_endpoint_url)
        digest_at(folder, spec.base_uri)
        bundle = load_bundle(folder)
    problem = make_problem(spec, bundle, source, clean, snapshot, lambda share: reporter.report("ALIGNING", share))
    output.put(PROBLEM, problem.to_bytes())


def _search(spec: SweepSpec, reporter: Reporter, cancellation: Cancellation) -> ResultGrid:
    """Run the trials on the Ray cluster of RAY_ADDRESS, or one of its own on this machine."""
    # Ray's own tables and Optuna's lines would drown this job's: verbose=0 counts in Ray's old output only.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    import optuna
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    from udair_jobs.sweep.scheduler import DefaultKeeper, TrialCounter
    from udair_jobs.sweep.trials import RUNG, SCORE, defaults, last_rung, trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    TrialCounter.listener = staticmethod(lambda ended: reporter.report("SEARCHING", ended / spec.trials))
    reporter.report("SEARCHING")
    start_ray(spec.concurrent, cancellation)
    filesystem, path = arrow_filesystem(f"{spec.output_uri}/{TUNE}", endpoint_url=spec.store_endpoint_url)
    filesystem.create_dir(path, recursive=True)
    work = tune.with_resources(
        partial(trial, document=spec.model_dump(mode="json")), {"CPU": 1, "GPU": 1} if spec.use_gpu else {"CPU": 1}
    )
    run = f"{path}/{RUN}"
    if tune.Tuner.can_restore(run, storage_filesystem=filesystem):
        log.info("continuing the sweep at %s", spec.output_uri)
        tuner = tune.Tuner.restore(
            run, work, resume_unfinished=True, resume_errored=True, storage_filesystem=filesystem
        )
    else:
        last = last_rung(spec)
        tuner = tune.Tuner(
            work,
            tune_config=tune.TuneConfig(
                metric=SCORE,
                mode="max",
                num_samples=spec.trials,
                max_concurrent_trials=spec.concurrent,
                reuse_actors=True,
                search_alg=OptunaSearch(
                    distributions(spec.space),
                    metric=SCORE,
                    mode="max",
                    seed=spec.seed,
                    points_to_evaluate=[defaults(spec)],
                ),
                scheduler=DefaultKeeper(
                    time_attr=RUNG, max_t=last, grace_period=max(1, last // 6), reduction_factor=spec.reduction_factor
                ),
            ),
            run_config=tune.RunConfig(
                name=RUN,
                storage_path=path,
                storage_filesystem=filesystem,
                failure_config=tune.FailureConfig(max_failures=spec.retries),
                callbacks=[TrialCounter()],
                verbose=0,
            ),
        )
    try:
        return interruptible(tuner.fit)
    except JobCancelled as error:
        raise JobCancelled(f"the sweep was asked to stop; {spec.output_uri} continues it.") from error
    except Exception as error:  # Ray raises in types of its own
        raise JobError("CONTROLLER_ERROR", f"the sweep failed: {last_line(error)}") from error


def _trials(spec: SweepSpec, grid: ResultGrid) -> list[Trial]:
    """What became of each configuration, the best score first."""
    from udair_jobs.sweep.trials import SCORE, defaults

    results = [grid[number] for number in range(len(grid))]
    default_each: list[float] = next(
        (r.metrics["check_each_db"] for r in results if r.metrics and r.metrics.get("default") and _ended(r.metrics)),
        [],
    )
    trials = []
    for result in results:
        metrics = result.metrics or {}
        score_db = metrics.get(SCORE)
        scored = score_db is not None and math.isfinite(score_db)
        detail = metrics.get("failure") or (last_line(result.error) if result.error else "")
        each = metrics.get("check_each_db")
        state = "FAILED" if detail else "COMPLETED" if _ended(metrics) else "PRUNED" if scored else "CANCELLED"
        trials.append(
            Trial(
                trial_id=metrics.get("trial_id") or Path(result.path or "unknown").name,
                state=state,
                values=trial_values(spec, result),
                score_db=score_db if scored else None,
                check_db=metrics.get("check_db"),
                check_low_db=mean_low([a - b for a, b in zip(each, default_each, strict=True)])
                if each and len(each) == len(default_each) > 1
                else None,
                seconds=metrics.get("seconds", 0.0),
                detail=detail or ("" if scored else "it was stopped before its first score"),
            )
        )
    normal = defaults(spec)

    def rank(trial: Trial) -> tuple[float, bool, str]:
        # Of equal ones the default is best.
        return (-math.inf if trial.score_db is None else trial.score_db, trial.values == normal, trial.trial_id)

    return sorted(trials, key=rank, reverse=True)


def trial_values(spec: SweepSpec, result: Result) -> dict[str, Any]:
    """What a trial was given. A trial that died before its first report has it in a file of Ray's only."""
    config = result.config
    if config is None:
        try:
            with result.filesystem.open_input_stream(f"{result.path}/params.json") as stream:
                config = json.loads(stream.read())
        except FileNotFoundError:
            config = {}
    return {name: config[name] for name in spec.space if name in config}


def _ended(metrics: dict[str, Any] | None) -> bool:
    return bool(metrics and metrics.get("check_db") is not None)


def _conclude(spec: SweepSpec, output: Storage, trials: list[Trial], seconds: float) -> SweepResult:
    from udair_jobs.sweep.trials import defaults

    write_table(output, trials)
    completed = [trial for trial in trials if trial.state == "COMPLETED"]
    if not completed:
        first = next((trial.detail for trial in trials if trial.detail), "no trial began")
        raise JobError("CONTROLLER_ERROR", f"none of {len(trials)} trials ended with a score: {first}")
    normal = defaults(spec)
    default = next((trial for trial in completed if trial.values == normal), None)
    best = completed[0]
    improved = default is not None and best is not default and _better(best, default)
    importance = write_plots(output, spec, trials)
    if improved:
        assert default is not None
        line = f"{best.check_db:+.3f} dB on pairs that the search did not see; the default {default.check_db:+.3f} dB."
        write_tuned(output, spec, best.values, line)
    else:
        write_tuned(output, spec, normal, "The default: no trial was better on pairs that the search did not see.")
    return SweepResult(
        kind=spec.kind,
        objective="validation"
        if spec.kind == "source"
        else "labelled gain"
        if spec.clean_uri
        else "pseudo-target gain",
        trials=len(trials),
        by_state=dict(Counter(trial.state for trial in trials)),
        default=default,
        best=best,
        improved=improved,
        importance=importance,
        trials_uri=f"{output.uri}/{TRIALS}",
        tuned_uri=f"{output.uri}/{TUNED}",
        seconds=round(seconds, 2),
    )


def _better(best: Trial, default: Trial) -> bool:
    """Beyond chance where pairs tell, else simply by the checked score."""
    if best.check_low_db is not None:
        return best.check_low_db > 0
    return best.check_db is not None and default.check_db is not None and best.check_db > default.check_db
