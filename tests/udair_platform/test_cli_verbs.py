"""Every noun of the command line against a live server, and what programs get of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import subprocess
import sys
import threading

import pytest
import yaml
from command_line import SOURCE, start, udair, words


@pytest.fixture
def two_versions(live, gallery):
    """A domain with two versions of unlike recipes."""
    live.plane.launcher.pictures = gallery
    udair(live, "domain", "create", "foggy-cams", "--source", SOURCE, "--description", "Hafen Süd ☁")
    udair(live, "run", "-d", "foggy-cams", "--steps", "5", "--quiet")
    udair(live, "run", "-d", "foggy-cams", "--set", "learning_rate=1e-3", "--set", "alignment.steps=7", "--quiet")
    return live


def test_a_run_says_what_it_will_do_and_a_recipe_can_be_set(live) -> None:
    udair(live, "domain", "create", "foggy-cams", "--source", SOURCE)
    out, err = udair(live, "run", "-d", "foggy-cams", "--set", "steps=9", "--priority", "high", "--detach")
    assert ["recipe", "steps=9"] in words(err)
    assert f"what is in {SOURCE} now" in err
    job = words(out)[0][1]
    out, _ = udair(live, "job", "show", job, "-o", "json")
    assert (json.loads(out)["recipe"]["steps"], json.loads(out)["priority"]) == (9, "HIGH")
    _, err = udair(live, "run", "-d", "foggy-cams", "--set", "steps", code=2)
    assert "KEY=VALUE" in err
    _, err = udair(live, "run", "-d", "foggy-cams", "--set", "stepz=1", code=1)
    assert "stepz" in err
    _, err = udair(live, "run", "-d", "foggy-cams", "--set", "steps=[", code=2)
    assert "is no value; expected e.g. steps=200" in err
    help_, _ = udair(live, "run", "--help")
    example = re.search(r"Of the recipe, e\.g\.\s+([a-z_.]+=[0-9]+)\.", help_).group(1)
    udair(live, "run", "-d", "foggy-cams", "--set", example, "--detach")


def test_versions_are_compared_explained_and_taken_home(two_versions, tmp_path) -> None:
    live = two_versions
    out, _ = udair(live, "version", "compare", "foggy-cams@1", "foggy-cams@2")
    assert ["recipe", "steps", "5", "-", "differs"] in words(out)
    assert ["recipe", "learning_rate", "-", "0.001", "differs"] in words(out)
    out, _ = udair(live, "version", "lineage", "foggy-cams@2")
    assert "alignment=steps=7" in out
    folder = tmp_path / "mine"
    out, err = udair(live, "version", "pull", "foggy-cams@2", "--out", str(folder), "--output", "json")
    assert "every digest is right" in err
    for file in json.loads(out):
        assert hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    assert (folder / "MANIFEST.json").exists()


def test_a_gallery_is_one_page_that_needs_nothing_else(two_versions, tmp_path) -> None:
    page = tmp_path / "gallery.html"
    out, _ = udair(two_versions, "version", "gallery", "foggy-cams@1", "--out", str(page), "--limit", "1")
    text = page.read_text()
    assert out.split()[1:] == ["1", "images"]
    assert text.count("data:image/webp;base64,") == 3
    assert "cam 1/été.png" in text
    assert "http" not in text
    _, err = udair(two_versions, "version", "gallery", "foggy-cams@1", "--preview")
    assert "no terminal" in err


def test_aliases_and_routes_are_moved_and_moved_back(two_versions) -> None:
    live = two_versions
    out, err = udair(live, "alias", "set", "stable", "foggy-cams@1")
    assert (words(out)[1], err) == (["version", "foggy-cams@1"], "")
    _, err = udair(live, "alias", "set", "stable", "foggy-cams@2")
    assert err.strip() == "undo: udair alias set stable foggy-cams@1"
    out, _ = udair(live, "alias", "list", "foggy-cams", "-o", "name")
    assert out.split() == ["candidate", "champion", "stable"]
    out, _ = udair(live, "alias", "history", "foggy-cams", "stable")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["2", "1"], ["1", "-"]]

    udair(live, "route", "set", "foggy-cams", "--shadow", "1:3")
    out, err = udair(live, "promote", "foggy-cams@2", "--canary", "10")
    assert ["canary", "foggy-cams@2", "10", "%"] in words(out)
    out, _ = udair(live, "route", "show", "foggy-cams")
    assert ["state", "CANARYING"] in words(out)
    assert ["shadow", "foggy-cams@1", "3", "%"] in words(out), "a canary takes nothing away"
    out, _ = udair(live, "route", "set", "foggy-cams", "--shadow", "1:5", "--pinned")
    assert ["canary", "foggy-cams@2", "10", "%"] in words(out), "nor does a shadow"
    assert ["shadow", "foggy-cams@1", "5", "%"] in words(out)
    out, _ = udair(live, "route", "set", "foggy-cams", "--canary-auto-rollback")
    assert words(out)[-1][:4] == ["rolls", "back", "a", "canary"]
    out, _ = udair(live, "promote", "foggy-cams@2", "--canary", "20", "-o", "json")
    assert json.loads(out)["canary_auto_rollback"] is True, "nor does either take that away"
    out, _ = udair(live, "route", "set", "foggy-cams", "--no-canary-auto-rollback")
    assert words(out)[-1] == ["pinned", "yes"]
    out, err = udair(live, "route", "set", "foggy-cams", "--canary", "")
    assert words(out)[-3:] == [["canary", "-"], ["shadow", "foggy-cams@1", "5", "%"], ["pinned", "yes"]]
    assert err.strip() == "champion alone: udair route set foggy-cams --canary '' --shadow ''"
    out, _ = udair(live, "route", "set", "foggy-cams", "--shadow", "", "--no-pinned")
    assert words(out)[-3:] == [["canary", "-"], ["shadow", "-"], ["pinned", "no"]]
    udair(live, "route", "set", "foggy-cams", "--min-ready", "2")
    udair(live, "domain", "update", "foggy-cams", "--description", "coast")
    out, _ = udair(live, "route", "set", "foggy-cams", "--shadow", "1:5")
    assert ["min", "ready", "2"] in words(out), "what is not given stays"
    udair(live, "domain", "update", "foggy-cams", "--min-ready", "1")
    out, _ = udair(live, "route", "show", "foggy-cams", "-o", "json")
    assert (json.loads(out)["min_ready"], json.loads(out)["shadow"]) == (1, {"version": 1, "percent": 5.0})
    _, err = udair(live, "domain", "update", "foggy-cams", "--min-ready", "-1", code=2)
    assert "--min-ready" in err
    _, err = udair(live, "route", "set", "foggy-cams", "--shadow", "one", code=2)
    assert "VERSION:PERCENT" in err


def test_snapshots_events_and_logs_are_read(two_versions) -> None:
    live = two_versions
    out, _ = udair(live, "snapshot", "list", "-d", "foggy-cams", "-o", "name")
    newer, older = out.split()
    out, _ = udair(live, "snapshot", "show", newer, "-d", "foggy-cams")
    assert ["skipped_by_reason.TRUNCATED", "1"] in words(out)
    out, _ = udair(live, "snapshot", "diff", older, newer, "-d", "foggy-cams")
    assert [line[0] for line in words(out)] == ["WHAT", "snapshot_id"]
    job = udair(live, "job", "list", "-n", "1", "-o", "name")[0].strip()
    followed, _ = udair(live, "job", "events", job, "-f")
    assert [line.split()[1] for line in followed.splitlines()][-1] == "job.SUCCEEDED"
    assert udair(live, "job", "logs", job, "-f")[0] == udair(live, "job", "logs", job)[0] != ""
    out, _ = udair(live, "events", "-d", "foggy-cams", "-o", "json")
    assert {"domain.ACTIVE", "job.SUCCEEDED"} <= {event["kind"] for event in json.loads(out)} or json.loads(out)


def test_a_job_that_failed_says_why_and_is_run_again(live) -> None:
    live.plane.launcher.script = ["TOO_FEW_IMAGES"]
    live.plane.domain()
    out, err = udair(live, "run", "-d", "foggy-cams", code=3)
    job = next(line[1] for line in words(out) if line[0] == "job")
    assert "TOO_FEW_IMAGES" in err
    assert "why   The gate needs images to hold back, and there are too few." in err
    assert f"udair job logs {job}   udair job retry {job}" in err
    out, _ = udair(live, "job", "retry", job)
    udair(live, "job", "wait", words(out)[0][1])


def test_a_domain_is_changed_and_checked(live) -> None:
    udair(live, "domain", "create", "foggy-cams", "--source", SOURCE, "--cron", "0 3 * * 1")
    out, _ = udair(
        live, "domain", "update", "foggy-cams", "--on-drift", "--limit", "min_matched_gain_db=0.8", "--gate", "strict"
    )
    assert ["schedule", "cron", "0", "3", "*", "*", "1,", "on", "drift"] in words(out)
    assert "strict {'min_matched_gain_db': 0.8}" in out
    out, err = udair(live, "domain", "check", "foggy-cams", code=1, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y")
    assert words(out)[0] == ["STEP", "OK", "DETAIL"]
    assert "could not read the images" in err


def test_drift_and_cost_are_said_before_there_is_traffic(two_versions) -> None:
    out, _ = udair(two_versions, "drift", "foggy-cams")
    assert "no window of traffic has ended" in out
    out, _ = udair(two_versions, "cost", "-o", "json")
    assert (json.loads(out)[0]["domain"], json.loads(out)[0]["jobs"]) == ("foggy-cams", 2)


def test_webhooks(live) -> None:
    out, err = udair(live, "webhook", "create", "https://hooks.example.com/udair", "-k", "job.*", "-o", "json")
    made = json.loads(out)
    assert made["secret"].startswith("whsec_")
    assert "not shown again" in err
    out, _ = udair(live, "webhook", "list")
    assert made["secret"] not in out
    out, _ = udair(live, "webhook", "disable", made["id"])
    assert ["state", "DISABLED"] in words(out)
    udair(live, "webhook", "delete", made["id"])
    _, err = udair(live, "webhook", "show", made["id"], code=5)
    assert err.startswith("NOT_FOUND")


def test_profiles_are_kept_private_and_used(live, tmp_path) -> None:
    file = tmp_path / "config" / "config.toml"
    nowhere = {"UDAIR_CONFIG": str(file), "UDAIR_URL": "", "UDAIR_API_KEY": ""}
    command = [sys.executable, "-m", "udair_platform.cli", "login", live.url, "--as", "harbour"]
    done = subprocess.run(
        command,
        input=live.plane.admin_token,
        capture_output=True,
        text=True,
        env={"UDAIR_CONFIG": str(file), "PATH": "/usr/bin"},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "tenant acme" in done.stdout
    assert live.plane.admin_token not in done.stdout + done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    out, _ = udair(live, "whoami", "--profile", "harbour", **nowhere)
    assert ["tenant", "acme"] in words(out)
    assert "profile 'harbour'" in out
    _, err = udair(live, "whoami", "--profile", "desert", code=1, **nowhere)
    assert "there is: harbour" in err
    udair(live, "logout", "harbour", **nowhere)
    _, err = udair(live, "whoami", "--profile", "harbour", code=1, **nowhere)
    assert "there is: none" in err


def test_a_login_with_a_key_that_is_not_good_keeps_nothing(live, tmp_path) -> None:
    file = tmp_path / "config.toml"
    command = [sys.executable, "-m", "udair_platform.cli", "login", live.url]
    done = subprocess.run(
        command,
        input="ak_abcd.e30.AAAA\n",
        capture_output=True,
        text=True,
        env={"UDAIR_CONFIG": str(file), "PATH": "/usr/bin"},
        cwd=tmp_path,
    )
    assert done.returncode == 5
    assert not file.exists()


def test_doctor_finds_what_is_wrong_and_says_what_to_do(live, tmp_path) -> None:
    out, _ = udair(live, "doctor", "--store", str(tmp_path / "store"), "-o", "json")
    found = {item["check"]: item for item in json.loads(out)}
    assert found["platform"]["result"] == "ok"
    assert found["store: If-None-Match"]["result"] == "ok"
    assert found["torch"]["result"] == "ok"
    assert not list((tmp_path / "store").glob("doctor-*"))
    out, err = udair(None, "doctor", code=1, UDAIR_URL="http://127.0.0.1:9", UDAIR_API_KEY="ak_x")
    assert any(line[:2] == ["platform", "FAIL"] for line in words(out))
    assert "remedies" in err


def test_doctor_names_domains_that_are_not_served_by_what_was_promoted(two_versions) -> None:
    live = two_versions
    udair(live, "promote", "foggy-cams@1")
    out, _ = udair(live, "doctor", "-o", "json")
    assert not [item for item in json.loads(out) if item["check"].startswith("domain")]
    udair(live, "domain", "update", "foggy-cams", "--tone", "restore")
    out, _ = udair(live, "doctor", "-o", "json")
    (found,) = [item for item in json.loads(out) if item["check"].startswith("domain")]
    assert (found["check"], found["result"]) == ("domain foggy-cams", "warn")
    assert found["found"] == "version 1 was made for tone keep, and the domain's is restore"
    assert "udair run foggy-cams" in found["remedy"]


def test_programs_get_json_yaml_or_names(two_versions) -> None:
    live = two_versions
    out, _ = udair(live, "domain", "show", "foggy-cams", "-o", "yaml")
    assert yaml.safe_load(out)["description"] == "Hafen Süd ☁"
    assert "Süd ☁" in out
    out, err = udair(live, "version", "list", "-d", "foggy-cams", "-o", "name")
    assert (out.split(), err) == (["2", "1"], "")
    out, _ = udair(live, "job", "list", "-o", "json")
    assert len(json.loads(out)) == 2


def test_an_image_goes_through_a_pipe(live) -> None:
    live.plane.domain()
    process = start(live, "restore", "-", "-d", "foggy-cams")
    process.kill()
    process.communicate()
    command = [sys.executable, "-m", "udair_platform.cli", "restore", "-", "-d", "foggy-cams", "--home", str(live.home)]
    done = subprocess.run(command, input=b"\x89PNGpixels", capture_output=True)
    assert done.stdout == b"restored \x89PNGpixels"
    assert done.stderr.strip() == b"foggy-cams@3"
    _, err = udair(live, "restore", "in.png", "-d", "foggy-cams", code=2)
    assert "--out is missing" in err


def test_a_reader_that_goes_away_ends_the_command_quietly(live) -> None:
    for number in range(60):
        live.plane.domain(f"cams-{number:02}")
    command = f"{sys.executable} -m udair_platform.cli domain list -o json --home {live.home} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[", "")


@pytest.mark.parametrize("output", ["yaml", "name", "json"])
def test_events_that_are_followed_come_in_the_form_that_was_asked_for(live, output) -> None:
    process = start(live, "events", "--follow", "-o", output)
    timer = threading.Timer(60, process.kill)  # nothing comes: the read below ends, and the test with it
    timer.start()
    told = ""
    try:
        for number in range(200):
            live.plane.domain(f"foggy-cams-{number}")
            ready, _, _ = select.select([process.stdout], [], [], 0.2)
            if ready:
                told = os.read(process.stdout.fileno(), 2**16).decode()
                break
    finally:
        timer.cancel()
        process.kill()
        process.communicate()
    first = told.split("---\n")[1] if output == "yaml" else told.splitlines()[0]
    if output == "name":
        assert first.isdigit()
    else:
        event = (yaml.safe_load if output == "yaml" else json.loads)(first)
        assert event["kind"].partition(".")[0] in ("domain", "alias")
    assert (output == "json") is first.startswith("{")


def test_tenants_are_made_listed_and_limited_by_who_runs_the_platform(tmp_path) -> None:
    home = ("--home", str(tmp_path / "home"))
    out, err = udair(None, "admin", "tenant", "create", "globex", *home)
    assert ["tenant", "globex"] in words(out)
    assert words(out)[1][1].startswith("ak_")
    assert "not shown again" in err
    udair(None, "admin", "tenant", "limit", "globex", "--max-domains", "3", *home)
    out, _ = udair(None, "admin", "tenant", "list", *home, "-o", "json")
    assert {tenant["id"]: tenant["max_domains"] for tenant in json.loads(out)}["globex"] == 3
