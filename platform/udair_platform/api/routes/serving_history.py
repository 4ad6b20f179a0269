"""What served a domain when, why, and approved by whom: exported, signed, and checked."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from udair_platform.api.context import Context, Ctx
from udair_platform.api.principal import DomainReader, Principal
from udair_platform.api.schemas import HistoryVerify
from udair_platform.contract.serving_history import HistoryCheck, ServedHistory
from udair_platform.errors import BadRequest
from udair_platform.services import serving_history

router = APIRouter(tags=["domains"])
SIGNATURE = "X-Signature"
_TIME = "a date or a time, e.g. 2026-03-01 or 2026-03-01T12:00:00Z; UTC where it does not say"
_WRITERS = {"json": serving_history.as_json, "csv": serving_history.as_csv}
_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}


@router.get(
    "/v1/domains/{domain}/servedHistory",
    response_class=Response,
    responses={200: {"model": ServedHistory, "content": {"text/csv": {}}}},
)
def get_served_history(
    domain: str,
    context: Ctx,
    who: DomainReader,
    since: Annotated[str | None, Query(alias="from", max_length=40, description=f"{_TIME}; default: all")] = None,
    until: Annotated[
        str | None, Query(alias="to", max_length=40, description=f"{_TIME}, a date with all its day")
    ] = None,
    format: Annotated[Literal["json", "csv"], Query()] = "json",
) -> Response:
    """What served when, why, and approved by whom. The header `X-Signature` signs the very bytes of the answer."""
    history = of_domain(context, who, domain, since, until)
    data = _WRITERS[format](history)
    return Response(data, media_type=_TYPES[format], headers={SIGNATURE: signature_of(context, history, data)})


@router.post("/v1/servedHistory:verify")
def verify_served_history(body: HistoryVerify, context: Ctx, who: DomainReader) -> HistoryCheck:
    """Whether the platform signed the export with this digest for the caller's tenant."""
    keys = [key for key in (context.signing_key, context.previous_signing_key) if key is not None]
    return serving_history.checked(keys, body.signature, body.sha256, tenant=who.tenant)


def of_domain(context: Context, who: Principal, name: str, since: str | None, until: str | None) -> ServedHistory:
    """The history for whoever asks, here or in the console.

    Raises:
        BadRequest: One of the two is no time, or the end is not after the beginning.
        NotFound: There is no such domain.
    """
    now = context.clock().replace(microsecond=0) + timedelta(seconds=1)  # what has just happened is in it
    end = min(now, _moment("to", until, last=True) if until else now)
    with context.database.read() as state:
        domain = who.domain(state, name)
        begin = _moment("from", since) if since else domain.created_time
        if begin >= end:
            detail = f"from is {begin.isoformat()}, to is {end.isoformat()}; expected a beginning before the end, and before now."
            raise BadRequest(detail)
        return serving_history.of_domain(state, domain, since=begin, until=end)


def signature_of(context: Context, history: ServedHistory, data: bytes) -> str:
    """The signature of an export."""
    return serving_history.signature(context.signing_key, history, data, context.clock())


def _moment(field: str, text: str, *, last: bool = False) -> datetime:
    """The moment that a caller means; of a date, its beginning, or with `last` its end."""
    try:
        if len(text) <= len("2026-03-01"):
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return day + timedelta(days=1) if last else day
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        detail = f"{field} is {text!r}; expected {_TIME}."
        raise BadRequest(detail) from None
