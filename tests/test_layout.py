"""The layout's promises: what a stray file would break, said in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("folder", ["platform", "jobs", "tests"])
def test_source_roots_are_no_packages(folder):
    stray = ROOT / folder / "__init__.py"
    assert not stray.exists(), f"{stray} shadows a module: `import platform` would find ours, not the library's"


def test_the_standard_library_platform_is_found_from_the_root():
    command = [sys.executable, "-c", "import platform; print(platform.system())"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "Linux"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("udair", {"torch", "ray", "boto3"}),
        ("udair.adaptation.gate", {"torch", "ray", "boto3"}),
        ("udair_jobs.specs", {"torch", "ray", "boto3", "hydra"}),
        ("udair_jobs.storage", {"torch", "ray", "hydra"}),
        ("udair_platform.client", {"torch", "ray", "boto3", "sqlalchemy", "fastapi"}),
        ("udair_platform.cli", {"torch", "ray", "boto3", "sqlalchemy", "fastapi"}),
        ("udair_platform.api.app", {"torch", "ray"}),
        ("udair_platform.scheduler.reconciler", {"torch", "ray"}),
        ("udair.training", {"ray", "hydra", "pydantic", "boto3"}),
        ("udair.adaptation.recipe", {"ray", "hydra", "pydantic", "boto3"}),
    ],
)
def test_a_module_loads_without_what_it_must_not_need(module, forbidden):
    program = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not forbidden & set(found.stdout.split()), f"{module} drags in what it promised not to need"


def test_no_file_is_called_utils():
    assert not [p for p in ROOT.rglob("utils.py") if ".venv" not in p.parts], "give the helper to the noun it serves"
