"""One replica: the backbone once, a bank of adapters, and batches that mix domains.

Axes: B images of a batch, C channels, H x W pixels.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import threading
import time
import uuid
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from udair.adaptation.profile import look_at
from udair.adaptation.test_time import adapt_at_test_time
from udair.bundle import load_bundle
from udair.config import TestTimeConfig
from udair.data.images import ImageArray
from udair.inference import TILE
from udair.models.modulation import Modulation
from udair_jobs.storage import StorageError, open_storage
from udair_platform.errors import PlatformError, TooManyRequests, Unavailable
from udair_platform.registry.layout import PROFILE, report
from udair_platform.serving.adapters import Adapters, Refused, Unreachable
from udair_platform.serving.engine import DeadlinePassed, Done, Engine, EngineError, Overloaded
from udair_platform.serving.metrics import ReplicaMetrics
from udair_platform.serving.router import SOURCE, Route, Router, RouteTable, Target
from udair_platform.serving.tracing import Tracing
from udair_platform.serving.traffic import Traffic, said
from udair_platform.telemetry import logger

_REMEMBERED = 16_384  # domains whose last served version is known
_REPORT_ANYWAY_S = 300.0  # a report that is older than some of these is of a replica that is gone
_SHADOW_ROOM = 2  # a shadow is skipped when more images than this wait
_BUDGET_TILES = {"cpu": 4, "cuda": 64}
_log = logger("serving")


@dataclass(frozen=True)
class BackboneConfig:
    """How a replica is set up; every node reads the same.

    Attributes:
        base_folder, base_digest: The bundle, and the digest that it must have.
        store_uri, store_endpoint_url: The platform's store: routes, adapters, reports.
        cache: Folder for copies of routes and adapters; a temporary one if None.
        slots: Adapters resident on the device.
        budget_pixels: Pixels of one step; 0 picks it by device.
        max_waiting: Images that may wait before more are refused.
        timeout_s: Longest that one image may take.
        threads: CPU threads of the forward pass; 0 leaves torch's default.
        poll_s: Seconds after which a promotion is visible.
        window_s: Length of a drift window.
        report_s: Seconds between reports to the store; 0 writes none.
    """

    base_folder: str
    base_digest: str
    store_uri: str
    store_endpoint_url: str | None = None
    cache: str | None = None
    slots: int = 1024
    budget_pixels: int = 0
    max_waiting: int = 256
    timeout_s: float = 60.0
    threads: int = 0
    poll_s: float = 1.0
    window_s: float = 3600.0
    report_s: float = 30.0


@dataclass(frozen=True)
class Restored:
    """One answer.

    Attributes:
        image: (H, W, 3) uint8, or uint16 where that was asked for.
        version: Adapter version that made it; 0 is the source model.
        fallback: ``none``; ``previous`` when the routed version cannot be loaded and the one before
            answered; ``source`` when the source model had to.
        queue_s, forward_s: Waiting, and model time of its own.
        batch, domains: Images, and adapters, of its fullest step.
    """

    image: npt.NDArray[Any]
    version: int
    fallback: str
    queue_s: float
    forward_s: float
    batch: int
    domains: int


@dataclass(frozen=True)
class Blocked:
    """A routed version that cannot be loaded, while another answers.

    Attributes:
        version: The one that is wanted.
        serving: The one that answers.
        reason: Why.
        since: Seconds since the epoch.
    """

    version: int
    serving: int
    reason: str
    since: float


class Backbone:
    """Holds one base model and restores images of any domain that is routed to it.

    A request names a domain. What may be loaded for it stands in routes.json, of which every replica
    keeps its own copy.
    """

    def __init__(self, config: BackboneConfig) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self._config = config
        self.id = _replica_id()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._bundle = load_bundle(Path(config.base_folder), config.base_digest, device, replay=False)
        model = self._bundle.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._metrics = ReplicaMetrics()
        self._tracing = Tracing("udair-backbone")
        self._engine = Engine(
            model,
            config.budget_pixels or _BUDGET_TILES[device] * TILE**2,
            autocast=device == "cuda",
            embed_together=device == "cuda",
            max_waiting=config.max_waiting,
        )
        cache = Path(config.cache or tempfile.mkdtemp(prefix="udair-cache-"))
        self._store = open_storage(config.store_uri, endpoint_url=config.store_endpoint_url)
        self._adapters = Adapters(
            self._bundle, config.slots, cache / "adapters", store=self._store, on_load=self._metrics.loaded
        )
        self._traffic = Traffic(self._bundle.model.config.codes, config.window_s)
        self._test_time = TestTimeConfig()
        self._served: OrderedDict[str, Target] = OrderedDict()
        self._blocked: dict[str, Blocked] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._fetchers = ThreadPoolExecutor(4, thread_name_prefix="fetch")
        self._began = time.time()
        self._stop = threading.Event()
        self._router = Router(self._store, config.poll_s, cache / "routes.json")
        self._warm_up()
        self._router.watch(self._routes_changed)
        if config.report_s:
            threading.Thread(target=self._report_for_ever, name="reports", daemon=True).start()

    async def infer(
        self,
        name: str,
        image: ImageArray,
        key: str = "",
        *,
        test_time: bool = False,
        deep: bool = False,
        trace: str = "",
    ) -> Restored | PlatformError:
        """Restore one image of ``tenant/domain``.

        An adapter that is damaged, or for another base model, is never used: the version before, or
        else the source model answers, and the answer says so.

        Args:
            name: ``tenant/domain``.
            image: (H, W, 3) uint8.
            key: Decides about canary and shadow.
            test_time: Also align this one image's embedding, on a copy of the row.
            deep: Answer with 16 bits a channel.
            trace: W3C ``traceparent`` of the caller's span.

        Returns:
            The answer, or why there is none: errors do not keep their class on their way through Ray.
        """
        try:
            with self._tracing.span(
                "backbone", trace or None, domain=name, pixels=image.shape[0] * image.shape[1]
            ) as span:
                restored = await self._infer(name, image, key, test_time, deep)
                for fact in ("version", "fallback", "queue_s", "forward_s", "batch", "domains"):
                    span.set_attribute(fact, getattr(restored, fact))
                return restored
        except PlatformError as error:
            return error

    async def _infer(self, name: str, image: ImageArray, key: str, test_time: bool, deep: bool) -> Restored:
        tenant, _, domain = name.partition("/")
        route = self._router.resolve(tenant, domain)
        target, row, fallback = await self._row(name, route, route.choose(key))
        now = time.time()
        look = partial(self._look, image) if self._traffic.wants_look(name, now) else None
        try:
            done = await self._engine.submit(
                image, row, name=target.adapter_digest, timeout_s=self._config.timeout_s,
                prepare=self._at_test_time if test_time else None, look=look, deep=deep,
            )  # fmt: skip
        except Overloaded as error:
            raise TooManyRequests(f"{error} Send it again a little later.") from error
        except DeadlinePassed as error:
            raise Unavailable(f"{error} The endpoint is busier than it can be; send it again later.") from error
        except EngineError as error:
            self._traffic.failed(name)
            raise PlatformError(f"The image could not be restored: {error}") from error
        pixels = image.shape[0] * image.shape[1]
        self._metrics.cost(name, self._traffic.count(name, pixels, done.forward_s).forward_s)
        if done.look is not None:
            self._traffic.look(name, done.look, now)
        if route.shadow and route.shadow.takes(key) and not deep:
            self._in_background(self._shadow(name, image, route.shadow.target, done))
        return Restored(
            done.image, target.version, fallback, done.queue_s, done.forward_s, done.batch, done.domains
        )  # fmt: skip

    def check_health(self) -> None:
        """Serve calls this; a replica that cannot answer any more raises and is replaced."""
        if not self._engine.alive:
            raise RuntimeError("the forward thread has ended")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the autoscaling policy looks at."""
        return {"waiting_pixels": float(self._engine.waiting_pixels)}

    def describe(self, name: str) -> dict[str, Any]:
        """What this replica says of a domain: whether its version is blocked here, its usage, its drift."""
        blocked = self._blocked.get(name)
        told = self._traffic.report(name).get(name, {})
        return {"replica": self.id, "blocked": vars(blocked) if blocked else None, **told}

    def ready(self) -> bool:
        """True once the replica exists: it warms up before that."""
        return self._engine.alive

    def shutdown(self) -> None:
        """Finish what was submitted and end the threads."""
        self._stop.set()
        self._router.close()
        self._engine.close()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._tracing.close()

    def __del__(self) -> None:
        """Serve calls this when the replica is stopped, after its last request."""
        if hasattr(self, "_fetchers") and self._engine.alive:
            self.shutdown()

    async def _row(self, name: str, route: Route, wanted: Target) -> tuple[Target, Modulation | None, str]:
        """The version that answers now, its row, and the fallback that this is."""
        last = self._served.get(name)
        earlier = last if last != wanted else None
        promoted = earlier is not None and wanted == route.champion and not self._adapters.resident(wanted)
        if promoted and earlier is not None and self._adapters.resident(earlier):
            # Nobody waits for a promotion: the version before answers until the new one is here.
            self._in_background(self._stage(name, wanted))
            return earlier, await self._adapters.row(earlier), "previous" if name in self._blocked else "none"
        try:
            row = await self._adapters.row(wanted)
        except (Unreachable, Refused) as error:
            return await self._instead(name, wanted, earlier, error)
        if wanted == route.champion:
            self._remember(name, wanted)
        self._unblock(name, wanted)
        return wanted, row, "none"

    async def _instead(
        self, name: str, wanted: Target, earlier: Target | None, error: Unreachable | Refused
    ) -> tuple[Target, Modulation | None, str]:
        """What answers although `wanted` cannot."""
        if earlier is not None:
            with contextlib.suppress(Unreachable, Refused):
                row = await self._adapters.row(earlier)
                self._block(name, wanted, earlier, str(error))
                return earlier, row, "previous"
        if isinstance(error, Unreachable):
            raise Unavailable(f"{error} The domain is cold here; it is served when the store is back.") from error
        self._block(name, wanted, SOURCE, str(error))
        return SOURCE, None, "source"

    async def _stage(self, name: str, wanted: Target) -> None:
        """Load a version beside the one that serves; the next request finds it."""
        try:
            await self._adapters.row(wanted)
        except (Unreachable, Refused) as error:
            self._block(name, wanted, self._served.get(name, SOURCE), str(error))
            return
        self._unblock(name, wanted)

    def _block(self, name: str, wanted: Target, serving: Target, reason: str) -> None:
        known = self._blocked.get(name)
        if known is None or known.version != wanted.version:
            self._blocked[name] = Blocked(wanted.version, serving.version, reason, time.time())
            _log.error("route_blocked", domain=name, version=wanted.version, serving=serving.version, reason=reason)

    def _unblock(self, name: str, wanted: Target) -> None:
        known = self._blocked.get(name)
        if known is not None and known.version == wanted.version:
            self._blocked.pop(name, None)
            _log.info("route_unblocked", domain=name, version=wanted.version)

    def _remember(self, name: str, target: Target) -> None:
        self._served[name] = target
        self._served.move_to_end(name)
        while len(self._served) > _REMEMBERED:
            forgotten, _ = self._served.popitem(last=False)
            self._blocked.pop(forgotten, None)

    def _routes_changed(self, table: RouteTable) -> list[Future[None]]:
        """Called by the router's thread: fetch at once what was promoted, and what is pinned."""
        pinned = {t.adapter_digest for route in table.routes.values() if route.pinned for t in route.targets}
        self._adapters.bank.pinned = frozenset(digest for digest in pinned if digest)
        fetching = []
        for name, route in table.routes.items():
            if name in self._blocked and self._blocked[name].version not in {t.version for t in route.targets}:
                self._blocked.pop(name, None)  # nobody wants that version any more
            active = name in self._served and self._served[name] != route.champion
            if not self._adapters.resident(route.champion) and (route.pinned or active):
                fetching.append(self._fetchers.submit(self._fetch_ahead, name, route.champion))
        return fetching

    def _fetch_ahead(self, name: str, wanted: Target) -> None:
        try:
            self._adapters.load(wanted)
        except (Unreachable, Refused) as error:
            self._block(name, wanted, self._served.get(name, SOURCE), str(error))
        else:
            self._unblock(name, wanted)

    async def _shadow(self, name: str, image: ImageArray, target: Target, answer: Done) -> None:
        """Restore the image a second time and compare; nothing of it reaches the caller."""
        comparison = self._traffic.shadow(name, target.version)
        if self._engine.waiting > _SHADOW_ROOM:
            comparison.skipped += 1
            return
        try:
            row = await self._adapters.row(target)
            done = await self._engine.submit(image, row, name=target.adapter_digest, timeout_s=self._config.timeout_s)
        except (Unreachable, Refused, EngineError) as error:
            comparison.failed += 1
            _log.warning("shadow_failed", domain=name, version=target.version, error=str(error))
            return
        apart = np.abs(done.image.astype(np.int16) - answer.image.astype(np.int16))
        comparison.add(float(apart.mean()) / 255)

    def _at_test_time(self, image_CHW: torch.Tensor, row: Modulation | None) -> Modulation:
        start = row or self._bundle.model.identity()
        return adapt_at_test_time(self._bundle.model, self._bundle.stats, image_CHW, start, self._test_time)

    def _look(self, image: ImageArray) -> Any:
        return look_at(self._bundle.model, self._bundle.stats, [image])

    def _in_background(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._background.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._background.discard)

    def _warm_up(self) -> None:
        """The first passes are slow: they are run before Serve sends anything. Pinned adapters come, too."""
        image = np.zeros((TILE, TILE, 3), np.uint8)

        async def run() -> None:
            for _ in range(2):
                await self._engine.submit(image, None, timeout_s=600.0)

        thread = threading.Thread(target=lambda: asyncio.run(run()), name="warm-up")
        thread.start()
        thread.join()
        try:
            wait(self._routes_changed(self._router.table()), timeout=60.0)
        except PlatformError as error:
            _log.warning("no_routes_yet", error=str(error))

    def _report_for_ever(self) -> None:
        last: dict[str, Any] = {}
        written = 0.0
        while not self._stop.wait(self._config.report_s):
            try:
                self.close_windows()
                self._metrics.state(
                    len(self._adapters.bank), self._adapters.hits, self._adapters.bank.evictions,
                    self._engine.waiting, self._engine.waiting_pixels,
                )  # fmt: skip
                now = self.report()
                if now != last or time.time() - written > _REPORT_ANYWAY_S:
                    written = time.time()
                    self._store.put(report(self.id), json.dumps(now | {"time": written}).encode())
                    last = now
            except StorageError as error:
                _log.warning("report_not_written", error=str(error))
            except Exception as error:  # reports must not end because one failed
                _log.error("report_failed", exc_info=error)

    def report(self) -> dict[str, Any]:
        """What the control plane is told: blocked routes, drift, usage and shadows by domain."""
        domains: dict[str, dict[str, Any]] = self._traffic.report()
        for name, blocked in list(self._blocked.items()):
            domains.setdefault(name, {})["blocked"] = vars(blocked)
        return {
            "schema_version": 1, "replica": self.id, "began_time": round(self._began, 3),
            "base_digest": self._bundle.digest, "domains": domains,
        }  # fmt: skip

    def close_windows(self, now: float | None = None) -> None:
        """End the drift windows that are due, compare them with their snapshots and say what drifted."""
        now = time.time() if now is None else now
        for name in self._traffic.due(now):
            record = self._traffic.close_window(name, self._reference(name), now)
            if record is None:
                continue
            self._metrics.window(name, record["divergence"], record["class_shares"])
            if record["crossed"]:
                _log.warning("drift", domain=name, confirmed=record["confirmed"], changes=said(record))

    def _reference(self, name: str) -> dict[str, Any] | None:
        try:
            route = self._router.table().routes.get(name)
            if route is None or route.profile_uri is None:
                return None
            store = open_storage(route.profile_uri, endpoint_url=self._config.store_endpoint_url)
            document: dict[str, Any] = json.loads(store.get(PROFILE, max_bytes=16 * 2**20))
            return document
        except (StorageError, ValueError, PlatformError) as error:
            _log.warning("no_profile", domain=name, error=str(error))
            return None


def _replica_id() -> str:
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        return str(serve.get_replica_context().replica_id.unique_id)
    except RayServeException:
        return f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
