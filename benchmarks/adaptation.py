"""What adaptation gains on shifted domains that hide their truth, inductively, and whom it harms.

python benchmarks/adaptation.py --data data --json benchmarks/results/adaptation.json

Adaptation sees unlabelled images of a world; scores are on other scenes of it, with the intent that its truth is right
with. Columns: degraded input, base model, CORAL alone ("UDAIR as described"), the best candidate whatever the gate
says, what is served behind the gate, and an oracle: the same adapter trained for as many steps *with* labels
of the adaptation images. Every second test image is one half, the others are the other.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import torch
from models import base, psnr, restored
from report import Figure, arguments, publish
from worlds import World, worlds

from udair.adaptation.adapter import adapter_to_bytes
from udair.adaptation.fitting import fit_with_labels
from udair.adaptation.gate import GatePolicy, judge
from udair.adaptation.recipe import Adaptation, adapt
from udair.bundle import Bundle
from udair.config import RecipeConfig
from udair.models.modulation import Modulation

COLUMNS = ("input", "base", "coral", "forced", "served", "oracle")
HARM_DB = 0.1
WORTH_DB = 1.0  # of the oracle: with less there is nothing to be had
HIGH_ISO = ("camera_iso1600", "camera_iso3200", "camera_iso6400")


def main() -> None:
    options = arguments(__doc__ or "", quality=True, only=True)
    torch.set_num_threads(options.threads)
    bundle = base(options.base)
    config = RecipeConfig(steps=40) if options.quick else RecipeConfig()
    chosen = worlds(
        options.data, side=192 if options.quick else 256, test=8 if options.quick else 24, seed=options.seed
    )
    if options.quick:
        chosen = [world for world in chosen if world.name in ("camera_iso3200", "dark_cast", "control_sigma25")]
    if options.only:
        chosen = [world for world in chosen if world.name in options.only]
    rows = {}
    print(f"{'world':24}" + "".join(f"{name:>9}" for name in COLUMNS) + "  verdict")
    for world in chosen:
        rows[world.name] = row = _score(bundle, world, config)
        cells = "".join(f"{row['psnr_db'].get(name, float('nan')):9.2f}" for name in COLUMNS)
        print(f"{world.name:24}{cells}  {row['verdict']} ({row['candidate']}) {row['seconds']:.0f} s", flush=True)
    figures = _figures(bundle, rows, options.seed)
    if not options.quick and not options.only:
        seconds, size = _two_hundred(bundle, next(w for w in chosen if w.name == "camera_iso3200"), config)
        figures["adapt_200_images_s"] = Figure(round(seconds, 1), "s", None, 300.0)
        figures["adapter_bytes"] = Figure(size, "bytes", 2**20, 300_000)
    figures["peak_memory_mib"] = Figure(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MiB")
    publish("adaptation", figures, options, base={"name": bundle.name, "digest": bundle.digest}, worlds=rows)
    if options.picture:
        from pictures import columns

        columns(options.picture, rows, COLUMNS)


def _score(bundle: Bundle, world: World, config: RecipeConfig) -> dict:
    begun = time.perf_counter()
    made = adapt(
        bundle, world.adapt, world.gate, config, tone=world.tone, references=world.references, tone_aim=world.tone_aim
    )
    seconds = time.perf_counter() - begun
    verdict = judge(made.evidence, GatePolicy()).verdict
    trained = {name: gain for name, gain in made.candidates.items() if name not in ("coral", "champion")}
    rows: dict[str, Modulation | None] = {"base": None}
    rows["coral"] = made.adapters["coral"].row if "coral" in made.adapters else None
    rows["forced"] = made.adapters[max(trained, key=trained.__getitem__)].row if trained else None
    rows["served"] = made.adapter.row if verdict == "PASSED" else None
    rows["oracle"] = fit_with_labels(bundle, world.adapt, world.adapt_truths, config, world.tone)
    scores = {"input": [psnr(i, t) for i, t in zip(world.inputs, world.truths, strict=True)]}
    for name, row in rows.items():
        if row is None and name != "base":
            scores[name] = scores["base"]
            continue
        scores[name] = [
            psnr(restored(bundle, i, row, world.tone), t) for i, t in zip(world.inputs, world.truths, strict=True)
        ]
    gain = np.subtract(scores["served"], scores["base"])
    return {
        "shifted": world.shifted,
        "tone": world.tone,
        "images": len(world.inputs),
        "unlabelled": len(world.adapt) + len(world.gate),
        "psnr_db": {name: round(float(np.mean(values)), 3) for name, values in scores.items()},
        "halves_gain_db": [round(float(np.mean(gain[first::2])), 3) for first in (0, 1)],
        "gain_db": [round(float(g), 3) for g in gain],
        "gain_over_input_db": [round(float(g), 3) for g in np.subtract(scores["served"], scores["input"])],
        "verdict": verdict,
        "candidate": made.adapter.notes.get("candidate", "") if verdict == "PASSED" else "base kept",
        "seconds": round(seconds, 1),
        "candidates_db": {name: round(value, 3) for name, value in made.candidates.items()},
        "words": list(made.match["words"]),
        "evidence": _plain(made),
    }


def _plain(made: Adaptation) -> dict:
    return {
        k: round(v, 4) if isinstance(v, float) and np.isfinite(v) else str(v)
        for k, v in made.evidence.to_dict().items()
    }


def _figures(bundle: Bundle, rows: dict, seed: int) -> dict[str, Figure]:
    shifted = {name: row for name, row in rows.items() if row["shifted"]}

    def gain(row: dict, column: str = "served") -> float:
        return row["psnr_db"][column] - row["psnr_db"]["base"]

    worth = [row for row in shifted.values() if gain(row, "oracle") >= WORTH_DB]
    gains = [gain(row) for row in worth]
    oracle = [gain(row, "oracle") for row in worth]
    harmed = {
        key: round(float((np.concatenate([row[name] for row in rows.values()]) < -HARM_DB).mean()), 4)
        for key, name in (("base", "gain_db"), ("input", "gain_over_input_db"))
    }
    figures = {
        "adapt_share_of_oracle": Figure(round(sum(gains) / max(sum(oracle), 1e-9), 3), "share", 0.45, 0.7),
        "adapt_mean_gain_db": Figure.mean_of(gains, f"dB where labels gain {WORTH_DB}", 1.0, 2.0, seed),
        "adapt_mean_gain_everywhere_db": Figure.mean_of([gain(row) for row in shifted.values()], "dB", seed=seed),
        "adapt_oracle_gain_db": Figure.mean_of(oracle, "dB", seed=seed),
        "adapt_harmed_vs_base_share": Figure(harmed["base"], "share", None, 0.05),
        "adapt_harmed_vs_input_share": Figure(harmed["input"], "share", None, 0.02),
        "adapt_worst_domain_gain_db": Figure(round(min(map(gain, shifted.values())), 4), "dB", -0.05, 0.0),
    }
    for column in ("coral", "forced"):
        figures[f"{column}_gain_db"] = Figure.mean_of(
            [gain(r, column) for r in shifted.values()], "dB, no gate", seed=seed
        )
    for name, row in rows.items():
        if not row["shifted"]:
            figures[f"{name}_gain_db"] = Figure(round(gain(row), 4), "dB", -0.05, 0.0)
    for half in (0, 1):
        value = float(np.mean([row["halves_gain_db"][half] for row in worth])) if worth else 0.0
        figures[f"half_{half + 1}_mean_gain_db"] = Figure(round(value, 3), f"dB where labels gain {WORTH_DB}", 1.0)
    for name in (*HIGH_ISO, "polyu"):
        if name in rows:
            figures[f"{name}_gain_db"] = Figure(round(gain(rows[name]), 3), "dB", -0.05 if name == "polyu" else 1.0)
    figures["adapt_mean_s"] = Figure.mean_of([row["seconds"] for row in rows.values()], "s", seed=seed)
    return figures


def _two_hundred(bundle: Bundle, world: World, config: RecipeConfig) -> tuple[float, int]:
    """Seconds to adapt on 200 images of one world, and the size of what comes out."""
    images = [(world.adapt + world.gate)[index % (len(world.adapt) + len(world.gate))] for index in range(200)]
    begun = time.perf_counter()
    made = adapt(bundle, images[:150], images[150:], config, tone=world.tone)
    return time.perf_counter() - begun, len(adapter_to_bytes(made.adapter))


if __name__ == "__main__":
    main()
