"""Restorations in the background: the input and the answer are kept in the store, under an id.

A prediction is worked on by the process that accepted it. Should that process end, whoever is asked
for the prediction next finds its heartbeat old, and does it again: the input is still there. What ends
its process three times has failed.

    input, request.json   written first, in this order
    state.json            RUNNING with a heartbeat, then SUCCEEDED or FAILED
    output                written before SUCCEEDED
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import PreconditionFailed, Storage, StorageError
from udair_platform.documents import store_paths
from udair_platform.errors import BadRequest, KeyReused, NotFound, PlatformError, StoreDown, TooManyRequests
from udair_platform.serving.http.restore import RestoreResponse, RestoreService
from udair_platform.serving.request import RestoreRequest
from udair_platform.telemetry import logger

_ID = re.compile(r"^[a-z0-9][a-z0-9-]{3,62}$")
_HEARTBEAT_S = 5.0
_STALE_S = 30.0
_MAX_ATTEMPTS = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_log = logger("serving")


class Predictions:
    """Accepts restorations and tells what became of them.

    Args:
        store: The platform's store.
        service: Restores.
        headers: The headers of an answer to a question under an id, kept with it.
        max_running: More than this are refused.
        patience_s: How long one waits for room before it fails.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        store: Storage,
        service: RestoreService,
        headers: Callable[[RestoreResponse, RestoreRequest, str], dict[str, str]],
        max_running: int = 32,
        patience_s: float = 900.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._service, self._headers = store, service, headers
        self._max_running, self._patience_s, self._clock = max_running, patience_s, clock
        self._running: dict[str, asyncio.Task[None]] = {}

    async def create(self, asked: RestoreRequest, data: bytes, prediction_id: str | None = None) -> dict[str, Any]:
        """Accept one image; the same id and image again are the same prediction.

        Raises:
            BadRequest: The id is none.
            KeyReused: The id stands for another image or another question.
            TooManyRequests: Too many are being worked on.
            StoreDown: The store does not answer.
        """
        chosen = prediction_id or f"p-{uuid.uuid4().hex[:20]}"
        at = self._at(asked, chosen)
        if len(self._running) >= self._max_running:
            raise TooManyRequests(f"{len(self._running)} predictions are being worked on here; send it again later.")
        # What is asked for, without who asks and for how long they wait: the same question twice is one prediction.
        request = json.dumps(asdict(asked) | {"key": "", "trace": "", "timeout_s": None}, sort_keys=True).encode()

        def keep() -> None:
            try:
                at.put("input", data, if_absent=True)
            except PreconditionFailed:
                if at.get("input") != data:
                    raise KeyReused(f"Prediction {chosen} was made of another image; choose another id.") from None
            try:
                at.put("request.json", request, if_absent=True)
            except PreconditionFailed:
                if at.get("request.json") != request:
                    raise KeyReused(f"Prediction {chosen} was asked for otherwise; choose another id.") from None

        await self._stored(keep)
        return await self.state(asked, chosen)

    async def state(self, asked: RestoreRequest, prediction_id: str) -> dict[str, Any]:
        """What became of a prediction; one that nobody works on is begun again.

        Raises:
            NotFound: There is no such prediction.
            StoreDown: The store does not answer.
        """
        at = self._at(asked, prediction_id)
        state = await self._stored(lambda: _read(at, "state.json"))
        if state is None:
            asked = await self._stored(lambda: _read(at, "request.json"))
            if asked is None:
                raise NotFound(f"There is no prediction {prediction_id!r} of this domain.")
        if state is None or (state["state"] == "RUNNING" and self._clock() - state["heartbeat_time"] > _STALE_S):
            state = await self._begin(asked, prediction_id, at, state or {})
        return {"id": prediction_id, **state}

    async def output(self, asked: RestoreRequest, prediction_id: str) -> tuple[bytes, dict[str, Any]]:
        """The encoded answer of a prediction that succeeded, and its state.

        Raises:
            NotFound: There is no such prediction, or it has no answer yet.
            StoreDown: The store does not answer.
        """
        state = await self.state(asked, prediction_id)
        if state["state"] != "SUCCEEDED":
            raise NotFound(f"Prediction {prediction_id} is {state['state']} and has no output.")
        at = self._at(asked, prediction_id)
        data: bytes = await self._stored(lambda: at.get("output"))
        return data, state

    async def _begin(
        self, asked: RestoreRequest, prediction_id: str, at: Storage, lost: dict[str, Any]
    ) -> dict[str, Any]:
        name, now = at.uri, self._clock()
        attempt = lost.get("attempt", 1) + 1 if lost else 1
        state = {
            "state": "RUNNING",
            "created_time": lost.get("created_time", now),
            "heartbeat_time": now,
            "attempt": min(attempt, _MAX_ATTEMPTS),
        }
        if name not in self._running and attempt > _MAX_ATTEMPTS:
            detail = (
                f"The process that worked on it ended {_MAX_ATTEMPTS} times; send the image again under another id."
            )
            state |= {"state": "FAILED", "code": "INTERNAL", "detail": detail, "ended_time": now}
            await self._stored(lambda: at.put("state.json", json.dumps(state).encode()))
        elif name not in self._running:
            task = asyncio.create_task(self._work(asked, prediction_id, at, state))
            self._running[name] = task
            task.add_done_callback(lambda _: self._running.pop(name, None))
        return state

    async def _work(self, asked: RestoreRequest, prediction_id: str, at: Storage, state: dict[str, Any]) -> None:
        over = asyncio.Event()
        beating = asyncio.create_task(self._beat(at, state, over))
        try:
            await asyncio.to_thread(at.put, "state.json", json.dumps(state).encode())
            stored = json.loads(await asyncio.to_thread(at.get, "request.json"))
            data = await asyncio.to_thread(at.get, "input")
            asked = RestoreRequest(**stored | {"key": prediction_id})
            answer = await self._patiently(data, asked)
            await asyncio.to_thread(at.put, "output", answer.data)
            headers = self._headers(answer, asked, prediction_id)
            ended = {"state": "SUCCEEDED", "media_type": answer.media_type, "headers": headers}
        except PlatformError as error:
            ended = {"state": "FAILED", "code": error.code, "detail": error.detail}
        except StorageError as error:
            _log.warning("prediction_not_kept", id=prediction_id, error=str(error))
            return  # its heartbeat grows old, and it is done again
        except Exception as error:  # a fault of ours, which would be the same the next time
            _log.exception("prediction_failed", id=prediction_id)
            detail = f"It could not be restored: {type(error).__name__}. It is a fault on our side, and in our log."
            ended = {"state": "FAILED", "code": PlatformError.code, "detail": detail}
        finally:
            over.set()
            await beating  # a heartbeat on its way must not land on the final state
        final = {**state, **ended, "ended_time": self._clock()}
        try:
            await asyncio.to_thread(at.put, "state.json", json.dumps(final).encode())
        except StorageError as error:
            _log.warning("prediction_not_kept", id=prediction_id, error=str(error))

    async def _patiently(self, data: bytes, asked: RestoreRequest) -> RestoreResponse:
        """Restore when there is room: nobody waits at the other end of a connection."""
        until, pause_s = self._clock() + self._patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return await self._service.restore(data, asked)
            except PlatformError as error:
                if not error.retryable or self._clock() > until:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _beat(self, at: Storage, state: dict[str, Any], over: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _HEARTBEAT_S)
                return
            now = json.dumps({**state, "heartbeat_time": self._clock()}).encode()
            try:
                await asyncio.to_thread(at.put, "state.json", now)
            except StorageError as error:
                _log.warning("heartbeat_not_written", error=str(error))

    def _at(self, asked: RestoreRequest, prediction_id: str) -> Storage:
        if not _ID.match(prediction_id):
            raise BadRequest(f"{prediction_id[:70]!r} is no id; expected 4 to 63 of a-z, 0-9 and '-'.")
        tenant, _, domain = asked.name.partition("/")
        return self._store.at(store_paths.prediction(tenant, domain, prediction_id))

    @staticmethod
    async def _stored(act: Callable[[], Any]) -> Any:
        try:
            return await asyncio.to_thread(act)
        except StorageError as error:
            raise StoreDown(f"The prediction cannot be kept or read: {error}") from error


def _read(at: Storage, name: str) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(at.get(name))
    except NoObject:
        return None
    return document
