"""The console in a real browser on a real platform: Chromium, the API, jobs on Ray, Ray Serve, real photographs.

`make test-browser` runs it, and with UDAIR_SCREENSHOTS=docs/images writes the pictures of the documentation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from browser import DESK, PATIENCE_S, PHONE, Visit, is_accessible, log_in, shoot, until, watched

from udair.data.images import encode_png
from udair_jobs.storage import open_storage
from udair_jobs.sweep.report import write_table
from udair_jobs.sweep.specs import Choices, Range, SweepResult, SweepSpec, Trial
from udair_platform.client import ApiError, Client
from udair_platform.demo.customer import night_camera, photographs, uploads
from udair_platform.local.options import LocalOptions
from udair_platform.local.platform import LocalPlatform

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def platform(s3, tmp_path_factory) -> Iterator[LocalPlatform]:
    """A platform with a domain of photographs, one without any image, a sweep, and a little traffic."""
    bucket, rng = s3.bucket("acme-cams"), np.random.default_rng(0)
    seen = [night_camera(photo, rng) for photo in photographs(None, 36)]
    for key, data in uploads(seen).items():
        s3.put(bucket, f"night/{key}", data)
    options = LocalOptions(
        tmp_path_factory.mktemp("home"), port=0, serve_port=0, s3_endpoint_url=s3.endpoint_url, launcher="ray"
    )
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
    made = watched(context, platform)
    log_in(made, platform.api_key)
    yield made
    context.close()


def test_logging_in_is_done_with_the_keyboard_and_a_wrong_key_is_refused(chromium, platform):
    context = chromium.new_context(viewport=DESK)
    visit = watched(context, platform)
    page = visit.page
    page.goto(f"{platform.url}/console/domains/night-cams")
    assert page.url.startswith(f"{platform.url}/console/login"), "who is not logged in is asked to"
    is_accessible(page, "login")
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
    page.wait_for_selector("#now .state.running", timeout=PATIENCE_S * 1000)
    until(page, "document.querySelectorAll('[data-events] li').length >= 3")
    until(page, "document.querySelector('#now progress').value > 20")
    until(page, "document.querySelector('[data-log-text]').textContent.length > 20")
    shoot(page, "console-job", height=690)  # the log below names folders of this machine
    page.wait_for_selector("a:has-text('Look at it')", timeout=PATIENCE_S * 1000)
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
    until(
        page, "[...document.querySelectorAll('.panes img')].every((image) => image.complete && image.naturalWidth > 0)"
    )
    visit.go("/domains/night-cams/versions/1")
    shoot(page, "console")

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
    shoot(page, "console-domain")
    assert job.split("/")[-1] in page.content()
    assert not visit.troubles


def test_two_versions_are_compared_on_the_same_pictures(chromium, visit, platform):
    with Client(platform.url, platform.api_key) as client:
        job = client.domains.get("night-cams").adapt(snapshot="latest", steps=60).wait(timeout_s=PATIENCE_S)
        assert job.version == 2, job.detail
    page = visit.page
    visit.go(f"/domains/night-cams/jobs/{job.id}")
    assert page.locator(".plot").count() == 4, "both losses, the gain, and what is left of the noise"
    page.locator("#training").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, document.querySelector('#training').getBoundingClientRect().top + scrollY - 20)")
    shoot(page, "console-training", height=640)

    visit.go("/domains/night-cams")
    page.click("text='Compare two'")
    page.wait_for_url("**/compare")
    page.select_option("[name=a]", "1")
    page.select_option("[name=b]", "2")
    page.click("button:has-text('Compare')")
    page.wait_for_url("**/compare?a=1&b=2")
    until(page, "[...document.querySelectorAll('.slider img')].every((one) => one.complete && one.naturalWidth > 0)")
    sides = ["[slot=first]", "[slot=second]"]
    before = [page.get_attribute(side, "src") for side in sides]
    assert ["/versions/1/" in before[0], "/versions/2/" in before[1]] == [True, True]
    assert "serves now" not in page.inner_text(".figures"), "the base model does"
    page.click("button:has-text('Next')")
    after = [page.get_attribute(side, "src") for side in sides]
    assert all(old != new for old, new in zip(before, after, strict=True)), "both go on"
    assert page.inner_text("[data-named=first]") == "version 1"
    assert page.get_attribute("[slot=first]", "alt").endswith(", version 1")
    page.keyboard.press("PageDown")
    page.wait_for_timeout(500)
    shoot(page, "console-compare")
    page.select_option("[data-side=first]", "camera")
    assert page.inner_text("[data-named=first]") == "camera"
    page.click("text=Side by side")
    until(page, "[...document.querySelectorAll('.panes img')].every((one) => one.complete && one.naturalWidth > 0)")
    assert page.eval_on_selector_all(".panes figcaption", "all => all.map((one) => one.textContent)") == [
        "camera",
        "base model",
        "version 1",
        "version 2",
    ]
    page.fill("#key", page.get_attribute("#keys option", "value"))
    page.click("button:has-text('Restore by both')")
    page.wait_for_selector("h2:has-text('One picture, tried with both')", timeout=PATIENCE_S * 1000)
    until(page, "[...document.querySelectorAll('.slider img')].every((one) => one.complete && one.naturalWidth > 0)")
    is_accessible(page, "a picture that was tried with both")
    assert not visit.troubles

    for viewport in (DESK, PHONE):
        context = chromium.new_context(viewport=viewport, java_script_enabled=False)
        plain = watched(context, platform)
        log_in(plain, platform.api_key)
        plain.go("/domains/night-cams/compare?a=1&b=2")
        left, right = (plain.page.locator(side).bounding_box() for side in sides)
        assert left["y"] == right["y"], "without script side by side"
        assert left["x"] + left["width"] <= right["x"]
        assert min(left["width"], right["width"]) > 100
        context.close()


def test_a_job_that_fails_says_why_although_its_events_never_come(visit):
    page = visit.page
    page.route("**/stream", lambda route: None)  # asked for, and never answered
    visit.go("/domains/empty-cams")
    page.click("button:has-text('Adapt now')")
    page.wait_for_selector(".problem:has-text('DATA_EMPTY')", timeout=PATIENCE_S * 1000)
    assert "Next: Put images there and run it again." in page.inner_text(".problem")
    page.unroute("**/stream")
    visit.go("/")
    assert "The images of empty-cams cannot be read" in page.inner_text(".concerns")
    shoot(page, "console-overview")
    assert not visit.troubles


def test_every_page_is_accessible_narrow_enough_and_loads_nothing_from_elsewhere(chromium, visit, platform):
    visit.go("/jobs")
    jobs = visit.page.eval_on_selector_all("tbody tr td:first-child a", "links => links.map((link) => link.pathname)")
    visit.go("/domains/night-cams/snapshots")
    snapshot = visit.page.get_attribute("tbody a", "href")
    assert len(jobs) == 3
    paths = [
        "/",
        "/domains",
        "/domains?prefix=night",
        "/domains?prefix=none",
        "/try?domain=night-cams",
        "/domains/night-cams",
        "/domains/empty-cams",
        "/domains/night-cams/snapshots",
        snapshot,
        "/domains/night-cams/versions/1",
        "/domains/night-cams/compare?a=1&b=2",
        "/domains/night-cams/compare?a=0&b=1",
        "/domains/empty-cams/compare",
        *jobs,
        "/jobs",
        "/sweeps",
        "/sweeps?domain=night-cams&kind=tta",
        "/sweeps/tta-night",
        "/serving",
        "/usage",
        "/keys",
        "/audit",
    ]
    for scheme, viewport in (("light", DESK), ("dark", DESK), ("light", PHONE)):
        context = chromium.new_context(viewport=viewport, color_scheme=scheme)
        seen = watched(context, platform)
        log_in(seen, platform.api_key)
        for path in paths:
            seen.go(path.removeprefix("/console"))
            is_accessible(seen.page, f"{path} ({scheme}, {viewport['width']} px)")
            wide = seen.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= viewport["width"], f"{path} is {wide} px wide on {viewport['width']} px"
        if (scheme, viewport) == ("dark", DESK):
            seen.go("/domains/night-cams/versions/1")
            shoot(seen.page, "console-version-dark")
        if viewport is PHONE:
            seen.go("/")
            shoot(seen.page, "console-overview-phone")
        assert not seen.troubles, scheme
        context.close()


def test_a_page_that_is_open_when_its_key_is_revoked_leads_to_the_login(chromium, platform):
    with Client(platform.url, platform.api_key) as client:
        key = client.keys.create("for a while", role="viewer")
        context = chromium.new_context(viewport=DESK)
        visit = watched(context, platform)
        log_in(visit, key.token)
        visit.go("/jobs")
        client.keys.revoke(key.kid)
        visit.page.wait_for_url("**/console/login?**", timeout=20_000)
        context.close()


def _is_served(platform: LocalPlatform, version: str) -> None:
    image = encode_png(np.full((48, 48, 3), 90, np.uint8))
    deadline = time.monotonic() + 30
    with Client(platform.url, platform.api_key) as client:
        while client.restore(image, "night-cams").version != version:
            assert time.monotonic() < deadline, f"version {version} was not served"
            time.sleep(0.3)


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
