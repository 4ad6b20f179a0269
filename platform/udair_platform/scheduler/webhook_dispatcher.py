"""Events on their way to webhooks (Standard Webhooks): in order, signed, repeated until they arrive.

Each webhook has its own place in the event log and its own turns, and nothing waits for the end of
another's: one that is slow holds nobody up but itself, and a tenant never holds more than a share of
the threads. A delivery that was made and could not be recorded is made again, with the same id.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
_MOST_EACH = 50  # events of one webhook in one turn, and how long it may last: the others get theirs
_TURN_S = 10.0
_THREADS = 16
_EACH_TENANT = 4  # of them
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
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook")
        self._turns: dict[str, tuple[int, Future[int]]] = {}  # the last of each webhook, numbered
        self._begun = 0
        self._ended, self._closing = threading.Event(), threading.Event()

    def tick(self) -> int:
        """Begin the turns that are due and wait for their end; the number of events delivered."""
        return sum(turn.result() for turn in self.begin()[0])

    def begin(self) -> tuple[list[Future[int]], bool]:
        """Begin a turn of every webhook that has something coming and is in none.

        Returns:
            The turns, and whether any webhook has to wait until one ends.
        """
        # Asked before the database: who is in no turn now has saved what it was told.
        in_turn = {id for id, (_, turn) in self._turns.items() if not turn.done()}
        now = self._clock()
        with self._database.read() as state:
            active = state.webhooks.active()
            due = [hook for hook in active if hook.not_before is None or hook.not_before <= now]
            newest = {tenant: state.events.newest(tenant) for tenant in {hook.tenant for hook in due}}
        held = Counter(hook.tenant for hook in active if hook.id in in_turn)
        due = [hook for hook in due if hook.cursor < newest[hook.tenant] and hook.id not in in_turn]
        known = in_turn | {hook.id for hook in active}
        self._turns = {id: last for id, last in self._turns.items() if id in known}
        if not due:
            return [], False
        with self._database.write() as state:
            token = state.leases.acquire(LEASE, self._holder, now=now, ttl_s=_TTL_S)
        if token is None:
            return [], False
        begun: list[Future[int]] = []
        for hook in sorted(due, key=self._last_turn):
            if len(in_turn) + len(begun) < _THREADS and held[hook.tenant] < _EACH_TENANT:
                held[hook.tenant] += 1
                self._begun += 1
                turn = self._pool.submit(self._guarded, hook, token)
                turn.add_done_callback(lambda _: self._ended.set())
                self._turns[hook.id] = self._begun, turn
                begun.append(turn)
        return begun, len(begun) < len(due)

    def run_forever(self, stop: threading.Event, every_s: float) -> None:
        """Begin turns until `stop` is set, through every outage."""
        crowded = False
        while not stop.is_set():
            # With webhooks left over, the end of a turn makes room for the next.
            self._ended.wait(every_s) if crowded else stop.wait(every_s)
            self._ended.clear()
            try:
                crowded = self.begin()[1]
            except PlatformError as error:
                crowded = False
                _log.warning("webhooks wait", code=error.code, detail=error.detail)
            except Exception:
                crowded = False
                _log.exception("a turn failed; trying again")
        self._closing.set()

    def _last_turn(self, hook: Webhook) -> int:
        return self._turns[hook.id][0] if hook.id in self._turns else 0

    def _guarded(self, hook: Webhook, token: int) -> int:
        try:
            return self._turn(hook, token)
        except (StaleWrite, LeaseLost) as error:
            _log.info("webhook changed meanwhile", webhook=hook.id, detail=error.detail)
        except PlatformError as error:
            _log.warning("webhook waits", webhook=hook.id, code=error.code, detail=error.detail)
        except Exception:
            _log.exception("a webhook's turn failed; trying again", webhook=hook.id)
        return 0

    def _turn(self, hook: Webhook, token: int) -> int:
        delivered, end = 0, time.monotonic() + _TURN_S
        while True:
            with self._database.read() as state:
                page = state.events.page(hook.tenant, after=hook.cursor, size=_PAGE)
            if not page:
                return delivered
            for event in page:
                if not _wants(hook, event):
                    continue
                if delivered == _MOST_EACH or time.monotonic() > end or self._closing.is_set():
                    return delivered
                reply = self._send(hook, event)
                if isinstance(reply, str) or not 200 <= reply.status < 300:
                    self._failed(hook, reply, token)
                    return delivered
                delivered += 1
                hook = self._save(self._arrived(hook, event), token)
            if hook.cursor < page[-1].seq:  # what it did not want is behind it, too
                hook = self._save(replace(hook, cursor=page[-1].seq), token)

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

    def _failed(self, hook: Webhook, reply: HttpReply | str, token: int) -> None:
        now = self._clock()
        problem = f"answered {reply.status}; expected 200 to 299" if isinstance(reply, HttpReply) else reply
        wish = (reply.retry_after_s or 0.0) if isinstance(reply, HttpReply) else 0.0
        pause = max(BACKOFF_S[min(hook.failures, len(BACKOFF_S) - 1)], min(wish, BACKOFF_S[-1]))
        failing = replace(hook, failures=hook.failures + 1, failing_since=hook.failing_since or now, updated_time=now)
        until = now + timedelta(seconds=pause)
        saved = self._save(replace(failing, not_before=until, last_error=problem[:500]), token)
        _log.warning("webhook_failed", webhook=hook.id, failures=saved.failures, error=problem)
        gone = isinstance(reply, HttpReply) and reply.status == 410
        if gone or now - (saved.failing_since or now) >= GIVE_UP_AFTER:
            with self._database.write() as state:
                webhooks.change(Change(state, ACTOR, now, problem), saved, WebhookState.DISABLED)

    def _save(self, hook: Webhook, token: int) -> Webhook:
        with self._database.write() as state:
            state.leases.check(LEASE, self._holder, token)
            state.leases.acquire(LEASE, self._holder, now=self._clock(), ttl_s=_TTL_S)
            return state.webhooks.save(hook)


def _wants(hook: Webhook, event: Event) -> bool:
    if event.kind == webhooks.PING:
        return event.name == hook.id
    return hook.takes(event.kind)
