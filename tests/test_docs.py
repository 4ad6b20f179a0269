"""The documentation says what the code does: every command, route, setting and metric, and no link leads nowhere."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
in_a_checkout = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="asks git")


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load("make_reference")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """The pages that `make docs-reference` writes, by their path below docs/."""
    api = load("make_api")
    return {"api.md": api.render(api.schema())} | {
        f"reference/{name}": text for name, text in reference.pages().items()
    }


@in_a_checkout
def test_what_is_written_from_the_code_is_in_no_commit(generated: dict[str, str]) -> None:
    command = ["git", "check-ignore", "--no-index", *(f"docs/{name}" for name in generated)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == [f"docs/{name}" for name in generated]


def test_every_part_of_the_sdk_and_every_configuration_is_in_the_reference(generated: dict[str, str]) -> None:
    titles = re.findall(r"^#+ (.+)$", generated["reference/sdk.md"], re.M)
    assert {"Client", "Domain", "Job", "Version", "client.keys", "client.webhooks", "Errors"} <= set(titles)
    shipped = {path.stem for path in (ROOT / "jobs/udair_jobs/conf").glob("*.yaml")}
    assert shipped <= set(re.findall(r"^## (.+)$", generated["reference/configuration.md"], re.M))


def test_every_setting_and_metric_is_in_the_reference(generated: dict[str, str]) -> None:
    for prefix, kind in (("UDAIR_", reference.Settings), ("UDAIR_KUBE_", reference.KubeSettings)):
        for name in kind.model_fields:
            assert f"| `{prefix}{name.upper()}` |" in generated["reference/settings.md"]
    assert len(reference.metrics()) > 10
    for metric in reference.metrics():
        assert f"| `{metric.name}` |" in generated["reference/metrics.md"]


def test_every_command_is_in_the_reference_and_has_a_sentence(generated: dict[str, str]) -> None:
    text = generated["reference/cli.md"]

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


def test_the_site_builds_offline_and_no_link_leads_nowhere(tmp_path: Path, generated: dict[str, str]) -> None:
    folder = tmp_path / "source"
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("reference", "api.md"))
    (folder / "docs/reference").mkdir()
    for name, text in generated.items():
        (folder / "docs" / name).write_text(text)
    (folder / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text())
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (folder / "site" / "index.html").read_text()
    loaded = re.findall(r"""<(?:script|link|img)[^>]*(?:src|href)=["'](https?:[^"']+)""", page)
    assert loaded == [], "the site asks nobody else"


def test_every_page_is_in_the_navigation(generated: dict[str, str]) -> None:
    named = set(re.findall(r":\s+(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if "adr" not in path.parts}
    assert named == there | set(generated)


@in_a_checkout
def test_links_of_the_readme_work_in_a_browser_of_the_repository() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert len(targets) > 20
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    for target in targets:
        assert target in listed or any(name.startswith(f"{target.rstrip('/')}/") for name in listed), target


def test_what_is_said_after_an_error_is_for_errors_that_there_are(generated: dict[str, str]) -> None:
    from udair_platform.cli.exits import _NEXT

    codes = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", generated["api.md"]))
    assert set(_NEXT) <= codes


def test_what_it_restores_says_what_was_measured() -> None:
    """Each row with a set or a domain of the results' files has their figures."""
    results = ROOT / "benchmarks/results"
    sets = json.loads((results / "restoration.json").read_text())["sets"]
    worlds = json.loads((results / "adaptation.json").read_text())["worlds"]
    said, measured = {}, {}
    for line in (DOCS / "what-it-restores.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and (name := cells[1].strip("`")) in sets:
            row = sets[name]
            harmed, camera = f"{row['harmed_share']:.0%}".replace("%", " %"), f"{row['input']:.2f}"
            said[name] = cells[2:6]
            clean = name.endswith("_clean")
            measured[name] = [row["tone"], *(("–",) if clean else (camera,)), f"{row['restored']:.2f}"]
            measured[name].append("–" if clean else harmed)
        elif len(cells) == 6 and (name := cells[0].strip("`")) in worlds:
            psnr = worlds[name]["psnr_db"]
            said[name] = cells[1:5]
            measured[name] = [f"{psnr[which]:.2f}" for which in ("input", "base", "served", "oracle")]
    assert said == measured
    assert set(sets) < set(said), "every measured set is on the page"
    assert len(said) > len(sets) + 5
