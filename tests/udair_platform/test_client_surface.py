"""Both clients are one: written from one source, with one surface, and light to import."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from udair_platform import client as sdk

ROOT = Path(__file__).parents[2]
NAMES = ["Client", "Domain", "Job", "Version"]


def test_the_client_for_threads_is_what_make_client_writes() -> None:
    spec = importlib.util.spec_from_file_location("make_synchronous", ROOT / "platform" / "make_synchronous.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    there = {path.name: path.read_text() for path in (module.CLIENT / "synchronous").glob("[!_]*.py")}
    assert there == module.written(), "run `make client`"


@pytest.mark.parametrize("name", NAMES)
def test_both_clients_have_the_same_methods_and_parameters(name: str) -> None:
    def surface(kind: type) -> dict[str, list[str]]:
        return {
            member: list(inspect.signature(value).parameters)
            for member, value in vars(kind).items()
            if inspect.isfunction(value) and not member.startswith("_")
        }

    assert surface(getattr(sdk, name)) == surface(getattr(sdk, f"Async{name}"))


@pytest.mark.parametrize("name", sdk.__all__)
def test_every_published_name_is_there(name: str) -> None:
    assert getattr(sdk, name).__name__ == name


def test_a_name_that_is_not_published_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Klient"):
        _ = sdk.Klient


def test_importing_loads_no_http_library_and_nothing_of_the_server() -> None:
    script = (
        "import sys\nfrom udair_platform.client import Client\n"
        "print([n for n in ('httpx', 'numpy', 'PIL', 'torch', 'ray', 'boto3', 'fastapi', 'sqlalchemy', 'rich') "
        "if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for package in ("udair", "jobs/udair_jobs", "platform/udair_platform"):
        assert (ROOT / package / "py.typed").exists()
