"""One backbone, driven directly: eviction, a store that is away, drift, and many domains in few slots."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from data_plane import BUNDLE, Plane, apart, make_adapter, make_image, offline, until
from fault_proxy import FaultProxy

from udair.adaptation.profile import Profile, embed
from udair.data.patches import to_tensor
from udair.inference import restore
from udair.models import served
from udair_jobs.storage import open_storage
from udair_platform.documents.store_paths import REPORTS, report
from udair_platform.errors import NotFound, TooManyRequests, Unavailable
from udair_platform.services.metering import counts_of
from udair_platform.serving.model import forward
from udair_platform.serving.observation import windows
from udair_platform.serving.observation.windows import format_drift
from udair_platform.serving.request import PNG16, RestoreRequest


@pytest.fixture
def make_plane(tmp_path) -> Iterator:
    made = []

    def make(**config) -> Plane:
        made.append(Plane(tmp_path, **config))
        return made[-1]

    yield make
    for plane in made:
        plane.backbone.shutdown()


def _question(name: str, **options) -> RestoreRequest:
    return RestoreRequest(f"acme/{name}", "", **options)


def _ask(plane, *names: str, image=None, **options):
    async def all_of_them():
        pixels = make_image() if image is None else image
        return await asyncio.gather(*(plane.backbone.infer(_question(name, **options), pixels) for name in names))

    return asyncio.run(all_of_them())


def test_200_domains_in_32_slots_in_random_order_give_the_pixels_of_each_alone(make_plane, monkeypatch):
    # The answer as the model gave it: what eight bits would hide.
    monkeypatch.setattr(forward, "to_array16", lambda image: image.clamp(0, 1).movedim(-3, -1).numpy())
    # And with every bit: in bfloat16 a sum in another order is another level now and then.
    monkeypatch.setattr(served, "multiplies_bfloat16", lambda: False)
    plane = make_plane(slots=32)
    adapters = {f"d{number}": make_adapter(0.002 * (number + 1)) for number in range(200)}
    for name, adapter in adapters.items():
        plane._routes[f"acme/{name}"] = plane.entry(name, adapter)
    plane.write()
    order = [name for name in adapters for _ in range(2)]
    random.Random(3).shuffle(order)
    image = make_image(1)
    pixels = to_tensor([image])[0]
    worst = 0.0
    for start in range(0, len(order), 16):
        names = order[start : start + 16]
        for name, answer in zip(names, _ask(plane, *names, image=image, media_type=PNG16), strict=True):
            alone = restore(BUNDLE.model, pixels, adapters[name].row).permute(1, 2, 0).numpy()
            worst = max(worst, float(np.abs(answer.image - alone).max()))
    assert worst <= 1e-5
    assert plane.backbone._adapters.bank.evictions > 100
    assert len(plane.backbone._adapters.bank) == 32


def test_an_evicted_adapter_comes_back_as_it_was(make_plane):
    plane = make_plane(slots=1)
    for name, value in (("a", 0.2), ("b", 0.4)):
        plane.route(name, make_adapter(value))
    image = make_image(2)
    for name in ("a", "b", "a", "b", "a"):
        (answer,) = _ask(plane, name, image=image)
        assert apart(answer.image, offline(image, plane.adapters[name])) <= 1
    assert plane.backbone._adapters.bank.evictions == 4


def test_more_domains_at_once_than_slots_are_all_answered(make_plane):
    plane, image = make_plane(slots=1), make_image(2)
    names = [f"crowd-{number}" for number in range(6)]
    for number, name in enumerate(names):
        plane.route(name, make_adapter(0.05 * (number + 1)))
    expected = {name: offline(image, plane.adapters[name]) for name in names}
    for _ in range(20):
        for name, answer in zip(names, _ask(plane, *names, image=image), strict=True):
            assert apart(answer.image, expected[name]) <= 1


def test_while_the_store_is_away_resident_adapters_serve_and_cold_ones_say_503(make_plane, s3):
    with FaultProxy(s3.endpoint_url).running() as proxy:
        store = open_storage(f"s3://{s3.bucket()}/platform", endpoint_url=proxy.endpoint_url)
        plane = make_plane(store=store, slots=1, store_endpoint_url=proxy.endpoint_url)
        for name, value in (("warm", 0.1), ("on-disk", 0.2), ("cold", 0.3)):
            plane._routes[f"acme/{name}"] = plane.entry(name, make_adapter(value))
        plane.write()
        _ask(plane, "on-disk")
        _ask(plane, "warm")
        proxy.fail(status=503, code="SlowDown")
        image = make_image(4)
        for name in ("warm", "on-disk"):  # the second from the copy on this machine
            (answer,) = _ask(plane, name, image=image)
            assert (answer.version, answer.fallback) == (1, "none")
            assert apart(answer.image, offline(image, plane.adapters[name])) <= 1
        (cold,) = _ask(plane, "cold", image=image)
        assert isinstance(cold, Unavailable)
        assert "served when the store is back" in cold.detail
        proxy.clear()
        (answer,) = _ask(plane, "cold", image=image)
        assert answer.version == 1


def test_a_damaged_copy_on_disk_is_fetched_anew(make_plane, tmp_path):
    plane = make_plane(slots=1)
    for name, value in (("a", 0.2), ("b", 0.4)):
        plane.route(name, make_adapter(value))
    _ask(plane, "a")
    digest = plane._routes["acme/a"]["adapter_digest"]
    (tmp_path / "cache" / "adapters" / digest).write_bytes(b"damaged")
    _ask(plane, "b")
    (answer,) = _ask(plane, "a", image=make_image(1))
    assert answer.fallback == "none"
    assert apart(answer.image, offline(make_image(1), plane.adapters["a"])) <= 1


def test_the_disk_tier_is_bounded(make_plane, tmp_path):
    plane = make_plane(slots=1)
    for number in range(6):
        plane.route(f"d{number}", make_adapter(0.1 * (number + 1)))
        _ask(plane, f"d{number}")
    folder = tmp_path / "cache" / "adapters"
    size = next(folder.iterdir()).stat().st_size
    plane.backbone._adapters._disk_bytes = 3 * size
    plane.route("one-more", make_adapter(0.9))
    _ask(plane, "one-more")
    assert len(list(folder.iterdir())) == 3


def test_only_what_is_routed_can_be_loaded(make_plane):
    plane = make_plane()
    plane.entry("hidden", make_adapter(0.3))  # published, and in no route
    (answer,) = _ask(plane, "hidden")
    assert isinstance(answer, NotFound)


def test_promotion_under_load_never_fails_and_never_mixes_two_versions(make_plane):
    plane = make_plane()
    image, adapters = make_image(5), {0: None, 1: make_adapter(0.1), 2: make_adapter(0.5)}
    plane.route("moving", adapters[1], 1)

    async def scenario():
        answers = []

        async def caller():
            for _ in range(25):
                answers.append(await plane.backbone.infer(_question("moving"), image))

        async def promoter():
            for turn in range(12):
                await asyncio.sleep(0.1)
                version = (2, 0, 1)[turn % 3]
                await asyncio.to_thread(plane.route, "moving", adapters[version], version)

        await asyncio.gather(promoter(), *(caller() for _ in range(8)))
        return answers

    answers = asyncio.run(scenario())
    assert len(answers) == 200
    assert {answer.version for answer in answers} == {0, 1, 2}
    assert {answer.fallback for answer in answers} == {"none"}
    expected = {version: offline(image, adapter) for version, adapter in adapters.items()}
    assert all(apart(answer.image, expected[answer.version]) <= 1 for answer in answers)


def _photo(rng, haze: float) -> np.ndarray:
    """Smooth pictures; with haze they are bright and flat."""
    small = torch.from_numpy(rng.random((1, 3, 12, 12))).float()
    smooth = torch.nn.functional.interpolate(small, size=(96, 96), mode="bicubic")[0].permute(1, 2, 0).numpy()
    return ((smooth * (1 - haze) + 0.9 * haze).clip(0, 1) * 255).astype(np.uint8)


def test_a_domain_whose_images_change_drifts_and_one_that_stays_does_not(make_plane, monkeypatch):
    plane, rng = make_plane(window_s=50.0, slots=4, report_s=0.0), np.random.default_rng(0)
    profile = Profile.empty(BUNDLE.model.config.codes)
    profile.add(embed(BUNDLE.model, BUNDLE.stats, [_photo(rng, 0.0) for _ in range(48)]))
    plane.store.put("profiles/a/profile.json", json.dumps(profile.to_dict()).encode())
    for name in ("steady", "hazy"):
        plane.route(name, None, profile_uri=plane.store.at("profiles/a").uri)
    for window in range(2):
        for _ in range(24):
            _ask(plane, "steady", image=_photo(rng, 0.0))
            _ask(plane, "hazy", image=_photo(rng, 0.85))
        before = plane.backbone.describe("acme/hazy")["drift"]
        assert (before is None) == (window == 0)
        monkeypatch.setattr(plane.backbone._traffic, "_clock", lambda ahead=60.0 * (window + 1): time.time() + ahead)
        plane.backbone.reports.close_windows()
    steady, hazy = (plane.backbone.describe(f"acme/{name}")["drift"] for name in ("steady", "hazy"))
    assert hazy["crossed"]
    assert hazy["confirmed"]
    assert not steady["confirmed"]
    assert hazy["images"] == 24
    assert hazy["divergence"] > hazy["threshold"] > 0
    assert format_drift(hazy)
    monkeypatch.setattr(plane.backbone._traffic, "_clock", time.time)
    plane.backbone.reports.every(0.1, plane.backbone._measure)  # not before: it ends windows, too
    until(lambda: plane.store.exists(report(plane.backbone.id)))
    until(lambda: "acme/hazy" in _report(plane)["domains"] and _report(plane)["load"]["p99_s"])
    assert _report(plane)["load"]["slots"] >= _report(plane)["load"]["resident"] >= 0


def test_usage_is_the_share_of_pixels_of_every_batch(make_plane):
    plane = make_plane(slots=4)
    plane.route("small", None)
    plane.route("large", None)

    async def both():
        await asyncio.gather(
            *(plane.backbone.infer(_question("small"), make_image(n, 32, 32)) for n in range(4)),
            plane.backbone.infer(_question("large"), make_image(9, 512, 512)),
        )

    asyncio.run(both())
    small, large = (plane.backbone.describe(f"acme/{name}")["usage"] for name in ("small", "large"))
    assert (small["images"], large["images"]) == (4, 1)
    assert (small["pixels"], large["pixels"]) == (4 * 32 * 32, 512 * 512)
    assert large["forward_s"] > small["forward_s"] > 0
    assert plane.backbone.describe("acme/unseen").keys() == plane.backbone.describe("acme/small").keys()


def test_what_a_tenant_had_is_counted_on_when_its_domains_are_forgotten(monkeypatch):
    monkeypatch.setattr(windows, "MAX_DOMAINS", 1)
    traffic = windows.TrafficWindows(codes=4)
    for domain in ("acme/a", "acme/b", "globex/a", "acme/a"):
        traffic.answered(domain, 1, 100, forward_s=0.25)
    assert list(traffic.report()) == ["acme/a"]
    assert traffic.report_tenants() == {
        "acme": {"images": 3, "forward_s": 0.75},
        "globex": {"images": 1, "forward_s": 0.25},
    }


def test_a_replica_reports_what_each_tenant_had(make_plane):
    plane = make_plane()
    plane.route("small", None)
    for number in range(3):
        asyncio.run(plane.backbone.infer(_question("small"), make_image(number, 32, 32)))
    until(lambda: list(plane.store.list(REPORTS)))
    until(lambda: _report(plane)["tenants"].get("acme", {}).get("images") == 3)
    assert counts_of(_report(plane))["acme"][1] > 0


def _report(plane) -> dict:
    return json.loads(plane.store.get(f"serving/reports/{plane.backbone.id}.json"))


def test_a_replica_that_ends_says_so_and_reports_the_minute_under_way(tmp_path):
    plane = Plane(tmp_path)
    plane.route("plain", make_adapter(0.01), version=3)
    until(lambda: list(plane.store.list(REPORTS)))
    _ask(plane, "plain", "plain")
    _ask(plane, "plain", trial={"version": 0, "adapter_digest": None, "candidate_uri": None})
    plane.backbone.shutdown()
    told = _report(plane)
    assert told["ended"]
    counts = [one for minute in told["minutes"] for one in minute["served"]]
    assert {(one["name"], one["version"]) for one in counts} == {("acme/plain", 3)}
    assert sum(one["images"] for one in counts) == sum(sum(one["latency"].values()) for one in counts) == 2
    time.sleep(0.5)  # reports come every 0.2 s
    assert _report(plane) == told, "and nothing writes it again"


def test_pictures_that_are_refused_because_others_wait_are_errors_of_the_minute(make_plane):
    plane = make_plane(max_waiting=1)
    answers = _ask(plane, *["plain"] * 6)
    refused = sum(isinstance(answer, TooManyRequests) for answer in answers)
    assert refused
    (minutes, *more) = plane.backbone.reports.report(ended=True)["minutes"]
    counts = [one for minute in (minutes, *more) for one in minute["served"]]
    assert sum(one["errors"] for one in counts) == refused
    assert sum(one["images"] for one in counts) == 6 - refused
    assert plane.backbone.describe("acme/plain")["usage"]["failed"] == 0
