"""Pictures of benchmark results, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "input": "#b8b8b8",
    "coral": "#c8a96a",
    "forced": "#7fb3d5",
    "served": "#1f6fb2",
    "oracle": "#222222",
}


def columns(path: Path, rows: Mapping[str, Any], names: Sequence[str]) -> None:
    """Gain over the source model by world and column, with the share of images harmed below."""
    worlds = list(rows)
    shown = [name for name in names if name not in ("input", "base")]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(12, 7), height_ratios=(4, 1), sharex=True, layout="constrained")
    width = 0.8 / len(shown)
    for index, name in enumerate(shown):
        gains = [rows[world]["psnr_db"][name] - rows[world]["psnr_db"]["base"] for world in worlds]
        places = [place + (index - len(shown) / 2 + 0.5) * width for place in range(len(worlds))]
        top.bar(places, gains, width, label=name, color=COLOURS[name])
    top.axhline(0, color="black", linewidth=0.8)
    top.set_ylabel("gain over the base model, dB")
    top.set_title("What adaptation gains on unseen scenes of each domain, without labels (oracle: with labels)")
    top.legend(ncols=len(shown), frameon=False)
    for index, key in enumerate(("gain_db", "gain_over_input_db")):
        places = [place + (index - 0.5) * 0.3 for place in range(len(worlds))]
        shares = [100 * sum(g < -0.1 for g in rows[world][key]) / len(rows[world][key]) for world in worlds]
        bottom.bar(places, shares, 0.3, color=("#999999", "#333333")[index], label=("vs base", "vs input")[index])
    bottom.legend(frameon=False)
    bottom.set_ylabel("harmed, %")
    names_of = [world.replace("_", " ") for world in worlds]
    bottom.set_xticks(range(len(worlds)), names_of, rotation=40, ha="right", rotation_mode="anchor")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def bars(path: Path, rows: Mapping[str, Any], public: Mapping[str, Mapping[str, float]]) -> None:
    """Input and restored PSNR by set, with published all-in-one models as marks; sets with nothing wrong are left out."""
    rows = {name: row for name, row in rows.items() if not name.endswith("_clean")}
    figure, axis = plt.subplots(figsize=(11, 5), layout="constrained")
    for index, (name, row) in enumerate(rows.items()):
        axis.bar(index - 0.2, row["input"], 0.4, color=COLOURS["input"], label="input" if not index else None)
        axis.bar(index + 0.2, row["restored"], 0.4, color=COLOURS["served"], label="restored" if not index else None)
        for mark, (model, value) in zip("_x+", public.get(name, {}).items(), strict=False):
            axis.plot(index + 0.2, value, mark, color="#b03030", label=model if not index else None, markersize=9)
    axis.set_xticks(range(len(rows)), [name.replace("_", "\n", 1) for name in rows])
    axis.set_ylabel("PSNR, dB (RGB, full images)")
    axis.set_ylim(5, 44)
    axis.legend(frameon=False, ncols=5)
    axis.set_title("Blind restoration; marks are published figures of models trained on other data")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def gate_curve(path: Path, judged: Sequence[Mapping[str, Any]], curve: Sequence[Mapping[str, float]]) -> None:
    """True effect of every judged adapter against the gate's verdict, and what stricter and laxer gates would do."""
    figure, (axis, right) = plt.subplots(1, 2, figsize=(13, 4.5), width_ratios=(3, 2), layout="constrained")
    right.plot([at["refused"] for at in curve], [at["caught"] for at in curve], "o-", color="#1f6fb2")
    places = {(at["refused"], at["caught"]): at for at in reversed(curve)}  # of equal ones, the laxest
    for at in places.values():
        right.annotate(f"x {at['strictness']:g}", (at["refused"], at["caught"]), (6, -10), textcoords="offset points")
    right.set_xlabel("refused, of what was made to help and gains over 0.3 dB")
    right.set_ylabel("share of harmful adapters caught")
    right.set_title("every limit so many times as strict")
    kinds = sorted({item["kind"] for item in judged})
    for row, kind in enumerate(kinds):
        for passed, colour in ((True, "#1f6fb2"), (False, "#b03030")):
            points = [item["true_gain_db"] for item in judged if item["kind"] == kind and item["passed"] == passed]
            axis.plot(points, [row + (0.12 if passed else -0.12)] * len(points), "o", color=colour, alpha=0.6)
    axis.axvspan(-0.1, 0.1, color="#eeeeee")
    axis.set_yticks(range(len(kinds)), kinds)
    axis.set_xscale("symlog", linthresh=0.5)
    axis.set_xticks((-10, -3, -1, -0.3, 0, 0.3, 1, 3), ("-10", "-3", "-1", "-0.3", "0", "0.3", "1", "3"))
    axis.set_xlabel("true effect on hidden test pairs, dB (blue: passed, red: refused)")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def effects(path: Path, values: Mapping[str, float], whole: str, unit: str) -> None:
    """Each variant beside the whole method: how far it falls behind or runs ahead."""
    figure, axis = plt.subplots(figsize=(9, 0.5 * len(values) + 1.2), layout="constrained")
    names = list(values)
    axis.barh(
        names,
        [values[name] for name in names],
        color=[COLOURS["served" if n == whole else "forced"] for n in names],
    )
    axis.axvline(values[whole], color="black", linewidth=0.8)
    axis.invert_yaxis()
    axis.set_xlabel(unit)
    figure.savefig(path, dpi=130)
    plt.close(figure)
