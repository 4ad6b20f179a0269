"""The before/after gallery: one HTML file that needs nothing else, worst cases first."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from udair.data.images import ImageArray

_COLUMNS = ("camera", "source model", "served", "hidden truth")
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6570; --page: #fbfaf8; --card: #fff; --line: #e3e0da;
  --good: #1a7f4b; --bad: #b3372b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e3; --soft: #9aa4ae; --page: #14171a; --card: #1c2024;
  --line: #2c3238; --good: #5fd39a; --bad: #ff8a7a; } }
* { box-sizing: border-box } body { margin: 0; padding: 2rem clamp(1rem, 4vw, 3rem); background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; letter-spacing: -.01em } p { color: var(--soft); max-width: 46rem; margin: .2rem 0 }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.5rem 0 }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .7rem 1.1rem; min-width: 9rem }
.figure b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums } .figure span { color: var(--soft); font-size: .85rem }
table { border-collapse: collapse; margin: 1rem 0 2rem; font-size: .92rem; background: var(--card) }
td, th { text-align: left; padding: .35rem .9rem; border: 1px solid var(--line); font-variant-numeric: tabular-nums }
th { color: var(--soft); font-weight: 600 }
.row { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .6rem; margin: 0 0 .4rem }
.row figure { margin: 0 } .row img { width: 100%; display: block; border-radius: .4rem; image-rendering: auto }
figcaption { color: var(--soft); font-size: .82rem; padding: .15rem 0 } .name { margin: 1.4rem 0 .4rem; font-weight: 600 }
.good { color: var(--good) } .bad { color: var(--bad) }
@media (max-width: 640px) { .row { grid-template-columns: repeat(2, minmax(0, 1fr)) } }
"""


@dataclass(frozen=True)
class Case:
    """One photograph on its way through the platform.

    Attributes:
        name: Its object key.
        images: Camera, source model, served, truth; (H, W, 3) uint8.
        psnr_db: PSNR of the first three against the truth.
    """

    name: str
    images: tuple[ImageArray, ImageArray, ImageArray, ImageArray]
    psnr_db: tuple[float, float, float]

    @property
    def gain_db(self) -> float:
        """What adaptation did to this one."""
        return self.psnr_db[2] - self.psnr_db[1]


def render(cases: Sequence[Case], report: dict[str, Any]) -> str:
    """The gallery of `cases` with the report's figures, as one HTML document."""
    ordered = sorted(cases, key=lambda case: case.gain_db)
    psnr, gate = report["psnr_db"], report["gate"]
    champion = report["alias"]["champion"]
    served = f"adapter version {champion}" if champion else "the source model (version 0)"
    figures = [
        (f"{psnr['input']:.2f} dB", "camera"),
        (f"{psnr['source']:.2f} dB", "source model"),
        (f"{psnr['served']:.2f} dB", "served"),
        (gate["verdict"], "gate"),
        (str(len(cases)), "images"),
        (f"{report['serving']['p50_ms']:.0f} ms", "median request"),
    ]
    boxes = "".join(f'<div class="figure"><b>{html.escape(b)}</b><span>{s}</span></div>' for b, s in figures)
    rows = "".join(_row(case) for case in ordered)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>UDAIR: before and after</title><style>{_STYLE}</style></head><body>
<h1>Before and after</h1>
<p>A phone at night that the base model never saw. The platform had only the unlabelled images; PSNR is against
originals that were kept aside. Served by {html.escape(served)}. Worst cases first.</p>
<div class="figures">{boxes}</div>
<table><caption class="name">Gate: no measured regression on these checks</caption>
<tr><th>check</th><th>measured</th><th>limit</th><th></th></tr>{"".join(_check(check) for check in gate["checks"])}</table>
{rows}</body></html>
"""


def strip(cases: Sequence[Case]) -> Image.Image:
    """A picture of some cases, a row each: camera, source model, served, truth."""
    gap = 6
    rows = []
    for case in cases:
        parts = [np.pad(image, ((0, gap), (0, gap), (0, 0)), constant_values=255) for image in case.images]
        rows.append(np.concatenate(parts, axis=1)[:, :-gap])
    return Image.fromarray(np.concatenate(rows, axis=0)[:-gap])


def _row(case: Case) -> str:
    scores = [f"{value:.2f} dB" for value in case.psnr_db]
    kind = "good" if case.gain_db >= 0 else "bad"
    figures = "".join(
        f'<figure><img loading="lazy" alt="{column}: {html.escape(case.name)}" src="{_data_uri(image)}">'
        f"<figcaption>{column} {score}</figcaption></figure>"
        for column, image, score in zip(_COLUMNS, case.images, [*scores, ""], strict=True)
    )
    gain = f'<span class="{kind}">{case.gain_db:+.2f} dB</span>'
    return f'<div class="name">{html.escape(case.name)} {gain}</div><div class="row">{figures}</div>\n'


def _check(check: dict[str, Any]) -> str:
    measured = "" if check["measured"] is None else f"{check['measured']:.3f}"
    limit = "" if check["limit"] is None else f"{check['limit']:g}"
    mark = '<span class="good">held</span>' if check["passed"] else '<span class="bad">not held</span>'
    if not check.get("judged", True):
        mark = "not judged"
    name = html.escape(check["name"])
    return f'<tr><td title="{html.escape(check.get("detail", ""))}">{name}</td><td>{measured}</td><td>{limit}</td><td>{mark}</td></tr>'


def _data_uri(image: ImageArray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
