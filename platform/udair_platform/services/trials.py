"""Trying a version on one picture: which entry answers, and the data plane's answer."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from udair.config import Tone
from udair_jobs.storage import Storage
from udair_platform.documents.route_entries import alone, out_of_use
from udair_platform.documents.trial_ticket import TrialTicket
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.errors import Invalid, InvalidState, StoreDown, TooManyRequests
from udair_platform.http.data_plane import Picture, try_picture
from udair_platform.services import kept_trials, versions
from udair_platform.services.kept_trials import Trial
from udair_platform.state.repositories import State
from udair_platform.tickets import Tickets

MAX_BYTES = 32 * 2**20  # as the data plane's limit
TRIED_AT = "/console/try/picture"  # where pictures are sent
MOST_READ_BYTES = 2**29  # of one that is too large: read to its end, so that the browser reads why it is refused
BASE, SERVING = "base", ""
_MAX_NAME = 200
_AT_ONCE = threading.BoundedSemaphore(4)  # each holds a picture three times


@dataclass(frozen=True)
class Question:
    """What shall be tried.

    Attributes:
        entry: Of the ticket: what answers.
        said: The same in words.
    """

    domain: str
    entry: Mapping[str, Any]
    said: str


def question(state: State, domain: Domain | None, version: str, tone: Tone | None) -> Question:
    """What answers for a domain, or for nobody's in particular.

    Args:
        version: A number or @alias, `BASE`, or `SERVING`: what its customers get.
        tone: None: as the version, or the domain, has it.

    Raises:
        NotFound: There is no such version.
        InvalidState: It was made for another base model.
        Invalid: It was made for the other tone.
    """
    base = state.bases.current()
    name = domain.name if domain else ""
    number = SOURCE_VERSION
    if domain is not None and version != BASE:
        number = versions.resolve(state, domain, version or "@champion")
    if domain is None or number == SOURCE_VERSION:
        entry = alone(domain, None, base) | ({"tone": tone} if tone else {})
        if domain is not None and version == SERVING and domain.passthrough and entry["tone"] == domain.tone:
            return Question(name, entry | {"passthrough": domain.passthrough}, "what serves: images as they came")
        return Question(name, entry, "the base model")
    found = state.versions.get(domain.tenant, domain.id, number)
    if version == SERVING and out_of_use(domain, found, base):
        return question(state, domain, BASE, tone)
    entry = alone(domain, found, base)
    if why := entry.get("out_of_use"):
        raise InvalidState(f"{why[0].upper()}{why[1:]}. Adapt the domain again, or choose the base model.")
    if tone not in (None, found.tone):
        raise Invalid(f"Version {number} was made for tone {found.tone}. Choose that, or the base model for {tone}.")
    serves = ", which serves" if version in (SERVING, "@champion") else ""
    return Question(name, entry, f"version {number}{serves}")


def uri_of(domain: Domain | None, key: str) -> str:
    """The URI of an object that people name by its key below the domain's source, or whole.

    Raises:
        Invalid: There is no domain, or the object is elsewhere.
    """
    key = key.strip()
    if domain is None:
        raise Invalid("An object is read with the rights of a domain; choose the domain whose picture it is.")
    source = domain.source_uri.rstrip("/")
    uri = key if "://" in key or key.startswith(f"{source}/") else f"{source}/{key.lstrip('/')}"
    if not uri.startswith(f"{source}/") or len(uri) > 2048:
        raise Invalid(f"{uri[:200]} is not below the images of {domain.name!r}, {source}; nothing else is read.")
    return uri


def run(
    store: Storage,
    asked: Question,
    picture: Picture,
    *,
    tenant: str,
    kid: str,
    name: str,
    tickets: Tickets,
    serve_url: str,
) -> Trial:
    """Have the picture restored, and keep it with what the camera saw.

    Raises:
        PlatformError: What the data plane refuses it for.
        TooManyRequests: Other pictures are being tried.
        StoreDown: It cannot be kept.
    """
    if not _AT_ONCE.acquire(blocking=False):
        raise TooManyRequests("Other pictures are being tried at the moment; try again in a few seconds.")
    try:
        ticket, now = TrialTicket(tenant, asked.domain, asked.entry).given(tickets), tickets.clock()
        began = time.perf_counter()
        restored = try_picture(serve_url, ticket, picture, "restored")
        seconds = round(time.perf_counter() - began, 2)
        camera = try_picture(serve_url, ticket, picture, "camera")
        made = now.timestamp()
        trial = Trial(
            f"{int(made * 1000):013d}-{secrets.token_hex(8)}",
            tenant,
            kid,
            asked.domain,
            asked.said,
            name.strip()[:_MAX_NAME] or "picture",
            made,
            (now + kept_trials.KEPT).timestamp(),
            seconds,
            "image/jpeg" if restored.media_type == "image/jpeg" else "image/png",
            *restored.size,
            headers=restored.headers,
            seen=restored.seen,
        )
        kept_trials.keep(store, trial, camera.data, restored.data)
    finally:
        _AT_ONCE.release()
    with contextlib.suppress(StoreDown):
        kept_trials.prune(store, tenant, now=now)
    return trial
