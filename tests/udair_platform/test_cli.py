"""The command line, as a process, against a live server: answers, progress, exit codes."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import SOURCE, start, udair, words


def test_journey_of_a_customer(live, tmp_path: Path) -> None:
    out, err = udair(live, "domain", "create", "foggy-cams", "--source", SOURCE)
    assert "domain  foggy-cams" in out
    assert "udair run foggy-cams" in err

    out, err = udair(live, "run", "-d", "foggy-cams", "--steps", "5")
    assert ["version", "foggy-cams@1"] in words(out)
    assert ["gate", "PASSED"] in words(out)
    assert ["matched", "gain", "ok", "1.2", "(limit", "0.5)"] in words(out)
    assert "succeeded" in err  # progress is on stderr, as plain lines

    out, err = udair(live, "promote", "foggy-cams@1", "--reason", "good")
    assert out.splitlines() == ["live  foggy-cams@1", "was   foggy-cams@0"]
    assert err.strip() == "undo: udair rollback foggy-cams"

    photo, restored = tmp_path / "in put.png", tmp_path / "new" / "out.png"
    photo.write_bytes(b"\x89PNGpixels")
    out, _ = udair(live, "restore", str(photo), "-d", "foggy-cams", "-o", str(restored))
    assert restored.read_bytes() == b"restored \x89PNGpixels"
    assert out.strip().endswith("foggy-cams@3")

    out, _ = udair(live, "rollback", "foggy-cams")
    assert "live  foggy-cams@0" in out
    out, _ = udair(live, "version", "show", "foggy-cams@candidate")
    assert ["state", "ACTIVE"] in words(out)
    out, _ = udair(live, "domain", "list")
    assert out.splitlines()[0].split() == ["NAME", "SERVES", "TONE", "SOURCE", "CREATED"]
    udair(live, "domain", "delete", "foggy-cams", "--yes")
    _, err = udair(live, "domain", "list")
    assert "no domains yet" in err


def test_results_are_json_when_asked(live) -> None:
    live.plane.version(live.plane.domain())

    for arguments in (
        ("domain", "list"),
        ("domain", "show", "foggy-cams"),
        ("job", "list"),
        ("version", "list", "-d", "foggy-cams"),
        ("version", "show", "foggy-cams@1"),
        ("run", "-d", "foggy-cams"),
        ("key", "list"),
        ("promote", "foggy-cams@1"),
    ):
        out, _ = udair(live, *arguments, "-o", "json")
        assert json.loads(out), arguments


def test_job_commands(live) -> None:
    live.plane.launcher.script = ["run"]
    live.plane.domain()
    out, err = udair(live, "run", "-d", "foggy-cams", "--detach", "-o", "json")
    job = json.loads(out)["id"]
    assert f"udair job wait {job}" in err

    _, err = udair(live, "job", "wait", job, "--timeout", "0.5", code=124)
    assert "it goes on" in err
    out, _ = udair(live, "job", "list", "-d", "foggy-cams")
    assert "RUNNING" in out
    out, _ = udair(live, "job", "logs", job)
    assert out == f"log of {job}-1\n"
    out, _ = udair(live, "job", "cancel", job)
    assert "CANCEL" in out
    out, err = udair(live, "job", "wait", job, code=3)
    assert "CANCELLED" in out
    assert "USER_CANCELLED" in err
    out, _ = udair(live, "job", "show", job)
    assert "attempt 1  STOPPED" in out


def test_interrupt_detaches_and_never_cancels(live) -> None:
    live.plane.launcher.script = ["run"]
    live.plane.domain()
    process = start(live, "run", "-d", "foggy-cams")
    deadline = time.monotonic() + 30
    while not live.plane.launcher.launched and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130, err
    assert "detached; the job goes on" in err
    assert next(iter(live.client().jobs.list())).state == "RUNNING"


def test_gate_that_says_no_is_exit_code_4(live, evidence) -> None:
    live.plane.launcher.evidence = evidence["FAILED"]
    live.plane.domain()

    out, err = udair(live, "run", "-d", "foggy-cams", code=4)
    assert ["gate", "FAILED"] in words(out)
    assert "What served before still serves" in err
    _, err = udair(live, "promote", "foggy-cams@1", code=4)
    assert err.startswith("GATE_REJECTED")


def test_gate_that_cannot_say_is_a_complete_run(live, evidence) -> None:
    live.plane.launcher.evidence = evidence["INCONCLUSIVE"]
    live.plane.domain()

    _, err = udair(live, "run", "-d", "foggy-cams")
    assert "INCONCLUSIVE; what served before still serves" in err


def test_a_domain_that_needs_no_adapter_is_told_so_and_nobody_has_to_decide(live, evidence) -> None:
    live.plane.launcher.evidence = evidence["NOT_NEEDED"]
    live.plane.domain()

    out, err = udair(live, "run", "-d", "foggy-cams")
    assert ["gate", "NOT_NEEDED"] in words(out)
    assert "nothing to promote" in err
    assert "FAILED" not in out + err
    _, err = udair(live, "promote", "foggy-cams@1", code=1)
    assert "To serve the base model, promote foggy-cams@0" in err


def test_failed_job_is_exit_code_3(live) -> None:
    live.plane.launcher.script = ["DATA_EMPTY"]
    live.plane.domain()

    _, err = udair(live, "run", "-d", "foggy-cams", code=3)
    assert "DATA_EMPTY" in err


def test_keys(live) -> None:
    out, err = udair(
        live,
        "key",
        "create",
        "ci",
        "-s",
        "domain:read",
        "-d",
        "foggy-cams",
        "--expires-in",
        "30d",
        "-o",
        "json",
    )
    key = json.loads(out)
    assert "not shown again" in err
    live.plane.domain()
    out, _ = udair(live, "domain", "show", "foggy-cams", UDAIR_API_KEY=key["token"])
    assert ["serves", "v0", "(the", "base", "model)"] in words(out)
    _, err = udair(live, "run", "-d", "foggy-cams", code=5, UDAIR_API_KEY=key["token"])
    assert "\nFORBIDDEN: " in err
    udair(live, "key", "revoke", key["kid"])
    _, err = udair(live, "domain", "list", code=5, UDAIR_API_KEY=key["token"])
    assert err.startswith("KEY_REVOKED")


def test_key_with_a_role_is_replaced_by_one_that_says_the_same(live) -> None:
    out, _ = udair(live, "key", "create", "ci", "--role", "viewer", "-o", "json")
    old = json.loads(out)
    assert (old["role"], old["scopes"]) == ("viewer", ["domain:read"])

    out, err = udair(live, "key", "rotate", old["kid"], "--grace", "1h", "-o", "json")
    assert f"{old['kid']} stays good for 1h" in err
    for key in (old, json.loads(out)):
        udair(live, "domain", "list", UDAIR_API_KEY=key["token"])
    _, err = udair(live, "key", "rotate", old["kid"], code=1)
    assert err.startswith("INVALID_STATE")


def test_people_decide_what_the_gate_could_not(live, evidence) -> None:
    live.plane.launcher.evidence = evidence["INCONCLUSIVE"]
    out, _ = udair(live, "domain", "create", "foggy-cams", "--source", SOURCE, "--four-eyes", "-o", "json")
    assert json.loads(out)["gate"]["four_eyes"]
    for _ in range(2):
        udair(live, "run", "-d", "foggy-cams")

    _, err = udair(live, "version", "approve", "foggy-cams@1", code=5)
    assert err.startswith("FOUR_EYES")
    approver = live.plane.token("domain:read", "version:approve")
    out, err = udair(live, "version", "approve", "foggy-cams@1", "-r", "looked at it", UDAIR_API_KEY=approver)
    assert ["state", "ACTIVE"] in words(out)
    assert "udair promote foggy-cams@1" in err
    out, _ = udair(live, "version", "archive", "foggy-cams@1")
    assert ["state", "ARCHIVED"] in words(out)
    out, _ = udair(live, "version", "reject", "foggy-cams@candidate")
    assert ["state", "REJECTED"] in words(out)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("domain", "show", "nowhere"), 5, "NOT_FOUND"),
        (("job", "show", "j-none"), 5, "NOT_FOUND"),
        (("domain", "create", "X", "--source", SOURCE), 1, "VALIDATION_FAILED"),
        (("domain", "create", "foggy-cams", "--source", "http://x"), 1, "VALIDATION_FAILED"),
        (("promote", "foggy-cams"), 2, "NAME@VERSION"),
        (("run",), 2, "NAME is missing"),
        (("nonsense",), 2, "nonsense"),
        (("key", "create", "x", "-s", "root"), 1, "scopes"),
        (("key", "create", "x"), 2, "--role"),
        (("key", "create", "x", "--role", "king"), 1, "role"),
        (("key", "create", "x", "-s", "admin", "--expires-in", "soon"), 2, "no duration"),
        (("restore", "/nowhere.png", "-d", "foggy-cams", "-o", "restored.png"), 1, "cannot be read"),
        (("domain", "delete", "nowhere", "-y"), 5, "NOT_FOUND"),
    ],
)
def test_refusals_and_their_exit_codes(live, arguments: tuple[str, ...], code: int, said: str) -> None:
    out, err = udair(live, *arguments, code=code)

    assert said in err
    assert out == ""


def test_home_says_where_the_platform_is(live, tmp_path: Path) -> None:
    live.plane.domain()
    out, _ = udair(None, "domain", "list", "--home", str(live.home))
    assert "foggy-cams" in out
    _, err = udair(None, "domain", "list", "--home", str(tmp_path), code=1)
    assert "client.json does not exist" in err


def test_an_error_is_what_why_and_next() -> None:
    _, err = udair(None, "domain", "list", code=1, UDAIR_URL="http://127.0.0.1:9", UDAIR_API_KEY="ak_x")
    what, why, next_step = err.strip().splitlines()
    assert what.startswith("CONNECTION_FAILED: http://127.0.0.1:9/v1/domains does not answer")
    assert why.startswith("why ")
    assert next_step == "next  udair doctor"


def test_help_and_version_are_quick_and_load_no_server() -> None:
    out, _ = udair(None, "--help")
    for command in ("up", "demo", "domain", "run", "job", "version", "promote", "rollback", "restore", "key"):
        assert command in out
    for command in ("up", "demo"):
        assert "--home" in udair(None, command, "--help")[0]
    out, _ = udair(None, "--version")
    assert out.strip().count(".") == 2
    script = (
        "import sys\nfrom udair_platform.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([n for n in ('torch', 'ray', 'sqlalchemy', 'fastapi', 'httpx') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_a_folder_is_restored_with_its_folders_and_what_fails_is_listed(live, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "été").mkdir(parents=True)
    for name in ("a.png", "été/b 1.png", "b.jpg"):
        (photos / name).write_bytes(b"\x89PNG" + name.encode())
    (photos / "broken.png").write_bytes(b"no image")
    (photos / "notes.txt").write_bytes(b"not sent")
    said, noted = udair(live, "restore", str(photos), "-d", "foggy-cams", "-o", str(out), code=1)
    assert "3 restored (foggy-cams@3 3), 0 there already, 1 failed" in said
    assert "broken.png: NOT_AN_IMAGE" in noted
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert found == ["a.png", "b.jpg.png", "été/b 1.png"]
    (photos / "broken.png").write_bytes(b"\x89PNGmended")
    said, _ = udair(live, "restore", str(photos), "-d", "foggy-cams", "-o", str(out))
    assert "1 restored (foggy-cams@3 1), 3 there already, 0 failed" in said
    said, _ = udair(live, "restore", str(photos), "-d", "foggy-cams", "-o", str(out), "--overwrite", "--format", "webp")
    assert "4 restored" in said
    assert (out / "a.png.webp").exists()


def test_restored_image_is_not_executable_and_whole(live, tmp_path: Path) -> None:
    photo, out = tmp_path / "in.png", tmp_path / "out.png"
    photo.write_bytes(b"\x89PNG")
    udair(live, "restore", str(photo), "-d", "foggy-cams", "-o", str(out))

    assert not stat.S_IMODE(out.stat().st_mode) & 0o111
    assert sorted(item.name for item in tmp_path.iterdir() if item.suffix == ".png") == ["in.png", "out.png"]
