"""Results for people and for programs, on stdout; lines for people only, on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udair_platform.cli.options import Output

if TYPE_CHECKING:
    from _typeshed import DataclassInstance as Dataclass
    from pydantic import BaseModel


def send_to(path: Path) -> None:
    """Let results go to a file from now on. Raises OSError."""
    sys.stdout = path.open("w", encoding="utf-8")


def show(
    output: Output,
    value: BaseModel | Mapping[str, Any],
    lines: Sequence[tuple[str, Any]],
    *,
    words: Sequence[str] = (),
) -> None:
    """One thing: for programs, or as sentences and aligned lines of name and value. Its name is the first line's value."""
    if output is Output.NAME:
        print(text(lines[0][1]))
        return
    if output is not Output.TABLE:
        _for_programs(output, plain(value))
        return
    for sentence in words:
        print(sentence)
    width = max((len(name) for name, _ in lines), default=0)
    for name, item in lines:
        print(f"{name:<{width}}  {text(item)}".rstrip())


def table(
    output: Output,
    items: Iterable[BaseModel | Dataclass | Mapping[str, Any]],
    columns: Mapping[str, str | None],
    *,
    empty: str,
) -> None:
    """Many things: for programs, or as a table of `columns` (title -> field). Names are the first column."""
    found = list(items)
    if output in (Output.JSON, Output.YAML):
        _for_programs(output, [plain(item) for item in found])
        return
    if not found:
        note(empty)
        return
    rows = [[text(_field(item, field or title)) for title, field in columns.items()] for item in found]
    if output is Output.NAME:
        print("\n".join(row[0] for row in rows))
    elif sys.stdout.isatty():
        _rich_table(list(columns), rows)
    else:
        widths = [max(len(row[i]) for row in [list(columns), *rows]) for i in range(len(columns))]
        for row in [[title.upper() for title in columns], *rows]:
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def text(value: Any) -> str:
    """One value in a line of text."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={text(item)}" for key, item in value.items()) or "-"
    return str(value)


def plain(value: BaseModel | Dataclass | Mapping[str, Any]) -> Any:
    """JSON-ready."""
    if isinstance(value, Mapping):
        return dict(value)
    return asdict(value) if is_dataclass(value) else value.model_dump(mode="json")


def note(line: str) -> None:
    """A line for people, out of the way of results."""
    if not os.environ.get("UDAIR_QUIET"):
        print(line, file=sys.stderr, flush=True)


def watched() -> bool:
    """Whether somebody looks at stderr as it changes."""
    return sys.stderr.isatty() and not os.environ.get("UDAIR_QUIET")


def _field(item: Any, name: str) -> Any:
    return item[name] if isinstance(item, Mapping) else getattr(item, name)


def _for_programs(output: Output, value: Any) -> None:
    if output is Output.JSON:
        print(json.dumps(value, indent=2, ensure_ascii=False, default=_unusual))
        return
    import yaml

    print(yaml.safe_dump(json.loads(json.dumps(value, default=_unusual)), sort_keys=False, allow_unicode=True), end="")


def _unusual(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def _rich_table(titles: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        drawn.add_column(title.upper(), overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    Console().print(drawn, markup=False)
