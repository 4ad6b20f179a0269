"""The console in a real browser on a real platform: Chromium, the API, jobs on Ray, Ray Serve, real photographs.

`make test-browser` runs it, and with UDAIR_SCREENSHOTS=docs/images writes the pictures of the documentation.
"""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from udair.data.images import encode_png
from udair_jobs.storage import open_storage
from udair_jobs.sweep.report import write_table
from udair_jobs.sweep.specs import Choices, Range, SweepResult, SweepSpec, Trial
from udair_platform.client import ApiError, Client
from udair_platform.demo.customer import night_camera, photographs, uploads
from udair_platform.local.platform import LocalOptions, LocalPlatform

pytestmark = pytest.mark.browser
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
JOB_S = 300.0
MAX_BYTES = 150_000


@dataclass
class Visit:
    """A browser window that is logged in, and what went wrong in it."""

    page: object
    url: str
    troubles: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        """Open a page of the console, and wait until nothing more is loaded."""
        answer = self.page.goto(f"{self.url}/console{path}")
        assert answer is not None
        assert answer.ok, f"{path}: {answer.status}"
        self.page.wait_for_load_state("load")
        self.page.wait_for_timeout(250)  # charts are drawn


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.fail("no Chromium found; install it: apt-get install -y --no-install-recommends chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def platform(s3, tmp_path_factory) -> Iterator[LocalPlatform]:
    """A platform with a domain of photographs, one without any image, a sweep, and a little traffic."""
    bucket, rng = s3.bucket("acme-cams"), np.random.default_rng(0)
    seen = [night_camera(photo, rng) for photo in photographs(None, 36)]
    for key, data in uploads(seen).items():
        s3.put(bucket, f"night/{key}", data)
    options = LocalOptions(tmp_path_factory.mktemp("home"), port=0, serve_port=0, s3_endpoint_url=s3.endpoint_url)
    with LocalPlatform(options) as running, Client(running.url, running.api_key) as client:
        client.domains.create(
            "night-cams", f"s3://{bucket}/night/", description="Nachtschicht · équipe de nuit · ночная смена"
        )
        client.domains.create("empty-cams", f"s3://{bucket}/nothing/")
        _write_sweep(f"{running.home}/store/sweeps/default/tta-night")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                for image in seen[:8]:
                    client.restore(encode_png(image), "night-cams")
                break
            except ApiError:  # the route is on its way
                time.sleep(0.5)
        else:
            pytest.fail("no image was restored within a minute")
        yield running


@pytest.fixture(scope="module")
def visit(chromium, platform) -> Iterator[Visit]:
    """One window for the whole journey."""
    context = chromium.new_context(viewport=DESK, color_scheme="light")
    made = _watched(context, platform)
    _log_in(made, platform.api_key)
    yield made
    context.close()


def test_logging_in_is_done_with_the_keyboard_and_a_wrong_key_is_refused(chromium, platform):
    context = chromium.new_context(viewport=DESK)
    visit = _watched(context, platform)
    page = visit.page
    page.goto(f"{platform.url}/console/domains/night-cams")
    assert page.url.startswith(f"{platform.url}/console/login"), "who is not logged in is asked to"
    _is_accessible(page, "login")
    page.keyboard.type("ak_wrong")  # the field has the focus
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]")
    visit.troubles.clear()  # the browser notes the 401
    page.keyboard.type(platform.api_key)
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('night-cams')")
    assert not visit.troubles
    context.close()


def test_a_domain_is_adapted_looked_at_promoted_and_rolled_back(visit, platform):
    page = visit.page
    visit.go("/domains/night-cams")
    page.click("button:has-text('Adapt now')")
    page.wait_for_url("**/jobs/**")
    job = page.url

    # Live: nobody reloads, and the page follows the job.
    page.wait_for_selector("#now .state.running", timeout=JOB_S * 1000)
    _until(page, "document.querySelectorAll('[data-events] li').length >= 3")
    _until(page, "document.querySelector('#now progress').value > 20")
    _until(page, "document.querySelector('[data-log-text]').textContent.length > 20")
    _shoot(page, "console-job", height=690)  # the log below names folders of this machine
    page.wait_for_selector("a:has-text('Look at it')", timeout=JOB_S * 1000)
    assert "succeeded" in page.inner_text("#now")
    page.click("a:has-text('Look at it')")
    page.wait_for_url("**/versions/1")
    assert "passed" in page.inner_text(".heading")

    # The gallery: both sides, three pictures side by side, one zoom and place for all, by keyboard too.
    assert page.evaluate(
        "[...document.querySelectorAll('.slider img')].every((image) => image.complete && image.naturalWidth > 0)"
    )
    before = page.get_attribute("[slot=first]", "src")
    page.focus("img-comparison-slider")
    page.keyboard.press("ArrowLeft")
    page.select_option("[data-side=first]", "camera")
    assert "camera" in page.get_attribute("[slot=first]", "src")
    page.click("button:has-text('Next')")
    assert page.get_attribute("[slot=first]", "src") != before
    assert "image=1" in page.url
    page.focus(".stage")
    for key in ("+", "+", "+", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    page.click("text=Side by side")
    places = page.eval_on_selector_all(
        ".panes img",
        "images => images.map((image) => getComputedStyle(image).transform.match(/[\\d.]+/g).map((n) => Math.round(n)).join())",
    )
    assert len(places) >= 3
    assert len(set(places)) == 1, "all pictures show the same place"
    assert places[0].startswith("2,0,0,2,"), "and they are zoomed"
    assert places[0] != "2,0,0,2,0,0", "and moved"
    _until(
        page, "[...document.querySelectorAll('.panes img')].every((image) => image.complete && image.naturalWidth > 0)"
    )
    visit.go("/domains/night-cams/versions/1")
    _shoot(page, "console")

    # Promoted after a confirmation, and undone.
    page.click("summary:has-text('Promote')")
    page.fill("details[open] input[name=reason]", "sieht besser aus · лучше")
    page.click("details[open] button")
    page.wait_for_selector(".done:has-text('Version 1 serves now.')")
    _is_served(platform, "1")
    page.click("button:has-text('Undo')")
    page.wait_for_selector(".done:has-text('The source model serves now.')")
    _is_served(platform, "0")
    assert "sieht besser aus · лучше" in page.inner_text(".history")

    # And forth and back once more, by the buttons of the domain's page.
    for number in ("1", "0"):
        page.click("summary:has-text('Roll back')")
        page.click("details[open] button")
        page.wait_for_selector(f".done:has-text('{'Version 1' if number == '1' else 'The source model'} serves now.')")
    _is_served(platform, "0")
    visit.go("/domains/night-cams")
    _shoot(page, "console-domain")
    assert job.split("/")[-1] in page.content()
    assert not visit.troubles


def test_a_job_that_fails_says_why_although_its_events_never_come(visit):
    page = visit.page
    page.route("**/stream", lambda route: None)  # asked for, and never answered
    visit.go("/domains/empty-cams")
    page.click("button:has-text('Adapt now')")
    page.wait_for_selector(".problem:has-text('DATA_EMPTY')", timeout=JOB_S * 1000)
    assert "Next: Put images there and run it again." in page.inner_text(".problem")
    page.unroute("**/stream")
    visit.go("/")
    assert "A job of empty-cams failed" in page.inner_text(".concerns")
    _shoot(page, "console-overview")
    assert not visit.troubles


def test_every_page_is_accessible_narrow_enough_and_loads_nothing_from_elsewhere(chromium, visit, platform):
    visit.go("/jobs")
    jobs = visit.page.eval_on_selector_all("tbody tr td:first-child a", "links => links.map((link) => link.pathname)")
    visit.go("/domains/night-cams/snapshots")
    snapshot = visit.page.get_attribute("tbody a", "href")
    assert len(jobs) == 2
    paths = [
        "/",
        "/domains",
        "/domains?prefix=night",
        "/domains?prefix=none",
        "/domains/night-cams",
        "/domains/empty-cams",
        "/domains/night-cams/snapshots",
        snapshot,
        "/domains/night-cams/versions/1",
        *jobs,
        "/jobs",
        "/sweeps",
        "/sweeps/tta-night",
        "/serving",
        "/usage",
        "/keys",
        "/audit",
    ]
    for scheme, viewport in (("light", DESK), ("dark", DESK), ("light", PHONE)):
        context = chromium.new_context(viewport=viewport, color_scheme=scheme)
        seen = _watched(context, platform)
        _log_in(seen, platform.api_key)
        for path in paths:
            seen.go(path.removeprefix("/console"))
            _is_accessible(seen.page, f"{path} ({scheme}, {viewport['width']} px)")
            wide = seen.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= viewport["width"], f"{path} is {wide} px wide on {viewport['width']} px"
        if (scheme, viewport) == ("dark", DESK):
            seen.go("/domains/night-cams/versions/1")
            _shoot(seen.page, "console-version-dark")
        if viewport is PHONE:
            seen.go("/")
            _shoot(seen.page, "console-overview-phone")
        assert not seen.troubles, scheme
        context.close()


def test_a_page_that_is_open_when_its_key_is_revoked_leads_to_the_login(chromium, platform):
    with Client(platform.url, platform.api_key) as client:
        key = client.keys.create("for a while", role="viewer")
        context = chromium.new_context(viewport=DESK)
        visit = _watched(context, platform)
        _log_in(visit, key.token)
        visit.go("/jobs")
        client.keys.revoke(key.kid)
        visit.page.wait_for_url("**/console/login?**", timeout=20_000)
        context.close()


def _until(page, condition: str) -> None:
    """Wait for a condition in the page. `wait_for_function` would evaluate a string, which the policy forbids."""
    deadline = time.monotonic() + JOB_S
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"not so within {JOB_S:.0f} s: {condition}"
        page.wait_for_timeout(100)


def _watched(context, platform: LocalPlatform) -> Visit:
    """A new window; errors on its console and requests to elsewhere are its troubles."""
    page = context.new_page()
    visit = Visit(page, platform.url)
    page.on("console", lambda said: visit.troubles.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: visit.troubles.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((platform.url, "data:")) else visit.troubles.append(asked.url),
    )
    return visit


def _log_in(visit: Visit, key: str) -> None:
    visit.page.goto(f"{visit.url}/console/")
    visit.page.fill("#key", key)
    visit.page.click("button:has-text('Log in')")
    visit.page.wait_for_selector("nav[aria-label=Main]")


def _is_accessible(page, what: str) -> None:
    """No serious or critical finding of axe-core. It is injected by the debugger, which the policy does not bind."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    grave = [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert not grave, f"{what}:\n" + "\n".join(grave[:10])


def _is_served(platform: LocalPlatform, version: str) -> None:
    image = encode_png(np.full((48, 48, 3), 90, np.uint8))
    deadline = time.monotonic() + 30
    with Client(platform.url, platform.api_key) as client:
        while client.restore(image, "night-cams").version != version:
            assert time.monotonic() < deadline, f"version {version} was not served"
            time.sleep(0.3)


def _shoot(page, name: str, height: int | None = None) -> None:
    folder = os.environ.get("UDAIR_SCREENSHOTS")
    if folder is None:
        return
    page.wait_for_timeout(300)
    image, sink = Image.open(io.BytesIO(page.screenshot())).convert("RGB"), io.BytesIO()
    image = image.crop((0, 0, image.width, height or image.height))
    image.save(sink, "WEBP", quality=82, method=6)
    assert len(sink.getvalue()) < MAX_BYTES, name
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / f"{name}.webp").write_bytes(sink.getvalue())


def _write_sweep(uri: str) -> None:
    """What `udair_jobs.sweep` leaves behind."""
    folder, rng = open_storage(uri), np.random.default_rng(1)
    spec = SweepSpec(
        kind="tta",
        source_uri="s3://acme-cams/night",
        output_uri=folder.uri,
        space={
            "steps": Range(low=1, high=20, integer=True),
            "learning_rate": Range(low=1e-4, high=0.1, log=True),
            "reset": Choices(choices=["request", "stream"]),
        },
    )
    trials = [
        Trial(
            trial_id=f"t{number:02d}",
            state="COMPLETED",
            score_db=score,
            check_db=score - 0.02,
            seconds=4.0,
            values={
                "steps": int(rng.integers(1, 20)),
                "learning_rate": float(10 ** rng.uniform(-4, -1)),
                "reset": str(rng.choice(["request", "stream"])),
            },
        )
        for number, score in enumerate(sorted(rng.normal(0.4, 0.2, 20).tolist(), reverse=True))
    ]
    write_table(folder, trials)
    result = SweepResult(
        kind="tta",
        objective="pseudo-target gain",
        trials=20,
        by_state={"COMPLETED": 20},
        best=trials[0],
        default=trials[7],
        improved=True,
        importance={"learning_rate": 0.7, "steps": 0.2, "reset": 0.1},
        seconds=81.0,
        tuned_uri=f"{folder.uri}/tuned/best.yaml",
    )
    folder.put("spec.json", spec.model_dump_json().encode())
    folder.put("result.json", result.model_dump_json().encode())
