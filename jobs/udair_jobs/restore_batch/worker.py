"""One worker of a batch restoration: a model, loaded once, and chunks of objects that pass through it.

The driver makes Ray actors of it; two chunks are on their way at the same time, so that one's
downloads and uploads hide behind the other's forward passes.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch

from udair.adaptation.adapter import adapter_from_bytes
from udair.adaptation.test_time import TestTimeStream
from udair.bundle import load_bundle
from udair.data.encoding import ImageMetadata, dropped, encode
from udair.data.images import ImageArray
from udair.data.patches import to_array, to_tensor
from udair.data.tasks import CLASSES
from udair.errors import DoorBusy, ImageError
from udair.inference import restore
from udair.losses.alignment import cluster_distance
from udair.metrics import NIQE_PATCH, niqe, niqe_features
from udair.models.degradation import Degradation
from udair.models.modulation import Modulation
from udair.models.served import as_served
from udair.tiling import ENDPOINT_PIECE_BYTES
from udair_jobs.errors import CredentialsExpired, NotFound, PreconditionFailed, StorageError, TooLarge
from udair_jobs.images.decoding import decode, limits_of
from udair_jobs.images.downloads import in_order
from udair_jobs.published.base_models import local_folder
from udair_jobs.published.candidates import ADAPTER
from udair_jobs.restore_batch.rows import BatchRow
from udair_jobs.restore_batch.specs import BatchSpec
from udair_jobs.runtime.failures import explain
from udair_jobs.runtime.logs import quiet
from udair_jobs.runtime.threads import set_threads
from udair_jobs.storage import PatientStorage, Role, open_storage

# Decoded images that wait for the model, and restored ones that wait for their upload: each may be large.
PREFETCH = 4
UPLOADS = 4


@dataclass(frozen=True)
class BatchItem:
    """One object to restore.

    Attributes:
        key, etag, size: As listed.
        output_key: Where the restored file goes.
        known: How the file that is there was made, in this very way; None if there is none.
    """

    key: str
    etag: str
    size: int
    output_key: str
    known: BatchRow | None = None


@dataclass(frozen=True)
class ChunkResult:
    """Rows of a chunk in the order of its items; fewer, and `stopped` with why, when the job cannot go on."""

    rows: list[BatchRow]
    stopped: tuple[str, str] | None = None


@dataclass(frozen=True)
class _Arrived:
    row: BatchRow
    image: ImageArray
    metadata: ImageMetadata
    at: float


class BatchWorker:
    """Restores chunks; its methods may be called by two threads.

    Args:
        document: A `BatchSpec` as a dictionary. It holds no credentials.
        recipe: Goes into every row.
    """

    def __init__(self, document: dict[str, Any], recipe: str) -> None:
        self._spec = spec = BatchSpec.model_validate(document)
        self._recipe = recipe
        quiet()
        set_threads()
        device = "cuda" if spec.use_gpu else "cpu"
        with local_folder(spec.base_uri, endpoint_url=spec.store_endpoint_url) as folder:
            loaded = load_bundle(folder, device=device)
        self._model = as_served(loaded.model)
        self._bundle = replace(loaded, model=self._model)
        self._row = None
        if spec.adapter_uri:
            store = PatientStorage(open_storage(spec.adapter_uri, endpoint_url=spec.store_endpoint_url))
            adapter = adapter_from_bytes(store.get(ADAPTER), self._bundle.digest, self._bundle.model, spec.tone)
            self._row = adapter.row.to(device)
        self._stream = None
        if spec.test_time.steps:
            start = self._row or self._model.identity()
            self._stream = TestTimeStream(self._bundle, start, spec.test_time, spec.tone)
        self._device = torch.device(device)
        role = Role(spec.source_role_arn, spec.source_external_id) if spec.source_role_arn else None
        source = open_storage(spec.source_uri, endpoint_url=spec.source_endpoint_url, role=role)
        self._source = PatientStorage(source)
        self._output = PatientStorage(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url))
        self._limits = limits_of(spec.limits)
        self._model_in_use = threading.Lock()
        self._uploads = ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload")
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def ready(self) -> str:
        """This worker's name, once the model is loaded."""
        return self._name

    def restore(self, items: Sequence[BatchItem]) -> ChunkResult:
        """Restore `items`; an object that cannot be restored is a row that says why."""
        rows: list[BatchRow] = []
        waiting: deque[Future[BatchRow]] = deque()
        try:
            for arrived in in_order(self._fetch, items, workers=PREFETCH):
                if isinstance(arrived, BatchRow):
                    waiting.append(_done(arrived))
                else:
                    waiting.append(self._restored(arrived))
                while len(waiting) > UPLOADS:
                    rows.append(waiting.popleft().result())
            rows += [future.result() for future in waiting]
        except CredentialsExpired as error:
            return ChunkResult(rows, explain(error))
        return ChunkResult(rows)

    def _fetch(self, item: BatchItem) -> _Arrived | BatchRow:
        row = BatchRow(
            item.key, item.etag, item.size, output_key=item.output_key, recipe=self._recipe, worker=self._name
        )
        try:
            data = self._source.get(item.key, if_match=item.etag, max_bytes=self._limits.max_bytes)
        except TooLarge as error:
            return replace(row, state="SKIPPED", reason="TOO_MANY_BYTES", detail=str(error))
        except (PreconditionFailed, NotFound):
            return replace(row, state="SKIPPED", reason="CHANGED", detail="changed or vanished since it was listed")
        except CredentialsExpired:
            raise  # not this object's fault
        except StorageError as error:
            return replace(row, state="FAILED", reason="UNREADABLE", detail=str(error))
        row = replace(row, source_sha256=hashlib.sha256(data).hexdigest())
        if item.known is not None and item.known.source_sha256 == row.source_sha256:
            return replace(item.known, source_etag=item.etag, state="UNCHANGED")
        try:
            decoded = decode(data, self._limits)
            height, width = decoded.image.shape[:2]
            word = dropped(decoded.metadata, width, height, format=self._spec.format)
        except ImageError as error:
            return replace(row, state="SKIPPED", reason=error.reason, detail=str(error)[:300])
        except DoorBusy as error:
            return replace(row, state="FAILED", reason="CONTROLLER_ERROR", detail=str(error))
        row = replace(row, width=width, height=height, detail=f"dropped: {word}" if word else "")
        return _Arrived(row, decoded.image, decoded.metadata, time.perf_counter())

    def _restored(self, arrived: _Arrived) -> Future[BatchRow]:
        row = arrived.row
        try:
            with self._model_in_use:
                row, restored = self._forward(row, arrived.image)
        except Exception as error:  # one image must not fail the others
            reason, detail = explain(error)
            return _done(replace(row, state="FAILED", reason=reason, detail=detail[:300]))
        return self._uploads.submit(self._store, row, restored, arrived)

    def _forward(self, row: BatchRow, image: ImageArray) -> tuple[BatchRow, ImageArray]:
        began = time.perf_counter()
        image_CHW = to_tensor([image], self._device)[0]
        # Test-time adaptation takes gradients: it must not see tensors of inference mode.
        modulation = self._stream.next(image_CHW) if self._stream else self._row
        with torch.inference_mode():
            return self._inferred(row, image_CHW, modulation, began)

    def _inferred(
        self, row: BatchRow, image_CHW: torch.Tensor, modulation: Modulation | None, began: float
    ) -> tuple[BatchRow, ImageArray]:
        spec = self._spec
        whole = self._model.embed(image_CHW[None], modulation)
        restored_CHW = restore(
            self._model,
            image_CHW,
            modulation,
            tone=spec.tone,
            budget_bytes=spec.memory_budget_bytes,
            piece_bytes=ENDPOINT_PIECE_BYTES,
            whole=whole,
        )
        restored = to_array(restored_CHW)
        forward_s = time.perf_counter() - began
        row = replace(row, forward_s=forward_s, **self._seen(whole))
        if spec.scores and min(image_CHW.shape[1:]) >= 2 * NIQE_PATCH:
            row = replace(row, niqe_before=self._niqe(image_CHW), niqe_after=self._niqe(restored_CHW))
        return row, restored

    def _seen(self, whole: Degradation) -> dict[str, Any]:
        stats = self._bundle.stats
        nearest = int(cluster_distance(whole.embedding_BD.float(), stats.centre_GD, stats.precision_GDD)[0].argmin())
        return {
            "degradation": CLASSES[nearest],
            "code": int(whole.histogram_BK[0].argmax()),
            "adapted": self._row is not None and bool(whole.inside_B[0] > 0),
        }

    def _niqe(self, image_CHW: torch.Tensor) -> float | None:
        stats = self._bundle.stats
        score = niqe(niqe_features(image_CHW), stats.niqe_mean_F, stats.niqe_cov_FF)
        return score if math.isfinite(score) else None

    def _store(self, row: BatchRow, restored: ImageArray, arrived: _Arrived) -> BatchRow:
        try:
            data = encode(restored, arrived.metadata, format=self._spec.format, quality=self._spec.quality)
            etag = self._output.put(row.output_key, data)
        except CredentialsExpired:
            raise
        except Exception as error:  # one image must not fail the others
            reason, detail = explain(error)
            return replace(row, state="FAILED", reason=reason, detail=detail[:300])
        seconds = time.perf_counter() - arrived.at
        return replace(row, state="RESTORED", output_etag=etag, output_bytes=len(data), seconds=seconds)


def _done(row: BatchRow) -> Future[BatchRow]:
    future: Future[BatchRow] = Future()
    future.set_result(row)
    return future
