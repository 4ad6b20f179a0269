"""Restore a folder of images from one event loop, eight at a time; one that fails does not stop the others.

python examples/restore_many.py night-cams photos/ restored/
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

from udair_platform.client import AsyncClient, ClientError


async def restore_folder(domain: str, source: Path, target: Path) -> int:
    """Restore every file of `source` into `target`; the number that failed."""
    target.mkdir(parents=True, exist_ok=True)
    files = [(path.name, path) for path in sorted(source.iterdir()) if path.is_file()]
    versions: Counter[str | None] = Counter()
    failed, begun = 0, time.monotonic()
    async with AsyncClient() as client:
        async for name, answer in client.restore_many(files, domain, at_once=8, format="webp"):
            if isinstance(answer, ClientError):
                failed += 1
                print(f"{name}: {answer}", file=sys.stderr)
            else:
                answer.save(target / f"{name}.webp")
                versions[answer.version] += 1
    seconds = time.monotonic() - begun
    print(f"{sum(versions.values())} restored in {seconds:.1f} s by {dict(versions)}, {failed} failed")
    return failed


if __name__ == "__main__":
    raise SystemExit(bool(asyncio.run(restore_folder(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))))
