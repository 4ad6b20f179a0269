"""The data plane over HTTP: image bytes in, image bytes out, and the Open Inference Protocol beside it.

Keys are checked by signature and routes come from a polled copy, so that serving needs neither the
control plane nor its database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from udair.data.images import DecodeLimits
from udair_jobs.storage import Storage
from udair_platform.errors import BadRequest, Forbidden, KeyRevoked, NotFound, Unauthenticated, Unavailable
from udair_platform.http import problems
from udair_platform.http.guard import RequestGuard
from udair_platform.keys import verify
from udair_platform.serving.http import protocol_v2, trials
from udair_platform.serving.http.pictures import JSON, Pictures
from udair_platform.serving.http.predictions import Predictions
from udair_platform.serving.http.receipts import HEADER as RECEIPT
from udair_platform.serving.http.receipts import Receipts
from udair_platform.serving.http.restore import Infer, RestoreResponse, RestoreService
from udair_platform.serving.http.room import Held
from udair_platform.serving.http.streams import Streams
from udair_platform.serving.observation.metrics import IngressMetrics
from udair_platform.serving.request import RestoreRequest, accepted, priority_of, quality_of, timeout_of, tone_of
from udair_platform.serving.routing.router import Router
from udair_platform.tickets import Tickets


def create_ingress(
    router: Router,
    signing_key: bytes,
    infer: Infer,
    base_name: str,
    *,
    store: Storage,
    previous_signing_key: bytes | None = None,
    limits: DecodeLimits | None = None,
    source_endpoint_url: str | None = None,
    body_timeout_s: float = 30.0,
    stream_idle_s: float = 300.0,
    ready: Callable[[], Awaitable[bool]] | None = None,
    describe: Callable[[str], Awaitable[dict[str, Any]]] | None = None,
    emit_request_id: bool = True,
    metrics_names: bool = False,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """The data plane's HTTP application.

    Args:
        router: Where routes are looked up.
        signing_key: Checks API keys.
        infer: Restores pixels: a Serve handle, or a replica in a test.
        base_name: Name of the base model, for the answer's headers.
        store: The platform's store, where predictions are kept.
        previous_signing_key: Its keys are still good; see `keys.verify`.
        limits: Bounds on encoded bytes and pixels.
        source_endpoint_url: S3 endpoint of customers' buckets, if not AWS.
        body_timeout_s: A body that has not arrived after that long is refused.
        stream_idle_s: A stream on which no picture comes for so long is closed.
        ready: Whether the replicas can answer; without it, known routes are enough.
        describe: What the replica of a domain says of it.
        emit_request_id: See `RequestGuard`.
        metrics_names: Label metrics by domains' names, not by digests of them.
        clock: Seconds since the epoch, UTC.
    """
    bounds = limits or DecodeLimits(max_bytes=32 * 2**20, max_pixels=24_000_000)
    service = RestoreService(infer, bounds, metrics=IngressMetrics(metrics_names))
    pictures = Pictures(bounds, source_endpoint_url, body_timeout_s)
    # Reading a large document holds up whoever waits for the same thread, and nobody else.
    parsers = ThreadPoolExecutor(2, thread_name_prefix="parse")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()
        parsers.shutdown(wait=False, cancel_futures=True)

    # Base64 makes four bytes of three, and a V2 request may hold several images.
    most_body_bytes = 2 * bounds.max_bytes
    receipts = Receipts(signing_key, clock)

    def headers_of(answer: RestoreResponse, asked: RestoreRequest, request_id: str) -> dict[str, str]:
        return answer.headers(base_name) | {RECEIPT: receipts.of(answer, asked, request_id)}

    predictions = Predictions(store, service, headers_of)
    streams = Streams(service, headers_of, stream_idle_s)
    app = FastAPI(title="UDAIR data plane", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)

    def authorised(request: HTTPConnection, domain: str) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Send `Authorization: Bearer ak_…`; `udair key create` makes a key.")
        now = clock()
        claims = verify(signing_key, token.strip(), now, previous=previous_signing_key)
        if router.table().revoked.get(claims.kid, now + 1) <= now:
            raise KeyRevoked(f"The key ak_{claims.kid} was revoked.")
        if not claims.allows("restore:invoke"):
            raise Forbidden(f"The key ak_{claims.kid} lacks the scope restore:invoke.")
        if not claims.reaches(domain):
            raise Forbidden(f"The key ak_{claims.kid} does not reach domain {domain!r}.")
        router.resolve(claims.tenant, domain)
        return claims.tenant

    async def question_of(request: HTTPConnection, domain: str, key: str) -> RestoreRequest:
        tenant = await asyncio.to_thread(authorised, request, domain)
        query = request.query_params
        return RestoreRequest(
            f"{tenant}/{domain}",
            request.headers.get("X-Routing-Key", "")[:256] or key,
            accepted(request.headers.get("Accept", "")),
            quality_of(query.get("quality")),
            _switch("test_time", query.get("test_time")),
            request.headers.get("traceparent", ""),
            tone_of(query.get("tone") or request.headers.get("X-Tone")),
            priority=priority_of(query.get("priority")),
            timeout_s=timeout_of(query.get("timeout_s")),
        )

    async def image_of(request: Request, asked: RestoreRequest, held: Held) -> bytes:
        tenant, _, domain = asked.name.partition("/")
        return await pictures.of(request, held, domain, lambda: router.resolve(tenant, domain))

    def room_of(asked: RestoreRequest) -> Held:
        return service.room.held(asked.name.partition("/")[0])

    def accepted_response(domain: str, state: dict[str, Any]) -> JSONResponse:
        at = f"/v1/domains/{domain}/predictions/{state['id']}"
        return JSONResponse(state, 202, headers={"Location": at, "Preference-Applied": "respond-async"})

    @app.get("/healthz")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readiness() -> JSONResponse:
        generation = (await asyncio.to_thread(router.table)).generation
        if ready is not None and not await ready():
            raise Unavailable("No replica of the backbone can answer yet.")
        return JSONResponse({"status": "ok", "generation": generation})

    @app.post("/v1/domains/{domain}:restore")
    async def restore(domain: str, request: Request) -> Response:
        asked = await question_of(request, domain, request.state.request_id)
        with room_of(asked) as held:
            data = await image_of(request, asked, held)
            if "respond-async" in request.headers.get("Prefer", "").lower():
                return accepted_response(domain, await predictions.create(asked, data))
            answer = await service.restore(data, asked)
            headers = headers_of(answer, asked, request.state.request_id)
            return Response(answer.data, media_type=answer.media_type, headers=headers)

    @app.websocket("/v1/domains/{domain}/stream")
    async def stream(domain: str, socket: WebSocket) -> None:
        await streams.answer(socket, lambda name: question_of(socket, domain, name))

    @app.put("/v1/domains/{domain}/predictions/{prediction_id}")
    async def put_prediction(domain: str, prediction_id: str, request: Request) -> Response:
        asked = await question_of(request, domain, request.state.request_id)
        with room_of(asked) as held:
            data = await image_of(request, asked, held)
            return accepted_response(domain, await predictions.create(asked, data, prediction_id))

    @app.get("/v1/domains/{domain}/predictions/{prediction_id}")
    async def get_prediction(domain: str, prediction_id: str, request: Request) -> Response:
        asked = RestoreRequest(f"{await asyncio.to_thread(authorised, request, domain)}/{domain}", "")
        return JSONResponse(await predictions.state(asked, prediction_id))

    @app.get("/v1/domains/{domain}/predictions/{prediction_id}/output")
    async def get_output(domain: str, prediction_id: str, request: Request) -> Response:
        asked = RestoreRequest(f"{await asyncio.to_thread(authorised, request, domain)}/{domain}", "")
        data, state = await predictions.output(asked, prediction_id)
        return Response(data, media_type=state["media_type"], headers=state["headers"])

    @app.get("/v1/domains/{domain}/route")
    async def get_route(domain: str, request: Request) -> Response:
        tenant = await asyncio.to_thread(authorised, request, domain)
        route = router.resolve(tenant, domain)
        data = await describe(f"{tenant}/{domain}") if describe else {}
        state = "CANARYING" if route.canary else "SHADOWING" if route.shadow else "ACTIVE"
        shares = {"canary": route.canary, "shadow": route.shadow}
        return JSONResponse(
            {
                "state": "BLOCKED" if data.get("blocked") else state,
                "version": route.champion.version,
                **{k: {"version": s.target.version, "percent": s.percent} if s else None for k, s in shares.items()},
                "generation": router.table().generation,
                "tone": route.tone,
                "passthrough": route.passthrough,
                "out_of_use": route.champion.out_of_use,
                **data,
            }
        )

    @app.get("/v2")
    async def v2_server() -> JSONResponse:
        return JSONResponse({"name": "udair", "version": "2", "extensions": ["binary_tensor_data"]})

    @app.get("/v2/health/live")
    async def v2_live() -> JSONResponse:
        return JSONResponse({"live": True})

    @app.get("/v2/health/ready")
    async def v2_ready() -> JSONResponse:
        await readiness()
        return JSONResponse({"ready": True})

    async def v2_version(request: Request, domain: str, version: str | None) -> tuple[str, int]:
        tenant = await asyncio.to_thread(authorised, request, domain)
        current = router.resolve(tenant, domain).champion.version
        if version is not None and version != str(current):
            raise NotFound(f"Version {version[:20]!r} of {domain!r} does not serve; version {current} does.")
        return tenant, current

    @app.get("/v2/models/{domain}")
    @app.get("/v2/models/{domain}/versions/{version}")
    async def v2_model(domain: str, request: Request, version: str | None = None) -> JSONResponse:
        _, current = await v2_version(request, domain, version)
        return JSONResponse(protocol_v2.model_metadata(domain, current))

    @app.get("/v2/models/{domain}/ready")
    @app.get("/v2/models/{domain}/versions/{version}/ready")
    async def v2_model_ready(domain: str, request: Request, version: str | None = None) -> JSONResponse:
        await v2_version(request, domain, version)
        await readiness()
        return JSONResponse({"name": domain, "ready": True})

    @app.post("/v2/models/{domain}/infer")
    @app.post("/v2/models/{domain}/versions/{version}/infer")
    async def v2_infer(domain: str, request: Request, version: str | None = None) -> Response:
        tenant, _ = await v2_version(request, domain, version)
        with service.room.held(tenant) as held:
            length = protocol_v2.json_bytes(request.headers.get(protocol_v2.HEADER_LENGTH))
            body = await pictures.body(request, held, most_body_bytes, protocol_v2.ValueLimit(length).take)
            return await v2_answer(request, f"{tenant}/{domain}", body, length)

    async def v2_answer(request: Request, name: str, body: bytes, length: int | None) -> Response:
        loop, domain = asyncio.get_running_loop(), name.partition("/")[2]
        infer = await loop.run_in_executor(parsers, protocol_v2.parse_infer, body, length)
        asked = RestoreRequest(
            name, request.state.request_id, test_time=infer.test_time, tone=infer.tone, priority=infer.priority
        )
        answers = await asyncio.gather(*(service.restore(image, asked) for image in infer.images))
        parameters = {
            "fallback": max((a.restored.fallback for a in answers), key=lambda f: f != "none"),
            "tone": answers[0].restored.tone,
            "restoration": answers[0].restored.restoration,
            "receipts": " ".join(receipts.of(answer, asked, request.state.request_id) for answer in answers),
        }
        served = answers[0].restored.version
        images = [answer.data for answer in answers]
        said, head = await loop.run_in_executor(
            parsers, protocol_v2.render_infer, infer, domain, served, images, parameters
        )
        if head is None:
            return Response(said, media_type=JSON)
        headers = {protocol_v2.HEADER_LENGTH: str(head)}
        return Response(said, media_type="application/octet-stream", headers=headers)

    tickets = Tickets(lambda: datetime.fromtimestamp(clock(), UTC), signing_key, previous_signing_key)
    app.include_router(trials.router_of(tickets, service, pictures, base_name))
    problems.install(app)
    app.add_middleware(RequestGuard, max_body_bytes=most_body_bytes, emit_request_id=emit_request_id)
    return app


def _switch(name: str, value: str | None) -> bool:
    if value is None or value.lower() in ("false", "0"):
        return False
    if value.lower() in ("true", "1"):
        return True
    raise BadRequest(f"{name} is {value[:20]!r}; expected true or false.")
