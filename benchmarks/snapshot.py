"""Memory and time of a snapshot of 10,000, 50,000 and 100,000 objects.

python benchmarks/snapshot.py --json benchmarks/results/snapshot.json

The objects are distinct pictures of 8 x 8 pixels that an S3 endpoint of our own generates
(`stub_s3.py`), so that time is per object and not per pixel. Peak memory is that of a fresh
process over what it held after its imports, its first request and pyarrow's lazy import of pandas.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import Figure, arguments, publish

HERE = Path(__file__).parent


def measure(endpoint_url: str, target: str) -> dict[str, float]:
    """Take one snapshot in this process: seconds, objects, and bytes above the start."""
    from pyarrow import compute, parquet  # noqa: F401 - its memory is no part of the snapshot's

    from udair_jobs.images.manifests import ManifestRow, ManifestRows
    from udair_jobs.images.snapshots import load_snapshot, take_snapshot
    from udair_jobs.storage import open_storage

    source = open_storage("s3://bench/images", endpoint_url=endpoint_url)
    source.get(next(iter(source.list())).key)
    ManifestRows.of([ManifestRow("a", "b", 1, "c")])  # pyarrow imports pandas when it first converts a list
    before = _peak_bytes()
    started = time.perf_counter()
    snapshot = take_snapshot(source, open_storage(target), snapshot_id="bench")
    seconds, peak = time.perf_counter() - started, _peak_bytes()
    started = time.perf_counter()
    assert load_snapshot(open_storage(target)) == snapshot
    read_s = time.perf_counter() - started
    return {"objects": snapshot.summary.images, "seconds": seconds, "read_s": read_s, "peak_bytes": peak - before}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_fresh_process(objects: int) -> dict[str, float]:
    """`measure` in a process of its own against an endpoint of its own."""
    server = subprocess.Popen(
        [sys.executable, HERE / "stub_s3.py", "--objects", str(objects)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        endpoint_url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        credentials = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
        with tempfile.TemporaryDirectory() as folder:
            code = f"import json, snapshot; print(json.dumps(snapshot.measure({endpoint_url!r}, {folder!r})))"
            run = subprocess.run(
                [sys.executable, "-c", code], cwd=HERE, env=os.environ | credentials, stdout=subprocess.PIPE, check=True
            )
        found: dict[str, float] = json.loads(run.stdout)
    finally:
        server.stdin.close()
        server.wait(10)
    if found["objects"] != objects:
        raise SystemExit(f"the snapshot has {found['objects']} images; expected {objects}")
    return found


def main() -> None:
    options = arguments(__doc__ or "")
    sizes = (500, 1000, 2000) if options.quick else (10_000, 50_000, 100_000)
    runs = {}
    for objects in sizes:
        print(f"{objects} objects", file=sys.stderr, flush=True)
        runs[objects] = in_fresh_process(objects)
    figures = {}
    for objects, found in runs.items():
        name = f"snapshot_{objects // 1000}k" if objects % 1000 == 0 else f"snapshot_{objects}"
        judged = objects == 100_000
        figures[f"{name}_peak_bytes"] = Figure(
            found["peak_bytes"], "bytes", 300e6 if judged else None, 150e6 if judged else None
        )
        figures[f"{name}_objects_per_s"] = Figure(round(objects / found["seconds"], 1), "1/s")
        figures[f"{name}_read_s"] = Figure(round(found["read_s"], 3), "s")
    first, last = sizes[0], sizes[-1]
    slope = (runs[last]["peak_bytes"] - runs[first]["peak_bytes"]) / (last - first)
    figures["snapshot_bytes_per_object"] = Figure(round(slope, 1), "bytes")
    publish("snapshot", figures, options, endpoint="stub_s3.py, no added latency, pictures of 8 x 8 pixels")


if __name__ == "__main__":
    main()
