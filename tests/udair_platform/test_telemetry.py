"""Logs never hold a secret, whatever it is called and however deep it lies."""

from __future__ import annotations

import json

import pytest

from udair_platform import telemetry
from udair_platform.keys import Claims, issue


@pytest.mark.parametrize(
    "name", ["authorization", "X-Authorization", "api_key", "ray_token", "aws_secret_access_key", "password"]
)
def test_values_are_blanked_by_name_at_any_depth(name: str) -> None:
    event = telemetry.redact(None, "info", {"event": "x", name: "s3cret", "more": [{name: "s3cret"}]})

    assert "s3cret" not in json.dumps(event)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefgh12345678",
        "AKIAIOSFODNN7EXAMPLE was refused",
        "the token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.abcdefgh12345678 is not valid",
        "postgresql://me:hunter2hunter2@host/db",
        "https://b.s3.amazonaws.com/k?X-Amz-Signature=0123456789abcdef&x=1",
    ],
)
def test_values_are_blanked_by_shape(text: str) -> None:
    secrets = ("abcdefgh12345678", "AKIAIOSFODNN7EXAMPLE", "hunter2hunter2", "0123456789abcdef")
    cleaned = telemetry.redact_text(text)

    assert telemetry.REDACTED in cleaned
    assert not any(secret in cleaned for secret in secrets)


def test_platform_key_is_blanked_wherever_it_stands() -> None:
    token = issue(b"k" * 32, Claims("abcd1234", "acme", ("admin",)))

    assert token.split(".")[2] not in telemetry.redact_text(f"the key {token} was used")


def test_lines_are_json_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("json", "INFO")
    try:
        telemetry.logger("test").info("happened", token="t0ken", count=3)
    finally:
        line = json.loads(capsys.readouterr().err)
        telemetry.configure("console", "INFO")

    assert (line["event"], line["count"], line["component"]) == ("happened", 3, "test")
    assert line["token"] == telemetry.REDACTED
