"""What a sweep leaves behind: a table, two plots, and the best values as an override file."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from udair_jobs.storage import Storage
from udair_jobs.sweep.specs import Choices, Range, SweepKind, SweepSpec, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna import Study
    from optuna.distributions import BaseDistribution

log = logging.getLogger(__name__)

TRIALS = "trials.parquet"
TUNED = "tuned/best.yaml"
IMPORTANCE = "importance.png"
PARALLEL = "parallel.png"
FEWEST = 4  # scored trials below which nothing can be said about importance

# Where a sweep's hyperparameters live in the configuration of the job that takes them.
PLACES: dict[SweepKind, tuple[str, tuple[str, ...]]] = {
    "tta": ("restore_batch", ("test_time",)),
    "alignment": ("adapt_domain", ("recipe", "alignment")),
    "recipe": ("adapt_domain", ("recipe",)),
    "source": ("train_source", ("train",)),
}


def distributions(space: Mapping[str, Range | Choices]) -> dict[str, BaseDistribution]:
    """The space as Optuna knows it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    known: dict[str, BaseDistribution] = {}
    for name, item in space.items():
        if isinstance(item, Choices):
            known[name] = CategoricalDistribution(item.choices)
        elif item.integer:
            known[name] = IntDistribution(round(item.low), round(item.high), log=item.log)
        else:
            known[name] = FloatDistribution(item.low, item.high, log=item.log)
    return known


def write_table(storage: Storage, trials: Sequence[Trial]) -> None:
    """`trials.parquet`: a row a trial, a column a hyperparameter."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {f"values.{name}": value for name, value in trial.values.items()} | trial.model_dump(exclude={"values"})
        for trial in trials
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, compression="zstd")
    storage.put(TRIALS, sink.getvalue())


def write_tuned(storage: Storage, spec: SweepSpec, values: Mapping[str, Any], message: str) -> None:
    """`tuned/best.yaml`: overrides that the job takes with `--config-dir <sweep> +tuned=best`."""
    from omegaconf import OmegaConf

    job, place = PLACES[spec.kind]
    document: Any = dict(values)
    for name in reversed(place):
        document = {name: document}
    head = (
        f"# @package _global_\n# {message}\n#   python -m udair_jobs.{job} --config-dir {storage.uri} +tuned=best ...\n"
    )
    storage.put(TUNED, (head + OmegaConf.to_yaml(OmegaConf.create(document), sort_keys=True)).encode())


def write_plots(storage: Storage, spec: SweepSpec, trials: Sequence[Trial]) -> dict[str, float]:
    """Parameter importance and parallel coordinates as pictures; returns the importance.

    PED-ANOVA (Watanabe et al. 2023) on the scored trials, pruned ones with their last score.
    """
    study = _study(spec, trials)
    if len(study.trials) < FEWEST:
        log.warning("%d trials have a score: too few for plots", len(study.trials))
        return {}
    import matplotlib as mpl

    mpl.use("Agg")
    import optuna.visualization.matplotlib as draw
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # plots and evaluator are marked experimental
        _save(storage, PARALLEL, draw.plot_parallel_coordinate(study, target_name="score, dB"), spec)
        if len({trial.value for trial in study.trials}) < 2:
            log.warning("all %d trials have the same score: nothing matters", len(study.trials))
            return {}
        evaluator = PedAnovaImportanceEvaluator()
        _save(storage, IMPORTANCE, draw.plot_param_importances(study, evaluator=evaluator, target_name="dB"), spec)
        importance = get_param_importances(study, evaluator=evaluator)
    return {name: round(float(value), 4) for name, value in importance.items()}


def _save(storage: Storage, name: str, axes: Axes, spec: SweepSpec) -> None:
    from matplotlib import pyplot as plt

    figure = axes.get_figure(root=True)
    assert figure is not None, "Optuna draws on a figure"
    figure.set_size_inches(1.8 * len(spec.space) + 5, 5)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=120, bbox_inches="tight")
    plt.close(figure)
    storage.put(name, sink.getvalue())


def _study(spec: SweepSpec, trials: Sequence[Trial]) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    known = distributions(spec.space)
    for trial in trials:
        if trial.score_db is not None:
            study.add_trial(
                optuna.trial.create_trial(params=dict(trial.values), distributions=known, value=trial.score_db)
            )
    return study


def to_line(values: Mapping[str, Any]) -> str:
    """Values for people: `name=value` with four digits."""
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )
