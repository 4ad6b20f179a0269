"""Every `udair …` that a page, a message or a template names is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from udair_platform.cli import in_front
from udair_platform.cli.lazy import Commands

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("k8s/**/*.md"),
    ]
    if "docs/reference" not in str(path) and path.name != "api.md"  # written from the code
)
WRITTEN = [*ROOT.glob("platform/**/*.py"), *ROOT.glob("platform/**/*.html"), *ROOT.glob("jobs/**/*.py"), *PAGES]
# What a shell does with the rest is no business of ours.
_ELSEWHERE = {"|", ">", "<", ";", "&&", "||", "2>", "&"}
_LOGS = {"docs/log.md", "CHANGELOG.md"}  # of what was then
COMMANDS = Commands()


def _lines(page: Path) -> list[str]:
    """What a reader would type: the lines of fenced blocks that begin with it."""
    fenced = re.findall(r"^ *```(?:console|sh|bash|shell)?\n(.*?)^ *```", page.read_text(), re.M | re.S)
    found = [
        re.match(r" *(?:\$ )?(?:[A-Z_]+=\S+ )*udair( [a-z-].*)", line)
        for block in fenced
        for line in block.splitlines()
    ]
    return [match[1] for match in found if match]


def _named(path: Path) -> list[str]:
    """What running text names, maybe cut short."""
    text = path.read_text()
    return [
        *re.findall(r"`(?:[A-Z_]+=\S+ )*udair( [a-z][^`]*)`", text),
        *re.findall(r"<code>udair( [a-z][^<]*)</code>", text),
    ]


def _words(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    end = next((index for index, word in enumerate(words) if word in _ELSEWHERE), len(words))
    return in_front(words[:end])


def _found(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and the words behind its name.

    Raises:
        KeyError: There is none.
    """
    at: Any = None
    below: Any = COMMANDS
    while below and words and not words[0].startswith("-"):
        if at is not None and words[0] not in below and not re.match(r"[a-z]", words[0]):
            break  # `udair version …`
        at = below[words[0]]
        below, words = getattr(at, "commands", None), words[1:]
    return at, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_to_type_is_parsed(page: Path):
    for line in _lines(page):
        command, rest = _found(_words(line))
        command.make_context("udair", rest).close()  # a usage error names what is wrong


def test_the_pages_do_say_what_to_type():
    assert sum(len(_lines(page)) for page in PAGES) > 40


def test_what_is_named_anywhere_exists_with_its_options():
    unknown, seen = [], 0
    for path in WRITTEN:
        if str(path.relative_to(ROOT)) in _LOGS:
            continue
        for line in _named(path):
            seen += 1
            try:
                words = _words(re.sub(r"\{[^}]*\}|\.\.\.", "…", line))
                command, rest = _found(words)
            except (KeyError, ValueError):
                unknown.append(f"{path.relative_to(ROOT)}: udair{line}")
                continue
            options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help"}
            wrong = [word for word in rest if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in options]
            unknown += [f"{path.relative_to(ROOT)}: udair{line}: {word}" for word in wrong]
    assert unknown == []
    assert seen > 100


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != ROOT / "docs"], ids=lambda page: page.name)
def test_links_between_files_lead_somewhere(page: Path):
    """Those of docs/ are followed when the site is built; these are read in the repository."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        link = next(part for part in target if part)
        if re.match(r"[a-z]+:|#", link):
            continue
        name, _, anchor = link.partition("#")
        found = (page.parent / name).resolve()
        if "docs/reference" in str(found) or found.name == "api.md":
            continue
        assert found.exists(), f"{page.relative_to(ROOT)}: {link}"
        if anchor and found.suffix == ".md":
            titles = re.findall(r"^#+ (.+)$", found.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, link
