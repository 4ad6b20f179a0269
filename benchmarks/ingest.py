"""Images per second from S3 into tensors: ours, a local disk, plain loops, and peers that are installed.

python benchmarks/ingest.py --json benchmarks/results/ingest.json

Every row reads the same JPEGs of 1280 x 960, a camera's frames, from an S3 endpoint of our own
(`stub_s3.py`), which costs a tenth of a millisecond of processor a request, decodes them with the project's
decoder and makes tensors. A request costs boto3 about a millisecond of Python: on smaller images it weighs
more than here. `_20ms` rows have 20 ms added to every answer, as a store in the same region has; on
loopback and without it, two cores measure little but the decoder. The peers run where they
can be imported: webdataset reads tar shards over HTTP, torchdata maps our own fetch in its threads,
mosaicml-streaming reads MDS shards. They skip what we do besides: pinning by etag and content hash.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from report import Figure, arguments, publish
from stub_s3 import BUCKET, PREFIX

from udair.data.images import decode
from udair.data.scenes import dead_leaves
from udair_jobs.images.datasets import load_images
from udair_jobs.images.downloads import WORKERS
from udair_jobs.images.snapshots import take_snapshot
from udair_jobs.specs import LimitsSpec
from udair_jobs.storage import arrow_filesystem, open_storage
from udair_jobs.storage.s3 import make_client

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1280, 960
LATENCY_MS = 20
LIMITS = LimitsSpec(max_side=WIDTH)  # no crop: every row makes the same tensors

Read = Callable[[], Iterable[torch.Tensor]]


def main() -> None:
    options = arguments(__doc__ or "")
    count, repeats = (30, 1) if options.quick else (150, 3)
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    rates: dict[str, list[float]] = {}
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_images(folder / "images", count, options.seed)
        _write_shards(folder / "images", folder / "shards")
        for latency_ms, suffix in ((0, ""), (LATENCY_MS, f"_{LATENCY_MS}ms")):
            with endpoint(folder / "images", latency_ms) as images, endpoint(folder / "shards", latency_ms) as shards:
                readers = _readers(folder, images, shards, notes)
                list(readers["ours"]())  # warm: connections are open, memory has been touched
                for repeat in range(repeats):
                    for name, read in readers.items():
                        print(f"{name}{suffix} {repeat + 1}", file=sys.stderr, flush=True)
                        rates.setdefault(name + suffix, []).append(_rate(read, count))
    figures = {f"ingest_{name}_images_per_s": Figure.median_of(found, "1/s") for name, found in rates.items()}
    for suffix in ("", f"_{LATENCY_MS}ms"):
        ours = median(rates[f"ours{suffix}"])
        naive = max(median(rates[f"boto3_loop{suffix}"]), median(rates[f"s3fs_loop{suffix}"]))
        latency = bool(suffix)
        figures[f"ingest_over_local_disk{suffix}"] = Figure(
            round(ours / median(rates[f"local_disk{suffix}"]), 3), "times", None if latency else 0.8
        )
        figures[f"ingest_over_naive{suffix}"] = Figure(round(ours / naive, 3), "times", 3.0 if latency else None)
    publish("ingest", figures, options, endpoint="stub_s3.py", images=count, size=[WIDTH, HEIGHT], skipped=notes)


def _readers(folder: Path, images: str, shards: str, notes: dict[str, str]) -> dict[str, Read]:
    source, disk = open_storage(f"s3://{BUCKET}/images", endpoint_url=images), open_storage(str(folder / "images"))
    rows = {}
    for name, store in (("s3", source), ("disk", disk)):
        target = open_storage(tempfile.mkdtemp(dir=folder))
        rows[name] = take_snapshot(store, target, snapshot_id=name).rows.usable()
    keys = list(rows["s3"].values("key"))
    client = make_client(images)
    filesystem, path = arrow_filesystem(source.uri, endpoint_url=images)
    remote = filesystem.handler.fs

    def fetched(key: str) -> torch.Tensor:
        return _tensor(client.get_object(Bucket=BUCKET, Key=PREFIX + key)["Body"].read())

    readers: dict[str, Read] = {
        "ours": lambda: map(torch.from_numpy, load_images(source, rows["s3"], limits=LIMITS).images),
        "local_disk": lambda: map(torch.from_numpy, load_images(disk, rows["disk"], limits=LIMITS).images),
        "boto3_loop": lambda: map(fetched, keys),
        "s3fs_loop": lambda: (_tensor(remote.cat_file(f"{path}/{key}")) for key in keys),
    }
    peers = {
        "torchdata": lambda: _torchdata(keys, fetched),
        "webdataset": lambda: _webdataset(f"{shards}/{BUCKET}/{PREFIX}images.tar"),
        "streaming": lambda: _streaming(folder, shards),
    }
    for name, prepare in peers.items():
        try:
            readers[name] = prepare()
        except ImportError as error:
            notes[name] = f"not installed: {error.name or error}"
            print(f"{name} skipped: {notes[name]}", file=sys.stderr)
    return readers


def _torchdata(keys: list[str], fetched: Callable[[str], torch.Tensor]) -> Read:
    from torchdata.nodes import IterableWrapper, Loader, ParallelMapper

    return lambda: Loader(ParallelMapper(IterableWrapper(keys), fetched, num_workers=WORKERS, method="thread"))


def _webdataset(url: str) -> Read:
    import webdataset

    return lambda: (_tensor(sample["jpg"]) for sample in webdataset.WebDataset(url, shardshuffle=False, handler=_raise))


def _streaming(folder: Path, shards: str) -> Read:
    from streaming import StreamingDataset

    os.environ["S3_ENDPOINT_URL"] = shards

    def read() -> Iterator[torch.Tensor]:
        # A cache of its own for every pass: the second pass over a warm cache is no ingest.
        local = tempfile.mkdtemp(dir=folder)
        dataset = StreamingDataset(remote=f"s3://{BUCKET}/{PREFIX}", local=local, batch_size=1)
        return (_tensor(sample["jpg"]) for sample in dataset)

    return read


def _raise(error: Exception) -> bool:
    raise error


def _tensor(data: bytes) -> torch.Tensor:
    return torch.from_numpy(decode(data))


def _rate(read: Read, count: int) -> float:
    started = time.perf_counter()
    tensors = list(read())  # all are kept, as a job keeps them: fresh memory costs everybody the same
    seconds = time.perf_counter() - started
    seen = sum(tensor.shape == (HEIGHT, WIDTH, 3) for tensor in tensors)
    if seen != count:
        raise SystemExit(f"{seen} images arrived; expected {count}")
    return count / seconds


def _write_images(folder: Path, count: int, seed: int) -> None:
    folder.mkdir()
    scene = np.tile(dead_leaves(1, WIDTH // 2, seed=seed)[0], (2, 2, 1))[:HEIGHT]
    for number in range(count):
        shifted = np.roll(scene, 3 * number, axis=(0, 1))
        Image.fromarray(shifted).save(folder / f"{number:05}.jpg", quality=90)


def _write_shards(images: Path, target: Path) -> None:
    target.mkdir()
    with suppress(ImportError):
        from streaming import MDSWriter

        # Below boto3's threshold for ranged downloads, which the endpoint does not speak.
        with MDSWriter(out=str(target), columns={"jpg": "bytes"}, size_limit=4 * 2**20, exist_ok=True) as writer:
            for path in sorted(images.iterdir()):
                writer.write({"jpg": path.read_bytes()})
    with tarfile.open(target / "images.tar", "w") as tar:
        for path in sorted(images.iterdir()):
            entry = tarfile.TarInfo(path.name)
            data = path.read_bytes()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


@contextmanager
def endpoint(folder: Path, latency_ms: float) -> Iterator[str]:
    command = [sys.executable, HERE / "stub_s3.py", "--folder", folder, "--latency-ms", str(latency_ms)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.stdin.close()
        server.wait(10)


if __name__ == "__main__":
    main()
