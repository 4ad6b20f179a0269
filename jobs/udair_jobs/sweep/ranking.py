"""What the trials of a search came to: ranked, the best checked against the default, and written down."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udair_jobs.errors import JobError, last_line
from udair_jobs.runtime.intervals import mean_low
from udair_jobs.storage import Storage
from udair_jobs.sweep.report import TRIALS, TUNED, write_plots, write_table, write_tuned
from udair_jobs.sweep.specs import SweepResult, SweepSpec, Trial

if TYPE_CHECKING:
    from ray.tune import Result, ResultGrid


def ranked(spec: SweepSpec, grid: ResultGrid) -> list[Trial]:
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


def conclude(spec: SweepSpec, output: Storage, trials: list[Trial], seconds: float) -> SweepResult:
    """Write table, plots and the tuned configuration; CONTROLLER_ERROR when no trial ended with a score."""
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
