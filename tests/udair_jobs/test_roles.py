"""Reading a tenant's prefix with their role: assumed with the external id, cut down, renewed, never written down."""

from __future__ import annotations

import json
import pickle

import pytest
from botocore.exceptions import ClientError

from udair_jobs.adapt_domain.job import run
from udair_jobs.specs import AdaptSpec
from udair_jobs.storage import AccessDenied, InvalidKey, Role, arrow_filesystem, open_storage
from udair_jobs.storage.roles import reading_policy
from udair_jobs.storage.s3 import make_client

ARN = "arn:aws:iam::123456789012:role/reader"


@pytest.fixture
def tenant(strict_s3, monkeypatch):
    """The strict server, seen by a platform that has no rights but to assume the tenant's role."""
    strict_s3.client(*strict_s3.allowed).put_object(Bucket="guarded", Key="cams/a.txt", Body=b"hello")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", strict_s3.assuming[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", strict_s3.assuming[1])
    return strict_s3


def role_of(tenant, **changes):
    return Role(**({"arn": tenant.role_arn, "external_id": tenant.external_id} | changes))


def opened(tenant, role):
    return open_storage("s3://guarded/cams", endpoint_url=tenant.endpoint_url, role=role)


def test_the_role_reads_what_the_platform_itself_may_not(tenant):
    with pytest.raises(AccessDenied):
        opened(tenant, None).get("a.txt")
    store = opened(tenant, role_of(tenant))
    assert store.get("a.txt") == b"hello"
    assert [item.key for item in store.list()] == ["a.txt"]
    with pytest.raises(AccessDenied):
        store.put("b.txt", b"x")


def test_s3fs_and_pyarrow_use_the_role_too(tenant):
    filesystem, path = arrow_filesystem("s3://guarded/cams", endpoint_url=tenant.endpoint_url, role=role_of(tenant))
    with filesystem.open_input_stream(f"{path}/a.txt") as file:
        assert file.read() == b"hello"
    plain, path = arrow_filesystem("s3://guarded/cams", endpoint_url=tenant.endpoint_url)
    with pytest.raises(OSError):
        plain.open_input_stream(f"{path}/a.txt").read()


def test_a_pickled_file_system_holds_no_credentials_and_still_reads(tenant):
    filesystem, path = arrow_filesystem("s3://guarded/cams", endpoint_url=tenant.endpoint_url, role=role_of(tenant))
    filesystem.open_input_stream(f"{path}/a.txt").read()
    sent = pickle.dumps(filesystem)
    assert tenant.assuming[1].encode() not in sent
    assert b"ASIA" not in sent  # every temporary access key starts with it
    with pickle.loads(sent).open_input_stream(f"{path}/a.txt") as file:
        assert file.read() == b"hello"


def test_a_guessed_external_id_is_refused_and_says_what_to_check(tenant):
    with pytest.raises(AccessDenied, match=r"the role cannot be assumed.*external id") as caught:
        opened(tenant, role_of(tenant, external_id="guessed")).get("a.txt")
    assert tenant.assuming[1] not in str(caught.value)


def test_credentials_are_replaced_before_they_end(tenant):
    # botocore renews what ends within 15 minutes; these live no longer, so every use renews them.
    role = role_of(tenant, duration_s=900)
    client = make_client(tenant.endpoint_url, role=role, policy=reading_policy(role, "guarded", "cams"))
    used = set()
    client.meta.events.register(
        "before-send.s3", lambda request, **_: used.add(request.headers["Authorization"].split(b"/")[0])
    )
    for _ in range(3):
        client.get_object(Bucket="guarded", Key="cams/a.txt")
    assert len(used) == 3


def test_a_job_reads_its_source_with_the_role_that_its_spec_names(tenant, tmp_path, base_model):
    spec = AdaptSpec(
        tenant="acme",
        domain="d",
        job_id="j",
        snapshot_id="s",
        source_uri="s3://guarded/cams",
        source_endpoint_url=tenant.endpoint_url,
        source_role_arn=tenant.role_arn,
        source_external_id=tenant.external_id,
        base_uri=str(base_model[0]),
        base_digest=base_model[1],
        snapshot_uri=str(tmp_path / "snapshot"),
        output_uri=str(tmp_path / "out"),
    )
    # It gets as far as looking at the object, which is no image.
    assert run(spec).reason == "DATA_UNREADABLE"
    other = spec.model_copy(update={"source_external_id": "guessed", "output_uri": str(tmp_path / "other")})
    result = run(other)
    assert result.reason == "ACCESS_DENIED"
    assert "the role cannot be assumed" in result.detail


def test_the_session_policy_allows_to_list_and_read_the_prefix_only():
    policy = json.loads(reading_policy(Role("arn:aws-cn:iam::123456789012:role/reader"), "bucket", "a/b*"))
    assert policy["Statement"] == [
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": "arn:aws-cn:s3:::bucket",
            "Condition": {"StringLike": {"s3:prefix": "a/b${*}/*"}},
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws-cn:s3:::bucket/a/b${*}/*"},
    ]


@pytest.mark.radosgw
def test_a_session_cannot_leave_its_prefix_although_its_role_could(radosgw):
    bucket = radosgw.bucket()
    for key in ("my a/x", "b/x"):
        radosgw.put(bucket, key, b"hello")
    role = Role("arn:aws:iam:::role/reader")
    client = make_client(radosgw.endpoint_url, role=role, policy=reading_policy(role, bucket, "my a"))

    assert client.get_object(Bucket=bucket, Key="my a/x")["Body"].read() == b"hello"
    assert client.list_objects_v2(Bucket=bucket, Prefix="my a/")["KeyCount"] == 1
    for refused in (
        lambda: client.get_object(Bucket=bucket, Key="b/x"),
        lambda: client.list_objects_v2(Bucket=bucket, Prefix="b/"),
        lambda: client.list_objects_v2(Bucket=bucket),
        lambda: client.put_object(Bucket=bucket, Key="my a/y", Body=b""),
        lambda: client.delete_object(Bucket=bucket, Key="my a/x"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()


@pytest.mark.parametrize("values", [{"arn": "reader"}, {"arn": ARN, "duration_s": 7200}, {"arn": ARN, "duration_s": 1}])
def test_roles_that_cannot_be_are_refused(values):
    with pytest.raises(InvalidKey, match="expected"):
        Role(**values)


def test_a_folder_has_no_roles(tmp_path):
    for opening in (open_storage, arrow_filesystem):
        with pytest.raises(InvalidKey, match="is a folder"):
            opening(str(tmp_path), role=Role(ARN))
