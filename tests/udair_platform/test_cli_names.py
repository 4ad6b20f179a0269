"""One way to name things: by position, with `-d` as before; corrected, completed, watched, explained, kept in files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from command_line import SOURCE, start, udair, words

from udair.adaptation import gate
from udair_platform.cli.lazy import Commands
from udair_platform.entities import gate_checks

NAME = "foggy-cams"
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"


@pytest.fixture
def adapted(live):
    udair(live, "domain", "create", NAME, "--source", SOURCE)
    udair(live, "run", NAME, "--steps", "5", "--quiet")
    return live


def test_a_domain_is_named_by_position_and_as_an_option_alike(adapted, tmp_path) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes(PNG)
    snapshot = words(udair(adapted, "snapshot", "list", NAME, "-o", "name")[0])[0][0]
    for command in (
        ["version", "list"],
        ["snapshot", "list"],
        ["snapshot", "show", snapshot],
        ["snapshot", "diff", snapshot, snapshot],
        ["job", "list"],
        ["cost"],
        ["restore", str(picture)],
        ["run", "--detach"],
    ):
        more = ["-o", str(tmp_path / "out.png")] if command[0] == "restore" else []
        at = 1 if command[0] == "run" else len(command)
        for way in ([NAME], ["-d", NAME]):
            udair(adapted, *command[:at], *way, *command[at:], *more)
    udair(adapted, "version", "list", NAME, "--domain", NAME)
    _, err = udair(adapted, "version", "list", "rainy", "-d", NAME, code=2)
    assert "NAME is 'rainy' and --domain is 'foggy-cams'" in err
    _, err = udair(adapted, "version", "list", code=2)
    assert "NAME is missing" in err


def test_a_wrong_name_is_answered_with_the_one_that_was_meant(adapted) -> None:
    _, err = udair(adapted, "domain", "show", "fogy-cams", code=5)
    assert "Did you mean 'foggy-cams'?" in err
    _, err = udair(adapted, "domain", "show", "elsewhere", code=5)
    assert "Did you mean" not in err
    job = words(udair(adapted, "job", "list", "-o", "name")[0])[0][0]
    _, err = udair(adapted, "job", "show", job[:-1] + ("0" if job[-1] != "0" else "1"), code=5)
    assert f"Did you mean '{job}'?" in err


def test_a_key_that_is_limited_hears_of_no_names_beyond_its_own(adapted) -> None:
    job = words(udair(adapted, "job", "list", "-o", "name")[0])[0][0]
    adapted.plane.domain("rainy-cams")
    with adapted.client() as client:
        limited = client.keys.create("limited", role="viewer", domains=["rainy-cams"]).token
    for command in (["domain", "show", "foggy-cam"], ["domain", "show", NAME], ["job", "show", job]):
        _, err = udair(adapted, *command, code=5, UDAIR_API_KEY=limited)
        assert f"mean '{NAME}'" not in err
        assert f"mean '{job}'" not in err


def test_the_shell_completes_names(adapted) -> None:
    where = {"UDAIR_URL": adapted.url, "UDAIR_API_KEY": adapted.plane.admin_token, "PATH": os.environ["PATH"]}
    if "PYTHONPATH" in os.environ:
        where["PYTHONPATH"] = os.environ["PYTHONPATH"]

    def offered(typed: str, **environment: str) -> list[str]:
        asked = {"_UDAIR_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": typed}
        command = [sys.executable, "-c", "from udair_platform.cli import main; main()"]
        done = subprocess.run(command, capture_output=True, text=True, env=where | asked | environment)
        assert "Traceback" not in done.stderr
        return re.findall(r'"([^"]+)"', done.stdout)

    assert offered("udair promote fo") == ["foggy-cams@1", "foggy-cams@candidate", "foggy-cams@champion"]
    assert offered("udair promote foggy-cams@c") == ["foggy-cams@candidate", "foggy-cams@champion"]
    assert offered("udair promote nothing") == []
    assert offered("udair run fo") == [NAME]
    assert offered("udair run fo", UDAIR_URL="http://127.0.0.1:1") == []


def test_jobs_are_watched_until_all_are_done(adapted) -> None:
    udair(adapted, "run", NAME, "--detach", "--steps", "5")
    watching = start(adapted, "job", "list", NAME, "--watch")
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert "SUCCEEDED" in out.splitlines()[-1]


def test_a_result_goes_where_o_says(adapted, tmp_path) -> None:
    for ending, begins in ((".json", "["), (".yaml", "- "), (".txt", "NAME")):
        file = tmp_path / f"domains{ending}"
        out, _ = udair(adapted, "domain", "list", "-o", str(file))
        assert out == ""
        assert file.read_text().startswith(begins)
    assert json.loads((tmp_path / "domains.json").read_text())[0]["name"] == NAME
    _, err = udair(adapted, "domain", "list", "-o", "xml", code=2)
    assert "expected table, json, yaml, name, or a FILE.json" in err
    _, err = udair(adapted, "domain", "list", "-o", str(tmp_path / "no" / "d.json"), code=2)
    assert "cannot be written" in err
    out, _ = udair(adapted, "domain", "history", NAME, "-o", "json")
    assert json.loads(out)["domain"] == NAME
    page = tmp_path / "page.html"
    _, err = udair(adapted, "version", "gallery", f"{NAME}@1", "-o", str(page), code=5)
    assert "No such option" not in err
    udair(adapted, "version", "pull", f"{NAME}@1", "-o", str(tmp_path / "mine"))
    assert (tmp_path / "mine" / "MANIFEST.json").exists()


def test_no_line_of_help_is_cut() -> None:
    commands = Commands()
    for name in commands:
        for one in getattr(commands[name], "commands", {}).values():
            assert one.get_short_help_str(45).endswith("."), (name, one.name)
            assert "..." not in one.get_short_help_str(45)


def test_a_check_that_did_not_hold_is_said_in_words_with_what_to_do(live, evidence) -> None:
    live.plane.launcher.evidence = evidence["FAILED"]
    udair(live, "domain", "create", NAME, "--source", SOURCE)
    _, err = udair(live, "run", NAME, "--quiet", code=4, UDAIR_QUIET="")
    failed = [check.name for check in gate.judge(evidence["FAILED"], gate.GatePolicy()).checks if not check.passed]
    _, err = udair(live, "version", "show", f"{NAME}@1")
    assert failed
    for name in failed:
        assert f"{name}: {gate_checks.asks(name)} No. {gate_checks.remedy(name)}" in err


def test_every_check_of_the_gate_has_words(evidence) -> None:
    from dataclasses import replace

    names = {
        check.name
        for version in (1, 2)
        for retones in (True, False)
        for check in gate.judge(
            replace(evidence["PASSED"], version=version, retones=retones, denoises=True), gate.GatePolicy()
        ).checks
    }
    assert names == set(gate_checks.CHECKS)
