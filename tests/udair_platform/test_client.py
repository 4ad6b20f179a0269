"""The SDK against a live server: the customer's whole journey, and each refusal as its own exception."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from udair_platform.client import (
    AsyncClient,
    Client,
    ClientError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    GateRejected,
    InvalidRequest,
    JobFailed,
    NotFound,
    Unauthorized,
    WaitTimeout,
)
from udair_platform.client.pictures import media_type

SOURCE = "s3://acme-photos/cams"
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"


def test_journey_from_registration_to_a_restored_image(live) -> None:
    with live.client() as client:
        domain = client.domains.create("foggy-cams", SOURCE, gate="strict", description="harbour")
        job = domain.adapt(steps=5)
        phases = [now.state for now in job.stream(timeout_s=30, poll_s=0.01)]
        version = job.result(timeout_s=30)

        assert phases[-1] == "SUCCEEDED"
        assert (version.number, version.verdict, version.state) == (1, "PASSED", "ACTIVE")
        assert next(c for c in version.report().checks if c.name == "matched gain").measured == 1.2
        assert domain.promote(version.number, reason="good", if_current=0).version == 1
        assert domain.refresh().champion == 1
        assert [move.to_version for move in domain.history()] == [1, 0]

        image, headers = client.restore(PNG, "foggy-cams")
        assert image == b"restored " + PNG
        assert headers["x-adapter-version"] == "3"

        assert domain.rollback().version == 0
        assert "log of" in job.logs()
        assert [event.kind for event in job.events()][-1] == "job.SUCCEEDED"
        assert [s.state for s in domain.snapshots()] == ["ACTIVE"]
        assert [v.number for v in domain.versions()] == [1]
        assert domain.version("@candidate").number == 1
        assert domain.snapshot(version.snapshot_id).summary["images"] == 40
        assert [item.id for item in client.jobs.list()] == [job.id]


def test_rejected_version_comes_with_the_exception(live, evidence) -> None:
    live.plane.launcher.evidence = evidence["FAILED"]
    domain = live.client().domains.create("foggy-cams", SOURCE)

    with pytest.raises(GateRejected, match="matched gain") as caught:
        domain.adapt().result(timeout_s=30)

    assert caught.value.version.state == "REJECTED"
    with pytest.raises(GateRejected):
        caught.value.version.promote()
    assert domain.refresh().champion == 0


def test_job_that_ends_without_a_version_is_a_failure(live) -> None:
    live.plane.launcher.script = ["TOO_FEW_IMAGES"]
    job = live.client().domains.create("foggy-cams", SOURCE).adapt()

    with pytest.raises(JobFailed, match="TOO_FEW_IMAGES: it was") as caught:
        job.result(timeout_s=30)
    assert caught.value.job.state == "FAILED"


def test_wait_ends_and_the_job_goes_on(live) -> None:
    live.plane.launcher.script = ["run"]
    job = live.client().domains.create("foggy-cams", SOURCE).adapt()

    with pytest.raises(WaitTimeout) as caught:
        job.wait(timeout_s=0.3, poll_s=0.05)
    assert not caught.value.job.done
    assert job.cancel().state in ("CANCELLING", "CANCELLED")
    assert job.wait(timeout_s=30).state == "CANCELLED"


def test_each_refusal_is_its_own_exception(live) -> None:
    client = live.client()
    domain = client.domains.create("foggy-cams", SOURCE)
    reader = live.client(live.plane.token("domain:read"))

    with pytest.raises(InvalidRequest) as caught:
        client.domains.create("X", SOURCE)
    assert caught.value.errors[0]["pointer"] == "/name"
    assert caught.value.request_id
    with pytest.raises(Conflict) as conflict:
        client.domains.create("foggy-cams", SOURCE)
    assert conflict.value.code == "ALREADY_EXISTS"
    with pytest.raises(NotFound):
        client.domains.get("rainy-cams")
    with pytest.raises(Forbidden):
        reader.domains.get("foggy-cams").adapt()
    with pytest.raises(Unauthorized):
        live.client("ak_abcd.e30.AAAA").platform()
    with pytest.raises(Conflict):
        domain.rollback()
    with pytest.raises(InvalidRequest, match="NOT_AN_IMAGE"):
        client.restore(b"no image", "foggy-cams")


def test_idempotency_key_makes_one_job(live) -> None:
    domain = live.client().domains.create("foggy-cams", SOURCE)

    assert domain.adapt(idempotency_key="k1").id == domain.adapt(idempotency_key="k1").id


def test_keys_are_made_listed_and_revoked(live) -> None:
    client = live.client()
    key = client.keys.create("ci", ["domain:read"], domains=["foggy-cams"])

    assert key.token not in repr(key)
    assert live.client(key.token).platform().tenant == "acme"
    assert [item.kid for item in client.keys.list()][-1] == key.kid
    assert client.keys.revoke(key.kid).revoked_time is not None
    with pytest.raises(Unauthorized, match="revoked"):
        live.client(key.token).platform()


def test_key_with_a_role_is_rotated(live) -> None:
    client = live.client()
    old = client.keys.create("ci", role="operator")
    new = client.keys.rotate(old.kid)

    assert (new.role, new.scopes) == ("operator", old.scopes)
    assert live.client(new.token).platform().tenant == "acme"
    with pytest.raises(Unauthorized, match="revoked"):
        live.client(old.token).platform()


def test_versions_are_approved_rejected_and_archived(live, evidence) -> None:
    live.plane.launcher.evidence = evidence["INCONCLUSIVE"]
    domain = live.client().domains.create("foggy-cams", SOURCE, gate={"four_eyes": True})
    first, second = (domain.adapt().result(timeout_s=30) for _ in range(2))

    with pytest.raises(Forbidden, match="another approver") as caught:
        first.approve()
    assert caught.value.code == "FOUR_EYES"
    approver = live.client(live.plane.token("domain:read", "version:approve")).domains.get("foggy-cams")
    assert approver.version(first.number).approve(reason="looked at it").state == "ACTIVE"
    assert approver.version(first.number).archive().state == "ARCHIVED"
    assert second.reject().state == "REJECTED"
    with pytest.raises(Conflict) as conflict:
        second.archive()
    assert conflict.value.code == "VERSION_IN_USE"


def test_lists_go_on_over_pages(live) -> None:
    for number in range(53):  # one page holds fifty
        live.plane.domain(f"cams-{number:02}")

    assert len(list(live.client().domains.list())) == 53


def test_client_finds_the_platform_by_home_or_environment(live, monkeypatch, tmp_path) -> None:
    assert Client(home=live.home).platform().tenant == "acme"
    monkeypatch.setenv("UDAIR_URL", live.url)
    monkeypatch.setenv("UDAIR_API_KEY", live.plane.admin_token)
    assert Client().platform().tenant == "acme"
    with pytest.raises(ClientError, match="udair up"):
        Client(home=tmp_path)  # never the URL of one place with the key of another


def test_nobody_there_is_said(monkeypatch) -> None:
    monkeypatch.setattr("udair_platform.client.waiting.time.sleep", lambda _: None)
    with pytest.raises(ConnectionFailed, match="does not answer"):
        Client("http://127.0.0.1:9", "ak_x").platform()


def test_platform_that_comes_back_is_not_noticed(make_plane, serve) -> None:
    """A GET, and a POST under an idempotency key, outlive a restart of the API."""
    plane = make_plane()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", plane.admin_token)
    late = threading.Timer(0.5, serve, [plane.client.app, port])
    late.start()

    assert client.domains.create("foggy-cams", SOURCE).name == "foggy-cams"
    late.join()


@pytest.mark.parametrize("name", ["a/b", "..", "a?b", "", "a b"])
def test_name_cannot_lead_to_another_route(name: str) -> None:
    with pytest.raises(ClientError):
        Client("http://127.0.0.1:9", "ak_x").domains.get(name)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\x89PNG", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"II*\0", "image/tiff"),
        (b"BM", "image/bmp"),
        (b"?", "application/octet-stream"),
    ],
)
def test_media_type_of_an_image(start: bytes, kind: str) -> None:
    assert media_type(start) == kind


def test_images_are_restored_at_once_and_one_that_is_refused_fails_alone(live) -> None:
    async def scenario():
        async with AsyncClient(home=live.home) as client:
            images = {"good": PNG, "bad": b"no image", "better": PNG + b"2"}
            answers = {name: got async for name, got in client.restore_many(images.items(), "foggy-cams", at_once=2)}
            jpeg = await client.restore(PNG, "foggy-cams", format="jpeg")
        return answers, jpeg

    answers, jpeg = asyncio.run(scenario())
    assert answers["good"].image == b"restored " + PNG
    assert answers["better"].version == "3"
    assert isinstance(answers["bad"], InvalidRequest)
    assert jpeg.headers["content-type"] == "image/jpeg"


def test_a_busy_data_plane_is_asked_again(live) -> None:
    with live.client() as client:
        assert client.restore(b"\x89PNGbusy", "foggy-cams").image == b"restored \x89PNGbusy"


def test_a_format_that_does_not_exist_is_refused_before_anything_is_sent(live) -> None:
    with live.client() as client, pytest.raises(ClientError, match="png16"):
        client.restore(PNG, "foggy-cams", format="gif")


def test_routes_are_shared_out_and_read_back(live) -> None:
    with live.client() as client:
        domain = client.domains.create("shared-cams", "s3://acme-photos/cams")
        assert domain.route().state == "ACTIVE"
        assert domain.set_traffic(shadow=(0, 5.0), pinned=True).state == "SHADOWING"
        assert domain.route().shadow.percent == 5.0
        with pytest.raises(NotFound):
            domain.set_traffic(canary=(9, 5.0))
