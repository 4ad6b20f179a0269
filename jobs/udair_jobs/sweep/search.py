"""The search itself: trials on Ray Tune, begun or continued."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from udair_jobs.errors import JobCancelled, JobError, StorageError, last_line
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.ray_cluster import interruptible, start_ray
from udair_jobs.runtime.reporting import Reporter
from udair_jobs.storage import arrow_filesystem
from udair_jobs.sweep.report import distributions
from udair_jobs.sweep.specs import SweepSpec

if TYPE_CHECKING:
    from ray.tune import ResultGrid

log = logging.getLogger(__name__)

TUNE = "tune"
RUN = "sweep"


def search(spec: SweepSpec, reporter: Reporter, cancellation: Cancellation) -> ResultGrid:
    """Run the trials on the Ray cluster of RAY_ADDRESS, or one of its own on this machine."""
    # Ray's own tables and Optuna's lines would drown this job's: verbose=0 counts in Ray's old output only.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    import optuna
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    from udair_jobs.sweep.scheduler import DefaultKeeper, TrialCounter
    from udair_jobs.sweep.trials import RUNG, SCORE, defaults, last_rung, trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    TrialCounter.listener = staticmethod(
        lambda ended: reporter.report("SEARCHING", ended / spec.trials, {"trials": ended})
    )
    reporter.report("SEARCHING")
    start_ray(spec.concurrent, cancellation)
    filesystem, path = arrow_filesystem(f"{spec.output_uri}/{TUNE}", endpoint_url=spec.store_endpoint_url)
    try:
        filesystem.create_dir(path, recursive=True)
    except OSError as error:  # pyarrow's own: it names neither store nor endpoint
        place = f" at {spec.store_endpoint_url}" if spec.store_endpoint_url else ""
        raise StorageError(f"{spec.output_uri}/{TUNE}", f"cannot be written{place}: {last_line(error)}") from error
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
