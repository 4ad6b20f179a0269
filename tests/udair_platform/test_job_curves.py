"""A job's training, step by step: of the newest attempt that trained, in API, SDK, command line and console."""

from __future__ import annotations

import json
import re

from command_line import udair
from console_visitor import open_console, read, words

from udair_platform.documents import store_paths


def told(plane, domain, job, attempt: int, data: object) -> None:
    """What an attempt of the job writes while it trains."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    plane.store.put(f"{store_paths.attempt('acme', domain.name, job.id, attempt)}/{store_paths.CURVES}", body)


def losses(*values: float) -> dict:
    return {"curves": [{"name": "loss", "steps": list(range(1, len(values) + 1)), "values": list(values)}]}


def test_the_newest_attempt_that_trained_is_told(plane) -> None:
    domain = plane.domain()
    plane.launcher.script = ["vanish", "run"]
    job = plane.submit(domain)
    url = f"/v1/domains/{domain.name}/jobs/{job.id}/curves"
    assert plane.client.get(url).json() == {"attempt": 0, "curves": []}
    for _ in range(4):
        plane.reconciler.tick()
        plane.clock.forward(90)
    assert plane.job(job.id).attempt == 2
    told(plane, domain, job, 1, losses(0.5, 0.25))
    assert plane.client.get(url).json() == {"attempt": 1, **losses(0.5, 0.25)}
    told(plane, domain, job, 2, b'{"curves": [{"name": ')
    assert plane.client.get(url).json()["attempt"] == 1
    told(plane, domain, job, 2, losses(0.5, 0.375, 0.25))
    assert plane.client.get(url).json() == {"attempt": 2, **losses(0.5, 0.375, 0.25)}
    told(plane, domain, job, 2, b"")
    open_console(plane)
    page = read(plane, f"/domains/{domain.name}/jobs/{job.id}")
    assert "Training of attempt 1, by steps and rounds" in words(page)
    assert 'aria-label="Loss: 0.25 last, between 0.25 and 0.5"' in page


def test_what_each_round_gains_stands_beside_the_loss(plane) -> None:
    domain = plane.domain()
    plane.launcher.script = ["run"]
    job = plane.submit(domain)
    plane.reconciler.tick()
    rounds = {
        "round_gain_db": [0.5, 0.75, 1.0],
        "round_gain_low_db": [-0.25, 0.25, 0.5],
        "round_noise_left_share": [0.5, 0.4, 0.25],
    }
    more = [{"name": name, "steps": [1, 2, 3], "values": values} for name, values in rounds.items()]
    told(plane, domain, job, 1, json.dumps({"curves": [*losses(0.5, 0.25)["curves"], *more]}).encode())
    open_console(plane)
    page = read(plane, f"/domains/{domain.name}/jobs/{job.id}")
    assert re.findall(r'role="img" aria-label="([^"]*)"', page) == [
        "Loss: 0.25 last, between 0.25 and 0.5",
        "Gain over the base model, by round: mean 1 dB last, between 0.5 dB and 1 dB; "
        "at least, 95 % 0.5 dB last, between \u22120.25 dB and 0.5 dB",
        "Noise left in its own flat places, by round: 25 % last, between 25 % and 50 %",
    ]
    assert "round 2: mean 0.75 dB, at least, 95 % 0.25 dB" in page, "what is pointed at says so"
    assert page.count('<th scope="col">Round</th>') == 3
    told(plane, domain, job, 1, json.dumps({"curves": more[:1]}).encode())
    assert "by round" not in read(plane, f"/domains/{domain.name}/jobs/{job.id}"), "half of a plot is none"


def test_a_job_that_has_not_trained_shows_no_curve_and_a_store_that_is_away_is_said(plane, monkeypatch) -> None:
    from udair_jobs.storage import StorageUnavailable

    domain = plane.domain()
    plane.launcher.script = ["run"]
    job = plane.submit(domain)
    plane.reconciler.tick()
    told(plane, domain, job, 1, losses(0.5))
    open_console(plane)
    assert "Training" not in words(read(plane, f"/domains/{domain.name}/jobs/{job.id}"))

    def away(*_: object, **__: object) -> bytes:
        raise StorageUnavailable("store", "away")

    monkeypatch.setattr(type(plane.store), "get", away)
    assert "The curves cannot be read now." in words(read(plane, f"/domains/{domain.name}/jobs/{job.id}"))


def test_the_sdk_and_the_command_line_say_it(live) -> None:
    domain = live.plane.domain()
    with live.client() as client:
        job = client.domains.get(domain.name).adapt()
        job.wait(timeout_s=30)
        _, err = udair(live, "job", "curves", job.id)
        assert "has trained yet" in err
        told(live.plane, domain, job, 1, losses(0.5, 0.25))
        assert job.curves().curves[0].values == [0.5, 0.25]
    out, _ = udair(live, "job", "curves", job.id)
    assert [line.split() for line in out.splitlines()] == [
        ["FIGURE", "STEP", "VALUE"],
        ["loss", "1", "0.5"],
        ["loss", "2", "0.25"],
    ]
    out, _ = udair(live, "job", "curves", job.id, "-o", "json")
    assert json.loads(out)["attempt"] == 1
