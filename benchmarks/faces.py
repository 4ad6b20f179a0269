"""How long people wait for the command line, for the SDK, and for their first picture.

python benchmarks/faces.py --json benchmarks/results/faces.json

The first picture: from `udair up` in a home that is new, on a machine that has everything installed, until a photograph of
512 x 512 that was chosen on the page behind the printed link is shown restored. The browser (the system's Chromium) is open already.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "servers"))

import numpy as np
from browser import DESK, FLAGS
from playwright.sync_api import Browser, sync_playwright
from report import Figure, arguments, publish
from skimage import data

from udair.data.images import encode_png
from udair_platform.demo.customer import night_camera

_IMPORT = "import time; t = time.perf_counter(); {}\nprint(time.perf_counter() - t)"
_UDAIR = str(Path(sys.executable).with_name("udair"))
_RESTORED_S = 300.0


def main() -> None:
    options = arguments(__doc__ or "")
    repeats = 5 if options.quick else 25
    figures = {
        "cli_help_ms": Figure.median_of(_process_ms([_UDAIR, "--help"], repeats), "ms", floor=150.0),
        "cli_job_help_ms": Figure.median_of(_process_ms([_UDAIR, "job", "list", "--help"], repeats), "ms"),
        "cli_completion_ms": Figure.median_of(_process_ms([_UDAIR], repeats, _COMPLETE), "ms"),
        "sdk_import_ms": Figure.median_of(
            _import_ms("from udair_platform.client import Client", repeats), "ms", floor=150.0, aim=120.0
        ),
        "sdk_first_client_ms": Figure.median_of(
            _import_ms(
                "from udair_platform.client import Client; Client('http://127.0.0.1:9', 'ak_x').domains", repeats
            ),
            "ms",
        ),
        "python_start_ms": Figure.median_of(_process_ms([sys.executable, "-c", "pass"], repeats), "ms"),
        "boto3_import_ms": Figure.median_of(_import_ms("import boto3", repeats), "ms"),
    }
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("No Chromium on PATH; install it first: apt-get install -y --no-install-recommends chromium")
    photo = encode_png(night_camera(data.astronaut(), np.random.default_rng(options.seed)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for launcher, name in (("auto", "first_picture_s"), ("local", "first_picture_without_ray_s")):
            spent = [_first_picture_s(browser, photo, launcher) for _ in range(1 if options.quick else 3)]
            figures[name] = Figure.median_of(spent, "s", *((45.0, 30.0) if launcher == "auto" else ()))
        browser.close()
    publish("faces", figures, options)


def _first_picture_s(browser: Browser, photo: bytes, launcher: str) -> float:
    context = browser.new_context(viewport=DESK)
    with tempfile.TemporaryDirectory() as home:
        began = time.perf_counter()
        command = [_UDAIR, "up", "--home", f"{home}/.udair", "--port", "0", "--serve-port", "0", "--launcher", launcher]
        platform = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert platform.stdout is not None
            link = next(
                (found for line in platform.stdout if (found := re.search(r"http\S+login\?once=\S+", line))), None
            )
            if link is None:
                raise SystemExit("udair up ended without a link to its console.")
            page = context.new_page()
            page.goto(link[0])
            page.click("nav >> text='Try it'")
            page.set_input_files("#picture", {"name": "night.png", "mimeType": "image/png", "buffer": photo})
            page.click("button:has-text('Restore it')")
            page.wait_for_selector("h2:has-text('What the platform sees')", timeout=1000 * _RESTORED_S)
            shown = (
                "[...document.querySelectorAll('.slider img')].every((image) => image.complete && image.naturalWidth)"
            )
            while not page.evaluate(shown):
                page.wait_for_timeout(20)
            return time.perf_counter() - began
        finally:
            context.close()
            platform.send_signal(signal.SIGINT)
            platform.wait(60)


_COMPLETE = {"_UDAIR_COMPLETE": "complete_bash", "COMP_WORDS": "udair job ", "COMP_CWORD": "2"}


def _process_ms(command: list[str], repeats: int, environment: dict[str, str] | None = None) -> list[float]:
    """From the start of a process to its end; the first run, which fills the caches, is left out."""
    spent = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
        )
        spent.append(1000 * (time.perf_counter() - begun))
    return spent[1:]


def _import_ms(statement: str, repeats: int) -> list[float]:
    """What `statement` takes in a fresh interpreter that is running."""
    program = _IMPORT.format(statement)
    command = [sys.executable, "-c", program]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(repeats + 1)]
    return [1000 * float(line) for line in said[1:]]


if __name__ == "__main__":
    main()
