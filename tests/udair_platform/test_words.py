"""What a job found, in plain sentences: one field that every face shows first."""

from __future__ import annotations

import json
import re

import pytest
from command_line import udair

from udair_platform.console.app import create_console

FOUND = "Noise: sigma 10.3 of 255 levels, white, from 212 flat patches of 31 images; the base model leaves 40 % of it."
KEPT = "Looks dark: tone is kept; set tone to <restore> to brighten."


@pytest.fixture
def files(gallery):
    """What a job publishes beside its adapter, with two sentences."""
    return gallery | {"match.json": json.dumps({"matched": [], "words": [FOUND, KEPT]}).encode()}


def test_job_and_version_have_the_words_and_the_gallery_begins_with_them(live, files):
    live.plane.launcher.pictures = files
    job = live.client().domains.create("foggy-cams", "s3://acme-photos/cams").adapt()
    version = job.result(timeout_s=30)
    assert list(version.words) == list(job.refresh().words) == [FOUND, KEPT]
    page = version.gallery().html()
    first, last = (page.index(text) for text in (FOUND, "cam 1/été.png"))
    assert first < last
    assert "&lt;restore&gt;" in page
    assert FOUND in version.gallery()._repr_html_()


def test_the_command_line_says_them_before_anything_else(live, files):
    live.plane.launcher.pictures = files
    live.plane.domain()
    out, _ = udair(live, "run", "-d", "foggy-cams")
    assert out.splitlines()[:2] == [FOUND, KEPT]
    out, _ = udair(live, "version", "show", "foggy-cams@1")
    assert out.splitlines()[:2] == [FOUND, KEPT]
    out, _ = udair(live, "job", "list", "-o", "name")
    name = out.strip()
    out, _ = udair(live, "job", "show", name)
    assert out.splitlines()[:2] == [FOUND, KEPT]
    out, _ = udair(live, "job", "show", name, "-o", "name")
    assert out.strip() == name
    out, _ = udair(live, "job", "show", name, "-o", "json")
    assert json.loads(out)["words"] == [FOUND, KEPT]


def test_the_pages_of_a_job_and_of_a_version_begin_with_them(plane, files):
    app = plane.client.app
    app.mount("/console", create_console(app.state.context))
    plane.launcher.pictures = files
    plane.version(plane.domain())
    plane.client.headers.pop("Authorization")
    plane.client.post("/console/login", data={"key": plane.admin_token})
    version = plane.client.get("/console/domains/foggy-cams/versions/1").text
    job = plane.client.get(re.search(r'href="(/console/domains/foggy-cams/jobs/[^"]+)"', version).group(1)).text
    for page, after in ((version, "Before and after"), (job, 'class="figures"')):
        assert page.index(FOUND) < page.index(after)
        assert "&lt;restore&gt;" in page


@pytest.mark.parametrize(
    ("match", "kept"),
    [
        (b"{}", 0),
        (b"[]", 0),
        (b'{"words": "one"}', 0),
        (b'{"words": [1, null]}', 2),
        (json.dumps({"words": ["x" * 2_000] * 1000}).encode(), 40),
    ],
)
def test_words_of_any_shape_end_no_job_and_are_bounded(plane, match, kept):
    plane.launcher.pictures = {"match.json": match}
    plane.version(plane.domain())
    words = plane.client.get("/v1/domains/foggy-cams/versions/1").json()["words"]
    assert len(words) == kept
    assert sum(map(len, words)) <= 40_000
