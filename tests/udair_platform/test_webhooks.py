"""Webhooks: signed, in order, repeated until they arrive, and never sent behind our own walls."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook as Verifier

from udair_platform.http.outbound import AddressRefused, Outbound
from udair_platform.scheduler.webhook_dispatcher import GIVE_UP_AFTER, WebhookDispatcher
from udair_platform.services import webhooks
from udair_platform.settings import load_settings


@dataclass
class Receiver:
    """A customer's server: keeps what it is told, and answers as its script says (then 204)."""

    script: list[int] = field(default_factory=list)
    told: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    retry_after: str = ""

    @property
    def kinds(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.told]


@pytest.fixture
def receiver():
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = state.script.pop(0) if state.script else 204
            if status == 204:
                state.told.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", state.url)
            if state.retry_after:
                self.send_header("Retry-After", state.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def plane(make_plane):
    return make_plane(webhook_allow_private=True)


@pytest.fixture
def deliveries(plane):
    return WebhookDispatcher(
        plane.database, [plane.signing_key], Outbound(allow_private=True, timeout_s=2), plane.clock
    )


def _create(plane, url: str, *kinds: str) -> tuple[str, str]:
    answer = plane.client.post("/v1/webhooks", json={"url": url, "kinds": list(kinds) or ["*"]})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"], answer.json()["secret"]


def _view(plane, id: str) -> dict:
    return plane.client.get(f"/v1/webhooks/{id}").json()


def test_it_is_told_what_it_wants_in_order_and_signed(plane, deliveries, receiver):
    plane.clock.now = datetime.now(UTC)  # receivers refuse signatures of another time
    _, secret = _create(plane, receiver.url, "domain.*", "job.SUCCEEDED")
    domain = plane.domain()
    plane.version(domain)
    plane.clock.now = datetime.now(UTC)
    deliveries.tick()
    assert receiver.kinds == ["domain.created", "job.SUCCEEDED"]
    for headers, body in receiver.told:
        Verifier(secret).verify(body, headers)
        told = json.loads(body)
        assert headers["webhook-id"] == f"msg_{told['data']['id']}"
        assert told["data"]["tenant"] == "acme"
    assert deliveries.tick() == 0, "nothing is told twice"


def test_another_tenants_events_are_not_told(plane, deliveries, receiver, other_tenant):
    _create(plane, receiver.url)
    plane.domain("their-cams", tenant=other_tenant)
    plane.domain("our-cams")
    deliveries.tick()
    assert {json.loads(body)["data"]["name"] for _, body in receiver.told} >= {"our-cams"}
    assert "their-cams" not in {json.loads(body)["data"]["name"] for _, body in receiver.told}


def test_what_fails_is_repeated_in_order_later_and_later(plane, deliveries, receiver):
    id, _ = _create(plane, receiver.url, "domain.created")
    plane.domain("first-cams")
    plane.domain("second-cams")
    receiver.script = [500, 302]
    assert deliveries.tick() == 0
    assert _view(plane, id)["failures"] == 1
    assert "500" in _view(plane, id)["last_error"]
    assert deliveries.tick() == 0, "not before its time"
    plane.clock.forward(6)
    assert deliveries.tick() == 0, "a redirect is no arrival, and is not followed"
    plane.clock.forward(31)
    assert deliveries.tick() == 2
    names = [json.loads(body)["data"]["name"] for _, body in receiver.told]
    assert names == ["first-cams", "second-cams"]
    view = _view(plane, id)
    assert (view["failures"], view["last_error"], view["behind"]) == (0, "", 0)


def test_retry_after_is_kept_to(plane, deliveries, receiver):
    _create(plane, receiver.url, "domain.created")
    plane.domain()
    receiver.script, receiver.retry_after = [429], "300"
    deliveries.tick()
    plane.clock.forward(200)
    assert deliveries.tick() == 0
    plane.clock.forward(101)
    assert deliveries.tick() == 1


def test_one_that_never_answers_holds_nobody_up_and_is_given_up_after_days(plane, deliveries, receiver):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}/"
        id, _ = _create(plane, dead, "domain.created")
        _create(plane, receiver.url, "domain.created")
        plane.domain()
        deliveries.tick()
        assert receiver.kinds == ["domain.created"]
        assert "no answer" in _view(plane, id)["last_error"]
        plane.clock.forward((GIVE_UP_AFTER + timedelta(hours=2)).total_seconds())
        deliveries.tick()
    assert _view(plane, id)["state"] == "DISABLED"
    kinds = [event["kind"] for event in plane.client.get("/v1/events?noun=webhook").json()["events"]]
    assert "webhook.DISABLED" in kinds
    plane.domain("later-cams")
    assert plane.client.post(f"/v1/webhooks/{id}:enable").json()["behind"] == 1
    # Its own waking is all that it is behind: a backlog of weeks helps nobody.


class Dripping:
    """A server that takes every request and answers one byte a second: with its head, or only its body."""

    def __init__(self, head: bytes) -> None:
        self._head, self._stop = head, threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self.taken = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._drip, args=[self._socket.accept()[0]], daemon=True).start()
                self.taken += 1

    def _drip(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(self._head)
            while not self._stop.wait(1):
                connection.sendall(b"a")

    def close(self) -> None:
        self._stop.set()
        self._socket.close()


@pytest.fixture
def dripping():
    servers: list[Dripping] = []

    def start(head: bytes) -> Dripping:
        servers.append(Dripping(head))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_an_answer_that_drips_is_ended_and_its_body_is_not_waited_for(dripping):
    outbound = Outbound(allow_private=True, timeout_s=2)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no whole answer within 2 s"):
        outbound.post(dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ").url, b"{}", {})
    assert time.monotonic() - began < 30, "it would have dripped for as long as anybody listened"
    body = dripping(b"HTTP/1.1 202 Accepted\r\nContent-Length: 60000\r\n\r\n")
    assert outbound.post(body.url, b"{}", {}).status == 202


def test_a_tenant_whose_receivers_all_drip_holds_no_other_up(plane, receiver, dripping, other_tenant):
    slow = dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(webhooks.MOST):
        _create(plane, slow.url, "domain.created")
    theirs = {"Authorization": f"Bearer {plane.token('admin', tenant=other_tenant)}"}
    answer = plane.client.post("/v1/webhooks", json={"url": receiver.url, "kinds": ["domain.created"]}, headers=theirs)
    assert answer.status_code == 201, answer.text
    patient = Outbound(allow_private=True, timeout_s=90)
    deliveries, stop = WebhookDispatcher(plane.database, [plane.signing_key], patient, plane.clock), threading.Event()
    running = threading.Thread(target=deliveries.run_forever, args=(stop, 0.05), daemon=True)
    running.start()
    try:
        plane.domain("slow-cams")
        _until(lambda: slow.taken >= 4, "the slow ones are being told")
        for number in range(2):
            plane.domain(f"quick-{number}", tenant=other_tenant)
            _until(lambda told=number: len(receiver.told) > told, "told while the others drip")
    finally:
        stop.set()
        slow.close()
        running.join(10)
    assert slow.taken <= webhooks.MOST, "no webhook has two turns at a time"


def _until(holds: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)


def test_gone_is_gone(plane, deliveries, receiver):
    id, _ = _create(plane, receiver.url, "domain.created")
    plane.domain()
    receiver.script = [410]
    deliveries.tick()
    assert _view(plane, id)["state"] == "DISABLED"


def test_a_ping_reaches_the_one_that_was_pinged(plane, deliveries, receiver):
    id, _ = _create(plane, receiver.url, "job.SUCCEEDED")
    _create(plane, receiver.url, "*")
    assert plane.client.post(f"/v1/webhooks/{id}:ping").status_code == 202
    deliveries.tick()
    assert receiver.kinds.count("webhook.ping") == 1


def test_a_new_secret_signs_beside_the_old_one(plane, deliveries, receiver):
    plane.clock.now = datetime.now(UTC)
    id, old = _create(plane, receiver.url, "domain.created")
    new = plane.client.post(f"/v1/webhooks/{id}:rotateSecret").json()["secret"]
    assert new != old
    plane.domain()
    deliveries.tick()
    ((headers, body),) = receiver.told
    Verifier(new).verify(body, headers)
    Verifier(old).verify(body, headers)


def test_a_new_signing_key_leaves_receivers_time_to_change_over(plane, receiver):
    plane.clock.now = datetime.now(UTC)
    _, secret = _create(plane, receiver.url, "domain.created")
    plane.domain()
    rotated = [b"n" * 32, plane.signing_key]
    WebhookDispatcher(plane.database, rotated, Outbound(allow_private=True), plane.clock).tick()
    ((headers, body),) = receiver.told
    Verifier(secret).verify(body, headers)


def test_two_processes_tell_once(plane, receiver):
    _create(plane, receiver.url, "domain.created")
    plane.domain()
    pair = [
        WebhookDispatcher(plane.database, [plane.signing_key], Outbound(allow_private=True), plane.clock)
        for _ in range(2)
    ]
    assert [one.tick() for one in pair] == [1, 0]
    assert receiver.kinds == ["domain.created"]


def test_secrets_are_shown_once_and_logged_never(plane, receiver):
    id, secret = _create(plane, receiver.url)
    assert secret not in plane.client.get("/v1/webhooks").text
    assert secret not in plane.client.get(f"/v1/webhooks/{id}").text
    assert secret not in plane.client.get("/v1/events").text


def test_the_same_request_twice_is_one_webhook(plane, receiver):
    both = [
        plane.client.post("/v1/webhooks", json={"url": receiver.url}, headers={"Idempotency-Key": "one"}).json()
        for _ in range(2)
    ]
    assert both[0]["id"] == both[1]["id"]
    assert both[0]["secret"] == both[1]["secret"]


def test_a_tenant_has_twenty_at_most(plane, receiver):
    for _ in range(webhooks.MOST):
        _create(plane, receiver.url)
    answer = plane.client.post("/v1/webhooks", json={"url": receiver.url})
    assert (answer.status_code, answer.json()["code"]) == (409, "QUOTA_EXCEEDED")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://user:pass@example.com/",
        "https://example.com/#x",
        "https://exa mple.com/",
        "https://example.com:99999/",
        "file:///etc/passwd",
        "https://\u0435xample.com/",
        "",
    ],
)
def test_addresses_that_are_none_are_refused(make_plane, url):
    answer = make_plane().client.post("/v1/webhooks", json={"url": url})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/url"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "2130706433",
        "0x7f.1",
        "224.0.0.1",
        "255.255.255.255",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b:1::7f00:1",
        "64:ff9b::8.8.8.8",
        "fec0::1",
        "ff0e::1",
        "5f00::1",
        "4000::1",
        "2001:db8::1",
        "2001::1",
        "2001:20::1",
        "2002:808:808::1",
        "3fff::1",
        "192.0.0.192",
        "192.88.99.1",
        "168.63.129.16",
        "198.18.0.1",
        "203.0.113.7",
        "240.0.0.1",
    ],
)
def test_nothing_is_sent_behind_our_own_walls(host):
    with pytest.raises(AddressRefused):
        Outbound().address_of(host, 443)


def test_a_name_that_leads_inside_is_found_out_at_every_delivery(plane, receiver, monkeypatch):
    careful = WebhookDispatcher(plane.database, [plane.signing_key], Outbound(), plane.clock)
    id, _ = _create(plane, receiver.url.replace("127.0.0.1", "localhost"), "domain.created")
    plane.domain()
    assert careful.tick() == 0
    assert receiver.told == []
    told = _view(plane, id)["last_error"]
    assert "does not lead to a public address" in told
    assert "127.0.0.1" not in told
    assert "::1" not in told


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "192.0.1.1", "168.63.129.17", "3ffe::1"])
def test_public_addresses_are_let_through(address):
    assert Outbound().address_of(address, 443) == address


def test_a_name_of_ours_and_one_that_is_none_are_refused_in_the_same_words():
    said = []
    for name in ("localhost", "no-such-name.invalid"):
        with pytest.raises(AddressRefused) as refused:
            Outbound().address_of(name, 443)
        said.append(str(refused.value).replace(name, "NAME"))
    assert said[0] == said[1]


def test_a_name_with_one_public_and_one_private_address_is_refused(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("93.184.216.34", "10.1.2.3")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(AddressRefused) as refused:
        Outbound().address_of("two-faced.example", 443)
    assert "10.1.2.3" not in str(refused.value)


def test_private_addresses_are_refused_unless_an_operator_says_so():
    assert load_settings().webhook_allow_private is False
