"""One replica: the backbone once, a bank of adapters, and batches that mix domains.

Axes: B images of a batch, C channels, H x W pixels.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
import uuid
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from udair.adaptation.profile import embed
from udair.adaptation.test_time import adapt_at_test_time
from udair.bundle import load_bundle
from udair.config import TestTimeConfig, Tone
from udair.data.images import ImageArray
from udair.models.modulation import Modulation
from udair_jobs.published.base_models import local_folder
from udair_jobs.storage import open_storage
from udair_platform.errors import PlatformError, TooManyRequests, Unavailable
from udair_platform.http.tracing import Tracing
from udair_platform.serving.model.adapters import Adapters
from udair_platform.serving.model.config import BackboneConfig
from udair_platform.serving.model.engine import Engine
from udair_platform.serving.model.fallback import VersionFallback
from udair_platform.serving.model.reports import ReplicaReporter
from udair_platform.serving.model.shadows import Shadows
from udair_platform.serving.model.ticket import DeadlinePassed, EngineError, Overloaded
from udair_platform.serving.observation.metrics import ReplicaMetrics
from udair_platform.serving.observation.windows import TrafficWindows
from udair_platform.serving.request import RestoreRequest
from udair_platform.serving.routing.table import Router
from udair_platform.telemetry import logger

# On a core, images take longer together than one by one: they leave its cache (docs/log.md).
_BUDGET_PIXELS = {"cpu": 288**2, "cuda": 64 * 288**2}
_WARM_UP_SIDE = 256
_log = logger("serving")


@dataclass(frozen=True)
class RestoredImage:
    """One answer.

    Attributes:
        image: (H, W, 3) uint8, or uint16 where that was asked for.
        version: Adapter version that made it; 0 is the source model.
        fallback: ``none``; ``previous`` when the routed version cannot be loaded and the one before
            answered; ``source`` when the source model had to.
        queue_s, forward_s: Waiting, and model time of its own.
        batch, domains: Images, and adapters, of its fullest step.
        tone: What might change: keep, restore.
        restoration: ``model``, or ``none`` where the domain is served as it came.
    """

    image: npt.NDArray[Any]
    version: int
    fallback: str
    queue_s: float
    forward_s: float
    batch: int
    domains: int
    tone: Tone = "keep"
    restoration: str = "model"


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
        with local_folder(config.base_uri, endpoint_url=config.store_endpoint_url) as base:
            self._bundle = load_bundle(base, config.base_digest, device, replay=False)
        model = self._bundle.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._metrics = ReplicaMetrics()
        self._tracing = Tracing("udair-backbone")
        self._engine = Engine(
            model,
            config.budget_pixels or _BUDGET_PIXELS[device],
            autocast=device == "cuda",
            embed_together=device == "cuda",
            max_waiting=config.max_waiting,
        )
        cache = Path(config.cache or tempfile.mkdtemp(prefix="udair-cache-"))
        self.store = open_storage(config.store_uri, endpoint_url=config.store_endpoint_url)
        self._adapters = Adapters(
            self._bundle, config.slots, cache / "adapters", store=self.store, on_load=self._metrics.loaded
        )
        self._traffic = TrafficWindows(self._bundle.model.config.codes, config.window_s)
        self._test_time = TestTimeConfig()
        self._versions = VersionFallback(self._adapters)
        self._shadows = Shadows(self._engine, self._adapters, self._traffic, config.timeout_s)
        self.router = Router(self.store, config.poll_s, cache / "routes.json")
        self.reports = ReplicaReporter(
            self.id,
            self._bundle.digest,
            self._traffic,
            self._versions,
            self.router,
            self._metrics,
            self.store,
            config.store_endpoint_url,
        )
        self._warm_up()
        self.router.watch(self._versions.routes_changed)
        if config.report_s:
            self.reports.every(config.report_s, self._measure)

    async def infer(self, asked: RestoreRequest, image: ImageArray) -> RestoredImage | PlatformError:
        """Restore one image of a domain.

        An adapter that is damaged, or for another base model, is never used: the version before, or
        else the source model answers, and the answer says so.

        Args:
            asked: What is asked for; `trace` is the caller's span.
            image: (H, W, 3) uint8.

        Returns:
            The answer, or why there is none: errors do not keep their class on their way through Ray.
        """
        try:
            with self._tracing.span(
                "backbone", asked.trace or None, domain=asked.name, pixels=image.shape[0] * image.shape[1]
            ) as span:
                restored = await self._infer(asked, image)
                for fact in ("version", "fallback", "queue_s", "forward_s", "batch", "domains"):
                    span.set_attribute(fact, getattr(restored, fact))
                return restored
        except PlatformError as error:
            return error

    async def _infer(self, asked: RestoreRequest, image: ImageArray) -> RestoredImage:
        name, key, bits16 = asked.name, asked.key, asked.bits16
        tenant, _, domain = name.partition("/")
        route = self.router.resolve(tenant, domain)
        chosen = route.choose(key)
        tone = route.tone_of(asked.tone, chosen)
        target, row, fallback = await self._versions.row(name, route, chosen)
        if route.passthrough and row is None and tone == route.tone:
            image16 = image.astype(np.uint16) * 257 if bits16 else image
            return RestoredImage(image16, target.version, fallback, 0.0, 0.0, 0, 0, tone, "none")
        now = time.time()
        embed = partial(self._embed, image) if self._traffic.wants_embedding(name, now) else None
        try:
            done = await self._engine.submit(
                image,
                row,
                name=target.adapter_digest,
                timeout_s=self._config.timeout_s,
                prepare=self._at_test_time if asked.test_time else None,
                embed=embed,
                bits16=bits16,
                tone=tone,
            )
        except Overloaded as error:
            raise TooManyRequests(f"{error} Send it again a little later.") from error
        except DeadlinePassed as error:
            raise Unavailable(f"{error} The endpoint is busier than it can be; send it again later.") from error
        except EngineError as error:
            self._traffic.failed(name)
            raise PlatformError(f"The image could not be restored: {error}") from error
        pixels = image.shape[0] * image.shape[1]
        self._metrics.cost(name, self._traffic.count(name, pixels, done.forward_s).forward_s)
        self._traffic.observe_latency(done.queue_s + done.forward_s, time.time())
        if done.embeddings is not None:
            self._traffic.observe_embeddings(name, done.embeddings, now)
        if route.shadow and route.shadow.takes(key) and not bits16:
            self._shadows.begin(name, image, route.shadow.target, done, tone)
        return RestoredImage(
            done.image, target.version, fallback, done.queue_s, done.forward_s, done.batch, done.domains, tone
        )

    def check_health(self) -> None:
        """Serve calls this; a replica that cannot answer any more raises and is replaced."""
        if not self._engine.alive:
            raise RuntimeError("the forward thread has ended")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the autoscaling policy looks at."""
        return {"waiting_pixels": float(self._engine.waiting_pixels)}

    def describe(self, name: str) -> dict[str, Any]:
        """What this replica says of a domain: whether its version is blocked here, its usage, its drift."""
        blocked = self._versions.blocked.get(name)
        data = self._traffic.report(name).get(name, {})
        return {"replica": self.id, "blocked": vars(blocked) if blocked else None, **data}

    def ready(self) -> bool:
        """True once the replica exists: it warms up before that."""
        return self._engine.alive

    def shutdown(self) -> None:
        """Finish what was submitted and end the threads."""
        self.reports.close()
        self.router.close()
        self._engine.close()
        self._versions.close()
        self._tracing.close()

    def __del__(self) -> None:
        """Serve calls this when the replica is stopped, after its last request."""
        if hasattr(self, "_engine") and self._engine.alive:
            self.shutdown()

    def _at_test_time(self, image_CHW: torch.Tensor, row: Modulation | None) -> Modulation:
        start = row or self._bundle.model.identity()
        return adapt_at_test_time(self._bundle.model, self._bundle.stats, image_CHW, start, self._test_time)

    def _embed(self, image: ImageArray) -> Any:
        return embed(self._bundle.model, self._bundle.stats, [image])

    def _measure(self) -> dict[str, float | None]:
        bank = self._adapters.bank
        waiting = (self._engine.waiting, self._engine.waiting_pixels)
        self._metrics.state(len(bank), self._adapters.hits, bank.evictions, *waiting)
        held: dict[str, float | None] = {
            "resident": len(bank),
            "slots": self._config.slots,
            "hits": self._adapters.hits,
            "evictions": bank.evictions,
            "waiting": self._engine.waiting,
        }
        return held | self._traffic.pace(time.time())

    def _warm_up(self) -> None:
        """The first passes are slow: they are run before Serve sends anything. Pinned adapters come, too."""
        image = np.zeros((_WARM_UP_SIDE, _WARM_UP_SIDE, 3), np.uint8)

        async def run() -> None:
            for _ in range(2):
                await self._engine.submit(image, None, timeout_s=600.0)

        thread = threading.Thread(target=lambda: asyncio.run(run()), name="warm-up")
        thread.start()
        thread.join()
        try:
            wait(self._versions.routes_changed(self.router.table()), timeout=60.0)
        except PlatformError as error:
            _log.warning("no_routes_yet", error=str(error))


def _replica_id() -> str:
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        return str(serve.get_replica_context().replica_id.unique_id)
    except RayServeException:
        return f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
