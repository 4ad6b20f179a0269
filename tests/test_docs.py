"""The documentation says what the code does: every command, route, setting and metric, and no link leads nowhere."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load("make_reference")


@pytest.mark.parametrize("name", ["cli.md", "sdk.md", "settings.md", "configuration.md", "metrics.md"])
def test_the_reference_is_what_the_code_says(name: str) -> None:
    assert (DOCS / "reference" / name).read_text() == reference.pages()[name], "run `make docs-reference`"


def test_every_command_is_in_the_reference_and_has_a_sentence() -> None:
    text = (DOCS / "reference" / "cli.md").read_text()

    def walk(command, path: str):
        yield path, command
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{path} {name}")

    commands = [pair for name, command in reference.Commands().items() for pair in walk(command, f"udair {name}")]
    assert len(commands) > 60
    for path, command in commands:
        assert f"### `{path}`" in text
        assert command.help, f"{path} has no help"


def test_every_setting_says_what_it_is() -> None:
    for kind in (reference.Settings, reference.KubeSettings):
        assert [name for name, field in kind.model_fields.items() if not field.description] == []


def test_every_metric_that_is_scraped_is_in_the_table(live_metrics: set[str]) -> None:
    documented = {metric.name for metric in reference.metrics()}
    bases = {re.sub(r"_(bucket|count|sum)$", "", name) for name in live_metrics if not name.endswith("_created")}
    assert bases - documented == set()
    assert {name for name in documented if not name.startswith("ray_")} <= bases


@pytest.fixture
def live_metrics(tmp_path: Path) -> set[str]:
    """Names of what a control API really exports."""
    from datetime import UTC, datetime

    from udair_platform.api.metrics import Metrics
    from udair_platform.state.database import open_database

    metrics = Metrics(open_database(f"sqlite:///{tmp_path / 'control.db'}"), lambda: datetime.now(UTC))
    metrics.observe("GET", "/v1/platform", 200, 0.01)
    return {
        line.split("{")[0].split(" ")[0] for line in metrics.text().decode().splitlines() if not line.startswith("#")
    }


def test_the_site_builds_offline_and_no_link_leads_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    shutil.copytree(DOCS, folder / "docs")
    (folder / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text())
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (folder / "site" / "index.html").read_text()
    loaded = re.findall(r"""<(?:script|link|img)[^>]*(?:src|href)=["'](https?:[^"']+)""", page)
    assert loaded == [], "the site asks nobody else"


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r":\s+(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if "adr" not in path.parts}
    assert named == there


def test_what_is_said_after_an_error_is_for_errors_that_there_are() -> None:
    from udair_platform.cli.exits import _NEXT

    codes = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", (DOCS / "api.md").read_text()))
    assert set(_NEXT) <= codes
