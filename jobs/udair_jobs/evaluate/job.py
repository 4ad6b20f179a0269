"""Score a base model, and an adapter on it, on labelled sets."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from udair.errors import AdapterError
from udair_jobs.errors import CandidateError, JobError
from udair_jobs.evaluate.labelled import LabelledPair, labelled_pairs, no_labels
from udair_jobs.evaluate.specs import EvaluateResult, EvaluateSpec, LabelledSet, SetScore
from udair_jobs.images.snapshots import take_snapshot
from udair_jobs.published.base_models import local_folder
from udair_jobs.published.candidates import ADAPTER, verify_candidate
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.reporting import Reporter
from udair_jobs.runtime.results import MAX_SKIPPED
from udair_jobs.runtime.threads import set_threads
from udair_jobs.specs import Skipped
from udair_jobs.storage import PatientStorage, Storage, open_storage

if TYPE_CHECKING:
    from udair_jobs.evaluate.scoring import Scorer

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
    from udair_jobs.evaluate.scoring import Scorer

    started = time.monotonic()
    cancellation = cancellation or Cancellation()
    output = PatientStorage(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url))
    reporter = Reporter(output, {"VALIDATING": 5, "EVALUATING": 95})
    reporter.report("VALIDATING")
    set_threads()
    with local_folder(spec.base_uri, endpoint_url=spec.store_endpoint_url) as folder:
        bundle = load_bundle(folder)
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
