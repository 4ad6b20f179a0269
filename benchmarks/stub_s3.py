"""A small S3 endpoint for benchmarks: ListObjectsV2 and GET, over HTTP, with a latency of its own.

python benchmarks/stub_s3.py [--objects N | --folder F] [--latency-ms L]

It serves N generated pictures, or the files of a folder, under the prefix `images/` of bucket `bench`, and
prints its port. It checks no signature and stores nothing: one request costs it about a tenth of a
millisecond, so that a benchmark on two cores measures the client and not the server.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET, PREFIX, PAGE = "bench", "images/", 1000
_SIDE = 8


def tiny_png(number: int) -> bytes:
    """A valid PNG of 8 x 8 pixels whose content is its number."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + struct.pack(">Q", number) * 3
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    body = zlib.compress(row * _SIDE, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def listing(keys: list[str], after: str, content: Callable[[str], bytes]) -> bytes:
    """One page of ListObjectsV2, the keys that follow `after`."""
    later = [key for key in keys if key > after]
    page = later[:PAGE]
    items = io.StringIO()
    for key in page:
        data = content(key)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        items.write(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{etag}&quot;</ETag><Size>{len(data)}</Size></Contents>"
        )
    more = len(later) > len(page)
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{BUCKET}</Name><Prefix>{PREFIX}</Prefix><KeyCount>{len(page)}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{items.getvalue()}</ListBucketResult>"
    ).encode()


class Stub(asyncio.Protocol):
    """One connection: requests without bodies, answered in order."""

    def __init__(self, keys: list[str], content: Callable[[str], bytes], latency_s: float) -> None:
        self._keys, self._content, self._latency_s = keys, content, latency_s
        self._known = set(keys)
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            method, target = head.split(b" ", 2)[:2]
            answer = self._answer(method.decode(), target.decode())
            asyncio.get_running_loop().call_later(self._latency_s, self._send, answer)

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)

    def _answer(self, method: str, target: str) -> bytes:
        url = urlsplit(target)
        key = unquote(url.path).removeprefix(f"/{BUCKET}").lstrip("/")
        if key in self._known:
            data = self._content(key)
            etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
            return _http(200, data, method, f'ETag: "{etag}"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n')
        if key:
            return _http(404, b"<Error><Code>NoSuchKey</Code></Error>", method)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        asked = [key for key in self._keys if key.startswith(query.get("prefix", ""))]
        after = query.get("continuation-token", "")
        return _http(200, listing(asked, after, self._content), method)


def _http(status: int, body: bytes, method: str, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)


async def serve(keys: list[str], content: Callable[[str], bytes], latency_s: float) -> None:
    """Answer on a free port of 127.0.0.1 until standard input closes: then nobody needs it any more."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stub(keys, content, latency_s), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description="A small S3 endpoint for benchmarks.")
    parser.add_argument("--objects", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    files = {PREFIX + path.name: path.read_bytes() for path in options.folder.iterdir()} if options.folder else {}
    generated = {f"{PREFIX}{number:07}.png": number for number in range(options.objects)}

    def content(key: str) -> bytes:
        return files[key] if key in files else tiny_png(generated[key])

    asyncio.run(serve(sorted([*files, *generated]), content, options.latency_ms / 1000))


if __name__ == "__main__":
    main()
