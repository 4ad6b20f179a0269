"""Listeners to the event stream, in a process of their own: how late each event reaches each of them.

python benchmarks/listeners.py PORT TOKEN LISTENERS EVENTS

Says "ready" once all listen, and then, as JSON, the milliseconds from an event's own time to its arrival, after
every listener has had EVENTS events.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime


async def _listen(port: int, token: str, ready: asyncio.Event, events: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    lines = [
        "GET /v1/events HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Accept: text/event-stream",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise SystemExit(f"the stream is refused: {head[:200].decode()}")
    ready.set()
    lags: list[float] = []
    while len(lags) < events:
        line = await reader.readline()
        if not line:
            raise SystemExit("the stream ended")
        if line.startswith(b"data: {"):
            said = json.loads(line.removeprefix(b"data: "))["time"]
            lags.append(1000 * (time.time() - datetime.fromisoformat(said).timestamp()))
    writer.close()
    return lags


async def _main(port: int, token: str, listeners: int, events: int) -> None:
    signs = [asyncio.Event() for _ in range(listeners)]
    tasks = []
    for sign in signs:  # one after the other: a storm of connections is another measurement
        tasks.append(asyncio.create_task(_listen(port, token, sign, events)))
        await asyncio.wait_for(sign.wait(), 30)
    print("ready", flush=True)
    found = await asyncio.gather(*tasks)
    print(json.dumps([round(lag, 2) for lags in found for lag in lags]), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
