"""What the command line promises about itself: help, lazy loading, options that may stand anywhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

from udair_platform.cli import in_front
from udair_platform.cli.lazy import SECTIONS, Commands

COMMANDS = Commands()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_help_of_a_command_is_what_the_list_promises(name: str) -> None:
    promised = next(section[name][1] for section in SECTIONS.values() if name in section)
    assert COMMANDS[name].help.startswith(promised.rstrip("."))


def test_help_imports_no_command_and_no_server() -> None:
    script = (
        "import sys\nfrom udair_platform.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*[name for name in sys.modules if name.startswith('udair_platform.cli.')],\n"
        "      *[n for n in ('torch', 'ray', 'sqlalchemy', 'fastapi', 'httpx', 'rich', 'yaml') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["udair_platform.cli.lazy"]


@pytest.mark.parametrize(
    ("given", "front"),
    [
        (["job", "list", "--profile", "a"], ["--profile", "a", "job", "list"]),
        (["job", "--quiet", "list", "--profile=a"], ["--quiet", "--profile=a", "job", "list"]),
        (["run", "--", "--quiet"], ["run", "--", "--quiet"]),
        (["run", "--profile"], ["--profile", "run"]),
    ],
)
def test_options_of_the_root_may_stand_anywhere(given: list[str], front: list[str]) -> None:
    assert in_front(given) == front


def test_a_word_that_is_no_command_is_corrected() -> None:
    done = subprocess.run([sys.executable, "-m", "udair_platform.cli", "jbo"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Did you mean 'job'" in done.stderr


def test_completion_knows_the_commands() -> None:
    environment = {"_UDAIR_COMPLETE": "complete_bash", "COMP_WORDS": "udair jo", "COMP_CWORD": "1", "PATH": "/usr/bin"}
    command = [sys.executable, "-c", "from udair_platform.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["job"]


def test_sixty_columns_are_enough(monkeypatch) -> None:
    environment = {"COLUMNS": "60", "NO_COLOR": "1", "PATH": "/usr/bin", "TERMINAL_WIDTH": "60"}
    done = subprocess.run(
        [sys.executable, "-m", "udair_platform.cli", "--help"], capture_output=True, text=True, env=environment
    )
    assert max(map(len, done.stdout.splitlines())) <= 60
    assert "\x1b[" not in done.stdout
