"""Writes docs/api.md from the OpenAPI schema of the control API: `make docs-reference`."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from udair_jobs.storage import open_storage
from udair_platform.api.app import create_app
from udair_platform.roles import ROLES
from udair_platform.settings import load_settings
from udair_platform.state.database import open_database

TARGET = Path(__file__).with_name("api.md")
_INTRO = """\
# The control API

<!-- Written by docs/make_api.py from the OpenAPI schema; change the code and run `make docs-reference`. -->

JSON over HTTP; the OpenAPI 3.1 schema is at `/v1/openapi.json` (with a key). The data plane is described in
[serving.md](serving.md), what is trusted and why in [security.md](security.md).

**Who asks.** `Authorization: Bearer` with an API key (`ak_…`), or with a token of the OpenID provider that the operator
has set. What a bearer may do is its scopes; a role is a named set of them. `metrics:read` is in no role.

{roles}

**Same request twice.** An `Idempotency-Key` on a POST has one effect and one reply for 24 hours; a replay says
`Idempotency-Replayed: true`. The same key with another request is 422, while the first is being served 409.

**Pages.** `page_size` (at most 1000) and `page_token`, which fits the list and the filter that it came from; an empty
`next_page_token` ends the list.

**How often.** `RateLimit-Limit`, `-Remaining` and `-Reset` (seconds) tell where the bearer stands; beyond is 429 with
`Retry-After`. Each process of the API counts for itself.

**Refusals** are `application/problem+json` (RFC 9457) with a stable `code`, the request's id, and for wrong fields RFC 6901
pointers. Any request may also meet 405 and, if the fault is ours, 500.

{codes}"""


def main() -> int:
    """Write the file."""
    TARGET.write_text(render(schema()))
    return 0


def schema() -> dict[str, Any]:
    """The schema of an application that stands on nothing."""
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings(home=home)
        database = open_database(settings.database_url, migrated=False)
        store = open_storage(settings.store_uri)
        return create_app(settings, database=database, store=store, signing_key=bytes(32)).openapi()


def render(schema: dict[str, Any]) -> str:
    """The reference, one section for each tag and one for the schemas."""
    roles = _table(("role", "scopes"), ((role, " ".join(f"`{s}`" for s in held)) for role, held in ROLES.items()))
    parts = [_INTRO.format(roles=roles, codes=_table(("status", "codes"), _codes(schema)))]
    by_tag: dict[str, list[str]] = {}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    for tag, operations in by_tag.items():
        parts.append(f"## {tag[0].upper()}{tag[1:]}\n\n" + "\n".join(operations))
    models = (_model(name, model) for name, model in sorted(schema["components"]["schemas"].items()))
    parts.append("## Schemas\n\n" + "\n".join(models))
    return "\n".join(parts)


def _codes(schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    operations = [operation for methods in schema["paths"].values() for operation in methods.values()]
    answers = {status: item for operation in operations for status, item in operation["responses"].items()}
    for status in sorted(answers):
        if int(status) >= 400:
            yield status, answers[status]["description"]


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"### `{method.upper()} {path}`\n", f"{operation.get('description', operation['summary'])}\n"]
    parameters = [item for item in operation.get("parameters", []) if item["in"] != "path"]
    if parameters:
        rows = ((f"`{p['name']}`", p["in"], _kind(p["schema"]), p.get("description", "")) for p in parameters)
        lines.append(_table(("parameter", "in", "type", ""), rows))
    body = operation.get("requestBody")
    if body:
        optional = "" if body.get("required") else " (may be left out)"
        lines.append(f"Body: {_kind(next(iter(body['content'].values()))['schema'])}{optional}.\n")
    answers, refusals = [], []
    for status, response in operation["responses"].items():
        if int(status) < 400:
            content = response.get("content", {"": {}})
            kind, media = next(iter(content.items()))
            answers.append(f"{status} {_kind(media['schema']) if media.get('schema') else kind or 'without a body'}")
        else:
            refusals.append(status)
    lines.append(f"Answers: {', '.join(answers)}.\n")
    if refusals:
        lines.append("Refusals: " + ", ".join(refusals) + ".\n")
    return "\n".join(lines)


def _model(name: str, model: dict[str, Any]) -> str:
    required = model.get("required", [])
    rows = (
        (f"`{field}`" + ("" if field in required else "?"), _kind(kind), kind.get("description", ""))
        for field, kind in model.get("properties", {}).items()
    )
    described = re.sub(r"\s+", " ", model.get("description", "")).strip()
    return f"### {name}\n\n{described}\n\n{_table(('field', 'type', ''), rows)}"


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(item) for item in schema["anyOf"])
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return " ".join((schema.get("format") or schema.get("type", "anything"), *_bounds(schema)))


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("maxLength", "≤")):
        if name in schema:
            yield f"{sign} {schema[name]}"


def _table(titles: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
