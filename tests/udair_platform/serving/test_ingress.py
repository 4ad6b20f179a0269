"""The data plane's HTTP application over a real backbone and a real store, without Ray between them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch
from data_plane import PREVIOUS_KEY, Plane, answering, apart, bearer, make_adapter, make_image, offline, until
from structlog.testing import capture_logs

from udair.adaptation.adapter import adapter_to_bytes
from udair.data.images import DecodeLimits, decode, encode_png
from udair_jobs.storage import open_storage
from udair_platform.contract.receipts import Receipt
from udair_platform.errors import TooManyRequests, Unavailable
from udair_platform.keys import Claims, issue
from udair_platform.serving.http.predictions import Predictions
from udair_platform.serving.http.restore import RestoreService
from udair_platform.serving.model.replica import RestoredImage
from udair_platform.serving.request import RestoreRequest


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with answering(Plane(tmp_path_factory.mktemp("plane"))) as made:
        yield made


def _post(plane, name: str, body: bytes, headers=None, query: str = "", **claims) -> httpx.Response:
    url = f"{plane.url}/v1/domains/{name}:restore{query}"
    return httpx.post(url, content=body, headers=bearer(**claims) | (headers or {}), timeout=60)


def test_a_domain_without_an_adapter_is_served_by_the_source_model(plane):
    image = make_image()
    answer = _post(plane, "plain", encode_png(image))
    assert answer.status_code == 200
    assert answer.headers["x-adapter-version"] == "0"
    assert answer.headers["x-fallback"] == "none"
    assert answer.headers["x-base-model"] == "udair-tiny"
    assert answer.headers["x-request-id"]
    assert "forward;dur=" in answer.headers["server-timing"]
    assert apart(decode(answer.content), offline(image, None)) <= 1


def test_one_batch_mixes_domains_and_gives_the_pixels_of_each_alone(plane):
    for index in range(5):
        plane.route(f"mixed-{index}", make_adapter(0.05 * (index + 1)))
    images = [make_image(index) for index in range(5)]

    with ThreadPoolExecutor(5) as pool:
        for _ in range(20):  # until the clock lets some arrive together
            answers = list(pool.map(lambda i: _post(plane, f"mixed-{i}", encode_png(images[i])), range(5)))
            if max(int(answer.headers["x-batch-domains"]) for answer in answers) > 1:
                break

    assert max(int(answer.headers["x-batch-domains"]) for answer in answers) > 1
    for index, answer in enumerate(answers):  # five adapters in two slots
        assert apart(decode(answer.content), offline(images[index], plane.adapters[f"mixed-{index}"])) <= 1


def test_a_promotion_and_a_rollback_are_a_new_route(plane):
    image = make_image(7)
    plane.route("moving", make_adapter(0.1), version=1)
    assert _post(plane, "moving", encode_png(image)).headers["x-adapter-version"] == "1"
    plane.route("moving", make_adapter(0.4), version=2)
    until(lambda: _post(plane, "moving", encode_png(image)).headers["x-adapter-version"] == "2")
    second = _post(plane, "moving", encode_png(image))
    assert apart(decode(second.content), offline(image, plane.adapters["moving"])) <= 1
    plane.route("moving", None)
    back = _post(plane, "moving", encode_png(image))
    assert back.headers["x-adapter-version"] == "0"
    assert apart(decode(back.content), offline(image, None)) <= 1


def _spoiled(plane, name: str, kind: str, value: float, version: int = 1) -> None:
    # A digest of its own: what is loaded already needs no store.
    adapter = make_adapter(value + len(kind) / 100)
    if kind == "altered":
        data = bytearray(adapter_to_bytes(adapter))
        data[-1] ^= 1
        plane.route(name, adapter, version, data=bytes(data))
    elif kind == "other base":
        plane.route(name, replace(adapter, base_digest="f" * 64), version)
    else:
        entry = plane.entry(name, adapter, version)
        plane.store.delete(f"candidates/{name}-{version}/adapter.safetensors")
        plane._routes[f"acme/{name}"] = entry
        plane.write()


@pytest.mark.parametrize("kind", ["altered", "gone", "other base"])
def test_an_adapter_that_cannot_be_trusted_falls_back_to_the_source_model(plane, kind):
    image, name = make_image(9), f"first-{kind.replace(' ', '-')}"
    _spoiled(plane, name, kind, 0.5)
    answer = _post(plane, name, encode_png(image))
    assert answer.headers["x-fallback"] == "source"
    assert answer.headers["x-adapter-version"] == "0"
    assert apart(decode(answer.content), offline(image, None)) <= 1
    told = httpx.get(f"{plane.url}/v1/domains/{name}/route", headers=bearer()).json()
    assert (told["state"], told["blocked"]["version"], told["blocked"]["serving"]) == ("BLOCKED", 1, 0)


@pytest.mark.parametrize("kind", ["altered", "gone", "other base"])
def test_a_promotion_to_a_version_that_cannot_be_loaded_is_blocked_and_the_one_before_serves_on(plane, kind):
    image, name = make_image(9), f"second-{kind.replace(' ', '-')}"
    good = make_adapter(0.2)
    plane.route(name, good, version=1)
    assert _post(plane, name, encode_png(image)).headers["x-adapter-version"] == "1"
    _spoiled(plane, name, kind, 0.6, version=2)
    until(lambda: plane.backbone.describe(f"acme/{name}")["blocked"])
    answer = _post(plane, name, encode_png(image))
    assert (answer.headers["x-fallback"], answer.headers["x-adapter-version"]) == ("previous", "1")
    assert apart(decode(answer.content), offline(image, good)) <= 1
    until(lambda: plane.store.exists(f"serving/reports/{plane.backbone.id}.json"))
    until(lambda: _report(plane)["domains"].get(f"acme/{name}", {}).get("blocked"))
    plane.route(name, good, version=1)  # the way back
    until(lambda: plane.backbone.describe(f"acme/{name}")["blocked"] is None)
    assert _post(plane, name, encode_png(image)).headers["x-fallback"] == "none"


def _report(plane) -> dict:
    return json.loads(plane.store.get(f"serving/reports/{plane.backbone.id}.json"))


def test_a_canary_answers_its_share_and_a_shadow_none(plane):
    image = make_image(3)
    plane.route(
        "shared",
        make_adapter(0.1),
        version=1,
        canary=plane.entry("canary", make_adapter(0.3), 2) | {"percent": 50},
        shadow=plane.entry("shadow", make_adapter(0.5), 3) | {"percent": 100},
    )
    versions = {}
    for number in range(12):
        answer = _post(plane, "shared", encode_png(image), headers={"X-Routing-Key": f"user-{number}"})
        versions[f"user-{number}"] = answer.headers["x-adapter-version"]
    assert set(versions.values()) == {"1", "2"}
    again = {key: _post(plane, "shared", encode_png(image), headers={"X-Routing-Key": key}) for key in versions}
    assert {key: answer.headers["x-adapter-version"] for key, answer in again.items()} == versions
    for answer in again.values():
        row = plane.adapters["canary" if answer.headers["x-adapter-version"] == "2" else "shared"]
        assert apart(decode(answer.content), offline(image, row)) <= 1
    until(lambda: (plane.backbone.describe("acme/shared")["shadow"] or {}).get("images", 0) >= 1)
    shadow = plane.backbone.describe("acme/shared")["shadow"]
    assert shadow["version"] == 3
    assert 0 < shadow["mean_difference"] <= shadow["worst_difference"]


def test_larger_images_are_restored_whole(plane):
    answer = _post(plane, "plain", encode_png(np.full((300, 270, 3), 90, np.uint8)))
    assert decode(answer.content).shape == (300, 270, 3)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "BAD_REQUEST"),
        (b"no image", 422, "VALIDATION_FAILED"),
        (encode_png(make_image())[:-100], 422, "VALIDATION_FAILED"),
        (encode_png(np.zeros((1, 1, 3), np.uint8)), 422, "VALIDATION_FAILED"),
        (encode_png(np.zeros((600, 600, 3), np.uint8)), 413, "BODY_TOO_LARGE"),
        (bytes(400_000), 413, "BODY_TOO_LARGE"),
    ],
)
def test_bad_bodies_are_refused_with_a_problem(plane, body, status, code):
    answer = _post(plane, "plain", body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code


@pytest.mark.parametrize(
    ("claims", "status", "code"),
    [
        ({"scopes": ("domain:read",)}, 403, "FORBIDDEN"),
        ({"domains": ("other",)}, 403, "FORBIDDEN"),
        ({"exp": 1}, 401, "KEY_EXPIRED"),
        ({"tenant": "globex"}, 404, "NOT_FOUND"),
    ],
)
def test_keys_are_checked_without_the_control_plane(plane, claims, status, code):
    answer = _post(plane, "plain", encode_png(make_image()), **claims)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_forged_missing_and_revoked_keys_are_refused(plane):
    url = f"{plane.url}/v1/domains/plain:restore"
    body = encode_png(make_image())
    forged = issue(b"x" * 32, Claims("kid1", "acme", ("admin",)))
    assert httpx.post(url, content=body).status_code == 401
    assert httpx.post(url, content=body, headers={"Authorization": f"Bearer {forged}"}).json()["code"] == "KEY_INVALID"
    plane.write(revoked=["kid1"])
    try:
        assert _post(plane, "plain", body).json()["code"] == "KEY_REVOKED"
        plane.write(revoked={"kid1": time.time() + 3600})  # rotated with a grace
        assert _post(plane, "plain", body).status_code == 200
        plane.write(revoked={"kid1": time.time()})
        assert _post(plane, "plain", body).json()["code"] == "KEY_REVOKED"
    finally:
        plane.write()


def test_keys_of_the_previous_signing_key_are_good(plane):
    token = issue(PREVIOUS_KEY, Claims("kid0", "acme", ("restore:invoke",)))
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{plane.url}/v1/domains/plain:restore", content=encode_png(make_image()), headers=headers)
    assert answer.status_code == 200


def test_many_first_requests_load_an_adapter_once(plane):
    plane.route("cold", make_adapter(0.31), version=4)
    loads = []
    original = plane.backbone._adapters.load
    plane.backbone._adapters.load = lambda target: loads.append(target) or original(target)
    try:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda i: _post(plane, "cold", encode_png(make_image(i))), range(6)))
    finally:
        plane.backbone._adapters.load = original
    assert [answer.headers["x-adapter-version"] for answer in answers] == ["4"] * 6
    assert [target.version for target in loads if target.version == 4] == [4]


def test_pinned_adapters_are_there_before_the_first_request_and_stay(plane):
    plane.route("pinned", make_adapter(0.41), pinned=True)
    name = f"{plane._routes['acme/pinned']['adapter_digest']}:keep"
    until(lambda: name in plane.backbone._adapters.bank)
    for number in range(4):
        plane.route(f"passing-{number}", make_adapter(0.42 + number / 100))
        assert _post(plane, f"passing-{number}", encode_png(make_image())).status_code == 200
    assert name in plane.backbone._adapters.bank
    plane.route("pinned", None)


@pytest.mark.parametrize(
    ("accept", "kind", "start"),
    [
        ("image/jpeg", "image/jpeg", b"\xff\xd8"),
        ("image/webp", "image/webp", b"RIFF"),
        ("image/tiff;q=0.5, image/webp;q=0.9", "image/webp", b"RIFF"),
        ("*/*", "image/png", b"\x89PNG"),
    ],
)
def test_accept_decides_the_format(plane, accept, kind, start):
    answer = _post(plane, "plain", encode_png(make_image()), headers={"Accept": accept}, query="?quality=90")
    assert answer.headers["content-type"] == kind
    assert answer.content.startswith(start)
    assert decode(answer.content).shape == make_image().shape


def test_sixteen_bits_a_channel(plane):
    answer = _post(plane, "plain", encode_png(make_image()), headers={"Accept": "image/png; depth=16"})
    assert answer.headers["content-type"] == "image/png;depth=16"
    assert answer.content[24:26] == b"\x10\x02"  # bits, RGB
    assert apart(decode(answer.content), offline(make_image(), None)) <= 1


@pytest.mark.parametrize(
    ("headers", "query", "status", "code"),
    [
        ({"Accept": "text/html"}, "", 406, "NOT_ACCEPTABLE"),
        ({}, "?quality=0", 400, "BAD_REQUEST"),
        ({}, "?quality=high", 400, "BAD_REQUEST"),
        ({}, "?test_time=maybe", 400, "BAD_REQUEST"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(plane, headers, query, status, code):
    answer = _post(plane, "plain", encode_png(make_image()), headers=headers, query=query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_test_time_adaptation_changes_the_one_answer_and_nothing_else(plane):
    image = make_image(5, 200, 200)
    adding = make_adapter(0.1)  # its change adds to flat places what the model takes out of them
    plane.route("adding", replace(adding, row=replace(adding.row, gain_B=torch.full_like(adding.row.gain_B, -3.0))))
    before = _post(plane, "adding", encode_png(image))
    adapted = _post(plane, "adding", encode_png(image), query="?test_time=true")
    after = _post(plane, "adding", encode_png(image))
    assert adapted.status_code == 200
    assert before.content == after.content
    assert apart(decode(adapted.content), image) < apart(decode(before.content), image)


def test_an_image_of_the_domains_own_bucket_is_restored_by_its_name_and_no_other_is_read(plane):
    image = make_image(6)
    plane.source.put("night/été 1.png", encode_png(image))
    plane.store.put("secret.png", encode_png(image))
    plane.route("own", None, source_uri=plane.source.uri)

    def ask(uri: str) -> httpx.Response:
        return httpx.post(f"{plane.url}/v1/domains/own:restore", json={"input_uri": uri}, headers=bearer(), timeout=60)

    answer = ask(f"{plane.source.uri}/night/été 1.png")
    assert answer.status_code == 200, answer.text
    assert apart(decode(answer.content), offline(image, None)) <= 1
    assert ask(f"{plane.store.uri}/secret.png").status_code == 403
    assert ask(f"{plane.source.uri}/../store/secret.png").status_code in (403, 404, 422)
    assert ask(f"{plane.source.uri}/none.png").json()["code"] == "NOT_FOUND"
    assert httpx.post(f"{plane.url}/v1/domains/own:restore", json=[], headers=bearer()).status_code == 400


def test_a_prediction_is_accepted_at_once_and_answered_later(plane):
    image = make_image(8)
    accepted = _post(plane, "plain", encode_png(image), headers={"Prefer": "respond-async", "Accept": "image/webp"})
    assert accepted.status_code == 202
    at = f"{plane.url}{accepted.headers['location']}"
    until(lambda: httpx.get(at, headers=bearer()).json()["state"] != "RUNNING")
    assert httpx.get(at, headers=bearer()).json()["state"] == "SUCCEEDED"
    output = httpx.get(f"{at}/output", headers=bearer())
    assert output.headers["content-type"] == "image/webp"
    assert output.headers["x-adapter-version"] == "0"
    assert decode(output.content).shape == image.shape
    assert httpx.get(at, headers=bearer(tenant="globex")).status_code == 404
    assert httpx.get(f"{at}x/output", headers=bearer()).status_code == 404


def test_the_same_prediction_twice_is_one_and_another_image_under_its_id_is_refused(plane):
    url = f"{plane.url}/v1/domains/plain/predictions/order-17"
    for _ in range(2):
        assert httpx.put(url, content=encode_png(make_image(1)), headers=bearer()).status_code == 202
    other = httpx.put(url, content=encode_png(make_image(2)), headers=bearer())
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_MISMATCH")
    assert httpx.put(f"{url}/../../x", content=b"", headers=bearer()).status_code in (404, 405)
    bad = httpx.put(f"{plane.url}/v1/domains/plain/predictions/NO", content=encode_png(make_image()), headers=bearer())
    assert bad.status_code == 400


def test_a_prediction_waits_for_room_and_its_trace_is_no_part_of_it(tmp_path):
    refusals = 2

    async def infer(asked, image):
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            return TooManyRequests("full") if refusals else Unavailable("cold")
        return RestoredImage(image, 0, "none", 0.0, 0.0, 1, 1)

    store = open_storage(str(tmp_path))

    async def run(patience_s: float) -> dict:
        made = Predictions(store, RestoreService(infer, DecodeLimits()), lambda *_: {}, patience_s=patience_s)
        name = f"p-waits-{patience_s:g}"
        await made.create(RestoreRequest("acme/plain", "a", trace="00-1"), encode_png(make_image()), name)
        state = await made.create(RestoreRequest("acme/plain", "b", trace="00-2"), encode_png(make_image()), name)
        while state["state"] == "RUNNING":
            await asyncio.sleep(0.05)
            state = await made.state(RestoreRequest("acme/plain", ""), name)
        return state

    assert asyncio.run(run(60.0))["state"] == "SUCCEEDED"
    refusals = 10**6
    assert asyncio.run(run(0.0))["code"] == "TOO_MANY_REQUESTS"


def test_a_prediction_whose_process_was_lost_is_done_again_by_who_is_asked(plane):
    at = plane.store.at("t/acme/d/plain/predictions/lost-one")
    at.put("input", encode_png(make_image(4)))
    asked = {"name": "acme/plain", "key": "", "media_type": "image/png", "quality": 95, "test_time": False}
    at.put("request.json", json.dumps(asked, sort_keys=True).encode())
    at.put("state.json", json.dumps({"state": "RUNNING", "created_time": 1.0, "heartbeat_time": 1.0}).encode())
    url = f"{plane.url}/v1/domains/plain/predictions/lost-one"
    assert httpx.get(url, headers=bearer()).json()["state"] == "RUNNING"
    until(lambda: httpx.get(url, headers=bearer()).json()["state"] == "SUCCEEDED")
    output = httpx.get(f"{url}/output", headers=bearer())
    assert apart(decode(output.content), offline(make_image(4), None)) <= 1


def test_a_prediction_that_ends_its_process_every_time_has_failed(plane):
    at = plane.store.at("t/acme/d/plain/predictions/deadly-one")
    at.put("input", encode_png(make_image(4)))
    at.put("request.json", json.dumps({"name": "acme/plain", "key": ""}).encode())
    lost = {"state": "RUNNING", "created_time": 1.0, "heartbeat_time": 1.0, "attempt": 3}
    at.put("state.json", json.dumps(lost).encode())
    state = httpx.get(f"{plane.url}/v1/domains/plain/predictions/deadly-one", headers=bearer()).json()
    assert (state["state"], state["code"], state["created_time"]) == ("FAILED", "INTERNAL", 1.0)
    assert json.loads(at.get("state.json"))["state"] == "FAILED"


def test_a_prediction_that_cannot_be_encoded_fails_and_is_not_computed_again(plane, monkeypatch):
    passes = []
    infer = plane.backbone.infer

    async def counted(asked, image):
        passes.append(asked.key)
        return await infer(asked, image)

    def broken(*_):
        raise ValueError("an encoder that nobody expected")

    monkeypatch.setattr(plane.backbone, "infer", counted)
    monkeypatch.setattr("udair_platform.serving.http.restore._encoded", broken)
    monkeypatch.setattr("udair_platform.serving.http.predictions._STALE_S", 0.0)
    accepted = _post(plane, "plain", encode_png(make_image()), headers={"Prefer": "respond-async"})
    at = f"{plane.url}{accepted.headers['location']}"
    until(lambda: httpx.get(at, headers=bearer()).json()["state"] == "FAILED")
    state = httpx.get(at, headers=bearer()).json()
    assert (state["code"], len(passes)) == ("INTERNAL", 1)
    assert "ValueError" in state["detail"]
    assert httpx.get(f"{at}/output", headers=bearer()).status_code == 404


def test_a_prediction_of_no_image_fails_and_says_why(plane):
    accepted = _post(plane, "plain", b"no image", headers={"Prefer": "respond-async"})
    at = f"{plane.url}{accepted.headers['location']}"
    until(lambda: httpx.get(at, headers=bearer()).json()["state"] == "FAILED")
    assert "NOT_AN_IMAGE" in httpx.get(at, headers=bearer()).json()["detail"]


def test_a_body_that_drips_is_refused_and_others_are_served_meanwhile(plane):
    head = "POST /v1/domains/plain:restore HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in bearer().items()) + "\r\n"
    host, port = plane.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        dripping = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(20)]
        for connection in dripping:
            connection.sendall(head.encode() + b"a")
        assert _post(plane, "plain", encode_png(make_image())).status_code == 200
        for connection in dripping:
            connection.settimeout(10)
            assert b" 408 " in connection.recv(100)


def test_malformed_images_never_break_the_service(plane):
    rng = random.Random(11)
    whole = [
        encode_png(make_image()),
        _post(plane, "plain", encode_png(make_image()), headers={"Accept": "image/jpeg"}).content,
    ]
    for number in range(120):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.randint(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if number % 3 == 0:
            del data[rng.randrange(len(data)) :]
        answer = _post(plane, "plain", bytes(data))
        assert answer.status_code in (200, 400, 413, 422), answer.text
    assert _post(plane, "plain", encode_png(make_image())).status_code == 200


def _v2(plane, path: str, **request) -> httpx.Response:
    method = "POST" if request else "GET"
    headers = bearer() | request.pop("headers", {})
    return httpx.request(method, f"{plane.url}/v2{path}", headers=headers, timeout=60, **request)


def test_the_open_inference_protocol_in_json(plane):
    assert _v2(plane, "/health/ready").json() == {"ready": True}
    assert _v2(plane, "/models/plain").json()["inputs"][0]["datatype"] == "BYTES"
    assert _v2(plane, "/models/plain/versions/0/ready").json()["ready"]
    assert _v2(plane, "/models/plain/versions/7").status_code == 404
    images = [make_image(1), make_image(2, 30, 50)]
    tensor = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [2],
        "data": [base64.b64encode(encode_png(image)).decode() for image in images],
    }
    answer = _v2(plane, "/models/plain/infer", json={"id": "mine", "inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["id"], document["model_version"]) == ("mine", "0")
    receipts = document["parameters"]["receipts"].split()
    for image, data, receipt in zip(images, document["outputs"][0]["data"], receipts, strict=True):
        restored = base64.b64decode(data)
        assert apart(decode(restored), offline(image, None)) <= 1
        assert Receipt.parse(receipt).matches(restored)


def test_the_open_inference_protocol_with_raw_bytes(plane):
    image = encode_png(make_image(1))
    raw = len(image).to_bytes(4, "little") + image
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
    asked = {"inputs": [tensor], "outputs": [{"name": "restored", "parameters": {"binary_data": True}}]}
    head = json.dumps(asked).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = _v2(plane, "/models/plain/infer", content=head + raw, headers=headers)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.content[:length])
    size = document["outputs"][0]["parameters"]["binary_data_size"]
    assert len(answer.content) == length + size
    assert apart(decode(answer.content[length + 4 :]), offline(make_image(1), None)) <= 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"inputs": [{"shape": [1], "datatype": "FP32", "data": [1.0]}]}',
        b'{"inputs": [{"shape": [1], "datatype": "BYTES", "data": ["*"]}]}',
        b'{"inputs": [{"shape": [2], "datatype": "BYTES", "data": ["aGk="]}]}',
        b'{"inputs": [{"shape": [-1], "datatype": "BYTES", "data": ["aGk="]}]}',
        b'{"inputs": [{"shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}}]}',
    ],
)
def test_bad_inference_requests_are_refused(plane, body):
    assert _v2(plane, "/models/plain/infer", content=body).status_code == 400


def test_a_caller_that_goes_while_its_body_is_read_is_no_fault_of_ours(plane):
    host, _, port = plane.url.removeprefix("http://").partition(":")
    head = f"POST /v1/domains/plain:restore HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n{'{}'}\r\n\r\nsome of it"
    authorization = "Authorization: " + bearer()["Authorization"]
    with capture_logs() as said:
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(head.format(authorization).encode())
            time.sleep(0.2)  # its handler is at the body
        until(lambda: [entry for entry in said if entry["event"] == "request"])
    assert [entry["status"] for entry in said if entry["event"] == "request"] == [499]
    assert not [entry for entry in said if entry["log_level"] in ("error", "warning")]
