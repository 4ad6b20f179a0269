"""What every store promises, checked on a folder and on S3 over HTTP with the same tests."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from udair_jobs.storage import (
    AccessDenied,
    InvalidKey,
    NotFound,
    PreconditionFailed,
    Storage,
    StorageUnavailable,
    TooLarge,
    arrow_filesystem,
    open_storage,
)
from udair_jobs.storage.s3_errors import mapped


@pytest.fixture(params=["folder", "s3", pytest.param("radosgw", marks=pytest.mark.radosgw)])
def server(request):
    """The S3 server that the test is about; None for a folder."""
    return None if request.param == "folder" else request.getfixturevalue(request.param)


@pytest.fixture
def store(server, tmp_path) -> Storage:
    if server is None:
        return open_storage(str(tmp_path / "store"))
    return open_storage(f"s3://{server.bucket()}/some/prefix", endpoint_url=server.endpoint_url)


def test_what_is_put_can_be_read_listed_and_deleted(store):
    etag = store.put("a/b.bin", b"hello")

    assert store.get("a/b.bin") == b"hello"
    info = store.head("a/b.bin")
    assert (info.key, info.size, info.etag) == ("a/b.bin", 5, etag)
    assert list(store.list()) == [info]
    assert info.last_modified.endswith("+00:00")
    assert '"' not in info.etag
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    assert not store.exists("a/b.bin")


def test_a_prefix_that_nobody_wrote_is_empty(store):
    assert list(store.list()) == []
    assert list(store.at("nothing/here").list()) == []
    assert not store.exists("nothing/here")


def test_listing_is_sorted_by_key_and_filters_by_string_prefix(store):
    for key in ("b/2", "a", "b.txt", "b/1", "c"):
        store.put(key, b"x")

    assert [item.key for item in store.list()] == ["a", "b.txt", "b/1", "b/2", "c"]
    assert [item.key for item in store.list("b")] == ["b.txt", "b/1", "b/2"]
    assert [item.key for item in store.list("b/")] == ["b/1", "b/2"]
    assert [item.key for item in store.at("b").list()] == ["1", "2"]


def test_missing_objects_are_not_found(store):
    store.put("folder/x", b"x")
    for call in (store.head, store.get):
        with pytest.raises(NotFound, match="does not exist"):
            call("nope")
        with pytest.raises(NotFound):
            call("folder")


def test_if_absent_never_overwrites(store):
    store.put("k", b"first", if_absent=True)
    with pytest.raises(PreconditionFailed):
        store.put("k", b"second", if_absent=True)
    assert store.get("k") == b"first"


def test_if_match_replaces_only_the_expected_version(store):
    first = store.put("k", b"1111")
    second = store.put("k", b"2222", if_match=first)

    assert second != first
    with pytest.raises(PreconditionFailed):
        store.put("k", b"3333", if_match=first)
    with pytest.raises(PreconditionFailed):
        store.put("missing", b"3333", if_match=first)
    assert store.get("k", if_match=second) == b"2222"
    assert store.get("k", if_match=f'"{second}"') == b"2222"  # quoted, as S3 itself writes etags
    with pytest.raises(PreconditionFailed):
        store.get("k", if_match=first)


def test_of_many_writers_with_if_absent_exactly_one_wins(store):
    writers = 12
    barrier = threading.Barrier(writers)

    def write(number: int) -> int | None:
        barrier.wait()
        try:
            store.put("race/commit.json", str(number).encode(), if_absent=True)
        except PreconditionFailed:
            return None
        return number

    with ThreadPoolExecutor(writers) as pool:
        winners = [number for number in pool.map(write, range(writers)) if number is not None]

    assert len(winners) == 1
    assert store.get("race/commit.json") == str(winners[0]).encode()


def test_concurrent_counters_lose_no_update_with_if_match(store):
    store.put("counter", b"0")

    def add(_: int) -> None:
        while True:
            etag = store.head("counter").etag
            try:
                value = int(store.get("counter", if_match=etag))
                store.put("counter", str(value + 1).encode(), if_match=etag)
            except PreconditionFailed:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(20)))

    assert store.get("counter") == b"20"


def test_readers_never_see_a_part_of_an_object(store):
    sizes = [10, 300_000]
    store.put("k", b"x" * sizes[0])
    seen = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(len(store.get("k")))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        store.put("k", b"x" * sizes[number % 2])
    done.set()
    reader.join()
    assert seen <= set(sizes)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a/..", "./a", "a\0b", "x" * 1100])
def test_keys_that_could_name_something_else_are_refused(store, key):
    for call in (store.get, store.head, store.delete, store.exists, lambda k: store.put(k, b"x")):
        with pytest.raises(InvalidKey):
            call(key)


def test_a_deeper_store_cannot_climb_out(store):
    with pytest.raises(InvalidKey):
        store.at("../other")
    with pytest.raises(InvalidKey):
        store.at("a").put("../x", b"x")


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    store = open_storage(str(root))

    for key in ("link", "up/secret"):
        with pytest.raises(InvalidKey, match="leads out"):
            store.get(key)
        with pytest.raises(InvalidKey, match="leads out"):
            store.put(key, b"x")
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_names_with_spaces_and_unicode_survive(store):
    keys = sorted(["my photo (1).jpg", "ünïcode/日本 ☂.png", "a+b=c&d?e#f.png", "100%25.jpg"])
    for key in keys:
        store.put(key, key.encode())

    assert [item.key for item in store.list()] == keys
    assert all(store.get(key) == key.encode() for key in keys)


def test_larger_objects_than_allowed_are_not_read(store):
    store.put("k", b"x" * 100)
    assert len(store.get("k", max_bytes=100)) == 100
    with pytest.raises(TooLarge, match="100 bytes; expected at most 99"):
        store.get("k", max_bytes=99)


def test_more_objects_than_one_page_are_listed(s3):
    store = open_storage(f"s3://{s3.bucket()}", endpoint_url=s3.endpoint_url)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put(f"k{n:04}", b""), range(1005)))
    assert [item.key for item in store.list()] == [f"k{n:04}" for n in range(1005)]


def test_a_presigned_url_reads_without_credentials(store):
    import urllib.request

    store.put("a b.txt", b"hello")
    with urllib.request.urlopen(store.presign_get("a b.txt")) as answer:
        assert answer.read() == b"hello"


def test_parquet_goes_through_the_arrow_file_system(store, server):
    from pyarrow import Table, parquet

    filesystem, path = arrow_filesystem(store.uri, endpoint_url=server.endpoint_url if server else None)
    filesystem.create_dir(path, recursive=True)
    parquet.write_table(Table.from_pydict({"a": [1, 2]}), f"{path}/t.parquet", filesystem=filesystem)

    assert parquet.read_table(f"{path}/t.parquet", filesystem=filesystem).to_pydict() == {"a": [1, 2]}
    assert store.exists("t.parquet")


def test_a_missing_bucket_is_named(s3):
    store = open_storage("s3://no-such-bucket-here/p", endpoint_url=s3.endpoint_url)
    for call in (lambda: list(store.list()), lambda: store.get("k"), lambda: store.put("k", b"x")):
        with pytest.raises(NotFound, match="bucket 'no-such-bucket-here' does not exist"):
            call()
    assert not store.exists("k")


def test_an_endpoint_where_nothing_listens_is_unavailable(s3, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = open_storage("s3://bucket/p", endpoint_url="http://127.0.0.1:9")
    with pytest.raises(StorageUnavailable, match=r"nothing answers at http://127\.0\.0\.1:9"):
        store.get("k")


def test_missing_credentials_are_access_denied(s3, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    store = open_storage("s3://bucket/p", endpoint_url=s3.endpoint_url)
    with pytest.raises(AccessDenied, match="set AWS_ACCESS_KEY_ID"):
        list(store.list())


@pytest.mark.parametrize("operation", ["GetObject", "AssumeRole"])
def test_whatever_botocore_takes_for_transient_is_transient(operation):
    codes = {*ThrottledRetryableChecker._THROTTLED_ERROR_CODES, *TransientRetryableChecker._TRANSIENT_ERROR_CODES}
    for code in sorted(codes):
        answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        error = mapped(ClientError(answer, operation), "s3://b/k", bucket="b", endpoint_url=None)
        assert isinstance(error, StorageUnavailable), code


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"])
def test_each_way_of_being_refused_says_what_to_do_and_no_secret(strict_s3, monkeypatch, code):
    access_key, secret = strict_s3.refused_as(code)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    store = open_storage("s3://guarded/p", endpoint_url=strict_s3.endpoint_url)

    with pytest.raises(AccessDenied, match=code) as caught:
        list(store.list())

    assert access_key not in str(caught.value)
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "uri", ["", "http://host/x", "s3://", "s3:///key", "file://host/x", "s3://key:secret@bucket/x"]
)
def test_uris_that_name_no_store_are_refused_without_repeating_secrets(uri):
    with pytest.raises(InvalidKey, match="expected") as caught:
        open_storage(uri)
    assert "secret" not in str(caught.value)


def test_uris_are_normalised(tmp_path, s3):
    assert open_storage(f"file://{tmp_path}/a%20b/").uri == f"{tmp_path}/a b"
    assert open_storage("s3://bucket/a/b/", endpoint_url=s3.endpoint_url).uri == "s3://bucket/a/b"
    assert open_storage("s3://bucket", endpoint_url=s3.endpoint_url).at("x/").uri == "s3://bucket/x"


def test_the_control_plane_can_import_storage_and_specs_without_heavy_libraries():
    code = (
        "import sys, udair_jobs.storage, udair_jobs.specs, udair_jobs.published.candidates;"
        "print([m for m in ('torch', 'ray', 'hydra', 'pyarrow', 's3fs', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_half_written_files_of_a_killed_writer_are_not_listed(tmp_path: Path):
    store = open_storage(str(tmp_path))
    (tmp_path / ".udair-part-0123").write_bytes(b"half")
    store.put("whole", b"x")
    assert [item.key for item in store.list()] == ["whole"]
