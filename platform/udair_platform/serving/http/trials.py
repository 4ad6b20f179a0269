"""One picture with a version that need not serve: what the console's page to try it on asks for, with a ticket."""

from __future__ import annotations

import json
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from udair_platform.documents.trial_ticket import TrialTicket
from udair_platform.errors import BadRequest, Unauthenticated
from udair_platform.serving.http.pictures import Pictures
from udair_platform.serving.http.restore import RestoreService
from udair_platform.serving.request import RestoreRequest, accepted
from udair_platform.serving.routing.table import DomainRoute
from udair_platform.tickets import Tickets

# What the camera saw, by the same way out: upright, and in a format that browsers show.
_CAMERA = {"version": 0, "adapter_digest": None, "candidate_uri": None, "passthrough": "what the camera saw"}


def router_of(
    tickets: Tickets,
    service: RestoreService,
    pictures: Pictures,
    base_name: str,
) -> APIRouter:
    """`POST /v1/trials`: the picture restored, or with `?picture=camera` as it came; `X-Seen` is JSON, percent-encoded."""
    router = APIRouter()

    def ticket_of(request: Request) -> TrialTicket:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("A trial needs a ticket of the control plane: `Authorization: Bearer …`.")
        return TrialTicket.opened(tickets, token.strip())

    @router.post("/v1/trials")
    async def try_picture(request: Request) -> Response:
        ticket, wanted = ticket_of(request), request.query_params.get("picture", "restored")
        if wanted not in ("restored", "camera"):
            raise BadRequest(f"picture is {wanted[:20]!r}; expected restored or camera.")
        camera = wanted == "camera"
        asked = RestoreRequest(
            f"{ticket.tenant}/~trial",  # no domain is called so
            "",
            accepted(request.headers.get("Accept", "")),
            trace=request.headers.get("traceparent", ""),
            describe=not camera,
            trial={**ticket.entry, **_CAMERA} if camera else dict(ticket.entry),
        )
        with service.room.held(ticket.tenant) as held:
            data = await pictures.of(request, held, ticket.domain, lambda: DomainRoute.parse(dict(ticket.entry)))
            answer = await service.restore(data, asked)
        height, width = answer.restored.image.shape[:2]
        more = {"X-Seen": quote(json.dumps(answer.seen)), "X-Size": f"{width}x{height}"}
        return Response(answer.data, media_type=answer.media_type, headers=answer.headers(base_name) | more)

    return router
