"""A target's tests on each of its mutants, in processes that are forked as late as each mutant allows."""

from __future__ import annotations

import ast
import contextlib
import gc
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import NamedTuple, cast

import _pytest.main
import pytest
from changes import Mutant

ROOT = Path(__file__).parents[2]
FAULT = 70  # of a process that could not run the tests


class Target(NamedTuple):
    """A file, the classes or functions of it that are meant (all of it without any), and its own tests."""

    path: str
    tests: tuple[str, ...]
    names: tuple[str, ...] = ()


class Runs:
    """Processes that run the target's tests, some at a time, and which of them ended well."""

    def __init__(self, jobs: int, limit_s: float, *, loud: bool) -> None:
        self._jobs, self._limit_s, self._loud = jobs, limit_s, loud
        self._running: dict[int, tuple[int, float]] = {}
        self.codes: dict[int, int] = {}

    def start(self, number: int, run: Callable[[], int]) -> None:
        """Fork a process that ends with what `run` returns, once there is room."""
        self.wait(self._jobs - 1)
        child = os.fork()
        if child:
            self._running[child] = number, time.monotonic() + self._limit_s
            return
        os.setsid()
        if not self._loud:
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
        code = FAULT
        try:
            code = run()
        finally:
            os._exit(code)

    def wait(self, most: int = 0) -> None:
        """Until no more than `most` run. One that takes longer than the limit has noticed its mutant."""
        while len(self._running) > most:
            time.sleep(0.005)
            for child, (number, end) in list(self._running.items()):
                late = time.monotonic() > end
                if late:
                    os.killpg(child, signal.SIGKILL)
                done, status = os.waitpid(child, 0 if late else os.WNOHANG)
                if done:
                    del self._running[child]
                    self.codes[number] = 1 if late else os.waitstatus_to_exitcode(status)


def survivors(target: Target, mutants: Mapping[int, Mutant], *, jobs: int, loud: bool) -> set[int]:
    """Numbers of those on which the target's tests pass."""
    began = time.monotonic()
    first = Runs(1, 600, loud=loud)
    first.start(-1, lambda: _session(target, None))
    first.wait()
    if first.codes[-1]:
        raise SystemExit(f"the tests of {target.path} fail on the file as it is")
    limit_s = 30 + 5 * (time.monotonic() - began)

    with tempfile.NamedTemporaryFile("r") as told:
        whole = Runs(1, 3600, loud=loud)
        inside = {number: one for number, one in mutants.items() if one.inside}
        plugin = _Collected(target, inside, Runs(jobs, limit_s, loud=loud), told.name)
        whole.start(-1, lambda: _session(target, None, plugin))
        whole.wait()
        codes = {int(number): code for number, code in json.loads(Path(told.name).read_text()).items()}
    runs = Runs(jobs, limit_s, loud=loud)
    for number, one in mutants.items():
        # Whatever survived is tried from the beginning, too: its function may have done its work when it was imported.
        if codes.get(number, FAULT) in (0, FAULT):
            runs.start(number, partial(_session, target, one.tree))
    runs.wait()
    return {number for number, code in runs.codes.items() if code == 0}


class _Collected:
    """Runs the collected tests once for each mutant, in a process of its own."""

    def __init__(self, target: Target, mutants: Mapping[int, Mutant], runs: Runs, told: str) -> None:
        self._place, self._mutants, self._runs, self._told = str(ROOT / target.path), mutants, runs, told

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for number, one in self._mutants.items():
            self._runs.start(number, partial(self._test, session, one))
        self._runs.wait()
        Path(self._told).write_text(json.dumps(self._runs.codes))
        return True

    def _test(self, session: pytest.Session, mutant: Mutant) -> int:
        codes = {(one.co_qualname, one.co_firstlineno): one for one in _codes(_compiled(mutant.tree, self._place))}
        try:
            for function in [one for one in gc.get_objects() if isinstance(one, FunctionType)]:
                known = function.__code__
                if known.co_filename == self._place:
                    function.__code__ = codes[known.co_qualname, known.co_firstlineno]
        except (ValueError, KeyError):  # it uses other variables of those around it
            return FAULT
        with contextlib.suppress(session.Failed, session.Interrupted):
            _pytest.main.pytest_runtestloop(session)
        return int(bool(session.testsfailed))


def _compiled(tree: ast.Module, place: str) -> CodeType:
    return cast(CodeType, compile(tree, place, "exec", dont_inherit=True))


def _codes(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes(one)


def _session(target: Target, tree: ast.Module | None, *plugins: object) -> int:
    """pytest over the target's tests, with `tree` in place of the file."""
    place, get_code = str(ROOT / target.path), SourceFileLoader.get_code

    def mutated(self: SourceFileLoader, fullname: str) -> CodeType | None:
        if tree is not None and self.path == place:
            return _compiled(tree, place)
        return get_code(self, fullname)

    SourceFileLoader.get_code = mutated  # type: ignore[assignment,method-assign]
    options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=short"]
    return int(pytest.main([*options, *(str(ROOT / name) for name in target.tests)], plugins=list(plugins)))
