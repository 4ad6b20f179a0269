"""The OpenAPI 3.1 schema of the control API, with every refusal that an operation may answer with.

Declared here once for all, from what an operation takes, so that a new route cannot forget it. A fault
of ours (500) is no answer and is not declared.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from udair_platform.api.middleware.idempotency import HEADER
from udair_platform.errors import PlatformError
from udair_platform.http.problems import MEDIA_TYPE

_WRITES = ("post", "put", "patch", "delete")
_ASKS_FOR_PATIENCE = (429, 503)
_generating = threading.Lock()


class ProblemField(BaseModel):
    """One wrong field of a request."""

    pointer: str = Field(description="RFC 6901 pointer into the body, or /query/NAME")
    detail: str


class Problem(BaseModel):
    """A refusal (RFC 9457)."""

    type: str = Field(description="urn:udair:problem:CODE")
    title: str
    status: int
    detail: str = Field(description="what happened, the value, what was expected, what to do next")
    instance: str = Field(description="the request's path")
    code: str = Field(description="stable, SCREAMING_SNAKE")
    request_id: str
    retryable: bool = Field(description="the same request may work a little later")
    errors: list[ProblemField] | None = None
    retry_after_s: int | None = None


class DescribedApi(FastAPI):
    """An application whose schema tells refusals, too."""

    def openapi(self) -> dict[str, Any]:
        """The schema, generated once for the routes that there are."""
        with _generating:
            schema = super().openapi()
            models: dict[str, Any] = schema.setdefault("components", {}).setdefault("schemas", {})
            if "Problem" not in models:
                _declare(schema, models)
        return schema


def _declare(schema: dict[str, Any], models: dict[str, Any]) -> None:
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    models.update(problem.pop("$defs"), Problem=problem)
    for name in ("HTTPValidationError", "ValidationError"):
        models.pop(name, None)
    codes = _codes()
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if method == "post":
                operation.setdefault("parameters", []).append(_idempotency_key())
            operation["responses"].pop("422", None)
            for status in sorted(set(_statuses(path, method, operation))):
                operation["responses"][str(status)] = _response(status, codes[status])


def _statuses(path: str, method: str, operation: dict[str, Any]) -> Iterator[int]:
    """What the operation may refuse with, judged by what it takes."""
    parameters = operation.get("parameters", [])
    if path == "/healthz":
        return
    yield 503
    if "security" in operation:
        yield from (400, 401, 403, 429)
    if "{" in path or any(item["name"] == "domain" for item in parameters):
        yield 404
    if method in _WRITES:
        yield from (409, 413)
    if "requestBody" in operation or method == "post":  # a POST may carry an idempotency key
        yield 422
    if any(item["in"] == "path" and item["schema"].get("type") != "string" for item in parameters):
        yield 422
    if any(item["name"].lower() == "if-match" for item in parameters):
        yield 412


def _response(status: int, codes: list[str]) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    response: dict[str, Any] = {"description": ", ".join(codes), "content": content}
    if status in _ASKS_FOR_PATIENCE:
        response["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "string"}}}
    return response


def _codes() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    kinds: list[type[PlatformError]] = [PlatformError]
    while kinds:
        kind = kinds.pop(0)
        known = found.setdefault(kind.status, [])
        if kind.code not in known:
            known.append(kind.code)
        kinds += kind.__subclasses__()
    return found


def _idempotency_key() -> dict[str, Any]:
    return {
        "name": HEADER,
        "in": "header",
        "required": False,
        "description": "the same key with the same request has one effect and one reply, for 24 hours",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    }
