"""Score a base model, and an adapter on it, on labelled sets.

    python -m udair_jobs.evaluate +sets.rain.source_uri=s3://sets/rain/input \
        +sets.rain.clean_uri=s3://sets/rain/target output_uri=runs/score adapter_uri=runs/mine/candidate

Restoration is blind: the model sees the degraded image alone. PSNR and SSIM over RGB, no border cut.

Exit status: 0 scored, 2 the command is wrong; else whose fault it was: 3 the user's (also an evaluation
that was asked to stop), 4 capacity, 5 the system, 6 a deadline, 7 numerics.
"""

from __future__ import annotations

import io
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udair.errors import AdapterError
from udair_jobs.base_models import local_folder
from udair_jobs.cancellation import Cancellation
from udair_jobs.command_line import parsed, run_job
from udair_jobs.errors import CandidateError, JobError
from udair_jobs.evaluate_specs import EvaluateResult, EvaluateSpec, LabelledSet, SetScore
from udair_jobs.labelled import LabelledPair, labelled_pairs, no_labels
from udair_jobs.publish import ADAPTER, verify_candidate
from udair_jobs.reporting import Reporter
from udair_jobs.results import MAX_SKIPPED
from udair_jobs.snapshots import take_snapshot
from udair_jobs.specs import Skipped
from udair_jobs.storage import PatientStorage, Storage, open_storage
from udair_jobs.threads import set_threads

if TYPE_CHECKING:
    from udair_jobs.scoring import Scorer

log = logging.getLogger(__name__)

RESULT = "result.json"
SCORES = "scores.parquet"


def evaluate(spec: EvaluateSpec, *, cancellation: Cancellation | None = None) -> EvaluateResult:
    """Score every set. Images without a clean version are listed, never fatal.

    Raises:
        JobError: INVALID_SPEC, ACCESS_DENIED, DATA_EMPTY when a set has no pair at all.
        StorageError: A store refuses or does not answer.
    """
    from udair.bundle import load_bundle
    from udair_jobs.scoring import Scorer

    started = time.monotonic()
    cancellation = cancellation or Cancellation()
    output = PatientStorage(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url))
    reporter = Reporter(output, {"VALIDATING": 5, "EVALUATING": 95})
    reporter.report("VALIDATING")
    set_threads()
    with tempfile.TemporaryDirectory(prefix="udair-") as scratch:
        bundle = load_bundle(local_folder(spec.base_uri, Path(scratch), endpoint_url=spec.store_endpoint_url))
    adapter, digest = _adapter(spec, bundle.digest)
    scorer = Scorer(bundle, adapter, spec)
    scores: dict[str, SetScore] = {}
    rows: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    for number, (name, labelled) in enumerate(spec.sets.items()):

        def report(share: float, number: int = number) -> None:
            cancellation.check()
            reporter.report("EVALUATING", (number + share) / len(spec.sets))

        score, of_images, not_used = _score_set(spec, name, labelled, output, scorer, report)
        scores[name] = score
        rows += of_images
        skipped += not_used
    _write_rows(output, rows)
    result = EvaluateResult(
        base_digest=bundle.digest,
        adapter_digest=digest,
        sets=scores,
        scores_uri=f"{output.uri}/{SCORES}",
        skipped=skipped[:MAX_SKIPPED],
        seconds=round(time.monotonic() - started, 2),
    )
    output.put(RESULT, result.model_dump_json(indent=2).encode())
    reporter.report("EVALUATING", 1.0)
    return result


def _adapter(spec: EvaluateSpec, base_digest: str) -> tuple[bytes | None, str | None]:
    if spec.adapter_uri is None:
        return None, None
    store = PatientStorage(open_storage(spec.adapter_uri, endpoint_url=spec.store_endpoint_url))
    try:
        return store.get(ADAPTER), verify_candidate(store, base_digest=base_digest).digest
    except (CandidateError, AdapterError) as error:
        raise JobError("INVALID_SPEC", f"adapter_uri: {error}") from error


def _score_set(
    spec: EvaluateSpec,
    name: str,
    labelled: LabelledSet,
    output: Storage,
    scorer: Scorer,
    report: Callable[[float], None],
) -> tuple[SetScore, list[dict[str, Any]], list[Skipped]]:
    source, clean = (
        PatientStorage(open_storage(uri, endpoint_url=spec.source_endpoint_url))
        for uri in (labelled.source_uri, labelled.clean_uri)
    )
    snapshot = take_snapshot(source, output.at(f"snapshots/{name}"), snapshot_id=name, limits=spec.limits)
    if snapshot.summary.source_uri != source.uri:
        raise JobError(
            "INVALID_SPEC",
            f"{output.uri} holds set {name} of {snapshot.summary.source_uri}, not of {source.uri}; choose another "
            "output_uri, or another name.",
        )
    images = snapshot.rows.usable()
    rows, skipped = [], []
    for number, pair in enumerate(labelled_pairs(source, images, clean, limits=spec.limits), 1):
        if isinstance(pair, LabelledPair):
            rows.append({"set": name, "key": pair.key} | scorer.score(pair.degraded, pair.clean))
        else:
            skipped.append(pair)
        report(number / len(images))
    if not rows:
        raise no_labels(source, clean, skipped)
    score = scorer.summary(rows) | {
        "skipped": len(skipped) + snapshot.summary.skipped,
        "snapshot_digest": snapshot.summary.digest,
    }
    return SetScore.model_validate(score), rows, skipped + snapshot.skipped()


def _write_rows(output: Storage, rows: Sequence[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), buffer, compression="zstd")
    output.put(SCORES, buffer.getvalue())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the evaluation that the command line describes and return the exit status."""
    return run_job("evaluate", arguments, _job)


def _job(values: dict[str, Any], cancellation: Cancellation) -> None:
    _print(evaluate(parsed(EvaluateSpec, values), cancellation=cancellation))


def _print(result: EvaluateResult) -> None:
    print(f"{'set':20} {'images':>6} {'input':>8} {'source':>8} {'adapted':>8} {'gain':>14} {'harmed':>7}   PSNR, dB")
    for name, score in result.sets.items():
        line = f"{name:20} {score.images:6} {score.input_psnr_db:8.2f} {score.source_psnr_db:8.2f}"
        if score.adapted_psnr_db is not None:
            low = f" (>{score.gain_low_db:+.2f})" if score.gain_low_db is not None else ""
            line += f" {score.adapted_psnr_db:8.2f} {f'{score.gain_db:+.2f}{low}':>14} {score.harmed_share or 0:7.0%}"
        print(line + (f"   {score.skipped} skipped" if score.skipped else ""))
    print(f"scores  {result.scores_uri}")


if __name__ == "__main__":
    sys.exit(main())
