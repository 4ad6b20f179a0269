"""Column types that keep values what they are: UTC times, enums, tuples, gate rules, prose."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, DateTime, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from udair_platform.entities.domain import GateRules, Schedule, Traffic


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC; SQLite forgets the zone, so it is put back. A naive time is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time {value} has no zone; expected UTC.")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class SafeText(TypeDecorator[str]):
    """Text that somebody else wrote; PostgreSQL knows no NUL, so one becomes the replacement character."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else value.replace("\0", "\ufffd")


class EnumText(TypeDecorator[StrEnum]):
    """A StrEnum as its text, so that a person reading the table understands it."""

    impl = String(32)
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: Any, dialect: Dialect) -> StrEnum | None:
        """From the database."""
        return None if value is None else self.kind(value)


class TextTuple(TypeDecorator[tuple[str, ...]]):
    """A tuple of strings as a JSON list."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> list[str] | None:
        """To the database."""
        return None if value is None else list(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[str, ...] | None:
        """From the database."""
        return None if value is None else tuple(value)


class TrafficJson(TypeDecorator[Traffic]):
    """How a domain's requests are shared out, as a JSON object."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Traffic | None, dialect: Dialect) -> dict[str, Any] | None:
        """To the database."""
        return None if value is None else value.to_dict()

    def process_result_value(self, value: Any, dialect: Dialect) -> Traffic | None:
        """From the database."""
        return None if value is None else Traffic.from_dict(value)


class GateRulesJson(TypeDecorator[GateRules]):
    """A domain's gate rules as a JSON object."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: GateRules | None, dialect: Dialect) -> dict[str, Any] | None:
        """To the database."""
        return None if value is None else value.to_dict()

    def process_result_value(self, value: Any, dialect: Dialect) -> GateRules | None:
        """From the database."""
        return None if value is None else GateRules(**value)


class ScheduleJson(TypeDecorator[Schedule]):
    """A domain's schedule as a JSON object."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Schedule | None, dialect: Dialect) -> dict[str, Any] | None:
        """To the database."""
        return None if value is None else value.to_dict()

    def process_result_value(self, value: Any, dialect: Dialect) -> Schedule | None:
        """From the database."""
        return None if value is None else Schedule(**value)
