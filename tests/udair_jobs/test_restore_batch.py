"""A prefix in, a prefix out: names and metadata stay, nothing is done twice, lost workers cost nothing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import odd_images
import pytest
import torch
from PIL import Image

from udair.adaptation.adapter import Adapter, adapter_to_bytes, identity_adapter
from udair.bundle import load_bundle
from udair.data.images import decode
from udair.data.patches import to_array, to_tensor
from udair.inference import restore
from udair.models.served import as_served
from udair_jobs.errors import JobError
from udair_jobs.published.candidates import publish_candidate
from udair_jobs.restore_batch.__main__ import main
from udair_jobs.restore_batch.job import restore_batch
from udair_jobs.restore_batch.rows import rows_from_parquet
from udair_jobs.restore_batch.specs import BatchSpec
from udair_jobs.runtime.command_line import compose, to_plain
from udair_jobs.specs import LimitsSpec
from udair_jobs.storage import ObjectInfo, open_storage

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def place(tmp_path, base_model):
    """Two folders and a spec that restores one into the other."""
    source, output = open_storage(str(tmp_path / "in")), open_storage(str(tmp_path / "out"))
    spec = BatchSpec(source_uri=source.uri, output_uri=output.uri, base_uri=str(base_model[0]), chunk=2)
    return source, output, spec


def rows_of(output):
    return rows_from_parquet(output.get("_udair/report.parquet"), where="report")


def batch_processes() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(b"ray::BatchWorker"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_every_image_comes_out_restored_under_its_name(s3, base_model, picture):
    source = open_storage(f"s3://{s3.bucket()}/cam", endpoint_url=s3.endpoint_url)
    output = open_storage(f"s3://{s3.bucket()}/restored", endpoint_url=s3.endpoint_url)
    source.put("day/one.png", picture(1, size=(300, 150)))
    source.put("day/upright.jpg", picture(2, size=(64, 48), kind="ROTATED"))
    source.put("notes.txt", b"no image")
    source.put("cut.png", picture(3, size=(200, 200))[:400])

    result = restore_batch(BatchSpec(source_uri=source.uri, output_uri=output.uri, base_uri=str(base_model[0])))

    assert (result.state, result.objects, result.restored, result.skipped) == ("SUCCEEDED", 4, 2, 2)
    assert result.skipped_by_reason == {"NOT_AN_IMAGE": 1, "TRUNCATED": 1}
    names = [item.key for item in output.list() if not item.key.startswith("_udair/")]
    assert names == ["day/one.png", "day/upright.jpg"]
    model = as_served(load_bundle(base_model[0]).model)
    image = decode(source.get("day/one.png"))
    with torch.inference_mode():
        expected = to_array(restore(model, to_tensor([image])[0]))
    difference = np.abs(decode(output.get("day/one.png")).astype(int) - expected)
    assert difference.max() <= 1  # convolutions may add up in another order
    with Image.open(io.BytesIO(output.get("day/upright.jpg"))) as upright:
        assert upright.size == (48, 64)
        assert upright.getexif().get(0x0112, 1) == 1
    rows = {row.key: row for row in rows_of(output)}
    one = rows["day/one.png"]
    assert (one.state, one.width, one.height, one.adapted) == ("RESTORED", 300, 150, False)
    assert one.niqe_before is not None
    assert one.niqe_after is not None
    assert rows["day/upright.jpg"].niqe_before is None  # too small to say
    assert rows["notes.txt"].reason == "NOT_AN_IMAGE"
    assert not list(output.at("_udair/parts").list())


def test_a_batch_tells_a_folder_of_its_own_what_it_does_and_how_it_ended(place, picture, tmp_path, capfd):
    source, output, spec = place
    source.put("a.png", picture(1, size=(48, 48)))
    kept = open_storage(str(tmp_path / "kept"))
    result = restore_batch(spec.model_copy(update={"kept_uri": kept.uri, "scores": False}))
    assert BatchSpec.model_validate_json(kept.get("spec.json")).source_uri == source.uri
    assert b'"progress_percent": 100.0' in kept.get("progress.json")
    assert kept.get("result.json") == output.get("_udair/result.json") == result.model_dump_json(indent=2).encode()
    assert "1 objects" in capfd.readouterr().err


def test_odd_files_come_out_whole_or_are_refused_before_the_model(place):
    source, output, spec = place
    rgba = np.random.default_rng(0).integers(128, 256, (64, 64, 4), dtype=np.uint8)
    source.put("alpha.tif", odd_images.tiff(rgba, tags={338: ("H", (2,))}))
    source.put("two.jpg", odd_images.two_pictures())
    source.put("dim.tif", odd_images.tiff(np.full((64, 64), 4000, np.uint16)))
    source.put("scans.jpg", odd_images.many_scans(500))
    source.put("moving.gif", b"GIF89a")
    source.put("long.tif", odd_images.tiff(np.zeros((16_400, 8, 3), np.uint8)))
    result = restore_batch(spec.model_copy(update={"format": "webp", "scores": False}))
    assert (result.state, result.restored) == ("SUCCEEDED", 2)
    reasons = {row.key: row.reason for row in rows_of(output) if row.state == "SKIPPED"}
    refused = dict.fromkeys(("dim.tif", "moving.gif", "long.tif"), "UNSUPPORTED")
    assert reasons == refused | {"scans.jpg": "TOO_COSTLY"}
    same = restore_batch(spec.model_copy(update={"scores": False, "limits": LimitsSpec(max_image_pixels=100_000)}))
    assert (same.restored, same.skipped_by_reason["TOO_MANY_PIXELS"]) == (2, 1)
    for name, format in (("alpha.tif", "TIFF"), ("two.jpg", "JPEG")):
        with Image.open(io.BytesIO(output.get(name))) as image:
            assert (image.format, image.mode) == (format, "RGB")
            image.load()


def test_what_is_done_is_left_alone_and_what_changed_is_done_again(place, picture):
    source, output, spec = place
    for name in ("a", "b", "c", "d"):
        source.put(f"{name}.png", picture(ord(name)))
    source.put("junk.txt", b"junk")
    assert restore_batch(spec).restored == 4
    written = {item.key: item.last_modified for item in output.list()}

    again = restore_batch(spec)
    assert (again.restored, again.unchanged, again.skipped) == (0, 4, 1)
    source.put("a.png", picture(99))  # other content
    source.put("b.png", picture(ord("b")))  # the same content, written anew
    output.delete("c.png")
    third = restore_batch(spec)
    assert (third.restored, third.unchanged, third.skipped) == (2, 2, 1)
    assert {row.key: row.state for row in rows_of(output)} == {
        "a.png": "RESTORED",
        "b.png": "UNCHANGED",
        "c.png": "RESTORED",
        "d.png": "UNCHANGED",
        "junk.txt": "SKIPPED",
    }
    now = {item.key: item.last_modified for item in output.list()}
    assert now["b.png"] == written["b.png"]
    assert now["d.png"] == written["d.png"]
    assert restore_batch(spec.model_copy(update={"tone": "restore"})).restored == 4  # another way of restoring


def test_an_adapter_of_this_base_model_is_used_and_another_ones_is_refused(place, picture, base_model, tmp_path):
    source, output, spec = place
    source.put("a.png", picture(1, size=(96, 96)))
    folder, digest = base_model
    identity = identity_adapter(load_bundle(folder).model, digest)
    identity.row.affine_B6.fill_(0.1)
    files = {"adapter.safetensors": adapter_to_bytes(Adapter(digest, identity.row))}
    mine = open_storage(str(tmp_path / "mine"))
    manifest = publish_candidate(mine, files, base_digest=digest, code_version="1")
    restore_batch(spec)
    plain = output.get("a.png")

    result = restore_batch(spec.model_copy(update={"adapter_uri": mine.uri}))
    assert (result.restored, result.adapter_digest) == (1, manifest.digest)
    assert rows_of(output)[0].adapted
    assert output.get("a.png") != plain

    others = open_storage(str(tmp_path / "others"))
    publish_candidate(others, files, base_digest="0" * 64, code_version="1")
    with pytest.raises(JobError, match="was made for base model 000000000000") as caught:
        restore_batch(spec.model_copy(update={"adapter_uri": others.uri}))
    assert caught.value.reason == "INVALID_SPEC"


def killing(when, limit: int):
    """Kill batch workers, `limit` of them, once `when()`."""
    killed: list[int] = []

    def run() -> None:
        deadline = time.monotonic() + 60
        while len(killed) < limit and time.monotonic() < deadline:
            for pid in batch_processes() if when() else []:
                if pid not in killed and len(killed) < limit:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, killed


def test_a_lost_worker_costs_nothing_but_time(place, picture):
    source, output, spec = place
    for number in range(24):
        source.put(f"{number:02}.png", picture(number, size=(320, 240)))
    thread, killed = killing(lambda: output.exists("02.png"), 1)
    result = restore_batch(spec)
    thread.join()
    assert killed
    assert (result.state, result.restored, result.failed) == ("SUCCEEDED", 24, 0)


@pytest.mark.slow
def test_what_was_lost_too_often_is_listed_and_the_same_command_tries_it_alone(place, picture):
    source, output, spec = place
    for number in range(16):
        source.put(f"{number:02}.png", picture(number, size=(320, 240)))
    thread, killed = killing(lambda: output.exists("00.png"), 1)
    result = restore_batch(spec.model_copy(update={"retries": 0, "chunk": 4}))
    thread.join()
    assert killed
    assert (result.state, result.reason) == ("FAILED", "CONTROLLER_ERROR")
    lost = [row for row in rows_of(output) if row.state == "FAILED"]
    assert result.failed == len(lost) > 0
    assert all("its worker was lost 1 times" in row.detail for row in lost)

    again = restore_batch(spec)
    assert (again.state, again.restored, again.unchanged) == ("SUCCEEDED", len(lost), 16 - len(lost))


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_keeps_what_it_did(place, picture, tmp_path):
    source, output, spec = place
    for number in range(60):
        source.put(f"{number:02}.png", picture(number, size=(320, 240)))
    arguments = [f"source_uri={spec.source_uri}", f"output_uri={spec.output_uri}", f"base_uri={spec.base_uri}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "udair_jobs.restore_batch", *arguments, "chunk=2", "workers=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )
    deadline = time.monotonic() + 90
    while not output.exists("05.png") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 3, text
    assert "USER_CANCELLED" in text
    again = restore_batch(spec)
    assert again.unchanged >= 2
    assert again.restored + again.unchanged == 60


def test_places_and_values_that_cannot_work_are_refused(place, picture, capsys):
    source, output, spec = place
    with pytest.raises(JobError, match="holds no object") as caught:
        restore_batch(spec)
    assert caught.value.reason == "DATA_EMPTY"
    source.put("a.png", picture(1))
    for bad in (source.uri, f"{source.uri}/deeper", str(Path(source.uri).parent)):
        with pytest.raises(JobError, match="lie within each other"):
            restore_batch(spec.model_copy(update={"output_uri": bad}))
    source.put("b.png", picture(2))
    with pytest.raises(JobError, match=r"holds 2 objects; expected at most limits.max_images, 1"):
        restore_batch(spec.model_copy(update={"limits": spec.limits.model_copy(update={"max_images": 1})}))
    assert main([f"source_uri={source.uri}", f"output_uri={output.uri}", "format=gif"]) == 2
    assert "format is 'gif'" in capsys.readouterr().err
    assert main([f"source_uri={source.uri}"]) == 2
    assert "output_uri: Field required" in capsys.readouterr().err
    assert main([f"source_uri={source.uri}", f"output_uri={output.uri}", "base_uri=packaged:none"]) == 2


def test_two_files_that_would_get_one_name_keep_their_whole_names():
    from udair_jobs.restore_batch.plan import targets

    listed = [ObjectInfo(key, 1, "e", "") for key in ("a.bmp", "a.jpg", "b.c/d.jpg", "no-ending")]
    spec = BatchSpec(source_uri="a", output_uri="b", format="png")
    assert list(targets(listed, spec)) == ["a.bmp.png", "a.jpg.png", "b.c/d.png", "no-ending.png"]
    assert list(targets(listed, BatchSpec(source_uri="a", output_uri="b"))) == [item.key for item in listed]


def test_the_configuration_file_repeats_the_defaults():
    config = to_plain(compose("restore_batch", BatchSpec, []))
    assert config == BatchSpec(source_uri="a", output_uri="b").model_dump() | {"source_uri": None, "output_uri": None}
