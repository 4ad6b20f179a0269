"""Two versions of a domain on the same pictures: what each makes of them, what the gate measured of each, and which serves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from udair_platform.api.context import Context, Ctx
from udair_platform.api.routes.domains import described
from udair_platform.api.routes.versions import described as described_versions
from udair_platform.console.domains import ROWS
from udair_platform.console.pairs import Pair, held_by_both
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader, Session, allowed
from udair_platform.console.trials import mine
from udair_platform.contract.domains import Domain as DomainView
from udair_platform.contract.versions import Version
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.entities.version import AdapterVersion
from udair_platform.errors import Forbidden, Invalid, PlatformError
from udair_platform.http.data_plane import Picture as Wanted
from udair_platform.http.problems import RETRY_AFTER_S
from udair_platform.services import trials, versions
from udair_platform.services.kept_trials import RESTORED
from udair_platform.state.repositories import State

router = APIRouter(prefix="/domains/{name}/compare")
Named = Annotated[str, Query(max_length=40, description="a number or @alias; 0 is the base model")]
_SHOWN = 24  # thumbnails on a page


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        version: None for the base model.
        gain_db, gain_low_db, harmed_share: Against the base model on held-out scenes with the domain's faults; None where
            that was not measured.
    """

    number: int
    name: str
    version: Version | None = None
    gain_db: float | None = None
    gain_low_db: float | None = None
    harmed_share: float | None = None


@router.get("")
def compare(
    request: Request,
    name: str,
    context: Ctx,
    visitor: Reader,
    a: Named = "",
    b: Named = "",
    image: Annotated[int, Query(ge=0, le=10_000, description="which picture")] = 0,
    left: Annotated[str, Query(max_length=40, description="a trial of a's")] = "",
    right: Annotated[str, Query(max_length=40, description="a trial of b's")] = "",
) -> Response:
    """Two versions, or one and the base model, with one picture large and the others small."""
    return _shown(request, context, visitor, name, (a, b), image=image, tried=(left, right) if left and right else None)


@router.post("")
def try_both(
    request: Request,
    name: str,
    context: Ctx,
    visitor: Reader,
    form_token: Annotated[str, Form(max_length=100)],
    a: Annotated[str, Form(max_length=40)],
    b: Annotated[str, Form(max_length=40)],
    key: Annotated[str, Form(max_length=1024)] = "",
) -> Response:
    """Restore a picture of the domain by both, as `/console/try` does, and show what came of it."""
    who = allowed(request, visitor, form_token, "restore:invoke")
    try:
        if not key.strip():
            raise Invalid("Name one picture: the key of an object below the domain's source.")
        with context.database.read() as state:
            domain = who.domain(state, name)
            both = _chosen(state, domain, (a, b))
            # The base model has no intent of its own: it is asked with that of the other.
            tone = next((one.tone for one in both if one), None)
            names = [str(one.number) if one else trials.BASE for one in both]
            asked = [trials.question(state, domain, of, tone if of == trials.BASE else None) for of in names]
        picture = Wanted(uri=trials.uri_of(domain, key))
        left, right = (
            trials.run(
                context.store,
                question,
                picture,
                tenant=who.tenant,
                kid=who.claims.kid,
                name=key.rpartition("/")[2],
                tickets=context.tickets,
                serve_url=context.settings.serve_url,
            )
            for question in asked
        )
    except Forbidden:
        raise
    except PlatformError as error:
        return _shown(request, context, visitor, name, (a, b), key=key, error=error)
    query = urlencode({"a": a, "b": b, "left": left.id, "right": right.id})
    return RedirectResponse(f"/console/domains/{name}/compare?{query}", 303)


def _shown(
    request: Request,
    context: Context,
    visitor: Session,
    name: str,
    asked: tuple[str, str],
    *,
    image: int = 0,
    tried: tuple[str, str] | None = None,
    key: str = "",
    error: PlatformError | None = None,
) -> Response:
    """The page: of what can be compared, with what was asked for and why that cannot be, if it cannot."""
    who = visitor.principal
    both: Sequence[AdapterVersion | None] = []
    with context.database.read() as state:
        domain = who.domain(state, name)
        view = described(state, [domain])[0]
        every = state.versions.page(who.tenant, domain.id, size=ROWS)
        a, b = _defaults(asked, view, every)
        if every:
            try:
                both = _chosen(state, domain, (a, b))
            except PlatformError as refused:
                error = error or refused
        listed = [*every, *(one for one in both if one and one not in every)]
        offered = described_versions(state, domain, listed, state.aliases.all(who.tenant, domain.id))
    views = {one.number: one for one in offered}
    sides = [_side(one, views[one.number] if one else None) for one in both]
    pairs, missing = held_by_both(context, domain, both) if both else ([], "")
    if tried and sides:
        try:
            pairs, missing = [_tried(context, visitor, domain, sides, tried)], ""
        except PlatformError as gone:
            tried, error = None, error or gone
    chosen = min(image, max(0, len(pairs) - 1)) if not tried else 0
    first = chosen - chosen % _SHOWN
    answer = page(
        request,
        "compare.html",
        visitor,
        error.status if error else 200,
        domain=view,
        serving=_serving(view),
        offered=[SOURCE_VERSION, *views],
        views=views,
        asked=(a, b),
        sides=sides,
        pairs=pairs[first : first + _SHOWN],
        first=first,
        chosen=chosen,
        total=len(pairs),
        step=_SHOWN,
        missing=missing,
        tried=tried is not None,
        key=key,
        error=error,
    )
    if error is not None and error.retryable:
        answer.headers["Retry-After"] = str(error.retry_after_s or RETRY_AFTER_S)
    return answer


def _defaults(asked: tuple[str, str], domain: DomainView, every: Sequence[AdapterVersion]) -> tuple[str, str]:
    """What was asked for; where nothing was, what is promoted and the newest of the others."""
    others = [one.number for one in every if one.number != domain.champion]
    usual = (domain.champion, others[0]) if others else (SOURCE_VERSION, domain.champion)
    a, b = (one.strip() for one in asked)
    return a or str(usual[0]), b or str(usual[1])


def _chosen(state: State, domain: Domain, asked: tuple[str, str]) -> list[AdapterVersion | None]:
    """The two; None is the base model.

    Raises:
        NotFound: There is no such version.
        Invalid: They are the same.
    """
    left, right = (versions.resolve(state, domain, one) for one in asked)
    if left == right:
        what = f"version {left}" if left else "the base model"
        raise Invalid(f"Both sides are {what}; choose two versions, or one and the base model.")
    return [state.versions.get(domain.tenant, domain.id, one) if one else None for one in (left, right)]


def _serving(domain: DomainView) -> int | None:
    """Which version answers; None: images are served as they came."""
    number = SOURCE_VERSION if domain.out_of_use else domain.champion
    return None if domain.passthrough and number == SOURCE_VERSION else number


def _side(version: AdapterVersion | None, view: Version | None) -> Side:
    if version is None:
        return Side(SOURCE_VERSION, "base model")
    evidence = version.evidence or {}

    def figure(name: str) -> float | None:
        value = evidence.get(name)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    low_db = figure("matched_gain_low_db") if evidence.get("version", 1) >= 2 else None
    figures = (figure("matched_gain_db"), low_db, figure("harmed_share"))
    return Side(version.number, f"version {version.number}", view, *figures)


def _tried(context: Context, visitor: Session, domain: Domain, sides: Sequence[Side], ids: tuple[str, str]) -> Pair:
    """A picture that was tried with both.

    Raises:
        NotFound: It is no longer kept.
        Invalid: It is of others.
    """
    made = [mine(context, visitor, id) for id in ids]
    for side, trial in zip(sides, made, strict=True):
        by = side.name if side.number else "the base model"
        if (trial.domain, trial.version) != (domain.name, by):
            raise Invalid(f"This picture was restored by {trial.version}, not by {by}. Restore it again.")
    left, right = made
    at = "/console/try"
    files = {"a": f"{at}/{left.id}/{RESTORED}", "b": f"{at}/{right.id}/{RESTORED}", "camera": f"{at}/{right.id}/camera"}
    return Pair(right.name, right.width, right.height, files)
