"""The page to try a version on, login links and what needs attention, in Chromium on a real platform without Ray."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
import skimage
from browser import DESK, PHONE, Visit, is_accessible, log_in, shoot, watched
from PIL import Image

from udair.data.images import decode, encode_png
from udair_platform.client import Client
from udair_platform.demo.customer import night_camera
from udair_platform.local.options import LocalOptions
from udair_platform.local.platform import LocalPlatform

pytestmark = pytest.mark.browser
RESTORED_MS = 60_000
# What a person does who drops files: the page sees a drop with files in it.
DROP = """([data, names]) => {
  const files = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  for (const name of names) files.items.add(new File([bytes], name, { type: "image/png" }));
  document.querySelector("[data-drop]").dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true }));
}"""


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encode_png(night_camera(skimage.data.astronaut(), np.random.default_rng(0)))


@pytest.fixture(scope="module")
def platform(s3, tmp_path_factory) -> Iterator[LocalPlatform]:
    """A platform right after its first start."""
    options = LocalOptions(
        tmp_path_factory.mktemp("home"), port=0, serve_port=0, s3_endpoint_url=s3.endpoint_url, launcher="local"
    )
    with LocalPlatform(options) as running:
        yield running


@pytest.fixture
def open_window(chromium, platform):
    """Opens windows; each is closed at the end, and had no trouble."""
    opened = []

    def make(viewport=DESK, *, logged_in=True, **options) -> Visit:
        context = chromium.new_context(viewport=viewport, **options)
        visit = watched(context, platform)
        opened.append((context, visit))
        if logged_in:
            log_in(visit, platform.api_key)
        return visit

    yield make
    for context, visit in opened:
        context.close()
        assert not visit.troubles


def test_the_link_that_up_prints_logs_in_and_a_dropped_picture_comes_back_restored(open_window, platform, photo):
    visit = open_window(logged_in=False)
    page = visit.page
    page.goto(platform.login_link())
    page.wait_for_selector("h1:has-text('Overview')")
    page.click("nav >> text='Try it'")
    page.wait_for_selector("[data-hint]", state="visible")  # its script runs
    page.evaluate(DROP, [base64.b64encode(photo).decode(), ["a.png", "b.png"]])
    assert page.inner_text("[data-trouble]") == "2 files were dropped; drop one."
    page.evaluate(DROP, [base64.b64encode(photo).decode(), ["\u05ea\u05de\u05d5\u05e0\u05d4 1.png"]])
    page.wait_for_selector("h2:has-text('What the platform sees')", timeout=RESTORED_MS)
    assert page.inner_text("h1 bdi") == "\u05ea\u05de\u05d5\u05e0\u05d4 1.png"
    pictures = "[...document.querySelectorAll('.slider img')].map((image) => image.complete && image.naturalWidth)"
    page.wait_for_timeout(500)
    widths = page.evaluate(pictures)
    assert widths == [decode(photo).shape[1]] * 2

    before = page.evaluate("document.querySelector('img-comparison-slider').value")
    page.focus("img-comparison-slider")
    page.keyboard.down("ArrowLeft")
    page.wait_for_timeout(200)
    page.keyboard.up("ArrowLeft")
    assert page.evaluate("document.querySelector('img-comparison-slider').value") != before
    with page.expect_download() as coming:
        page.click("text='Download'")
    assert coming.value.suggested_filename == "\u05ea\u05de\u05d5\u05e0\u05d4 1-restored.png"
    with Image.open(coming.value.path()) as image:
        assert image.width == widths[0]


def test_a_link_shows_it_to_who_has_no_key_and_then_it_ended(open_window, photo):
    visit = open_window()
    page = visit.page
    _try(visit, photo)
    shoot(page, "console-try")
    page.click("summary:has-text('Share')")
    page.select_option("[name=life]", "day")
    page.click("details[open] button")
    link = page.input_value("#link")
    assert "which ends in 24 h" in page.inner_text(".done")

    other = open_window(logged_in=False)
    assert other.page.goto(link).ok
    other.page.wait_for_timeout(500)
    assert other.page.evaluate("document.querySelector('[slot=second]').naturalWidth") > 0
    assert other.page.query_selector("form") is None
    is_accessible(other.page, "shared")
    page.click("button:has-text('End it now')")
    page.wait_for_selector("summary:has-text('Share')")
    assert other.page.goto(link).status == 404
    assert "This link ended." in other.page.inner_text("main")
    other.troubles.clear()  # the browser notes the 404


def test_a_picture_that_is_too_large_is_refused_before_it_is_sent_and_without_script_after(open_window, tmp_path):
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(200 * 2**20)
    visit = open_window()
    visit.go("/try")
    visit.page.set_input_files("#picture", str(large))
    assert "The picture has 200 MB; at most 32 are restored" in visit.page.inner_text("[data-trouble]")
    visit.page.click("button:has-text('Restore it')")
    assert visit.page.url.endswith("/console/try"), "nothing was sent"

    plain = open_window(java_script_enabled=False)
    plain.page.goto(f"{plain.url}/console/try")
    plain.page.set_input_files("#picture", str(large))
    plain.page.click("button:has-text('Restore it')")
    plain.page.wait_for_selector(".problem", timeout=RESTORED_MS)
    assert "The picture has 200 MB; at most 32 are restored" in plain.page.inner_text(".problem")
    plain.troubles.clear()  # the browser notes the 413


def test_without_script_a_picture_is_restored_and_both_are_shown(open_window, photo):
    visit = open_window(java_script_enabled=False)
    _try(visit, photo)
    shown = visit.page.query_selector_all(".slider img")
    boxes = [image.bounding_box() for image in shown]
    assert all(box and box["width"] > 100 and box["height"] > 100 for box in boxes)
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"], "one below the other, both whole"


def test_a_session_that_ends_under_the_form_is_said_and_leads_back(open_window, platform, photo):
    visit = open_window()
    visit.go("/try")
    visit.page.context.clear_cookies()
    visit.page.set_input_files("#picture", {"name": "a.png", "mimeType": "image/png", "buffer": photo})
    visit.page.click("button:has-text('Restore it')")
    visit.page.wait_for_selector("[role=alert]:has-text('The session had ended, so nothing was done.')")
    visit.page.fill("#key", platform.api_key)
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("h1:has-text('Try it')")


def test_what_needs_attention_is_counted_and_every_page_is_accessible_in_light_dark_and_narrow(
    open_window, platform, photo, s3
):
    with Client(platform.url, platform.api_key) as client:
        domain = client.domains.create("lost-cams", "s3://acme-nowhere/yard")
        assert not domain.check_access().ok
    for scheme, viewport in (("light", DESK), ("dark", DESK), ("light", PHONE)):
        visit = open_window(viewport, color_scheme=scheme)
        page = visit.page
        visit.go("/")
        assert "The images of lost-cams cannot be read" in page.inner_text(".concerns")
        trial = _try(visit, photo)
        if viewport is PHONE:
            box = page.query_selector(".slider").bounding_box()
            assert box["y"] + 200 < viewport["height"], "the picture is on the first screen"
            shoot(page, "console-try-phone")
        for path in ("/", "/try", "/try?domain=lost-cams", "/try?domain=none", trial):
            page.goto(f"{visit.url}/console{path}")
            page.wait_for_timeout(250)
            is_accessible(page, f"{path} ({scheme}, {viewport['width']} px)")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= viewport["width"], f"{path} is {wide} px wide on {viewport['width']} px"
        visit.troubles[:] = [one for one in visit.troubles if "404" not in one]  # the domain that is none


def _try(visit: Visit, photo: bytes) -> str:
    """Send a picture by the form; the path of what came of it."""
    visit.page.goto(f"{visit.url}/console/try")
    visit.page.set_input_files("#picture", {"name": "gate-3.png", "mimeType": "image/png", "buffer": photo})
    visit.page.click("button:has-text('Restore it')")
    visit.page.wait_for_url("**/try/*-*", timeout=RESTORED_MS)
    return visit.page.url.removeprefix(f"{visit.url}/console")
