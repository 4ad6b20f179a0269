"""Events on their way to webhooks (Standard Webhooks): in order, signed, repeated until they arrive.

Each webhook has its own place in the event log, so that one that does not answer holds nobody up but
itself. A delivery that was made and could not be recorded is made again, with the same id.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import httpx
from standardwebhooks import Webhook as Signer

from udair_platform.entities.event import Event
from udair_platform.entities.webhook import Webhook, WebhookState
from udair_platform.errors import LeaseLost, PlatformError, StaleWrite
from udair_platform.http.outbound import AddressRefused, HttpReply, Outbound
from udair_platform.services import webhooks
from udair_platform.services.change import Change
from udair_platform.state.database import Database
from udair_platform.telemetry import logger

LEASE = "webhooks"
ACTOR = "webhooks"
BACKOFF_S = (5, 30, 120, 600, 1800, 3600)
GIVE_UP_AFTER = timedelta(days=3)
_PAGE = 100
_MOST_EACH = 50  # events of one webhook in one turn: the others get theirs
_THREADS = 8
_TTL_S = 60.0
_log = logger("webhooks")


class WebhookDispatcher:
    """Tells webhooks what happened; of several, only the one that holds the lease does.

    Args:
        database: The event log and the webhooks.
        signing_keys: Secrets of webhooks follow from them: the current one, and the one before while it is good.
        outbound: What may be reached.
        clock: Now, in UTC.
    """

    def __init__(
        self, database: Database, signing_keys: Sequence[bytes], outbound: Outbound, clock: Callable[[], datetime]
    ) -> None:
        self._database, self._keys, self._outbound, self._clock = database, signing_keys, outbound, clock
        self._holder = f"webhooks:{secrets.token_hex(6)}"
        self._token: int | None = None

    def tick(self) -> int:
        """One turn for every webhook that has something coming; the number of events delivered."""
        now = self._clock()
        with self._database.read() as state:
            due = [hook for hook in state.webhooks.active() if hook.not_before is None or hook.not_before <= now]
            newest = {tenant: state.events.newest(tenant) for tenant in {hook.tenant for hook in due}}
        due = [hook for hook in due if hook.cursor < newest[hook.tenant]]
        if not due:
            return 0
        with self._database.write() as state:
            self._token = state.leases.acquire(LEASE, self._holder, now=now, ttl_s=_TTL_S)
        if self._token is None:
            return 0
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook") as pool:
            return sum(pool.map(self._guarded, due))

    def run_forever(self, stop: threading.Event, every_s: float) -> None:
        """Tick until `stop` is set, through every outage."""
        while not stop.wait(every_s):
            try:
                self.tick()
            except PlatformError as error:
                _log.warning("webhooks wait", code=error.code, detail=error.detail)
            except Exception:
                _log.exception("a turn failed; trying again")

    def _guarded(self, hook: Webhook) -> int:
        try:
            return self._turn(hook)
        except (StaleWrite, LeaseLost) as error:
            _log.info("webhook changed meanwhile", webhook=hook.id, detail=error.detail)
        return 0

    def _turn(self, hook: Webhook) -> int:
        delivered = 0
        while True:
            with self._database.read() as state:
                page = state.events.page(hook.tenant, after=hook.cursor, size=_PAGE)
            if not page:
                return delivered
            for event in page:
                if not _wants(hook, event):
                    continue
                if delivered == _MOST_EACH:
                    return delivered
                reply = self._send(hook, event)
                if isinstance(reply, str) or not 200 <= reply.status < 300:
                    self._failed(hook, reply)
                    return delivered
                delivered += 1
                hook = self._save(self._arrived(hook, event))
            if hook.cursor < page[-1].seq:  # what it did not want is behind it, too
                hook = self._save(replace(hook, cursor=page[-1].seq))

    def _send(self, hook: Webhook, event: Event) -> HttpReply | str:
        """The receiver's answer, or why there is none."""
        data = {
            "id": event.seq,
            "tenant": event.tenant,
            "noun": event.noun,
            "name": event.name,
            "actor": event.actor,
            "cause": event.cause,
            **event.data,
        }
        body = json.dumps({"type": event.kind, "timestamp": event.time.isoformat(), "data": data})
        id, now = f"msg_{event.seq}", self._clock()
        signed = " ".join(Signer(secret).sign(id, now, body) for secret in webhooks.secrets_of(self._keys, hook))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "udair-webhooks",
            "webhook-id": id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signed,
        }
        try:
            return self._outbound.post(hook.url, body.encode(), headers)
        except AddressRefused as error:
            return str(error)
        except (httpx.HTTPError, OSError, ValueError) as error:
            return f"no answer: {type(error).__name__}: {str(error)[:200]}"

    def _arrived(self, hook: Webhook, event: Event) -> Webhook:
        return replace(
            hook,
            cursor=event.seq,
            failures=0,
            failing_since=None,
            not_before=None,
            last_error="",
            delivered_time=self._clock(),
        )

    def _failed(self, hook: Webhook, reply: HttpReply | str) -> None:
        now = self._clock()
        problem = f"answered {reply.status}; expected 200 to 299" if isinstance(reply, HttpReply) else reply
        wish = (reply.retry_after_s or 0.0) if isinstance(reply, HttpReply) else 0.0
        pause = max(BACKOFF_S[min(hook.failures, len(BACKOFF_S) - 1)], min(wish, BACKOFF_S[-1]))
        failing = replace(hook, failures=hook.failures + 1, failing_since=hook.failing_since or now, updated_time=now)
        until = now + timedelta(seconds=pause)
        saved = self._save(replace(failing, not_before=until, last_error=problem[:500]))
        _log.warning("webhook_failed", webhook=hook.id, failures=saved.failures, error=problem)
        gone = isinstance(reply, HttpReply) and reply.status == 410
        if gone or now - (saved.failing_since or now) >= GIVE_UP_AFTER:
            with self._database.write() as state:
                webhooks.change(Change(state, ACTOR, now, problem), saved, WebhookState.DISABLED)

    def _save(self, hook: Webhook) -> Webhook:
        assert self._token is not None
        with self._database.write() as state:
            state.leases.check(LEASE, self._holder, self._token)
            state.leases.acquire(LEASE, self._holder, now=self._clock(), ttl_s=_TTL_S)
            return state.webhooks.save(hook)


def _wants(hook: Webhook, event: Event) -> bool:
    if event.kind == webhooks.PING:
        return event.name == hook.id
    return hook.takes(event.kind)
