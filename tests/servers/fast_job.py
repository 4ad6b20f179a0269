#!/usr/bin/env python3
"""A job that writes in milliseconds what `udair_jobs.adapt_domain` writes in minutes: files, then the result.

Standard library only, and called as an interpreter would be: `fast_job.py -m udair_jobs.adapt_domain spec=FILE`.
UDAIR_FAST_JOB_S: seconds that it runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from pathlib import Path

EVIDENCE = {
    "target_images": 40,
    "gate_images": 16,
    "matched_gain_db": 1.2,
    "source_loss_db": 0.0,
    "niqe_source": 5.0,
    "niqe_adapted": 4.6,
    "niqe_worsening_low": -0.5,
    "disagreement_ratio": 0.98,
    "drift": 0.0,
    "clipped_share_growth": 0.0,
    "finite": True,
}


def write(path: Path, data: bytes, *, once: bool = False) -> None:
    """Whole or not at all; with `once` the first writer decides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".udair-part-{os.getpid()}")
    part.write_bytes(data)
    if not once:
        part.replace(path)
        return
    with contextlib.suppress(FileExistsError):
        os.link(part, path)
    part.unlink()


def main() -> None:
    spec = json.loads(Path(sys.argv[3].removeprefix("spec=")).read_text())
    output = Path(spec["output_uri"])
    progress = {"phase": "ADAPTING", "progress_percent": 40, "heartbeat_time": str(time.time())}
    write(output / "progress.json", json.dumps(progress).encode())
    time.sleep(float(os.environ.get("UDAIR_FAST_JOB_S", "0.1")))
    summary = {
        "snapshot_id": spec["snapshot_id"],
        "source_uri": spec["source_uri"],
        "digest": "d" * 64,
        "objects": 41,
        "images": 40,
        "adapt_images": 24,
        "gate_images": 16,
        "skipped": 1,
        "skipped_by_reason": {"TRUNCATED": 1},
        "total_bytes": 4000,
        "seconds": 0.1,
    }
    write(Path(spec["snapshot_uri"]) / "summary.json", json.dumps(summary).encode())
    files = {
        "adapter.safetensors": f"adapter of {spec['job_id']}".encode(),
        "evidence.json": json.dumps(EVIDENCE).encode(),
    }
    records = {}
    for name, data in files.items():
        write(output / "candidate" / name, data)
        records[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest = {
        "digest": records["adapter.safetensors"]["sha256"],
        "base_digest": spec["base_digest"],
        "tone": spec["tone"],
        "files": records,
        "code_version": "0.1.0",
    }
    write(output / "candidate" / "MANIFEST.json", json.dumps(manifest).encode(), once=True)
    result = {"state": "SUCCEEDED", "snapshot": summary, "manifest": manifest, "evidence": EVIDENCE, "seconds": 0.1}
    write(output / "result.json", json.dumps(result).encode(), once=True)


if __name__ == "__main__":
    main()
