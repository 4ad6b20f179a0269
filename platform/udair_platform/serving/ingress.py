"""`POST /v1/domains/{domain}:restore`: image bytes in, image bytes out.

Keys are checked by signature and routes come from a polled copy, so that serving needs neither the
control plane nor its database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from udair.data.images import DecodeLimits, ImageArray, decode, encode_png
from udair.errors import ImageError
from udair_platform.errors import BadRequest, BodyTooLarge, Forbidden, Invalid, KeyRevoked, Unauthenticated
from udair_platform.http import problems
from udair_platform.http.edge import Edge
from udair_platform.keys import verify
from udair_platform.serving.replica import Restored
from udair_platform.serving.router import Route, Router

Infer = Callable[[str, ImageArray, Route], Awaitable[Restored]]

_STATUS = {"TOO_MANY_BYTES": BodyTooLarge, "TOO_MANY_PIXELS": BodyTooLarge}


def create_ingress(
    router: Router,
    signing_key: bytes,
    infer: Infer,
    base_name: str,
    limits: DecodeLimits | None = None,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """The data plane's HTTP application.

    Args:
        router: Where routes are looked up.
        signing_key: Checks API keys.
        infer: (domain key, image, route) to `Restored`: a Serve handle, or a replica in a test.
        base_name: Name of the base model, for the answer's headers.
        limits: Bounds on encoded bytes and pixels.
        clock: Seconds since the epoch, UTC.
    """
    bounds = limits or DecodeLimits(max_bytes=32 * 2**20, max_pixels=24_000_000)
    app = FastAPI(title="UDAIR data plane", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok", "generation": router.table().generation})

    @app.post("/v1/domains/{domain}:restore")
    async def restore(domain: str, request: Request) -> Response:
        began = time.perf_counter()
        tenant = _tenant(request, domain)
        route = await asyncio.to_thread(router.resolve, tenant, domain)
        body = await request.body()
        if not body:
            raise BadRequest("The body is empty; send the bytes of one image, e.g. `--data-binary @image.jpg`.")
        try:
            image = await asyncio.to_thread(decode, body, bounds)
        except ImageError as error:
            raise _STATUS.get(error.reason, Invalid)(f"{error.reason}: {error}") from error
        decoded = time.perf_counter()
        restored = await infer(f"{tenant}/{domain}", image, route)
        answered = time.perf_counter()
        data = await asyncio.to_thread(encode_png, restored.image)
        stages = {
            "decode": decoded - began, "infer": answered - decoded,
            "forward": restored.forward_s, "encode": time.perf_counter() - answered,
        }  # fmt: skip
        headers = {
            "X-Adapter-Version": str(restored.version),
            "X-Base-Model": base_name,
            "X-Fallback": restored.fallback,
            "X-Batch": str(restored.batch),
            "Server-Timing": ", ".join(f"{name};dur={1000 * spent:.1f}" for name, spent in stages.items()),
        }
        return Response(data, media_type="image/png", headers=headers)

    def _tenant(request: Request, domain: str) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Send `Authorization: Bearer ak_…`; `udair key create` makes a key.")
        claims = verify(signing_key, token.strip(), clock())
        if claims.kid in router.table().revoked:
            raise KeyRevoked(f"The key ak_{claims.kid} was revoked.")
        if not claims.allows("restore:invoke"):
            raise Forbidden(f"The key ak_{claims.kid} lacks the scope restore:invoke.")
        if not claims.reaches(domain):
            raise Forbidden(f"The key ak_{claims.kid} does not reach domain {domain!r}.")
        return claims.tenant

    problems.install(app)
    app.add_middleware(Edge, max_body_bytes=bounds.max_bytes)
    return app
