"""Writes docs/reference/ from the code: commands, SDK, settings, Hydra configuration and metrics. `make docs-reference`."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from udair_platform import client as sdk
from udair_platform.cli.lazy import SECTIONS, Commands
from udair_platform.scheduler.launchers.kuberay.settings import KubeSettings
from udair_platform.settings import Settings

DOCS = Path(__file__).parent
ROOT = DOCS.parent
TARGET = DOCS / "reference"
_MADE = "<!-- Written by docs/make_reference.py; change the code and run `make docs-reference`. -->\n"
_WIDTH = 96


def main() -> int:
    """Write the files."""
    TARGET.mkdir(exist_ok=True)
    for name, text in pages().items():
        (TARGET / name).write_text(text)
    return 0


def pages() -> dict[str, str]:
    """Every page, by its file's name."""
    return {
        "cli.md": command_line(),
        "sdk.md": python_sdk(),
        "settings.md": settings(),
        "configuration.md": configuration(),
        "metrics.md": metric_table(),
    }


def command_line() -> str:
    """Every command with its help."""
    parts = [
        f"# Commands\n\n{_MADE}\nResults go to stdout, progress and hints to stderr. `-o json`, `yaml` or `name` is for "
        "programs. `--profile`, `--quiet` and `--no-color` may stand anywhere.\n\nExit status: 0 ok, 1 error, 2 usage, 3 job "
        "failed, 4 the gate said no, 5 not found or denied, 124 a wait timed out, 130 interrupted (the job goes on).\n\n"
        "Completion: `udair --install-completion`.\n"
    ]
    known = Commands()
    for title, section in SECTIONS.items():
        parts.append(f"## {title}\n")
        for name in section:
            parts += [f"### `udair {path}`\n\n```text\n{said}```\n" for path, said in _helps(known[name], name)]
    return "\n".join(parts)


def python_sdk() -> str:
    """Every published class with its methods."""
    parts = [
        f"# Python SDK\n\n{_MADE}\n`pip install 'udair[client]'` brings httpx and pydantic, nothing of the server. "
        "`AsyncClient`, `AsyncDomain`, `AsyncJob` and `AsyncVersion` have the same methods, to be awaited. "
        "Lists are iterators that ask for page after page; a request is repeated only where that is safe.\n"
    ]
    for name in ("Client", "Domain", "Job", "Version"):
        kind = getattr(sdk, name)
        parts.append(f"## {name}\n\n{_doc(kind)}\n")
        parts += [_method(kind, member) for member in vars(kind) if _shown(kind, member)]
        if name == "Client":
            with_key = sdk.Client("http://127.0.0.1:1", "ak_x")
            for attribute in ("domains", "jobs", "keys", "webhooks"):
                group = type(getattr(with_key, attribute))
                parts.append(f"### client.{attribute}\n\n{_doc(group)}\n")
                parts += [_method(group, member) for member in vars(group) if _shown(group, member)]
    for name in ("Restored", "RestoreOptions", "Gallery"):
        kind = getattr(sdk, name)
        parts.append(f"## {name}\n\n{_doc(kind)}\n")
        parts += [_method(kind, member) for member in vars(kind) if _shown(kind, member)]
    errors = (ROOT / "platform/udair_platform/client/errors.py").read_text()
    parts.append(f"## Errors\n\n```text\n{ast.get_docstring(ast.parse(errors))}\n```\n")
    return "\n".join(parts)


def settings() -> str:
    """Every environment variable of the platform's processes."""
    titles = ("variable", "type", "default", "range", "what")
    return (
        f"# Settings\n\n{_MADE}\nEnvironment variables of the API, the scheduler and serving, checked at start. A bad one is "
        "named with its value and what was expected. Serving also wants `UDAIR_RAY_GCS`, the address of its Ray cluster; "
        "commands and the SDK read `UDAIR_URL` and `UDAIR_API_KEY`, or `UDAIR_PROFILE` of the file `UDAIR_CONFIG`.\n\n"
        + _table(titles, _variables(Settings, "UDAIR_"))
        + "\n## The KubeRay launcher\n\nOf the scheduler, with `UDAIR_LAUNCHER=kuberay`. Maps and lists are JSON.\n\n"
        + _table(titles, _variables(KubeSettings, "UDAIR_KUBE_"))
    )


def _variables(kind: type[BaseSettings], prefix: str) -> list[tuple[str, ...]]:
    rows = []
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "" if default is PydanticUndefined or default is None or default == "" else f"`{default}`"
        bounds = [str(item) for item in field.metadata if re.match(r"^(Ge|Gt|Le|Lt)\(", str(item))]
        limits = ", ".join(re.sub(r"^(G|L)(e|t)\(\w+=(.*)\)$", _sign, bound) for bound in bounds)
        rows.append((f"`{prefix}{name.upper()}`", _kind(field.annotation), shown, limits, field.description or ""))
    return rows


def configuration() -> str:
    """The Hydra configuration of each job, as it is shipped."""
    folder = ROOT / "jobs/udair_jobs/conf"
    parts = [
        f"# Configuration of jobs\n\n{_MADE}\nJobs are configured with Hydra: `python -m udair_jobs.NAME key=value`. Every value "
        "is checked before anything starts. What customers send is validated by the API's schemas, and never composed.\n"
    ]
    for path in sorted(folder.glob("*.yaml")):
        parts.append(f"## {path.stem}\n\n```yaml\n{path.read_text()}```\n")
        groups = sorted((folder / path.stem).glob("*.yaml"))
        parts += [f"### {path.stem}={group.stem}\n\n```yaml\n{group.read_text()}```\n" for group in groups]
    presets = sorted((folder / "preset").glob("*.yaml"))
    parts += [f"## preset={path.stem}\n\n```yaml\n{path.read_text()}```\n" for path in presets]
    return "\n".join(parts)


class Metric(NamedTuple):
    """One Prometheus metric, as its code declares it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    said: str
    exporter: str


def metric_table() -> str:
    """Every metric that the code exports."""
    rows = [(f"`{m.name}`", m.kind, ", ".join(m.labels), m.exporter, m.said) for m in metrics()]
    return (
        f"# Metrics\n\n{_MADE}\nThe API's are at its `/metrics` (scope `metrics:read`); those of serving are exported by Ray on "
        "every node. A label's values are bounded: beyond 100 domains the rest share `other`.\n\n"
        + _table(("metric", "kind", "labels", "where", "what"), rows)
    )


def metrics() -> list[Metric]:
    """What the platform exports, by name: read from its source, so that none can be forgotten."""
    found: list[Metric] = []
    for path in sorted((ROOT / "platform/udair_platform").rglob("*.py")):
        tree = ast.parse(path.read_text())
        constants = {
            node.targets[0].id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        found += [metric for call in calls if (metric := _metric(call, constants, "serving" in path.parts))]
    return sorted(found)


_KINDS = {
    "Counter": "counter",
    "CounterMetricFamily": "counter",
    "Gauge": "gauge",
    "GaugeMetricFamily": "gauge",
    "Histogram": "histogram",
}


def _metric(call: ast.Call, constants: dict[str, ast.expr], by_ray: bool) -> Metric | None:
    kind = _KINDS.get(getattr(call.func, "id", ""))
    if kind is None or not call.args or not isinstance(call.args[0], ast.Constant):
        return None
    name, said = str(call.args[0].value), str(getattr(call.args[1], "value", ""))
    if not name.startswith("udair_"):
        return None
    labels: tuple[str, ...] = ()
    for node in [*call.args[2:], *(keyword.value for keyword in call.keywords)]:
        node = constants.get(node.id, node) if isinstance(node, ast.Name) else node
        if isinstance(node, ast.Tuple | ast.List):
            words = [getattr(item, "value", None) for item in node.elts]
            if words and all(isinstance(word, str) for word in words):
                labels = tuple(map(str, words))
    if by_ray:
        # Ray's exporter puts `ray_` before a name, and nothing behind a counter's.
        return Metric(f"ray_{name}", kind, labels, said, "every Ray node")
    return Metric(f"{name}_total" if kind == "counter" else name, kind, labels, said, "API")


def _helps(command: Any, path: str) -> Iterator[tuple[str, str]]:
    context = typer.Context(command, info_name=f"udair {path}", terminal_width=_WIDTH, max_content_width=_WIDTH)
    yield path, command.get_help(context).rstrip() + "\n"
    for name, below in getattr(command, "commands", {}).items():
        yield from _helps(below, f"{path} {name}")


def _shown(kind: type, member: str) -> bool:
    if member.startswith("_") or member in ("model_config", "of"):
        return False
    value = inspect.getattr_static(kind, member)
    return inspect.isfunction(value) or (isinstance(value, property) and bool(value.__doc__))


def _method(kind: type, name: str) -> str:
    value = inspect.getattr_static(kind, name)
    if isinstance(value, property):
        return f"**`.{name}`** {_doc(value)}\n"
    signature = inspect.signature(value)
    parameters = [item for key, item in signature.parameters.items() if key != "self"]
    said = re.sub(r"'([A-Za-z][^']*)'", r"\1", f"{name}{signature.replace(parameters=parameters)}")
    return f"**`.{said}`**\n\n{_doc(value)}\n"


def _doc(value: object) -> str:
    """A docstring as Markdown: its sections become lists."""
    lines: list[str] = []
    section = False
    for line in (inspect.getdoc(value) or "").splitlines():
        if re.match(r"^[A-Z][a-z]+:$", line):
            section = True
            lines += ["", f"*{line[:-1]}*", ""]
        elif section and re.match(r"^    \S", line):
            name, colon, said = line.strip().partition(": ")
            lines.append(f"- `{name}`: {said}" if colon else f"- {line.strip()}")
        elif section and line.startswith("     "):
            lines[-1] += f" {line.strip()}"
        else:
            section = False
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _sign(match: re.Match[str]) -> str:
    sign = {"Ge": "≥", "Gt": ">", "Le": "≤", "Lt": "<"}[match[1] + match[2]]
    return f"{sign} {match[3]}"


def _kind(annotation: Any) -> str:
    text = annotation.__name__ if inspect.isclass(annotation) else str(annotation)
    return (
        re.sub(r"typing\.|pathlib\.(?:_local\.)?|udair_platform\.roles\.", "", text)
        .replace("|", "or")
        .replace("NoneType", "None")
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
