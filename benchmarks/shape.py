"""The house in numbers: how often a fact is declared, how far a request travels, how long the files are. `make shape`.

python benchmarks/shape.py --json benchmarks/results/shape.json

**Declarations per field.** Of the twelve nouns (`NOUNS`, with the names that their classes have). A declaration is, in
`entities`, `state` (migrations aside), `contract`, `api`, `client` and `console`, as far as git knows the file: an annotated attribute
in the body of a noun's class (dataclass, pydantic model, mapped column, TypedDict, NamedTuple; private and ClassVar ones aside),
a column there without an annotation, and in the tables a key of the options with which a table is made of the noun's class.
A class is a noun's when its name is one of the noun's, with one of `_BEFORE` in front or of `_AFTER` behind. Nested values
belong to their noun: gate rules and schedule to a domain, traffic and shares to a route, changes to an alias. What a class inherits is declared
once. The figure is declarations over distinct (noun, field) pairs; a name that differs is another field, unless `_RENAMED`
says which it is. Bodies of requests (`_REQUESTS`) say which fields may be set, and not what a field is: they are told apart,
and the figure with them stands in a second line. Neither counts options of commands, or parameters of functions.

**Files on a trip.** Files of `udair`, `udair_jobs` and `udair_platform` whose functions run while one request is answered, by
`sys.setprofile` in every thread, at the second request of its kind: what the first imports does not count.

Before the house had its rooms (4bd22cc): 617 declarations of 177 fields (658 of 180 with the requests), trips of 33, 29 and 27
files, 91 functions with a parameter `now`.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import itertools
import re
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from types import FrameType
from typing import Any

from report import Figure, arguments, publish

ROOT = Path(__file__).parents[1]
PLATFORM = "platform/udair_platform"
ROOMS = ("entities", "state", "contract", "api", "client", "console")
NOUNS = {
    "tenant": ("Tenant",),
    "base model": ("BaseModel", "RegisteredModel", "Base"),
    "domain": ("Domain", "Gate", "GateRules", "Schedule"),
    "snapshot": ("Snapshot",),
    "job": ("Job",),
    "attempt": ("Attempt",),
    "version": ("Version", "AdapterVersion"),
    "alias": ("Alias", "AliasChange"),
    "api key": ("ApiKey", "Key"),
    "event": ("Event",),
    "webhook": ("Webhook",),
    "route": ("Route", "RouteShare", "Share", "Traffic"),
}
_BEFORE = ("Async", "Bound", "")
_AFTER = (
    "",
    "Row",
    "View",
    "Info",
    "Model",
    "Data",
    "Fields",
    "Values",
    "Settings",
    "Created",
    "WithSecret",
    "WithToken",
)
_REQUESTS = ("Create", "Patch", "Put", "Body", "Request", "Rotate", "Update")
# One field under two names; the first is the one that counts.
_RENAMED = {
    ("job", "eta_seconds"): "eta_s",
    ("job", "last_heartbeat_time"): "heartbeat_time",
    ("job", "snapshot"): "snapshot_id",
    ("version", "snapshot"): "snapshot_id",
    ("job", "domain"): "domain_id",
    ("version", "domain"): "domain_id",
    ("event", "id"): "seq",
    ("webhook", "next_try_time"): "not_before",
    ("alias", "alias"): "name",
}


def declarations(*, requests: bool) -> dict[tuple[str, str], list[str]]:
    """Where each (noun, field) is declared, as path:class."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in listed(*(f"{PLATFORM}/{room}" for room in ROOMS)):
        if "migrations" in path.parts:
            continue
        for owner, name, field in _fields(path):
            noun = noun_of(name, requests=requests)
            if noun is not None:
                found[noun, _RENAMED.get((noun, field), field)].append(f"{path.relative_to(ROOT)}:{owner}")
    return found


def noun_of(name: str, *, requests: bool) -> str | None:
    """Whose class that is."""
    after = (*_AFTER, *_REQUESTS) if requests else _AFTER
    for noun, stems in NOUNS.items():
        if name in {"".join(parts) for parts in itertools.product(_BEFORE, stems, after)}:
            return noun
    return None


def _fields(path: Path) -> Iterator[tuple[str, str, str]]:
    """(where, class, field) of every declaration in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                target = line.target if isinstance(line, ast.AnnAssign) else None
                if isinstance(line, ast.Assign) and isinstance(line.value, ast.Call):
                    made = line.value.func
                    if getattr(made, "id", getattr(made, "attr", "")) in ("mapped_column", "Column", "Field"):
                        target = line.targets[0]  # type: ignore[assignment]
                constant = isinstance(line, ast.AnnAssign) and "ClassVar" in ast.unparse(line.annotation)
                if isinstance(target, ast.Name) and not target.id.startswith("_") and not constant:
                    yield node.name, node.name, target.id
        if isinstance(node, ast.Call) and path.is_relative_to(ROOT / PLATFORM / "state") and path.name == "tables.py":
            classes = [item.id for item in node.args if isinstance(item, ast.Name)]
            options = [keyword.value for keyword in node.keywords if isinstance(keyword.value, ast.Dict)]
            named = [key.value for option in options for key in option.keys if isinstance(key, ast.Constant)]
            for name in (name for name in classes if noun_of(name, requests=False)):
                yield from (("override", name, str(field)) for field in named)


def trips() -> dict[str, list[str]]:
    """The files on the way of three requests."""
    sys.path[:0] = [str(ROOT / "tests" / "servers"), str(ROOT / "tests" / "udair_platform")]
    spec = importlib.util.spec_from_file_location("doubles", ROOT / "tests/udair_platform/conftest.py")
    assert spec is not None
    assert spec.loader is not None
    doubles: Any = importlib.util.module_from_spec(spec)
    sys.modules["doubles"] = doubles
    spec.loader.exec_module(doubles)
    with tempfile.TemporaryDirectory() as folder:
        plane = _plane(doubles, Path(folder))
        made: dict[str, list[str]] = {}
        for name in ("warm", "measured"):
            body: dict[str, Any] = {"name": name, "source_uri": "s3://acme-photos/cams"}
            made["POST domain"] = _files(plane, "/v1/domains", body)
            made["POST job"] = _files(plane, f"/v1/domains/{name}/jobs", {})
            newest = plane.client.get(f"/v1/domains/{name}/jobs").json()["jobs"][0]
            number = plane.settle(newest["id"]).version
            made["promote"] = _files(plane, f"/v1/domains/{name}/versions/{number}:promote", {})
        plane.database.close()
    return made


def _plane(doubles: Any, folder: Path) -> Any:
    settings = doubles.load_settings(home=folder / "home")
    settings.home.mkdir()
    database = doubles.open_database(settings.database_url)
    store, clock, launcher = doubles.open_storage(settings.store_uri), doubles.Clock(), doubles.FinishingLauncher()
    key = doubles.first_start.ensure_signing_key(settings.signing_key_file)
    start = doubles.first_start.ensure_platform(
        database, signing_key=key, base=doubles.BASE, tenant=doubles.TENANT, now=clock()
    )
    reconciler = doubles.Reconciler(database, store, launcher, settings, clock=clock)
    return doubles.Plane(settings, database, store, key, clock, launcher, reconciler, start.admin_token)


def _files(plane: Any, path: str, body: dict[str, Any]) -> list[str]:
    seen: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            seen.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        reply = plane.client.post(path, json=body)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if reply.status_code >= 300:
        raise SystemExit(f"POST {path} was answered with {reply.status_code}: {reply.text[:300]}")
    ours = (str(ROOT / part) for part in ("udair/", "jobs/udair_jobs/", "platform/udair_platform/"))
    starts = tuple(f"{start}/" for start in ours)
    return sorted(str(Path(name).relative_to(ROOT)) for name in seen if name.startswith(starts))


def listed(*folders: str) -> list[Path]:
    """The Python files that git knows below `folders`, those that are still there."""
    done = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in done.stdout.split() if name.endswith(".py")]
    return [path for path in paths if path.is_file()]


def main() -> int:
    """Count, print, write."""
    options = arguments(__doc__ or "")
    house = listed("platform", "jobs")
    lines = sorted(len(path.read_text().splitlines()) for path in house)
    text = {path: path.read_text() for path in [*house, *listed("udair", "tests", "benchmarks", "docs", "examples")]}
    skips = sum(len(re.findall(r"# fmt: skip\b", one)) for path, one in text.items() if path != Path(__file__))
    functions = [
        node
        for path in house
        for node in ast.walk(ast.parse(text[path]))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    with_now = [
        node
        for node in functions
        if "now" in {item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
    ]
    alone, all_of_it = declarations(requests=False), declarations(requests=True)
    figures = {
        "declarations per field": Figure(round(_ratio(alone), 3), "", 2.1, 1.7),
        "  with the requests": Figure(round(_ratio(all_of_it), 3), ""),
        "  fields": Figure(len(alone), "(noun, field)"),
        "  declarations": Figure(sum(map(len, alone.values())), ""),
    }
    with contextlib.redirect_stderr(io.StringIO()):  # the platform's own log
        way = trips()
    for (name, files), floor in zip(way.items(), (24, 22, 20), strict=True):
        figures[f"files on the trip: {name}"] = Figure(len(files), "files", floor)
    figures |= {
        "# fmt: skip": Figure(skips, "", 30),
        "functions with a parameter now": Figure(len(with_now), "", 40),
        "lines of platform and jobs": Figure(sum(lines), "lines"),
        "median file": Figure(median(lines), "lines", 120),
        "p90 file": Figure(quantiles(lines, n=10)[-1], "lines", 260),
        "largest file": Figure(lines[-1], "lines", 360),
    }
    by_noun = {noun: {field: where for (of, field), where in sorted(all_of_it.items()) if of == noun} for noun in NOUNS}
    publish("shape", figures, options, trips=way, declarations=by_noun)
    return 0


def _ratio(found: dict[tuple[str, str], list[str]]) -> float:
    return sum(map(len, found.values())) / len(found)


if __name__ == "__main__":
    sys.exit(main())
