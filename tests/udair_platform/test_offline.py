"""`udair batch` and `udair sweep`: what they cannot reach is named at once, and the console shows what is kept for it."""

from __future__ import annotations

import json
import re
import shlex
import time
from dataclasses import replace
from html import unescape

import pytest
from command_line import udair
from console_visitor import open_console, read, words

from udair_jobs.restore_batch.specs import BatchResult, BatchSpec
from udair_jobs.runtime.command_line import compose, parsed, to_plain
from udair_jobs.specs import Progress
from udair_jobs.storage import open_storage
from udair_jobs.sweep.specs import SweepSpec
from udair_platform.cli import offline
from udair_platform.documents import store_paths
from udair_platform.local.options import LocalOptions, environment_of, prepare_home
from udair_platform.local.ports import free_ports

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_MAX_ATTEMPTS": "1"}


@pytest.mark.parametrize("command", [["batch"], ["sweep", "run", "tta"]])
def test_a_store_that_does_not_answer_is_named_before_anything_is_started(tmp_path, command) -> None:
    at = f"http://127.0.0.1:{free_ports(1)[0]}"
    began = time.monotonic()
    _, err = udair(None, *command, "s3://acme/cams", str(tmp_path / "out"), "--s3-endpoint-url", at, code=1, **KEYS)
    assert "s3://acme/cams cannot be reached" in err
    assert f"nothing answers at {at}" in err
    assert time.monotonic() - began < 45, "a job would have been patient for a minute"
    assert not (tmp_path / "out").exists()


def test_a_bucket_that_is_not_there_is_named_whichever_of_the_places_it_is(s3, tmp_path) -> None:
    bucket, folder = s3.bucket("acme-there"), tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    where = {"AWS_ENDPOINT_URL": s3.endpoint_url, **KEYS}
    for places in (["s3://acme-nowhere/in", str(tmp_path / "out")], [str(folder), "s3://acme-nowhere/in"]):
        _, err = udair(None, "batch", *places, code=1, **where)
        assert "bucket 'acme-nowhere' does not exist" in err, places
        assert s3.endpoint_url in err, places
    _, err = udair(None, "batch", str(tmp_path / "typo"), f"s3://{bucket}/out", code=1, **where)
    assert f"{tmp_path / 'typo'} holds nothing" in err
    open_storage(f"s3://{bucket}", endpoint_url=s3.endpoint_url).put("other/a.png", b"x")
    _, err = udair(None, "sweep", "run", "tta", f"s3://{bucket}/in", str(tmp_path / "out"), code=1, **where)
    assert f"s3://{bucket}/in holds nothing" in err
    offline._reachable(f"s3://{bucket}/not-yet", s3.endpoint_url, made=True)
    offline._reachable(str(tmp_path / "not-yet"), "", made=True)


def test_beside_a_platform_a_job_is_kept_where_its_console_looks(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("UDAIR_BASE_URI", "packaged:tiny")
    told = environment_of(LocalOptions(tmp_path), tmp_path, "mark", 1, "http://127.0.0.1:2")
    prepare_home(tmp_path, "http://127.0.0.1:1", told)
    client = json.loads((tmp_path / "client.json").read_text())
    kept = offline._kept(store_paths.batches, "été cams", str(tmp_path))
    assert kept.startswith(f"{client['store_uri']}/batches/{client['tenant']}/t-cams-2")
    assert offline._kept(store_paths.sweeps, "tta", str(tmp_path / "nowhere")) == ""
    asked: list[list[str]] = []
    monkeypatch.setattr(offline, "_job", lambda module, words, endpoint: asked.append([module, *words]) or 0)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"x")
    for arguments in (["tta", str(tmp_path / "in")], ["tta", str(tmp_path / "in"), str(tmp_path / "mine")]):
        with pytest.raises(SystemExit):
            offline.app(["run", *arguments, "--home", str(tmp_path)])
    default, chosen = (next(word for word in words if word.startswith("output_uri=")) for words in asked)
    assert default.startswith(f"output_uri={client['store_uri']}/sweeps/{client['tenant']}/tta-")
    assert chosen == f"output_uri={tmp_path / 'mine'}"


def test_the_console_shows_batches_with_their_progress_and_their_end(plane) -> None:
    open_console(plane)
    assert "No batch" in words(read(plane, "/sweeps"))
    folder = plane.store.at(store_paths.batches("acme"))
    spec = BatchSpec(source_uri="s3://acme/cams", output_uri="s3://acme/<restored>")
    progress = Progress(
        phase="RESTORING",
        progress_percent=40,
        eta_s=200,
        metrics={"objects": 1234},
        heartbeat_time="2026-11-27T12:00:00",
    )
    for name in ("under-way", "ended"):
        folder.put(f"{name}/spec.json", spec.model_dump_json().encode())
        folder.put(f"{name}/progress.json", progress.model_dump_json().encode())
    result = BatchResult(
        state="FAILED", reason="CONTROLLER_ERROR", detail="3 of 9 objects failed", restored=6, failed=3
    )
    folder.put("ended/result.json", result.model_dump_json().encode())
    folder.put("broken/spec.json", b"{")
    plane.store.at(store_paths.batches("globex")).put("theirs/spec.json", spec.model_dump_json().encode())
    text = read(plane, "/sweeps")
    said = words(text)
    assert "40 %, 3 min 20 s left" in said
    assert "left 1 234 –" in said
    assert "3 of 9 objects failed" in said
    assert "&lt;restored&gt;" in text
    assert "broken" not in said
    assert "theirs" not in said


def _typed(plane, query: str) -> list[str]:
    page = read(plane, f"/sweeps?{query}")
    found = re.search(r'<pre class="typed"[^>]*>([^<]*)</pre>', page, re.DOTALL)
    assert found is not None, words(page)
    return shlex.split(unescape(found[1]))


def test_the_console_writes_the_command_that_sweeps_a_domain_and_shows_the_sweep(plane, tmp_path, monkeypatch) -> None:
    open_console(plane)
    photos = tmp_path / "été & <co>'s"
    open_storage(str(photos)).put("a.png", b"x")
    domain = plane.domain()
    with plane.database.write() as state:
        known = state.domains.get("acme", domain.name)
        state.domains.save(replace(known, source_uri=str(photos), tone="restore"))
    assert f'href="/console/sweeps?domain={domain.name}#begin"' in read(plane, f"/domains/{domain.name}")
    page = read(plane, "/sweeps")
    assert 'class="typed"' not in page, "without a domain there is nothing to type"
    assert f'<option value="{domain.name}"></option>' in page
    clean = str(tmp_path / "été & <co>'s")
    typed = _typed(
        plane, f"domain={domain.name}&kind=alignment&trials=7&concurrent=1&clean={clean.replace('&', '%26')}"
    )
    assert typed[:2] == ["udair", "sweep"]
    asked: list[list[str]] = []
    monkeypatch.setattr(offline, "_job", lambda module, words, endpoint: asked.append([module, *words]) or 0)
    with pytest.raises(SystemExit) as ended:
        offline.app(typed[2:])
    assert ended.value.code == 0
    module, *told = asked[0]
    spec = parsed(SweepSpec, to_plain(compose(module, SweepSpec, told)))
    assert (spec.kind, spec.source_uri, spec.clean_uri) == ("alignment", str(photos), clean)
    assert (spec.tone, spec.trials, spec.concurrent, spec.base_uri) == ("restore", 7, 1, "packaged:tiny")
    open_storage(spec.output_uri).put("spec.json", spec.model_dump_json().encode())
    text = words(read(plane, "/sweeps"))
    assert "foggy-cams-alignment-" in text
    assert "running waiting 0 %" in text


def test_what_no_sweep_can_be_begun_with_is_said_beside_its_field(plane) -> None:
    open_console(plane)
    plane.domain()
    for query, field, told in (
        ("domain=none", "domain", "There is no domain"),
        ("domain=foggy-cams&trials=1", "trials", "1 was given; expected 2 to 10000."),
        ("domain=foggy-cams&trials=x", "trials", "x was given"),
        ("domain=foggy-cams&concurrent=", "concurrent", "nothing was given; expected 1 to 1024."),
        ("domain=foggy-cams&kind=source", "kind", "expected recipe, alignment, tta"),
        ("domain=foggy-cams&clean=s3://a%0Ab", "clean", "characters that nobody can type"),
    ):
        answer = plane.client.get(f"/console/sweeps?{query}")
        assert answer.status_code == 422, query
        beside = re.search(rf'id="{field}-wrong">([^<]*)<', answer.text)
        assert beside is not None, query
        assert told in unescape(beside[1]), query
        assert f'aria-describedby="{field}-wrong"' in answer.text
        assert 'class="typed"' not in answer.text


def test_a_command_names_the_endpoint_and_the_base_model_of_its_platform(make_plane) -> None:
    plane = open_console(make_plane(s3_endpoint_url="http://127.0.0.1:9"))
    typed = _typed(plane, f"domain={plane.domain('x' * 60).name}")
    assert typed[3:5] == ["recipe", "s3://acme-photos/cams"]
    assert typed[typed.index("--s3-endpoint-url") + 1] == "http://127.0.0.1:9"
    kept = typed[5].removeprefix(f"{plane.store.uri}/sweeps/acme/")
    assert re.fullmatch(r"x{36}-recipe-\d{8}-\d{6}", kept), (
        "the console finds a sweep by a name of at most 64 characters"
    )
