"""The settings of a domain that its page changes: its intent, its schedule, and how its requests are shared out.

What cannot be accepted is said on the same page, beside the field, with all that was entered.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from udair.config import Tone
from udair_platform.api.context import Ctx
from udair_platform.console.domains import Refused, domain_page
from udair_platform.console.session import Visitor, allowed
from udair_platform.contract.domains import MAX_URI_CHARS, MOST_READY, Share
from udair_platform.entities.intent import Intent
from udair_platform.errors import Conflict, FieldError, FourEyes, Invalid
from udair_platform.services import domains, traffic

router = APIRouter(prefix="/domains/{name}")
Token = Annotated[str, Form(max_length=100)]
Number = Annotated[str, Form(max_length=20)]


@router.post("/intent")
def intend(
    request: Request,
    name: str,
    context: Ctx,
    visitor: Visitor,
    form_token: Token,
    tone: Annotated[Tone, Form()],
    tone_aim: Number = "",
    reference_uri: Annotated[str, Form(max_length=MAX_URI_CHARS)] = "",
) -> Response:
    """Say what the domain's restorations shall be like; a field that is left empty takes its setting away."""
    who, settings = allowed(request, visitor, form_token, "domain:write"), context.settings
    entered = {"tone": tone, "tone_aim": tone_aim, "reference_uri": reference_uri}
    try:
        intent = Intent(tone, _number("tone_aim", tone_aim), reference_uri.strip() or None)
        with context.change(who) as tx:
            domains.change(
                tx,
                who.domain(tx.state, name),
                intent=intent,
                folders=settings.local_folders,
                role_required=settings.require_source_role,
            )
    except (Invalid, Conflict) as error:
        return domain_page(request, name, context, visitor, refused=Refused("intent", entered, error))
    return RedirectResponse(f"/console/domains/{name}", 303)


@router.post("/schedule")
def schedule(
    request: Request,
    name: str,
    context: Ctx,
    visitor: Visitor,
    form_token: Token,
    cron: Annotated[str, Form(max_length=100)] = "",
    on_drift: Annotated[bool, Form()] = False,
) -> Response:
    """Say when the domain is adapted by itself; an empty time takes it away. Its recipe stays."""
    who = allowed(request, visitor, form_token, "domain:write")
    try:
        with context.change(who) as tx:
            domain = who.domain(tx.state, name)
            wanted = domain.schedule.model_copy(update={"cron": cron.strip(), "on_drift": on_drift})
            domains.change(tx, domain, schedule=wanted)
    except (Invalid, Conflict) as error:
        refused = Refused("schedule", {"cron": cron, "on_drift": on_drift}, error)
        return domain_page(request, name, context, visitor, refused=refused)
    return RedirectResponse(f"/console/domains/{name}", 303)


@router.post("/traffic")
def share_out(
    request: Request,
    name: str,
    context: Ctx,
    visitor: Visitor,
    form_token: Token,
    canary: Number = "",
    canary_percent: Number = "",
    shadow: Number = "",
    shadow_percent: Number = "",
    pinned: Annotated[bool, Form()] = False,
    min_ready: Number = "",
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Give versions a part of the requests; one that is left empty is taken away."""
    who = allowed(request, visitor, form_token, "version:approve")
    entered: dict[str, str | bool] = {
        "canary": canary,
        "canary_percent": canary_percent,
        "shadow": shadow,
        "shadow_percent": shadow_percent,
        "pinned": pinned,
        "min_ready": min_ready,
        "reason": reason,
    }
    try:
        wanted = {
            "canary": _share("canary", canary, canary_percent),
            "shadow": _share("shadow", shadow, shadow_percent),
            "pinned": pinned,
            "min_ready": _ready(min_ready),
        }
        with context.change(who) as tx:
            domain = who.domain(tx.state, name)
            shared_out = domain.traffic.model_copy(update=wanted)  # what the form has no field for stays
            traffic.set_traffic(tx, domain, shared_out, reason=reason or "shared out in the console")
    except (Invalid, Conflict, FourEyes) as error:
        return domain_page(request, name, context, visitor, refused=Refused("traffic", entered, error))
    return RedirectResponse(f"/console/domains/{name}", 303)


def _share(field: str, version: str, percent: str) -> Share | None:
    if not version:
        return None
    part = _number(f"{field}_percent", percent)
    if part is None or not 0 < part <= 100:
        raise _invalid(
            f"{field}_percent", f"The {field} has {percent.strip() or 'no'} percent; expected more than 0, at most 100."
        )
    if not version.isdecimal() or int(version) >= 2**31:
        raise _invalid(field, f"The {field} is version {version!r}; expected the number of one.")
    return Share(version=int(version), percent=part)


def _ready(entered: str) -> int:
    number = entered.strip() or "0"
    if not number.isdecimal() or int(number) > MOST_READY:
        raise _invalid("min_ready", f"min_ready is {entered!r}; expected a number of replicas, 0 to {MOST_READY}.")
    return int(number)


def _number(field: str, value: str) -> float | None:
    if not value.strip():
        return None
    try:
        return float(value)
    except ValueError:
        raise _invalid(field, f"{field} is {value!r}; expected a number, e.g. 0.45, or nothing.") from None


def _invalid(field: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(f"/{field}", detail)])
