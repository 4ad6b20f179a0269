"""Load from a process of its own: so many callers, each with one request on its way, for so long.

python benchmarks/load.py < plan.json > result.json

The plan names a host and port, requests (path, headers, base64 body) and the order in which callers take them. Plain
asyncio sockets with keep-alive: a request costs this process about a tenth of a millisecond.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Result:
    """What a load measured.

    Attributes:
        per_s: Answers with status 200 per second.
        latency_ms: Of each of them, in the order of their ends.
        statuses: How many answers had each status; 0 is a broken connection.
    """

    per_s: float
    latency_ms: list[float]
    statuses: dict[str, int]

    def quantile(self, share: float) -> float:
        """A latency, milliseconds."""
        return float(np.quantile(self.latency_ms, share))


def run(
    port: int, requests: list[dict[str, Any]], order: list[int], *, callers: int, seconds: float, warm_s: float = 1.0
) -> Result:
    """Apply a load from another process.

    Args:
        requests: Each with `path`, `headers` and `body` (bytes).
        order: Indices of `requests`, taken one after the other by whichever caller is free, round and round.
        callers: Requests on their way at once.
        seconds: After `warm_s` that do not count.
    """
    plan = {
        "port": port,
        "order": order,
        "callers": callers,
        "seconds": seconds,
        "warm_s": warm_s,
        "requests": [r | {"body": base64.b64encode(r["body"]).decode()} for r in requests],
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__))], input=json.dumps(plan), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the load generator ended with {done.returncode}: {done.stderr[-2000:]}")
    return Result(**json.loads(done.stdout))


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(head.split()[1])


async def _load(plan: dict[str, Any]) -> dict[str, Any]:
    encoded = []
    for request in plan["requests"]:
        body = base64.b64decode(request["body"])
        lines = [f"POST {request['path']} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in request["headers"].items()]
        encoded.append("\r\n".join([*lines, "", ""]).encode() + body)
    order, place = plan["order"], 0
    began = time.perf_counter()
    counted, ends = began + plan["warm_s"], began + plan["warm_s"] + plan["seconds"]
    latencies: list[tuple[float, float]] = []
    statuses: Counter[int] = Counter()

    async def caller() -> None:
        nonlocal place
        connection: Any = None
        while (now := time.perf_counter()) < ends:
            request = encoded[order[place % len(order)]]
            place += 1
            try:
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", plan["port"])
                status = await _ask(*connection, request)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                connection, status = None, 0
            after = time.perf_counter()
            if counted <= after < ends:
                statuses[status] += 1
                if status == 200:
                    latencies.append((after, 1000 * (after - now)))

    await asyncio.gather(*(caller() for _ in range(plan["callers"])))
    # From the first end to the last: a fixed span would count a part of a request.
    return {
        "per_s": len(latencies) / plan["seconds"],
        "latency_ms": [round(spent, 3) for _, spent in sorted(latencies)],
        "statuses": {str(status): count for status, count in statuses.items()},
    }


if __name__ == "__main__":
    json.dump(asyncio.run(_load(json.load(sys.stdin))), sys.stdout)
