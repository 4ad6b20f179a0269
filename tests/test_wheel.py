"""What is built holds what the build writes: the client for threads is in no commit (ADR 15)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
THREADS = "udair_platform/client/synchronous"
NAMES = {"__init__.py"} | {
    path.name for path in (ROOT / "platform/udair_platform/client/asynchronous").glob("[!_]*.py")
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The sources as they are in a fresh clone, the large files left out."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("no checkout")
    for name in listed.stdout.split():
        if name.startswith(("udair/__init__", "jobs/", "platform/", "k8s/")) or "/" not in name:
            (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "clone" / name, follow_symlinks=False)
    return tmp_path / "clone"


def build(folder: Path, target: str) -> Path:
    """Build without a network and return what was made."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (folder / "out").iterdir()
    return made


def test_a_clone_holds_none_of_what_is_written(clone: Path) -> None:
    assert [path.name for path in (clone / "platform" / THREADS).iterdir()] == ["__init__.py"]


def test_the_wheel_holds_both_clients(clone: Path) -> None:
    names = zipfile.ZipFile(build(clone, "wheel")).namelist()
    assert {name.rpartition("/")[2] for name in names if name.startswith(f"{THREADS}/")} == NAMES


def test_an_editable_install_writes_it_into_the_checkout(clone: Path) -> None:
    build(clone, "wheel:editable")
    assert {path.name for path in (clone / "platform" / THREADS).iterdir()} == NAMES


def test_the_source_distribution_builds_the_same_wheel(clone: Path, tmp_path: Path) -> None:
    with tarfile.open(build(clone, "sdist")) as archive:
        archive.extractall(tmp_path / "sdist", filter="data")
    (unpacked,) = (tmp_path / "sdist").iterdir()
    names = zipfile.ZipFile(build(unpacked, "wheel")).namelist()
    assert {name.rpartition("/")[2] for name in names if name.startswith(f"{THREADS}/")} == NAMES


def test_a_checkout_without_it_says_how_to_write_it(clone: Path) -> None:
    script = "from udair_platform.client import Client"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(clone / 'platform')!r}); {script}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "run `make client`" in done.stderr
