"""Folders that are domains where they are: only where the operator allows it, and no link leads out of that."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import udair

from udair_platform.cli.offline import _endpoint, _job
from udair_platform.entities.job import JobState
from udair_platform.errors import SettingsError
from udair_platform.local.options import LocalOptions, environment_of, prepare_home
from udair_platform.services import sources
from udair_platform.settings import load_settings


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("photos/yard/a.png", "secret/b.png", "photos-of-others/c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\x89PNG picture")
    return tmp_path / "photos"


def _create(plane, source: str, name: str = "foggy-cams"):
    return plane.client.post("/v1/domains", json={"name": name, "source_uri": source})


def test_a_folder_is_a_domain_where_the_operator_allows_it_and_nowhere_else(make_plane, photos):
    plane = make_plane(allow_folders=str(photos))
    (photos / "way-out").symlink_to(photos.parent / "secret")
    (photos / "way-in").symlink_to(photos / "yard")
    for bad in ("secret", "photos-of-others", "", "photos/way-out", "photos/way-out/..", "photos/../secret"):
        answer = _create(plane, f"file://{photos.parent}/{bad}")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/source_uri"), bad
    assert "udair up --allow-folder DIR" in _create(plane, f"file://{photos.parent}/secret").json()["detail"]
    answer = _create(plane, f"file://{photos}/way-in/")
    assert answer.json()["source_uri"] == f"file://{photos}/yard", "what is kept holds no link"
    assert plane.client.post("/v1/domains/foggy-cams:checkAccess").json()["ok"]
    references = {"tone": "restore", "reference_uri": f"file://{photos.parent}/secret"}
    refused = plane.client.patch("/v1/domains/foggy-cams", json=references)
    assert refused.json()["errors"][0]["pointer"] == "/reference_uri"


def test_a_folder_that_became_a_link_is_read_no_more(make_plane, photos):
    plane = make_plane(allow_folders=str(photos))
    assert _create(plane, f"file://{photos}/yard").status_code == 201
    with plane.database.read() as state:
        domain = state.domains.get("acme", "foggy-cams")
    assert plane.settle(plane.submit(domain).id).state is JobState.SUCCEEDED
    (photos / "yard").rename(photos / "moved")
    (photos / "yard").symlink_to(photos.parent / "secret")
    assert not sources.check(domain, plane.settings)[0].ok
    job = plane.settle(plane.submit(domain).id)
    assert (job.state, job.reason) == (JobState.FAILED, "ACCESS_DENIED")

    (photos / "yard").unlink()
    (photos / "yard").symlink_to(photos / "moved")  # still inside, and still not what was registered
    assert "is a link by now" in sources.check(domain, plane.settings)[0].detail
    (photos / "yard").unlink()
    (photos / "moved").rename(photos / "yard")
    assert plane.settle(plane.submit(domain).id).state is JobState.SUCCEEDED
    plane.reconciler = plane.restarted(settings=plane.settings.model_copy(update={"allow_folders": ()}))
    assert plane.settle(plane.submit(domain).id).reason == "ACCESS_DENIED", "the operator allows it no more"


def test_up_takes_folders_that_exist_and_says_which_does_not(photos, tmp_path):
    def environment(*folders):
        return environment_of(LocalOptions(tmp_path, allow_folders=folders), tmp_path, "mark", 1, "http://127.0.0.1:2")

    told = environment(photos, photos.parent / "secret")["UDAIR_ALLOW_FOLDERS"]
    assert load_settings(allow_folders=told).local_folders == (photos, photos.parent / "secret")
    with pytest.raises(SettingsError, match=r"--allow-folder .*none is no folder here"):
        environment(photos / "none")
    with pytest.raises(SettingsError, match="expected absolute folders"):
        load_settings(allow_folders="photos")
    assert load_settings().local_folders == ()


def test_the_command_line_registers_a_folder_in_place(live, photos):
    _, err = udair(live, "domain", "create", "yard-cams", "--source", str(photos / "yard"), "--in-place", code=1)
    assert "is a local folder, and in none that this platform may read in place" in err
    _, err = udair(live, "domain", "create", "yard-cams", "--source", "s3://acme-photos/x", "--in-place", code=2)
    assert "--in-place reads a folder here" in err


def test_everything_is_told_of_one_s3_endpoint_once(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("UDAIR_", "AWS_ENDPOINT")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("UDAIR_BASE_URI", "packaged:tiny")
    here, there = "http://127.0.0.1:5055", "http://127.0.0.1:6066"

    def environment(**options):
        return environment_of(LocalOptions(tmp_path, **options), tmp_path, "mark", 1, "http://127.0.0.1:2")

    told = environment(s3_endpoint_url=here, store="s3://udair/store")
    assert {told["UDAIR_S3_ENDPOINT_URL"], told["UDAIR_STORE_ENDPOINT_URL"]} == {here}
    monkeypatch.setenv("UDAIR_S3_ENDPOINT_URL", here)
    assert environment(store="s3://udair/store")["UDAIR_STORE_ENDPOINT_URL"] == here
    assert "UDAIR_STORE_ENDPOINT_URL" not in environment(), "a store that is a folder has none"
    monkeypatch.setenv("UDAIR_STORE_ENDPOINT_URL", there)
    assert environment(store="s3://udair/store")["UDAIR_STORE_ENDPOINT_URL"] == there, "the store has one of its own"
    monkeypatch.delenv("UDAIR_STORE_ENDPOINT_URL")

    # What `udair up` was told, `udair batch` and `udair sweep` in the same folder know.
    prepare_home(tmp_path, "http://127.0.0.1:1", environment())
    assert json.loads((tmp_path / "client.json").read_text())["s3_endpoint_url"] == here
    monkeypatch.delenv("UDAIR_S3_ENDPOINT_URL")
    assert _endpoint("", str(tmp_path)) == here
    assert _endpoint(there, str(tmp_path)) == there
    monkeypatch.setenv("AWS_ENDPOINT_URL", there)
    assert _endpoint("", str(tmp_path)) == "", "the environment says it, and reaches the job by itself"
    prepare_home(tmp_path, "http://127.0.0.1:1", environment())
    assert json.loads((tmp_path / "client.json").read_text())["s3_endpoint_url"] == there
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert _endpoint("", str(tmp_path / "nowhere")) == ""


def test_a_job_beside_the_platform_is_run_with_its_endpoint(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$AWS_ENDPOINT_URL_S3 $2" > {tmp_path}/told\nexit 3\n')
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    assert _job("sweep", [], "http://127.0.0.1:5055") == 3
    assert (tmp_path / "told").read_text() == "http://127.0.0.1:5055 udair_jobs.sweep\n"


def test_a_sweep_in_the_platforms_s3_is_shown_without_naming_it_again(s3, tmp_path):
    bucket = s3.bucket("acme-sweeps")
    client = {"url": "http://127.0.0.1:1", "api_key": "ak_x", "s3_endpoint_url": s3.endpoint_url}
    (tmp_path / "client.json").write_text(json.dumps(client))
    nowhere = {"AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": ""}
    _, err = udair(None, "sweep", "show", f"s3://{bucket}/x", "--home", str(tmp_path), code=1, **nowhere)
    assert f"S3 is at {s3.endpoint_url}" in err
    assert "has no trials.parquet yet" in err
