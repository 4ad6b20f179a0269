"""Compare ways to restore pictures, with or without their truth: a table, a row a picture, a contact sheet."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from udair.adaptation.gate import Evidence
from udair.data.images import ImageArray
from udair.errors import AdapterError
from udair_jobs.errors import CandidateError, JobError
from udair_jobs.evaluate.pictures import Picture, no_pictures, read_pictures
from udair_jobs.evaluate.specs import EvaluateResult, EvaluateSpec, PictureSet, SetScore
from udair_jobs.images.datasets import MAX_IMAGES
from udair_jobs.images.manifests import ManifestRow
from udair_jobs.images.snapshots import Snapshot, take_snapshot
from udair_jobs.published.base_models import local_folder
from udair_jobs.published.candidates import ADAPTER, BASE, EVIDENCE, verify_candidate
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.reporting import Reporter
from udair_jobs.runtime.results import MAX_SKIPPED
from udair_jobs.runtime.threads import set_threads
from udair_jobs.specs import Skipped
from udair_jobs.storage import PatientStorage, Storage, open_storage

if TYPE_CHECKING:
    from udair.bundle import Bundle
    from udair_jobs.evaluate.columns import Columns

log = logging.getLogger(__name__)

RESULT = "result.json"
SCORES = "scores.parquet"


def evaluate(spec: EvaluateSpec, *, cancellation: Cancellation | None = None) -> EvaluateResult:
    """Restore and score every set. Pictures that cannot be used are listed, never fatal.

    Raises:
        JobError: INVALID_SPEC, ACCESS_DENIED, DATA_EMPTY when a set has no picture, or none with its truth.
        StorageError: A store refuses or does not answer.
    """
    from udair.bundle import load_bundle

    started = time.monotonic()
    cancellation = cancellation or Cancellation()
    output = PatientStorage(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url))
    reporter = Reporter(output, {"VALIDATING": 5, "EVALUATING": 95})
    reporter.report("VALIDATING")
    set_threads()
    with local_folder(spec.base_uri, endpoint_url=spec.store_endpoint_url) as folder:
        bundle = load_bundle(folder)
    given = _given(spec, bundle)
    scores: dict[str, SetScore] = {}
    rows: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    for number, (name, pictures) in enumerate(spec.sets.items()):

        def report(share: float, number: int = number) -> None:
            cancellation.check()
            reporter.report("EVALUATING", (number + share) / len(spec.sets))

        of_set = _Set(spec, name, pictures, output, bundle, report)
        scores[name] = of_set.score(given)
        rows += of_set.rows
        skipped += of_set.skipped
    _write_rows(output, rows)
    result = EvaluateResult(
        base_digest=bundle.digest,
        adapter_digest=given.digest if given else None,
        sets=scores,
        scores_uri=f"{output.uri}/{SCORES}",
        skipped=skipped[:MAX_SKIPPED],
        seconds=round(time.monotonic() - started, 2),
    )
    output.put(RESULT, result.model_dump_json(indent=2).encode())
    reporter.report("EVALUATING", 1.0)
    return result


@dataclass(frozen=True)
class _Given:
    """An adapter that was made before, with what its job published beside it."""

    data: bytes
    digest: str
    evidence: Evidence | None
    base_loses: str


def _given(spec: EvaluateSpec, bundle: Bundle) -> _Given | None:
    if spec.adapter_uri is None:
        return None
    store = PatientStorage(open_storage(spec.adapter_uri, endpoint_url=spec.store_endpoint_url))
    try:
        manifest = verify_candidate(store, base_digest=bundle.digest)
        evidence = Evidence.from_dict(json.loads(store.get(EVIDENCE))) if EVIDENCE in manifest.files else None
        against = json.loads(store.get(BASE)) if BASE in manifest.files else {}
        return _Given(store.get(ADAPTER), manifest.digest, evidence, str(against.get("reason", "")))
    except (CandidateError, AdapterError) as error:
        raise JobError("INVALID_SPEC", f"adapter_uri: {error}") from error


class _Set:
    """One set: what of it is scored, and how it did."""

    def __init__(
        self,
        spec: EvaluateSpec,
        name: str,
        pictures: PictureSet,
        output: Storage,
        bundle: Bundle,
        report: Callable[[float], None],
    ) -> None:
        self._spec, self._name, self._output, self._bundle, self._report = spec, name, output, bundle, report
        self._source = PatientStorage(open_storage(pictures.source_uri, endpoint_url=spec.source_endpoint_url))
        self._clean = None
        if pictures.clean_uri is not None:
            self._clean = PatientStorage(open_storage(pictures.clean_uri, endpoint_url=spec.source_endpoint_url))
        self.rows: list[dict[str, Any]] = []
        self.skipped: list[Skipped] = []

    def score(self, given: _Given | None) -> SetScore:
        """Restore every picture that is scored in every way."""
        from udair_jobs.evaluate.contact_sheet import TRUTH, contact_sheet
        from udair_jobs.evaluate.scoring import INPUT, score, summary

        snapshot = self._snapshot()
        usable = snapshot.rows.usable()
        scored, adapted_to = (usable[1::2], usable[::2]) if self._spec.adapt else (usable, [])
        columns = self._columns(given, adapted_to)
        figures: list[dict[str, dict[str, float]]] = []
        sheet: list[tuple[str, dict[str, ImageArray]]] = []
        for number, picture in enumerate(self._pictures(scored), 1):
            restored = {INPUT: picture.degraded}
            restored |= {name: restore(picture.degraded) for name, restore in columns.by_name.items()}
            figures.append(score(restored, columns.base, picture.clean))
            self.rows.append({"set": self._name, "key": picture.key} | _flat(figures[-1]))
            if len(sheet) < self._spec.sheet_pictures:
                known = {} if picture.clean is None else {TRUTH: picture.clean}
                sheet.append((picture.key, restored | known))
            self._report(number / len(scored))
        if not figures:
            raise no_pictures(self._source, self._clean, self.skipped)
        sheet_uri = None
        if sheet:
            self._output.put(f"{self._name}.jpg", contact_sheet(sheet))
            sheet_uri = f"{self._output.uri}/{self._name}.jpg"
        return SetScore(
            images=len(figures),
            skipped=len(self.skipped),
            snapshot_digest=snapshot.summary.digest,
            base=columns.base,
            columns=summary(figures, columns.base, self._spec.harm_db),
            served_as=columns.served_as,
            why=columns.why,
            words=columns.words,
            sheet_uri=sheet_uri,
        )

    def _snapshot(self) -> Snapshot:
        snapshot = take_snapshot(
            self._source, self._output.at(f"snapshots/{self._name}"), snapshot_id=self._name, limits=self._spec.limits
        )
        if snapshot.summary.source_uri != self._source.uri:
            raise JobError(
                "INVALID_SPEC",
                f"{self._output.uri} holds set {self._name} of {snapshot.summary.source_uri}, not of {self._source.uri}; "
                "choose another output_uri, or another name.",
            )
        self.skipped += snapshot.skipped()
        return snapshot

    def _pictures(self, rows: Sequence[ManifestRow]) -> Iterator[Picture]:
        for picture in read_pictures(self._source, rows, self._clean, limits=self._spec.limits):
            if isinstance(picture, Picture):
                yield picture
            else:
                self.skipped.append(picture)

    def _columns(self, given: _Given | None, adapted_to: Sequence[ManifestRow]) -> Columns:
        from udair.adaptation.adapter import adapter_from_bytes
        from udair_jobs.evaluate.columns import adapted_columns, given_columns

        bundle, spec = self._bundle, self._spec
        if not spec.adapt:
            if given is None:
                return given_columns(bundle, spec, None, None, "")
            row = adapter_from_bytes(given.data, bundle.digest, bundle.model, spec.tone).row
            return given_columns(bundle, spec, row, given.evidence, given.base_loses)
        seen = list(self._pictures(adapted_to[:MAX_IMAGES]))
        if not seen:
            raise no_pictures(self._source, self._clean, self.skipped)
        tables = {row.key: row.jpeg_table for row in adapted_to}
        return adapted_columns(
            bundle, spec, [one.degraded for one in seen], [one.clean for one in seen], [tables[one.key] for one in seen]
        )


def _flat(row: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{column}_{figure}": value for column, figures in row.items() for figure, value in figures.items()}


def _write_rows(output: Storage, rows: Sequence[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    # A set has columns that another has not, e.g. no truth: Arrow takes its names from the first row alone.
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pyarrow.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    parquet.write_table(table, buffer, compression="zstd")
    output.put(SCORES, buffer.getvalue())
