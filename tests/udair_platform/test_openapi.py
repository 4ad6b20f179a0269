"""The schema is OpenAPI 3.1, tells every refusal, and the written reference holds all of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def schema(plane) -> dict:
    return plane.client.get("/v1/openapi.json").json()


def operations(schema: dict) -> Iterator[tuple[str, str, dict]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_refusals_are_problems(schema: dict) -> None:
    assert schema["openapi"].startswith("3.1")
    assert set(schema["components"]["schemas"]["Problem"]["required"]) >= {"code", "status", "detail", "request_id"}
    for method, path, operation in operations(schema):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                assert response["content"] == content, (method, path, status)


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("get", "/healthz", {200}),
        ("get", "/readyz", {200, 503}),
        ("get", "/v1/platform", {200, 400, 401, 403, 429, 503}),
        ("get", "/v1/domains", {200, 400, 401, 403, 429, 503}),
        ("get", "/v1/events", {200, 400, 401, 403, 404, 429, 503}),
        ("post", "/v1/domains", {201, 400, 401, 403, 409, 413, 422, 429, 503}),
        ("patch", "/v1/domains/{domain}", {200, 400, 401, 403, 404, 409, 412, 413, 422, 429, 503}),
        ("delete", "/v1/domains/{domain}", {204, 400, 401, 403, 404, 409, 412, 413, 429, 503}),
        ("post", "/v1/apiKeys/{kid}:revoke", {200, 400, 401, 403, 404, 409, 413, 422, 429, 503}),
    ],
)
def test_operation_declares_what_it_may_answer(schema: dict, method: str, path: str, statuses: set[int]) -> None:
    assert {int(status) for status in schema["paths"][path][method]["responses"]} == statuses


def test_every_operation_but_health_wants_a_key_and_says_so(schema: dict) -> None:
    public = {path for _, path, operation in operations(schema) if "security" not in operation}
    assert public == {"/healthz", "/readyz"}


def test_names_of_operations_are_said_once(schema: dict) -> None:
    names = [operation["operationId"] for _, _, operation in operations(schema)]
    assert len(set(names)) == len(names)


def test_every_operation_is_in_the_written_reference(schema: dict) -> None:
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    make_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_api)

    text = make_api.render(make_api.schema())
    for method, path, _ in operations(schema):
        assert f"### `{method.upper()} {path}`" in text
    for name in schema["components"]["schemas"]:
        assert f"### {name}\n" in text


def shape(schema: dict) -> list[str]:
    """The public JSON in a line a fact: operations with what they take and give, fields with their types."""
    lines = []
    for method, path, operation in operations(schema):
        names = sorted(f"{item['name']}:{item['in']}" for item in operation.get("parameters", []))
        good = next(status for status in operation["responses"] if int(status) < 400)
        taken, given = operation.get("requestBody", {}), operation["responses"][good]
        lines.append(f"{method.upper()} {path} ({', '.join(names)}) {_schema(taken)} -> {good} {_schema(given)}")
    for name, model in schema["components"]["schemas"].items():
        required = set(model.get("required", []))
        for field, kind in model.get("properties", {}).items():
            lines.append(f"{name}.{field}{'' if field in required else '?'}: {_kind(kind)}")
    return sorted(lines)


def _schema(part: dict) -> str:
    media = part.get("content", {}).get("application/json", {})
    return _kind(media["schema"]) if media else "-"


def _kind(kind: dict) -> str:
    if "$ref" in kind:
        return kind["$ref"].rpartition("/")[2]
    if "anyOf" in kind:
        return " | ".join(_kind(option) for option in kind["anyOf"])
    if kind.get("type") == "array":
        return f"[{_kind(kind['items'])}]"
    if isinstance(kind.get("additionalProperties"), dict):
        return f"{{{_kind(kind['additionalProperties'])}}}"
    return str(kind.get("const") or kind.get("enum") or kind.get("format") or kind.get("type", "any"))


def test_public_json_changes_on_purpose_only(schema: dict, request) -> None:
    """After a wanted change: `make test PYTEST_ARGS="--rewrite-wire tests/udair_platform/test_openapi.py"`; the diff says what clients must learn."""
    kept, now = Path(__file__).with_name("wire.txt"), "\n".join(shape(schema)) + "\n"
    if request.config.getoption("rewrite_wire"):
        kept.write_text(now)
    assert now.splitlines() == kept.read_text().splitlines()
