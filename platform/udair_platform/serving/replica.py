"""One replica: the backbone once, a bank of adapters, and batches that mix domains.

Axes: B images of a batch, C channels, H x W pixels.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from udair.adaptation.adapter import Adapter, adapter_from_bytes
from udair.adaptation.bank import AdapterBank
from udair.bundle import load_bundle
from udair.data.images import ImageArray
from udair.data.patches import to_array, to_tensor
from udair.errors import AdapterError
from udair.inference import TILE, restore
from udair_jobs.publish import ADAPTER
from udair_jobs.storage import StorageError, open_storage
from udair_platform.serving.batcher import MicroBatcher
from udair_platform.serving.router import Route
from udair_platform.telemetry import logger

_MAX_ADAPTER_BYTES = 16 * 2**20
_log = logger("serving")


@dataclass(frozen=True)
class Restored:
    """One answer.

    Attributes:
        image: (H, W, 3) uint8.
        version: Adapter version that made it; 0 is the source model.
        fallback: ``source`` when the routed adapter could not be loaded, else ``none``.
        forward_s: Seconds of the forward pass of its batch.
        batch: Images in that batch.
    """

    image: ImageArray
    version: int
    fallback: str
    forward_s: float
    batch: int


@dataclass(frozen=True)
class _Item:
    image: ImageArray
    digest: str | None
    adapter: Adapter | None


class Backbone:
    """Holds one base model and restores images of any domain that routes to it.

    Args:
        base_folder: Folder of the bundle.
        base_digest: It must be this one.
        store_endpoint_url: S3 endpoint of the platform's store, if not AWS.
        slots: Adapters resident on the device; twice as many stay decoded in memory.
        max_batch, window_s: See `MicroBatcher`.
        threads: CPU threads of the forward pass; 0 leaves the default.
    """

    def __init__(
        self,
        base_folder: str,
        base_digest: str,
        store_endpoint_url: str | None = None,
        slots: int = 64,
        max_batch: int = 8,
        window_s: float = 0.005,
        threads: int = 0,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._bundle = load_bundle(Path(base_folder), base_digest, device)
        self._device = device
        self._endpoint_url = store_endpoint_url
        self._bank = AdapterBank(self._bundle.model, base_digest, slots)
        self._decoded: OrderedDict[str, Adapter] = OrderedDict()
        self._keep = 2 * slots
        self._loading: dict[str, asyncio.Task[Adapter]] = {}
        self._batcher: MicroBatcher[_Item, tuple[ImageArray, float, int]] = MicroBatcher(
            self._forward, max_batch, window_s
        )

    async def infer(self, image: ImageArray, route: Route) -> Restored:
        """Restore one image with the adapter that `route` names.

        An adapter that is damaged, or for another base model, is never used: the source model
        answers instead, and the answer says so.
        """
        adapter, digest, version, fallback = None, route.adapter_digest, route.version, "none"
        if digest is not None:
            try:
                adapter = await self._adapter(digest, route.candidate_uri or "")
            except (AdapterError, StorageError) as error:
                _log.error("adapter_refused", digest=digest, error=str(error))
                digest, version, fallback = None, 0, "source"
        restored, forward_s, batch = await self._batcher.submit(_Item(image, digest, adapter))
        return Restored(restored, version, fallback, forward_s, batch)

    def check_health(self) -> None:
        """Serve calls this; a replica whose model is gone raises."""
        assert self._bundle.model is not None

    async def _adapter(self, digest: str, uri: str) -> Adapter:
        if digest in self._decoded:
            self._decoded.move_to_end(digest)
            return self._decoded[digest]
        if digest not in self._loading:  # many requests, one load
            self._loading[digest] = asyncio.create_task(asyncio.to_thread(self._load, digest, uri))
        try:
            adapter = await asyncio.shield(self._loading[digest])
        finally:
            if digest in self._loading and self._loading[digest].done():
                del self._loading[digest]
        self._decoded[digest] = adapter
        while len(self._decoded) > self._keep:
            self._decoded.popitem(last=False)
        return adapter

    def _load(self, digest: str, uri: str) -> Adapter:
        began = time.perf_counter()
        data = open_storage(uri, endpoint_url=self._endpoint_url).get(ADAPTER, max_bytes=_MAX_ADAPTER_BYTES)
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise AdapterError(f"{uri}/{ADAPTER} has sha256 {found[:12]}; its route says {digest[:12]}.")
        adapter = adapter_from_bytes(data, self._bundle.digest, self._bundle.model)
        _log.info("adapter_loaded", digest=digest, load_ms=round(1000 * (time.perf_counter() - began), 1))
        return adapter

    def _forward(self, items: Sequence[_Item]) -> list[tuple[ImageArray, float, int] | Exception]:
        """Restore a batch: images of one shape together, whatever their domain. Runs in one thread."""
        answers: list[tuple[ImageArray, float, int] | Exception] = [RuntimeError("not processed")] * len(items)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, item in enumerate(items):
            shape = item.image.shape
            # A large image is tiled by itself; its tiles are its batch.
            key = shape if max(shape[:2]) <= TILE else (*shape, index)
            by_shape.setdefault(key, []).append(index)
        for indices in (part for group in by_shape.values() for part in self._that_fit(items, group)):
            began = time.perf_counter()
            try:
                images = self._restore([items[i] for i in indices])
            except Exception as error:  # one group must not fail the others
                _log.error("forward_failed", exc_info=error)
                for i in indices:
                    answers[i] = error
                continue
            spent = time.perf_counter() - began
            for i, image in zip(indices, images, strict=True):
                answers[i] = (image, spent, len(indices))
        return answers

    def _that_fit(self, items: Sequence[_Item], indices: Sequence[int]) -> list[list[int]]:
        """Split a group so that no part has more adapters than the bank has slots."""
        parts: list[list[int]] = [[]]
        held: set[str] = set()
        for index in indices:
            digest = items[index].digest
            if digest is not None and digest not in held and len(held) == self._bank.slots:
                parts.append([])
                held = set()
            parts[-1].append(index)
            held |= {digest} if digest is not None else set()
        return parts

    @torch.inference_mode()
    def _restore(self, items: Sequence[_Item]) -> list[ImageArray]:
        for item in items:
            if item.digest is not None and item.adapter is not None:
                self._bank.put(item.digest, item.adapter)
        rows = self._bank.gather([item.digest for item in items])
        image_BCHW = to_tensor([item.image for item in items], self._device)
        if max(image_BCHW.shape[2:]) > TILE:
            return [to_array(restore(self._bundle.model, image_BCHW[0], rows))]
        return [to_array(restored) for restored in self._bundle.model(image_BCHW, rows)]
