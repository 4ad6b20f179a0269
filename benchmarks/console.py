"""How long the console's pages take at their first view, and how many bytes: 10,000 domains, a gallery of 1,000 images.

python benchmarks/console.py --json benchmarks/results/console.json

The API is a real process on loopback, the browser is the system's Chromium with an empty cache at every visit. A page is
usable when it is loaded and every picture in the window is there; bytes are all that was transferred until the network
fell silent, headers included. Of overview, domains and gallery the slowest, and the largest, counts.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "servers"))

import httpx
import numpy as np
from browser import DESK, FLAGS
from control_plane import NOW, TENANT, fill
from control_processes import ControlProcesses
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from report import Figure, arguments, publish
from skimage import data

from udair_platform.console.session import COOKIE
from udair_platform.entities.job import JobState
from udair_platform.entities.version import AdapterVersion, VersionState
from udair_platform.services import domains, jobs
from udair_platform.services.change import Change

SIDE, KINDS = 384, ("camera", "source", "adapted", "previous")
USABLE = """() => new Promise((done) => {
  const look = () => {
    const inside = [...document.images].filter((image) => {
      const box = image.getBoundingClientRect();
      return box.width && box.top < innerHeight && box.bottom > 0;
    });
    if (document.readyState === "complete" && inside.every((image) => image.complete)) done(performance.now());
    else requestAnimationFrame(look);
  };
  look();
})"""


@dataclass(frozen=True)
class View:
    """One visit."""

    usable_ms: float
    bytes: int
    requests: int


def pictures(rng: np.random.Generator) -> list[dict[str, bytes]]:
    """A dozen photographs as a noisy camera sees them and as models restore them, encoded as jobs encode them."""
    photographs = [image[:SIDE, :SIDE, :3] for image in (data.astronaut(), data.coffee(), data.rocket())]
    photographs.append(data.astronaut()[-SIDE:, -SIDE:])
    made = []
    for photo in photographs * 3:
        noisy = np.clip(photo + rng.normal(0, 18, photo.shape), 0, 255).astype(np.uint8)
        mild = np.clip(photo + rng.normal(0, 5, photo.shape), 0, 255).astype(np.uint8)
        made.append({kind: _webp(image) for kind, image in zip(KINDS, (noisy, mild, photo, mild), strict=True)})
    return made


def _webp(image: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "WEBP", quality=88)
    return sink.getvalue()


def publish_gallery(control: ControlProcesses, count: int, rng: np.random.Generator) -> str:
    """A domain with a version and its pictures; the path of its page."""
    with control.database.write() as state:
        tx = Change(state, "benchmark", NOW, objects=control.store)
        domain = domains.create(tx, tenant=TENANT, name="gallery-cams", source_uri="s3://photos/g")
        job = jobs.submit(tx, domain, recipe={})
        folder = control.store.at(f"t/{TENANT}/d/{domain.name}/jobs/{job.id}/attempts/1/candidate")
        state.jobs.save(replace(job, state=JobState.SUCCEEDED, version=1))
        state.versions.add(
            AdapterVersion(
                domain.id,
                TENANT,
                1,
                job.id,
                job.snapshot_id,
                job.base_name,
                job.base_digest,
                "a" * 64,
                folder.uri,
                NOW,
                NOW,
                state=VersionState.ACTIVE,
                verdict="PASSED",
                gate={"checks": []},
            )
        )
    place, made, items = Path(folder.uri), pictures(rng), []
    place.mkdir(parents=True)
    for number in range(count):
        files = {kind: f"gallery-{number:03d}-{kind}.webp" for kind in KINDS}
        for kind, name in files.items():
            (place / name).write_bytes(made[number % len(made)][kind])
        items.append(
            {
                "key": f"cam {number % 7}/frame-{number:05d}.png",
                "files": files,
                "width": SIDE,
                "height": SIDE,
                "change": 0.02,
                "niqe_rise": round(2 - number / count, 3),
            }
        )
    folder.put("gallery.json", json.dumps({"schema_version": 1, "images": items}).encode())
    return f"/console/domains/{domain.name}/versions/1"


def visit(browser: Browser, url: str, path: str, cookie: str) -> View:
    """Open a page in a browser that has seen nothing before."""
    context = browser.new_context(viewport=DESK)
    context.add_cookies([{"name": COOKIE, "value": cookie, "url": f"{url}/console"}])
    page = context.new_page()
    network, sizes = context.new_cdp_session(page), []
    network.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
    network.send("Network.enable")
    answer = page.goto(f"{url}{path}", wait_until="commit")
    if answer is None or not answer.ok or page.url != f"{url}{path}":
        raise SystemExit(f"{path} was not shown: {page.url}")
    usable_ms = float(page.evaluate(USABLE))
    page.wait_for_load_state("networkidle")
    context.close()
    return View(usable_ms, int(sum(sizes)), len(sizes))


def log_in(control: ControlProcesses) -> str:
    """The cookie of a session."""
    answer = httpx.post(f"{control.url}/console/login", data={"key": control.token, "next": "/console/"})
    if COOKIE not in answer.cookies:
        raise SystemExit(f"the login was answered with {answer.status_code}")
    return str(answer.cookies[COOKIE])


def main() -> None:
    options = arguments(__doc__ or "")
    many, images, repeats = (1000, 100, 3) if options.quick else (10_000, 1000, 9)
    chromium = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if chromium is None:
        raise SystemExit("no Chromium found; install it: apt-get install -y --no-install-recommends chromium")
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlProcesses(Path(folder) / "home", rate_limit_per_minute=0) as control,
    ):
        print(f"filling: {many} domains, {images} images", file=sys.stderr, flush=True)
        fill(control, many, 20_000)
        paths = {"overview": "/console/", "domains": "/console/domains"}
        paths["gallery"] = publish_gallery(control, images, np.random.default_rng(options.seed))
        control.start("api")
        control.await_ready()
        cookie, views = log_in(control), {}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            for name, path in paths.items():
                visit(browser, control.url, path, cookie)  # templates are compiled
                views[name] = [visit(browser, control.url, path, cookie) for _ in range(repeats)]
                print(f"{name}: {[round(view.usable_ms) for view in views[name]]} ms", file=sys.stderr, flush=True)
            version = browser.version
            browser.close()
    slowest = max(views.values(), key=lambda seen: median(view.usable_ms for view in seen))
    largest = max(views.values(), key=lambda seen: median(view.bytes for view in seen))
    figures = {
        "console_first_view_ms": Figure.median_of([view.usable_ms for view in slowest], "ms", 1500, 500),
        "console_page_bytes": Figure.median_of([float(view.bytes) for view in largest], "bytes", 1_000_000, 300_000),
    }
    pages = {
        name: {
            "first_view_ms": round(median(view.usable_ms for view in seen), 1),
            "bytes": round(median(view.bytes for view in seen)),
            "requests": round(median(view.requests for view in seen)),
        }
        for name, seen in views.items()
    }
    publish("console", figures, options, pages=pages, domains=many, images=images, chromium=version)


if __name__ == "__main__":
    main()
