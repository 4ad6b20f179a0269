"""fsck finds what was damaged on purpose, mends only what is safe, and finds nothing on a sound platform."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event, text

from udair_platform.cli import main
from udair_platform.documents import routes
from udair_platform.operations import fsck
from udair_platform.operations.fsck import Finding, Kind


@pytest.fixture
def sound(make_plane):
    """A platform with a promoted version, a failed job and one that runs."""
    plane = make_plane()
    foggy = plane.domain()
    number = plane.version(foggy)
    assert plane.client.post(f"/v1/domains/{foggy.name}/versions/{number}:promote").status_code == 200
    plane.launcher.script = ["NAN_LOSS"]
    plane.settle(plane.submit(foggy).id)
    plane.launcher.script = ["run"]
    plane.submit(foggy)
    plane.reconciler.tick()
    return plane


def check(plane) -> list[Finding]:
    return fsck.check(plane.database, plane.store, now=plane.clock())


def kinds(plane) -> list[Kind]:
    return [finding.kind for finding in check(plane)]


def folder_of(plane, number: int = 1) -> str:
    with plane.database.read() as state:
        [domain] = state.domains.page("acme")
        return state.versions.get("acme", domain.id, number).candidate_uri.removeprefix(f"{plane.store.uri}/")


def execute(plane, statement: str) -> None:
    with plane.database.write() as state:
        state.events._connection.execute(text(statement))


def test_nothing_is_found_on_a_sound_platform(sound) -> None:
    assert check(sound) == []


def test_candidate_that_was_altered_or_lost_is_found_and_left_to_people(sound) -> None:
    key = f"{folder_of(sound)}/adapter.safetensors"
    good = sound.store.get(key)
    sound.store.put(key, b"something else")
    [altered] = check(sound)
    assert (altered.kind, altered.what, altered.safe) == (Kind.CANDIDATE_DAMAGED, "acme/foggy-cams@1", False)
    sound.store.delete(key)
    assert kinds(sound) == [Kind.CANDIDATE_DAMAGED]
    assert fsck.mend(sound.database, sound.store, check(sound)) == []

    sound.store.put(key, good)
    assert check(sound) == []


def test_objects_that_nobody_knows_are_found_by_folder(sound) -> None:
    for key in ("t/acme/d/foggy-cams/jobs/j-none/attempts/1/spec.json", "t/acme/d/nowhere/jobs/j-1/a", "t/x"):
        sound.store.put(key, b"{}")
    sound.store.put("t/acme/d/foggy-cams/snapshots/s-none/summary.json", b"{}")
    sound.store.put("t/acme/d/foggy-cams/snapshots/s-none/manifest.parquet", b"{}")
    sound.store.put("t/acme/d/foggy-cams/predictions/p-1/state.json", b"{}")  # the data plane's own
    with sound.database.read() as state:
        job = next(item for item in state.jobs.every() if item.version == 1)
    folder = f"t/acme/d/foggy-cams/jobs/{job.id}"
    for key in ("attempts/2/spec.json", "attempts/x/a", "checkpoints/a"):
        sound.store.put(f"{folder}/{key}", b"{}")

    found = check(sound)

    assert {finding.kind for finding in found} == {Kind.UNREFERENCED}
    assert {finding.what: finding.detail[:9] for finding in found} == {
        "t/acme/d/foggy-cams/jobs/j-none": "1 objects",
        f"{folder}/attempts/2": "1 objects",
        f"{folder}/attempts/x": "1 objects",
        "t/acme/d/foggy-cams/snapshots/s-none": "2 objects",
        "t/acme/d/nowhere": "1 objects",
        "t/x": "1 objects",
    }


def test_attempt_whose_folder_is_gone_is_found(sound) -> None:
    with sound.database.read() as state:
        attempts = state.attempts.every()
    for attempt in attempts:
        sound.store.delete(f"{attempt.output_uri.removeprefix(f'{sound.store.uri}/')}/spec.json")

    found = check(sound)

    assert {finding.kind for finding in found} == {Kind.ATTEMPT_GONE}
    assert [finding.what for finding in found] == sorted(item.submission_id for item in attempts)


def test_attempt_that_outlived_its_job_and_lost_snapshot_are_found(sound) -> None:
    execute(sound, "UPDATE jobs SET state = 'CANCELLED' WHERE state IN ('PROVISIONING', 'RUNNING')")
    with sound.database.read() as state:
        job = next(item for item in state.jobs.every() if item.version == 1)
    sound.store.delete(f"t/acme/d/foggy-cams/snapshots/{job.snapshot_id}/summary.json")

    assert kinds(sound) == [Kind.SNAPSHOT_GONE, Kind.ATTEMPT_OPEN]


@pytest.mark.parametrize(
    ("damage", "detail"),
    [
        ("UPDATE adapter_versions SET state = 'REJECTED'", "it is REJECTED and serves"),
        ("UPDATE aliases SET version = 9 WHERE name = 'champion'", "there is no such version"),
        ("UPDATE base_models SET digest = 'other'", "made for base model bbbbbbbbbbbb"),
    ],
)
def test_alias_to_what_may_not_serve_is_found(sound, damage: str, detail: str) -> None:
    execute(sound, damage)

    found = check(sound)

    assert detail in next(finding.detail for finding in found if finding.kind is Kind.ALIAS_BROKEN)
    assert not any(finding.safe for finding in found if finding.kind is Kind.ALIAS_BROKEN)


def test_routes_that_are_behind_are_published_again(sound) -> None:
    document = routes.read(sound.store)
    sound.store.put("serving/routes.json", json.dumps(document | {"domains": {}}).encode())
    [behind] = check(sound)
    assert (behind.kind, behind.safe) == (Kind.ROUTES_BEHIND, True)

    assert fsck.mend(sound.database, sound.store, [behind]) == [behind]

    assert check(sound) == []
    sound.store.delete("serving/routes.json")
    assert kinds(sound) == [Kind.ROUTES_BEHIND]


def test_half_written_files_go_once_they_are_old(sound) -> None:
    folder = Path(sound.store.uri, "t", "acme")
    old, fresh = folder / ".udair-part-0001", folder / ".udair-part-0002"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (sound.clock().timestamp() - 2 * 86400,) * 2)
    os.utime(fresh, (sound.clock().timestamp(),) * 2)

    found = check(sound)
    fsck.mend(sound.database, sound.store, found)

    assert [(finding.kind, finding.what) for finding in found] == [(Kind.PART_STALE, str(old))]
    assert not old.exists()
    assert fresh.exists()


def test_command_says_what_it_found_and_what_it_mended(
    sound, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UDAIR_DATABASE_URL", sound.settings.database_url)
    monkeypatch.setenv("UDAIR_HOME", str(sound.settings.home))

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["admin", "fsck", *words])
        return int(ended.value.code or 0), *capsys.readouterr()

    assert run() == (0, "", "nothing is wrong\n")
    sound.store.delete("serving/routes.json")
    code, said, _ = run("-o", "json")
    assert (code, [item["kind"] for item in json.loads(said)]) == (1, ["ROUTES_BEHIND"])
    code, said, noted = run("--mend")
    assert (code, noted) == (0, "1 found, 1 mended, left: nothing\n")
    assert "it is rendered and written again" in said
    assert run()[0] == 0


def test_domain_that_was_deleted_and_its_name_given_again_confuses_nobody(make_plane) -> None:
    plane = make_plane()
    plane.version(plane.domain())
    assert plane.client.delete("/v1/domains/foggy-cams").status_code == 204
    plane.version(plane.domain())

    assert check(plane) == []


def test_fifty_versions_are_as_few_questions_as_one(sound) -> None:
    asked: list[str] = []
    event.listen(sound.database._engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    check(sound)
    before = len(asked)
    with sound.database.read() as state:
        [first] = state.versions.every()
    with sound.database.write() as state:
        for number in range(2, 50):
            job = replace(state.jobs.get("acme", first.job_id), id=f"j-{number}")
            state.jobs.add(job)
            state.versions.add(replace(first, number=number, job_id=job.id))
    asked.clear()
    check(sound)

    assert len(asked) == before


@pytest.mark.parametrize("damage", ["begin", "pages"])
def test_a_damaged_database_is_a_sentence(sound, on_postgres, capsys, damage: str) -> None:
    if on_postgres:
        pytest.skip("a file is damaged here")
    sound.database.close()
    file = sound.settings.home / "control.db"
    for extra in ("-wal", "-shm"):
        file.with_name(file.name + extra).unlink(missing_ok=True)
    data = bytearray(file.read_bytes())
    first = 0 if damage == "begin" else 4096
    data[first : first + 100 if damage == "begin" else len(data)] = b"\xff" * (
        100 if damage == "begin" else len(data) - first
    )
    file.write_bytes(data)
    with pytest.raises(SystemExit) as ended:
        main(["admin", "fsck", "--home", str(sound.settings.home)])
    assert ended.value.code not in (0, None)
    said = capsys.readouterr().err
    assert "The database is damaged" in said
    assert "Traceback" not in said
