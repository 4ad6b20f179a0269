"""Two intents at the endpoint: the domain's, or the request's where no adapter stands against it."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
import torch
from data_plane import SERVED, Plane, answering, bearer, make_adapter, make_image

from udair.data.images import decode, encode_png
from udair.data.patches import to_array, to_tensor
from udair.inference import restore

HEADERS = ("x-adapter-version", "x-fallback", "x-tone", "x-restoration")


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with answering(Plane(tmp_path_factory.mktemp("tone"))) as made:
        yield made


def ask(
    plane, domain: str, image: np.ndarray, query: str = "", headers: dict[str, str] | None = None
) -> httpx.Response:
    url = f"{plane.url}/v1/domains/{domain}:restore{query}"
    return httpx.post(url, content=encode_png(image), headers=bearer() | (headers or {}), timeout=60)


def offline(image: np.ndarray, tone: str) -> np.ndarray:
    with torch.inference_mode():
        return to_array(restore(SERVED, to_tensor([image])[0], tone=tone)[None])[0]


def told(answer) -> tuple[str, ...]:
    assert answer.status_code == 200, answer.text
    return tuple(answer.headers[name] for name in HEADERS)


def test_a_request_takes_its_domains_tone_or_its_own_where_the_base_model_answers(plane):
    plane.route("dusk", None, tone="restore")
    plane.route("night", None, tone="keep")
    image = make_image(3)
    for domain, query, headers, tone in (
        ("dusk", "", {}, "restore"),
        ("night", "", {}, "keep"),
        ("night", "?tone=restore", {}, "restore"),
        ("dusk", "", {"X-Tone": "keep"}, "keep"),
    ):
        answer = ask(plane, domain, image, query, headers)
        assert told(answer) == ("0", "none", tone, "model")
        assert int(np.abs(decode(answer.content).astype(int) - offline(image, tone)).max()) <= 1
    assert np.abs(offline(image, "keep").astype(int) - offline(image, "restore")).max() > 1, "the two differ here"


def test_a_tone_that_is_none_is_refused(plane):
    plane.route("night", None, tone="keep")
    answer = ask(plane, "night", make_image(1), "?tone=brighter")
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert "expected keep or restore" in answer.json()["detail"]


def test_an_adapter_answers_with_its_own_tone_only(plane):
    plane.route("adapted", make_adapter(0.3), version=4, tone="keep")
    assert told(ask(plane, "adapted", make_image(2)))[:3] == ("4", "none", "keep")
    assert told(ask(plane, "adapted", make_image(2), "?tone=keep"))[0] == "4"
    refused = ask(plane, "adapted", make_image(2), "?tone=restore")
    assert (refused.status_code, refused.json()["code"]) == (422, "VALIDATION_FAILED")
    assert "version 4 was made for 'keep'" in refused.json()["detail"]


def test_an_adapter_whose_file_says_the_other_tone_is_never_used(plane):
    plane.route("mislabelled", make_adapter(0.2), version=2, tone="restore")  # the file was made for keep
    assert told(ask(plane, "mislabelled", make_image(2))) == ("0", "source", "restore", "model")


def test_a_version_out_of_use_is_a_fallback_and_no_silent_version_0(plane):
    plane.route("stale", None, out_of_use="version 7 was made for base model abc, and base (def) serves")
    assert told(ask(plane, "stale", make_image(5))) == ("0", "source", "keep", "model")


def test_a_domain_that_the_base_model_harms_comes_back_as_it_came(plane):
    plane.route("harmed", None, passthrough="the base model moves exposure")
    image = make_image(6)
    answer = ask(plane, "harmed", image)
    assert told(answer) == ("0", "none", "keep", "none")
    assert np.array_equal(decode(answer.content), image)
    asked_for = ask(plane, "harmed", image, "?tone=restore")
    assert told(asked_for) == ("0", "none", "restore", "model")
    plane.route("harmed", make_adapter(0.2), version=3, passthrough="the base model moves exposure")
    assert told(ask(plane, "harmed", image))[0] == "3", "an adapter that was promoted answers"


def test_the_same_adapter_under_two_tones_answers_where_it_belongs(plane):
    """What one domain was refused, or was given, says nothing of the same file under the other tone."""
    plane.route("here", make_adapter(0.15), tone="keep")
    plane.route("there", make_adapter(0.15), tone="restore")
    for _ in range(2):
        assert told(ask(plane, "here", make_image(2)))[:2] == ("1", "none")
        assert told(ask(plane, "there", make_image(2)))[:2] == ("0", "source")


def test_what_is_served_as_it_came_is_counted_like_any_other(plane):
    plane.route("untouched", None, passthrough="the base model moves exposure")
    assert told(ask(plane, "untouched", make_image(4)))[3] == "none"
    assert plane.backbone.describe("acme/untouched")["usage"]["images"] == 1
