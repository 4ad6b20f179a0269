"""Before anybody is known, a connection costs little: headers and connections are bounded, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import httpx
import pytest
import uvicorn

from udair_platform.http import server


@pytest.fixture
def proxies() -> str:
    """FORWARDED_ALLOW_IPS: whose connections are those of many."""
    return "127.0.0.1"


@pytest.fixture
def api(plane, proxies, monkeypatch):
    """The API as its process serves it; where it answers."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    running = uvicorn.Server(server.server_config(plane.client.app, "127.0.0.1", 0))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield listener.getsockname()
    running.should_exit = True
    thread.join(10)


def answers(address) -> int:
    return httpx.get(f"http://{address[0]}:{address[1]}/healthz", timeout=10).status_code


def ending(connection: socket.socket, within_s: float = 30) -> bytes:
    """What came until the server closed; fails if it does not."""
    connection.settimeout(within_s)
    came = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            came += data
    return came


def test_a_header_without_end_is_refused_and_the_connection_closed(api):
    sent = 0
    with socket.create_connection(api) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ")
        with contextlib.suppress(ConnectionError):
            while sent < 40 * 2**20:
                sent += connection.send(b"a" * 65536)
        assert sent < 40 * 2**20, "it read on and on"
        with contextlib.suppress(ConnectionError):
            ending(connection)
    assert answers(api) == 200


def test_many_short_headers_are_one_long_one(api):
    with socket.create_connection(api) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n")
        assert b"400 Bad Request" in ending(connection)
    assert answers(api) == 200


def test_headers_that_do_not_come_in_time_end_the_connection_also_after_a_whole_request(api, monkeypatch):
    monkeypatch.setattr(server, "HEADERS_S", 0.5)
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    for begun in (b"", b"GET /healthz HTTP/1.1\r\nX-A: ", whole + whole[:20]):
        with socket.create_connection(api) as connection:
            connection.sendall(begun)
            stop = threading.Event()
            if begun:  # one byte now and then does not buy time

                def drip(connection=connection, stop=stop) -> None:
                    with contextlib.suppress(OSError):
                        while not stop.wait(0.1):
                            connection.sendall(b"a")

                threading.Thread(target=drip, daemon=True).start()
            assert b"408 Request Timeout" in ending(connection)
            stop.set()


def test_a_request_that_takes_longer_than_its_headers_may_is_answered(api, plane, monkeypatch):
    monkeypatch.setattr(server, "HEADERS_S", 0.3)
    body = b'{"name": "slow-cams", "source_uri": "s3://acme/cams"}'
    head = (
        f"POST /v1/domains HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {plane.admin_token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(api) as connection:
        connection.sendall(head.encode() + body[:5])
        time.sleep(0.8)
        connection.sendall(body[5:])
        assert ending(connection).startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize(("proxies", "kept"), [("10.0.0.0/8", 20), ("127.0.0.0/8", 60), ("*", 60)])
def test_one_address_has_a_share_of_the_connections_and_a_proxy_may_have_all(api, monkeypatch, kept):
    monkeypatch.setattr(server, "MOST_OF_AN_ADDRESS", 20)
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 60)
    monkeypatch.setattr(server, "HEADERS_S", 60.0)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(api)) for _ in range(100)]
        time.sleep(0.5)
        assert sum(not closed(connection) for connection in connections) == kept
    time.sleep(0.5)
    assert answers(api) == 200, "they are counted only while they are open"


def closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_few_files_mean_few_connections(monkeypatch):
    monkeypatch.setattr(server.resource, "getrlimit", lambda _: (1024, 4096))
    assert server.most_connections() == 1024 - 200
    monkeypatch.setattr(server.resource, "getrlimit", lambda _: (server.resource.RLIM_INFINITY,) * 2)
    assert server.most_connections() == server.MOST_CONNECTIONS
