"""Chromium windows that look at the console: logged in, watched for troubles, checked by axe-core, photographed."""

from __future__ import annotations

import io
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from udair_platform.local.platform import LocalPlatform

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
PATIENCE_S = 600.0
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


def until(page, condition: str) -> None:
    """Wait for a condition in the page. `wait_for_function` would evaluate a string, which the policy forbids."""
    deadline = time.monotonic() + PATIENCE_S
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"not so within {PATIENCE_S:.0f} s: {condition}"
        page.wait_for_timeout(100)


def watched(context, platform: LocalPlatform) -> Visit:
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


def log_in(visit: Visit, key: str) -> None:
    visit.page.goto(f"{visit.url}/console/")
    visit.page.fill("#key", key)
    visit.page.click("button:has-text('Log in')")
    visit.page.wait_for_selector("nav[aria-label=Main]")


def is_accessible(page, what: str) -> None:
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


def shoot(page, name: str, height: int | None = None) -> None:
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
