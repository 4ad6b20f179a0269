"""What a strict S3 server refuses, moto lets pass: signatures, expiry, and reading with wrong keys."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

import pytest

from udair_jobs.storage import AccessDenied, arrow_filesystem, open_storage

pytestmark = pytest.mark.radosgw


@pytest.fixture
def store(radosgw):
    store = open_storage(f"s3://{radosgw.bucket()}/p", endpoint_url=radosgw.endpoint_url)
    store.put("a b.txt", b"hello")
    return store


def test_a_presigned_url_ends(store):
    url = store.presign_get("a b.txt", expires_s=1)
    time.sleep(2.5)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url)


def test_a_presigned_url_reads_its_own_object_only(store):
    store.put("other.txt", b"secret")
    url = store.presign_get("a b.txt")
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"hello"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url.replace("a%20b.txt", "other.txt"))


@pytest.mark.parametrize(("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong-one"), ("AWS_ACCESS_KEY_ID", "nobody")])
def test_wrong_keys_are_refused_in_every_client(store, radosgw, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    wrong = open_storage(store.uri, endpoint_url=radosgw.endpoint_url)
    for call in (lambda: list(wrong.list()), lambda: wrong.get("a b.txt"), lambda: wrong.put("x", b"x")):
        with pytest.raises(AccessDenied) as caught:
            call()
        assert value not in str(caught.value)
    filesystem, path = arrow_filesystem(store.uri, endpoint_url=radosgw.endpoint_url)
    with pytest.raises(OSError):
        filesystem.open_input_stream(f"{path}/a b.txt").read()


def test_boto3_s3fs_and_pyarrow_read_what_each_other_wrote(store, radosgw):
    filesystem, path = arrow_filesystem(store.uri, endpoint_url=radosgw.endpoint_url)
    with filesystem.open_output_stream(f"{path}/large.bin") as file:  # more than one part of a multipart upload
        for _ in range(3):
            file.write(b"x" * 6_000_000)
    assert len(store.get("large.bin")) == 18_000_000
    with filesystem.open_input_file(f"{path}/a b.txt") as file:
        assert file.read() == b"hello"
    names = {item.base_name for item in filesystem.get_file_info(_selector(path))}
    assert names == {item.key for item in store.list()} == {"a b.txt", "large.bin"}


def _selector(path):
    from pyarrow.fs import FileSelector

    return FileSelector(path)
