"""Column types that keep values what they are, and which of them a field's annotation asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from types import UnionType
from typing import Any, Union, get_args, get_origin

from sqlalchemy import JSON, DateTime, Double, Integer, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from udair_platform.contract.value import Value
from udair_platform.entities.text import Chars


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


class SettingsJson(TypeDecorator[Value]):
    """Settings that people give a noun, as a JSON object."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: type[Value]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Value | None, dialect: Dialect) -> dict[str, Any] | None:
        """To the database."""
        return None if value is None else value.model_dump(mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> Value | None:
        """From the database."""
        return None if value is None else self.kind.model_validate(value)


def column_of(hint: Any) -> tuple[TypeEngine[Any], bool]:
    """The column type for a field's annotation, and whether it may be null."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    nullable = type(None) in options
    (kind,) = (option for option in options if option is not type(None))
    return _type_of(kind, nullable), nullable


def _type_of(kind: Any, nullable: bool) -> TypeEngine[Any]:
    chars = next((item.most for item in getattr(kind, "__metadata__", ()) if isinstance(item, Chars)), 0)
    if chars != 0:
        return SafeText() if chars is None else String(chars)
    origin = get_origin(kind) or kind
    if origin is tuple:
        return TextTuple()
    if issubclass(origin, Value):
        return SettingsJson(origin)
    if issubclass(origin, StrEnum):
        return EnumText(origin)
    if issubclass(origin, Mapping | Sequence) and origin is not str:
        return JSON(none_as_null=True) if nullable else JSON()
    return _PLAIN[origin]()


_PLAIN: Mapping[type, type[TypeEngine[Any]]] = {str: Text, int: Integer, float: Double, datetime: UtcTime}
