"""A backup, taken at rest or under load, restores to a platform that goes on where the copy was taken."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pytest

from udair_platform.bootstrap import prepare
from udair_platform.cli import main
from udair_platform.entities.job import JobState
from udair_platform.errors import Conflict, Invalid, SettingsError
from udair_platform.operations import fsck
from udair_platform.operations.backup import back_up, restore, verify
from udair_platform.scheduler.reconciler import Reconciler
from udair_platform.settings import load_settings


@pytest.fixture
def lived(plane, on_postgres):
    """A SQLite platform with a promoted version."""
    if on_postgres:
        pytest.skip("pg_dump backs PostgreSQL up")
    foggy = plane.domain()
    number = plane.version(foggy)
    assert plane.client.post(f"/v1/domains/{foggy.name}/versions/{number}:promote").status_code == 200
    plane.reconciler.tick()
    return plane


def elsewhere(tmp_path: Path):
    return load_settings(home=tmp_path / "elsewhere")


def test_platform_is_the_same_in_another_place(lived, tmp_path: Path) -> None:
    made = back_up(lived.settings, tmp_path / "copy", now=lived.clock())
    assert verify(tmp_path / "copy") == made
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0
    there = elsewhere(tmp_path)

    restore(there, tmp_path / "copy")
    database, store, key, _ = prepare(there)

    assert key == lived.signing_key
    assert there.signing_key_file.stat().st_mode & 0o077 == 0
    with database.read() as state, lived.database.read() as before:
        domain = state.domains.get("acme", "foggy-cams")
        assert state.aliases.get("acme", domain.id, "champion").version == 1
        assert state.versions.get("acme", domain.id, 1).candidate_uri.startswith(f"{there.home}/store/t/")
        assert state.events.page("acme", size=1000) == before.events.page("acme", size=1000)
    # The base model of the tests is not the packaged one that a start registers.
    assert {finding.kind for finding in fsck.check(database, store, now=lived.clock())} <= {fsck.Kind.ALIAS_BROKEN}
    database.close()


def test_backup_under_load_restores_to_a_consistent_platform(lived, tmp_path: Path) -> None:
    foggy = lived.client.get("/v1/domains/foggy-cams").json()
    stop, failed = threading.Event(), []

    def work() -> None:
        try:
            while not stop.is_set():
                reply = lived.client.post("/v1/domains/foggy-cams/jobs", json={})
                assert reply.status_code == 202
                lived.reconciler.tick()
        except Exception as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    copies = [tmp_path / f"copy-{number}" for number in range(3)]
    for copy in copies:
        back_up(lived.settings, copy, now=lived.clock())
    stop.set()
    worker.join(30)
    assert not failed

    for number, copy in enumerate(copies):
        there = load_settings(home=tmp_path / f"there-{number}")
        restore(there, copy)
        database, store, _, _ = prepare(there)
        found = fsck.check(database, store, now=lived.clock())
        assert {finding.kind for finding in found} <= {fsck.Kind.UNREFERENCED, fsck.Kind.ALIAS_BROKEN}
        lived.clock.forward(20)
        reconciler = Reconciler(database, store, lived.launcher, there, clock=lived.clock)
        for _ in range(40):
            assert reconciler.tick()
            lived.clock.forward(90)
        with database.read() as state:
            jobs = state.jobs.page("acme", domain_id=foggy["id"], size=1000)
            assert {job.state for job in jobs} <= {JobState.SUCCEEDED}
        database.close()


def test_backup_that_was_altered_is_refused_and_nothing_is_written(lived, tmp_path: Path) -> None:
    copy, there = tmp_path / "copy", elsewhere(tmp_path)
    back_up(lived.settings, copy, now=lived.clock())
    path = next(copy.glob("store/**/adapter.safetensors"))
    path.write_bytes(b"something else")

    with pytest.raises(Invalid, match=r"adapter\.safetensors is "):
        restore(there, copy)
    path.unlink()
    with pytest.raises(Invalid, match="missing"):
        restore(there, copy)
    (copy / "backup.json").unlink()
    with pytest.raises(Invalid, match="no finished backup"):
        restore(there, copy)
    assert not there.home.exists()


def test_neither_a_platform_nor_a_backup_is_written_over(lived, tmp_path: Path) -> None:
    back_up(lived.settings, tmp_path / "copy", now=lived.clock())

    with pytest.raises(Conflict, match="not empty"):
        back_up(lived.settings, tmp_path / "copy", now=lived.clock())
    with pytest.raises(Conflict, match="not empty"):
        restore(lived.settings, tmp_path / "copy")
    there = elsewhere(tmp_path)
    (there.home / "store").mkdir(parents=True)
    (there.home / "store" / "x").write_bytes(b"x")
    with pytest.raises(Conflict, match="store is not empty"):
        restore(there, tmp_path / "copy")


def test_other_databases_and_stores_are_left_to_their_own_tools(tmp_path: Path) -> None:
    for other in ({"database_url": "postgresql://u@h/d"}, {"store_uri": "s3://bucket/x"}):
        with pytest.raises(SettingsError, match=r"pg_dump|bucket"):
            back_up(load_settings(home=tmp_path / "home", **other), tmp_path / "copy", now=None)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="no database"):
        back_up(load_settings(home=tmp_path / "none"), tmp_path / "copy", now=None)  # type: ignore[arg-type]


def test_commands(lived, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of = ["admin", "backup", str(tmp_path / "copy"), "--home", str(lived.settings.home), "-o", "json"]
    with pytest.raises(SystemExit) as ended:
        main(main_of)
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["files"] > 5
    with pytest.raises(SystemExit) as ended:
        main(["admin", "restore", str(tmp_path / "copy"), "--home", str(tmp_path / "new")])
    assert not ended.value.code
    assert "files" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["admin", "restore", str(tmp_path / "copy"), "--home", str(tmp_path / "new")])
    assert (ended.value.code, capsys.readouterr().err[:9]) == (1, "CONFLICT:")


def test_admin_key_can_be_had_by_whoever_may_read_the_signing_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = []
    for _ in range(2):
        with pytest.raises(SystemExit):
            main(["admin", "token", "--home", str(tmp_path / "home")])
        tokens.append(capsys.readouterr().out.strip())
    (tmp_path / "home" / "signing.key").unlink()
    with pytest.raises(SystemExit):
        main(["admin", "token", "--home", str(tmp_path / "home")])
    fresh = capsys.readouterr().out.strip()

    assert tokens[0] == tokens[1] != fresh
    assert tokens[0].startswith("ak_")


@pytest.mark.parametrize("name", ["store/../payload", "/etc/hostname", "../payload", "store/a/../../payload"])
def test_a_backup_that_climbs_out_of_its_folder_is_refused(lived, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    back_up(lived.settings, copy, now=lived.clock())
    for place in (copy / "payload", tmp_path / "payload"):
        place.write_bytes(b"climbed")
    (copy / "store" / "a").mkdir()
    said = json.loads((copy / "backup.json").read_text())
    said["files"][name] = hashlib.sha256((copy / name).read_bytes()).hexdigest()
    (copy / "backup.json").write_text(json.dumps(said))
    with pytest.raises(Invalid, match="leads out of the backup"):
        restore(elsewhere(tmp_path), copy)
    assert not (tmp_path / "elsewhere").exists()
