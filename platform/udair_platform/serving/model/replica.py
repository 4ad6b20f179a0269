"""One replica: the backbone once, a bank of adapters, and batches that mix domains.

Axes: B images of a batch, C channels, H x W pixels.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import tempfile
import threading
import uuid
from dataclasses import dataclass, replace
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
from udair.models.served import as_served
from udair.tiling import BUDGET_BYTES, ENDPOINT_PIECE_BYTES
from udair_jobs.published.base_models import local_folder
from udair_jobs.storage import open_storage
from udair_platform.errors import PlatformError, TooManyRequests, Unavailable
from udair_platform.http.tracing import Tracing
from udair_platform.serving.model.adapters import Adapters
from udair_platform.serving.model.canaries import Canaries
from udair_platform.serving.model.config import BackboneConfig
from udair_platform.serving.model.engine import Engine
from udair_platform.serving.model.fallback import VersionFallback
from udair_platform.serving.model.held import HeldAdapters
from udair_platform.serving.model.reports import ReplicaReporter
from udair_platform.serving.model.shadows import Shadows
from udair_platform.serving.model.ticket import DeadlinePassed, EngineError, Overloaded
from udair_platform.serving.observation.metrics import ReplicaMetrics
from udair_platform.serving.observation.residuals import Residuals
from udair_platform.serving.observation.windows import TrafficWindows
from udair_platform.serving.request import RestoreRequest
from udair_platform.serving.routing.members import Members
from udair_platform.serving.routing.router import Router
from udair_platform.serving.routing.table import DomainRoute
from udair_platform.telemetry import logger

# On a core, images take longer together than one by one: they leave its cache (docs/log.md).
_BUDGET_PIXELS = {"cpu": 288**2, "cuda": 64 * 288**2}
_WARM_UP_SIDE, _WARM_UP_S = 256, 60.0
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
        base_digest, adapter_digest: Of the base model, and of the adapter where one answered.
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
    base_digest: str = ""
    adapter_digest: str | None = None


class Backbone:
    """Holds one base model and restores images of any domain that is routed to it.

    A request names a domain. What may be loaded for it stands in routes.json, of which every replica
    keeps its own copy.

    Args:
        config: How it is set up.
        affine: A domain's requests come to the first replicas of its order, and to others when these are busy; False:
            to any.
    """

    def __init__(self, config: BackboneConfig, *, affine: bool = True) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self._config = config
        self.id, replicated = _replica_id()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with local_folder(config.base_uri, endpoint_url=config.store_endpoint_url) as base:
            loaded = load_bundle(base, config.base_digest, device, replay=False)
        self._bundle = replace(loaded, model=as_served(loaded.model))
        self._metrics = ReplicaMetrics(config.metrics_names)
        self._tracing = Tracing("udair-backbone")
        self._engine = Engine(
            self._bundle.model,
            config.budget_pixels or _BUDGET_PIXELS[device],
            autocast=device == "cuda",
            at_once=device == "cuda",
            piece_bytes=BUDGET_BYTES if device == "cuda" else ENDPOINT_PIECE_BYTES,
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
        self._held = HeldAdapters(self.id, self._versions)
        self._residuals = Residuals()
        self._canaries = Canaries(self._residuals)
        self._shadows = Shadows(self._engine, self._adapters, self._traffic, config.timeout_s)
        self.router = Router(self.store, config.poll_s, cache / "routes.json")
        self.reports = ReplicaReporter(
            self.id,
            self._bundle.digest,
            self._traffic,
            self._residuals,
            self._versions,
            self._held,
            self.router,
            self._metrics,
            self.store,
            config.store_endpoint_url,
        )
        self._members = Members(self._held.members_changed) if affine and replicated else None
        self._warm_up()
        self.router.watch(self._held.routes_changed)
        self._held.watch()
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
                restored = replace(await self._infer(asked, image), base_digest=self._bundle.digest)
                for fact in ("version", "fallback", "queue_s", "forward_s", "batch", "domains"):
                    span.set_attribute(fact, getattr(restored, fact))
                return restored
        except PlatformError as error:
            return error

    async def _infer(self, asked: RestoreRequest, image: ImageArray) -> RestoredImage:
        name, key, bits16 = asked.name, asked.key, asked.bits16
        tenant, _, domain = name.partition("/")
        trial = asked.trial is not None
        route = DomainRoute.parse(dict(asked.trial or {})) if trial else self.router.resolve(tenant, domain)
        chosen = route.choose(key)
        tone = route.tone_of(asked.tone, chosen)
        target, row, fallback = await (
            self._versions.tried(chosen) if trial else self._versions.row(name, route, chosen)
        )
        pixels = image.shape[0] * image.shape[1]
        if route.passthrough and row is None and tone == route.tone:
            if not trial:  # served as it came is served: it is in usage and in the curves
                self._metrics.cost(name, self._traffic.answered(name, target.version, pixels).forward_s)
            image16 = image.astype(np.uint16) * 257 if bits16 else image
            return RestoredImage(image16, target.version, fallback, 0.0, 0.0, 0, 0, tone, "none")
        embed = partial(self._embed, image) if not trial and self._traffic.wants_embedding(name) else None
        try:
            done = await self._engine.submit(
                image,
                row,
                tenant=tenant,
                name=target.adapter_digest,
                timeout_s=min(self._config.timeout_s, asked.timeout_s or math.inf),
                low=asked.priority == "low",
                prepare=partial(self._at_test_time, tone) if asked.test_time else None,
                embed=embed,
                bits16=bits16,
                tone=tone,
            )
        except EngineError as error:
            if not trial:
                refused = isinstance(error, Overloaded | DeadlinePassed)
                self._traffic.failed(name, target.version, refused=refused)
            raise _refusal(error) from error
        answer = RestoredImage(
            done.image,
            target.version,
            fallback,
            done.queue_s,
            done.forward_s,
            done.batch,
            done.domains,
            tone,
            adapter_digest=target.adapter_digest if row is not None else None,
        )
        if trial:
            return answer
        latency_s = done.queue_s + done.forward_s
        cost = self._traffic.answered(name, target.version, pixels, forward_s=done.forward_s, latency_s=latency_s)
        self._metrics.cost(name, cost.forward_s)
        if done.embeddings is not None:
            self._traffic.observe_embeddings(name, done.embeddings)
        if fallback == "none" and not bits16 and not asked.test_time:
            self._canaries.look(name, route, target.version, tone, image, done.image)
        if route.shadow and route.shadow.takes(key) and not bits16:
            self._shadows.begin(name, image, route.shadow.target, done, tone)
        return answer

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
        said = {"replica": self.id, "blocked": vars(blocked) if blocked else None, **self._held.of(name)}
        return said | self._traffic.of(name)

    def ready(self) -> bool:
        """True once the replica exists: it warms up before that."""
        return self._engine.alive

    def shutdown(self) -> None:
        """Finish what was submitted and end the threads."""
        self.router.close()
        self._held.close()
        if self._members is not None:
            self._members.close()
        self._engine.close()
        self.reports.close()
        self._versions.close()
        self._tracing.close()

    def __del__(self) -> None:
        """Serve calls this when the replica is stopped, after its last request."""
        if hasattr(self, "_engine") and self._engine.alive:
            self.shutdown()

    def _at_test_time(self, tone: Tone, image_CHW: torch.Tensor, row: Modulation | None) -> Modulation:
        start = row or self._bundle.model.identity()
        return adapt_at_test_time(self._bundle, image_CHW, start, self._test_time, tone)

    def _embed(self, image: ImageArray) -> Any:
        return embed(self._bundle.model, self._bundle.stats, [image])

    def _measure(self) -> dict[str, float | None]:
        bank = self._adapters.bank
        waiting = (self._engine.waiting, self._engine.waiting_pixels)
        self._metrics.state(len(bank), self._adapters.hits, self._adapters.misses, bank.evictions, *waiting)
        held: dict[str, float | None] = {
            "resident": len(bank),
            "slots": self._config.slots,
            "hits": self._adapters.hits,
            "misses": self._adapters.misses,
            "evictions": bank.evictions,
            "waiting": self._engine.waiting,
        }
        return held | self._traffic.pace()

    def _warm_up(self) -> None:
        """The first passes are slow: they are run before Serve sends anything. What shall be held comes, too."""
        image = np.zeros((_WARM_UP_SIDE, _WARM_UP_SIDE, 3), np.uint8)

        async def run() -> None:
            for _ in range(2):
                await self._engine.submit(image, None, timeout_s=600.0)

        thread = threading.Thread(target=lambda: asyncio.run(run()), name="warm-up")
        thread.start()
        thread.join()
        try:
            self._held.routes_changed(self.router.table())
        except PlatformError as error:
            _log.warning("no_routes_yet", error=str(error))
        self._held.hold(_WARM_UP_S)


def _refusal(error: EngineError) -> PlatformError:
    if isinstance(error, Overloaded):
        return TooManyRequests(f"{error} Send it again a little later.", retry_after_s=error.retry_after_s)
    if isinstance(error, DeadlinePassed):
        return Unavailable(f"{error} The endpoint is busier than it can be, or its caller less patient.")
    return PlatformError(f"The image could not be restored: {error}")


def _replica_id() -> tuple[str, bool]:
    """An id, and whether it is one that Serve gave."""
    made = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    if "ray.serve" not in sys.modules:  # a replica of Serve has it; the others do not wait for it
        return made, False
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        return str(serve.get_replica_context().replica_id.unique_id), True
    except RayServeException:
        return made, False
