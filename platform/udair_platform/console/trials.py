"""A page to try a version on: a picture in, camera and restored side by side, and a link that shows them for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from udair.config import TONES, Tone
from udair_platform.api.context import Context, Ctx
from udair_platform.api.principal import refused
from udair_platform.api.routes.domains import described
from udair_platform.api.routes.versions import described as described_versions
from udair_platform.console import session
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader, Session, Visitor
from udair_platform.errors import BodyTooLarge, Forbidden, Invalid, NotFound, PlatformError
from udair_platform.http.data_plane import Picture
from udair_platform.services import kept_trials, trials
from udair_platform.services.kept_trials import CAMERA, RESTORED, Trial

router = APIRouter()
_NAMES, _VERSIONS = 200, 50
_MAX_FIELD = 2048
_FALLBACKS = {
    "previous": "The version that was asked for could not be loaded; the one before answered.",
    "source": "No version could answer; the base model did.",
}
Link = Annotated[str, Query(max_length=2000)]
Kind = Literal["camera", "restored"]


@dataclass(frozen=True)
class Choice:
    """What the form says, as it was sent."""

    domain: str = ""
    version: str = ""
    tone: str = ""
    key: str = ""


@router.get("/try")
def show_form(
    request: Request,
    context: Ctx,
    visitor: Reader,
    domain: Annotated[str, Query(max_length=63)] = "",
    version: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Choose a picture, and what shall restore it."""
    return _form(request, context, visitor, Choice(domain.strip(), version))


# No parameter is of the body: who may not try sends nothing anywhere.
@router.post("/try/picture")
async def try_picture(request: Request, context: Ctx, visitor: Visitor) -> Response:
    """Restore the picture, and show what came of it."""
    claims = visitor.principal.claims
    if not claims.allows("restore:invoke"):
        raise Forbidden(f"The key ak_{claims.kid} has {', '.join(claims.scopes)}; this needs restore:invoke.")
    chosen = Choice()
    try:
        await _refuse_too_large(request)
        async with request.form(max_files=1, max_fields=8) as form:
            fields = {name: _field(form, name) for name in ("domain", "version", "tone", "key")}
            chosen = Choice(**fields)
            session.check_form(request, visitor, _field(form, "form_token"))
            file = form.get("picture")
            data, name = (await file.read(), file.filename or "") if isinstance(file, UploadFile) else (b"", "")
        trial = await run_in_threadpool(_tried, context, visitor, chosen, data, name)
    except Forbidden:
        raise
    except PlatformError as error:
        return await run_in_threadpool(_form, request, context, visitor, chosen, error)
    return RedirectResponse(f"/console/try/{trial.id}", 303)


@router.get("/try/{id}")
def show_trial(request: Request, id: str, context: Ctx, visitor: Reader) -> Response:
    """One picture: what the camera saw, what came back, and what is known of both."""
    return _shown(request, visitor, mine(context, visitor, id), f"/console/try/{id}/")


@router.get("/try/{id}/{kind}")
def show_picture(id: str, kind: Kind, context: Ctx, visitor: Reader, download: bool = False) -> Response:
    """One of its two pictures."""
    return _picture(context, mine(context, visitor, id), kind, download)


@router.post("/try/{id}/share")
def share(
    request: Request,
    id: str,
    context: Ctx,
    visitor: Visitor,
    form_token: Annotated[str, Form(max_length=100)],
    life: Annotated[str, Form(max_length=20)],
) -> Response:
    """Make a link that shows it to whoever has no key, until it ends."""
    session.check_form(request, visitor, form_token)
    trial, kid = mine(context, visitor, id), visitor.principal.claims.kid
    token = kept_trials.share(context.store, trial, life, kid=kid, tickets=context.tickets)
    link = f"{request.url.scheme}://{request.url.netloc}/console/shared?link={token}"
    return _shown(request, visitor, mine(context, visitor, id), f"/console/try/{id}/", link)


@router.post("/try/{id}/unshare")
def unshare(
    request: Request, id: str, context: Ctx, visitor: Visitor, form_token: Annotated[str, Form(max_length=100)]
) -> Response:
    """Take its links back."""
    session.check_form(request, visitor, form_token)
    kept_trials.unshare(context.store, mine(context, visitor, id))
    return RedirectResponse(f"/console/try/{id}", 303)


# A link's token is in the query, which no log shows.
@router.get("/shared")
def show_shared(request: Request, context: Ctx, link: Link = "") -> Response:
    """The same page for whoever has the link; nothing can be done on it."""
    return _shown(request, None, _linked(request, context, link), f"/console/shared/{{}}?link={quote(link)}")


@router.get("/shared/{kind}")
def show_shared_picture(
    request: Request, kind: Kind, context: Ctx, link: Link = "", download: bool = False
) -> Response:
    """One of its two pictures, for whoever has the link."""
    return _picture(context, _linked(request, context, link), kind, download)


def _tried(context: Context, visitor: Session, chosen: Choice, data: bytes, name: str) -> Trial:
    who = visitor.principal
    if bool(data) == bool(chosen.key):
        raise Invalid("Choose one picture: a file, or the key of an object.")
    if len(data) > trials.MAX_BYTES:
        raise _too_large(len(data))
    tone: Tone | None = next((one for one in TONES if one == chosen.tone), None)
    with context.database.read() as state:
        domain = who.domain(state, chosen.domain) if chosen.domain else None
        asked = trials.question(state, domain, chosen.version, tone)
    picture = Picture(uri=trials.uri_of(domain, chosen.key)) if chosen.key else Picture(data)
    return trials.run(
        context.store,
        asked,
        picture,
        tenant=who.tenant,
        kid=who.claims.kid,
        name=name or chosen.key.rpartition("/")[2],
        tickets=context.tickets,
        serve_url=context.settings.serve_url,
    )


def _form(
    request: Request, context: Context, visitor: Session, chosen: Choice, error: PlatformError | None = None
) -> Response:
    """The form, with what was chosen, and why that could not be done."""
    who = visitor.principal
    with context.database.read() as state:
        names = [one.name for one in state.domains.page(who.tenant, size=_NAMES, names=who.claims.domains)]
        domain, made = None, []
        try:
            found = who.domain(state, chosen.domain) if chosen.domain else None
        except NotFound as missing:
            found, error = None, error or missing
        if found is not None:
            domain = described(state, [found])[0]
            every = state.versions.page(who.tenant, found.id, size=_VERSIONS)
            made = described_versions(state, found, every, state.aliases.all(who.tenant, found.id))
        base = state.bases.current()
    answer = page(
        request,
        "try.html",
        visitor,
        error.status if error else 200,
        chosen=chosen,
        error=error,
        names=names,
        domain=domain,
        versions=made,
        base=base.name if base else "base model",
        max_bytes=trials.MAX_BYTES,
    )
    if error is not None and error.retryable:
        answer.headers["Retry-After"] = str(error.retry_after_s or 5)
    return answer


def _shown(request: Request, visitor: Session | None, trial: Trial, at: str, link: str = "") -> Response:
    timing = dict(part.strip().split(";dur=") for part in trial.headers.get("Server-Timing", "").split(",") if part)
    places = {kind: at.format(kind) if "{}" in at else f"{at}{kind}" for kind in (CAMERA, RESTORED)}
    return page(
        request,
        "trial.html",
        visitor,
        trial=trial,
        places=places,
        download=f"{places[RESTORED]}{'&' if '?' in places[RESTORED] else '?'}download=1",
        link=link,
        lives=list(kept_trials.LIVES),
        forward_s=float(timing.get("forward", 0.0)) / 1000,
        fallback=_FALLBACKS.get(trial.headers.get("X-Fallback", ""), ""),
    )


def _picture(context: Context, trial: Trial, kind: Kind, download: bool) -> Response:
    data = kept_trials.picture_of(context.store, trial, kind)
    headers = {"Cache-Control": "private, max-age=60"}
    if download:
        stem = trial.name.rpartition(".")[0] or trial.name
        headers["Content-Disposition"] = (
            f"attachment; filename*=UTF-8''{quote(f'{stem}-{kind}{trial.suffix}', safe='')}"
        )
    return Response(data, media_type=trial.media_type, headers=headers)


def mine(context: Context, visitor: Session, id: str) -> Trial:
    """A trial of the tenant's, if its picture is the visitor's to see. Raises NotFound."""
    claims = visitor.principal.claims
    trial = kept_trials.find(context.store, claims.tenant, id, now=context.clock())
    whole = claims.domains is None
    if trial.kid == claims.kid or whole or (trial.domain and claims.reaches(trial.domain)):
        return trial
    raise NotFound("This picture is no longer kept. Try it again.")


def _linked(request: Request, context: Context, link: str) -> Trial:
    with context.database.read() as state:
        try:
            return kept_trials.shared(context.store, state, link, context.tickets)
        except NotFound:
            refused(request)  # guesses are counted
            raise


async def _refuse_too_large(request: Request) -> None:
    """Refuse a form that is too large, after all of it has come: a browser that is cut off shows no reason."""
    length = request.headers.get("Content-Length", "")
    if not length.isdigit():
        raise Invalid("The form does not say how long it is; send it from this page.")
    if int(length) > trials.MAX_BYTES + 2**20:
        async for _ in request.stream():
            pass
        raise _too_large(int(length))


def _too_large(count: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The picture has {count / 2**20:.0f} MB; at most {trials.MAX_BYTES >> 20} are restored at once. "
        "Save it as a JPEG, or restore it with a batch job (`udair batch`)."
    )


def _field(form: FormData, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str) or len(value) > _MAX_FIELD:
        raise Invalid(f"The field {name} cannot be used as it is; go back and try again.")
    return value.strip()
