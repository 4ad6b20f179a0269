"""The command that searches hyperparameters for a domain, as `udair sweep` takes it, from the fields of a form.

A sweep is no job of the platform: it runs where it is typed, on the Ray there, and is shown because it is kept in the platform's store.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from udair_jobs.sweep.specs import SweepSpec
from udair_platform.documents import store_paths
from udair_platform.entities.domain import Domain
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.errors import FieldError, Invalid
from udair_platform.services import sources
from udair_platform.settings import Settings

# What can be searched over a domain's images; a sweep of source training is over clean photographs.
KINDS: Mapping[str, str] = {
    "recipe": "recipe: steps, learning rate and patch of the adapter's training",
    "alignment": "alignment: how embeddings are pulled to their source cluster",
    "tta": "tta: adaptation to each image at test time",
}
_COUNTS = {"trials": (2, 10_000), "concurrent": (1, 1024)}
_PACKAGED = str(SweepSpec.model_fields["base_uri"].default)


@dataclass(frozen=True)
class Wish:
    """What the form says, as it was sent."""

    domain: str = ""
    kind: str = "recipe"
    trials: str = str(SweepSpec.model_fields["trials"].default)
    concurrent: str = str(SweepSpec.model_fields["concurrent"].default)
    clean: str = ""


def command(
    wish: Wish, domain: Domain, base: RegisteredModel | None, settings: Settings, store_uri: str, *, now: datetime
) -> str:
    """The command line: it reads the domain's images, and keeps what it finds where the console looks.

    Raises:
        Invalid: With the fields that are wrong.
    """
    wrong = [] if wish.kind in KINDS else [FieldError("/kind", f"{wish.kind!r} is none; expected {', '.join(KINDS)}.")]
    for field, (least, most) in _COUNTS.items():
        text = getattr(wish, field).strip()
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
            wrong.append(FieldError(f"/{field}", f"{text or 'nothing'} was given; expected {least} to {most}."))
    clean = wish.clean.strip()
    if not clean.isprintable():
        wrong.append(FieldError("/clean", "It holds characters that nobody can type; expected s3://… or a folder."))
    if wrong:
        raise Invalid("The sweep cannot be begun so.", errors=wrong)
    name = f"{domain.name[:36]}-{wish.kind}-{now:%Y%m%d-%H%M%S}"  # a sweep's has at most 64 characters
    kept = f"{store_uri}/{store_paths.sweeps(domain.tenant)}/{name}"
    words = ["udair", "sweep", "run", wish.kind, domain.source_uri, kept, "--trials", wish.trials.strip()]
    words += ["--concurrent", wish.concurrent.strip(), "--tone", domain.tone]
    words += ["--clean", clean] if clean else []
    at = sources.endpoint_of(domain.source_uri, settings) or settings.store_endpoint_url
    words += ["--s3-endpoint-url", at] if at else []
    words += ["--set", f"base_uri={base.uri}"] if base and base.uri not in ("", _PACKAGED) else []
    return shlex.join(words)
