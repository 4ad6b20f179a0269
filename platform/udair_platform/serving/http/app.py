"""The data plane over HTTP: image bytes in, image bytes out, and the Open Inference Protocol beside it.

Keys are checked by signature and routes come from a polled copy, so that serving needs neither the
control plane nor its database.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from udair.data.images import DecodeLimits
from udair_jobs.errors import AccessDenied, InvalidKey, StorageError, TooLarge
from udair_jobs.errors import NotFound as NoObject
from udair_jobs.storage import Role, Storage, open_storage
from udair_platform.errors import (
    BadRequest,
    BodyTooLarge,
    Forbidden,
    Invalid,
    KeyRevoked,
    NotFound,
    StoreDown,
    TooSlow,
    Unauthenticated,
    Unavailable,
)
from udair_platform.http import problems
from udair_platform.http.guard import RequestGuard
from udair_platform.keys import verify
from udair_platform.serving.http import protocol_v2
from udair_platform.serving.http.predictions import Predictions
from udair_platform.serving.http.restore import Infer, RestoreResponse, RestoreService
from udair_platform.serving.request import RestoreRequest, accepted, quality_of
from udair_platform.serving.routing.table import Router

_JSON = "application/json"


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
    ready: Callable[[], Awaitable[bool]] | None = None,
    describe: Callable[[str], Awaitable[dict[str, Any]]] | None = None,
    emit_request_id: bool = True,
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
        ready: Whether the replicas can answer; without it, known routes are enough.
        describe: What the replica of a domain says of it.
        emit_request_id: See `RequestGuard`.
        clock: Seconds since the epoch, UTC.
    """
    bounds = limits or DecodeLimits(max_bytes=32 * 2**20, max_pixels=24_000_000)
    service = RestoreService(infer, bounds)
    predictions = Predictions(store, service, lambda answer: answer.headers(base_name))
    app = FastAPI(title="UDAIR data plane", docs_url=None, redoc_url=None, openapi_url=None)

    def authorised(request: Request, domain: str) -> str:
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

    async def body_of(request: Request) -> bytes:
        try:
            return await asyncio.wait_for(request.body(), body_timeout_s)
        except TimeoutError:
            raise TooSlow(f"The body had not arrived after {body_timeout_s:g} s.") from None

    async def question_of(request: Request, domain: str) -> RestoreRequest:
        tenant = await asyncio.to_thread(authorised, request, domain)
        query = request.query_params
        return RestoreRequest(
            f"{tenant}/{domain}",
            request.headers.get("X-Routing-Key", "")[:256] or request.state.request_id,
            accepted(request.headers.get("Accept", "")),
            quality_of(query.get("quality")),
            _switch("test_time", query.get("test_time")),
            request.headers.get("traceparent", ""),
        )

    async def image_of(request: Request, asked: RestoreRequest) -> bytes:
        body = await body_of(request)
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _JSON:
            return body
        return await asyncio.to_thread(_fetched, body, asked, router, bounds, source_endpoint_url)

    def image_response(answer: RestoreResponse) -> Response:
        return Response(answer.data, media_type=answer.media_type, headers=answer.headers(base_name))

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
        asked = await question_of(request, domain)
        data = await image_of(request, asked)
        if "respond-async" in request.headers.get("Prefer", "").lower():
            return accepted_response(domain, await predictions.create(asked, data))
        return image_response(await service.restore(data, asked))

    @app.put("/v1/domains/{domain}/predictions/{prediction_id}")
    async def put_prediction(domain: str, prediction_id: str, request: Request) -> Response:
        asked = await question_of(request, domain)
        data = await image_of(request, asked)
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
        infer = protocol_v2.parse_infer(await body_of(request), request.headers.get(protocol_v2.HEADER_LENGTH))
        asked = RestoreRequest(f"{tenant}/{domain}", request.state.request_id, test_time=infer.test_time)
        answers = await asyncio.gather(*(service.restore(image, asked) for image in infer.images))
        parameters = {"fallback": max((a.restored.fallback for a in answers), key=lambda f: f != "none")}
        served = answers[0].restored.version
        body, length = protocol_v2.render_infer(infer, domain, served, [a.data for a in answers], parameters)
        if length is None:
            return Response(body, media_type=_JSON)
        headers = {protocol_v2.HEADER_LENGTH: str(length)}
        return Response(body, media_type="application/octet-stream", headers=headers)

    problems.install(app)
    # Base64 makes four bytes of three, and a V2 request may hold several images.
    app.add_middleware(RequestGuard, max_body_bytes=2 * bounds.max_bytes, emit_request_id=emit_request_id)
    return app


def _fetched(
    body: bytes, asked: RestoreRequest, router: Router, limits: DecodeLimits, endpoint_url: str | None
) -> bytes:
    """The image that a JSON body names: an object of the domain's own bucket, and nothing else."""
    try:
        uri = json.loads(body)["input_uri"]
        assert isinstance(uri, str)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        raise BadRequest('The body is JSON without an input_uri; expected {"input_uri": "s3://bucket/key"}.') from None
    tenant, _, domain = asked.name.partition("/")
    route = router.resolve(tenant, domain)
    source = route.source_uri
    prefix = f"{(source or '').rstrip('/')}/"
    key = uri.removeprefix(prefix)
    if source is None or key == uri or not key:
        raise Forbidden(f"{uri[:200]} is not below the source of {domain!r}, {source}; nothing else is read.")
    try:
        return _source(source, endpoint_url, route.source_role).get(key, max_bytes=limits.max_bytes)
    except NoObject as error:
        raise NotFound(f"{uri[:200]} does not exist.") from error
    except TooLarge as error:
        raise BodyTooLarge(f"{uri[:200]} has more than {limits.max_bytes} bytes, the most that is read.") from error
    except (InvalidKey, AccessDenied) as error:
        raise Invalid(f"{uri[:200]} cannot be read: {error}") from error
    except StorageError as error:
        raise StoreDown(f"{uri[:200]} cannot be read: {error}") from error


@lru_cache(maxsize=256)
def _source(uri: str, endpoint_url: str | None, role: Role | None) -> Storage:
    """A domain's bucket; a role is taken once for many requests, and again before it ends."""
    return open_storage(uri, endpoint_url=endpoint_url, role=role)


def _switch(name: str, text: str | None) -> bool:
    if text is None or text.lower() in ("false", "0"):
        return False
    if text.lower() in ("true", "1"):
        return True
    raise BadRequest(f"{name} is {text[:20]!r}; expected true or false.")
