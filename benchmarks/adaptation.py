"""What adaptation gains on shifted domains that hide their truth, inductively, and whom it harms.

python benchmarks/adaptation.py --data data --json benchmarks/results/adaptation.json

Adaptation sees unlabelled images of a world; scores are on other scenes of it. Columns: degraded input, source
model, CORAL alone ("UDAIR as described"), moment match, re-degradation (ungated), full recipe behind the gate,
and an oracle: the same adapter trained for as many steps *with* labels of the adaptation images.
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
from udair.adaptation.fitting import fit_adapter
from udair.adaptation.gate import GatePolicy, judge
from udair.adaptation.recipe import Adaptation, adapt
from udair.bundle import Bundle
from udair.config import RecipeConfig
from udair.data.patches import PatchSource
from udair.models.modulation import Modulation

COLUMNS = ("input", "source", "coral", "moment match", "re-degradation", "full + gate", "oracle")
HARM_DB = 0.1


def main() -> None:
    options = arguments(__doc__ or "", quality=True)
    torch.set_num_threads(options.threads)
    bundle = base(options.base)
    config = RecipeConfig(steps=40, match_trials=120) if options.quick else RecipeConfig()
    chosen = worlds(
        options.data, side=192 if options.quick else 256, test=8 if options.quick else 24, seed=options.seed
    )
    if options.quick:
        chosen = [world for world in chosen if world.name in ("sigma75", "dark_cast", "control_sigma25")]
    rows = {}
    print(f"{'world':20}" + "".join(f"{name:>15}" for name in COLUMNS) + "  verdict")
    for world in chosen:
        rows[world.name] = row = _score(bundle, world, config)
        cells = "".join(f"{row['psnr_db'].get(name, float('nan')):15.2f}" for name in COLUMNS)
        print(f"{world.name:20}{cells}  {row['verdict']} ({row['candidate']}) {row['seconds']:.0f} s", flush=True)
    figures = _figures(bundle, rows, options.seed)
    if not options.quick:
        seconds, size = _two_hundred(bundle, chosen[0], config)
        figures["adapt_200_images_s"] = Figure(round(seconds, 1), "s", 600.0, 180.0)
        figures["adapter_bytes"] = Figure(size, "bytes", 2**20, 300_000)
    figures["peak_memory_mib"] = Figure(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MiB")
    publish("adaptation", figures, options, base={"name": bundle.name, "digest": bundle.digest}, worlds=rows)
    if options.picture:
        from pictures import columns

        columns(options.picture, rows, COLUMNS)


def _score(bundle: Bundle, world: World, config: RecipeConfig) -> dict:
    begun = time.perf_counter()
    made = adapt(bundle, world.adapt, world.gate, config)
    seconds = time.perf_counter() - begun
    verdict = judge(made.evidence, GatePolicy()).verdict
    rows: dict[str, Modulation | None] = {"source": None}
    for name, candidate in (
        ("coral", "coral"),
        ("moment match", "moment match x 1"),
        ("re-degradation", "re-degradation"),
    ):
        rows[name] = made.adapters[candidate].row if candidate in made.adapters else None
    rows["full + gate"] = made.adapter.row if verdict == "PASSED" else None
    rows["oracle"] = oracle_row(bundle, world, config)
    scores = {"input": [psnr(i, t) for i, t in zip(world.inputs, world.truths, strict=True)]}
    for name, row in rows.items():
        if row is None and name != "source":
            scores[name] = scores["source"]
            continue
        scores[name] = [psnr(restored(bundle, i, row), t) for i, t in zip(world.inputs, world.truths, strict=True)]
    gain = np.subtract(scores["full + gate"], scores["source"])
    ungated = np.subtract(scores["re-degradation"], scores["source"])
    return {
        "shifted": world.shifted,
        "images": len(world.inputs),
        "unlabelled": len(world.adapt) + len(world.gate),
        "psnr_db": {name: round(float(np.mean(values)), 3) for name, values in scores.items()},
        "gain_db": [round(float(g), 3) for g in gain],
        "ungated_gain_db": [round(float(g), 3) for g in ungated],
        "harmed_share": float(np.mean(gain < -HARM_DB)),
        "ungated_harmed_share": float(np.mean(ungated < -HARM_DB)),
        "verdict": verdict,
        "candidate": made.adapter.notes.get("candidate", "") if verdict == "PASSED" else "source kept",
        "seconds": round(seconds, 1),
        "in_domain_share": made.metrics["in_domain_share"],
        "matched_gains_db": {name: round(value, 3) for name, value in made.candidates.items()},
        "match": made.match["matched"][:2],
        "evidence": _plain(made),
    }


def _plain(made: Adaptation) -> dict:
    return {
        k: round(v, 4) if isinstance(v, float) and np.isfinite(v) else str(v)
        for k, v in made.evidence.to_dict().items()
    }


def oracle_row(bundle: Bundle, world: World, config: RecipeConfig) -> Modulation:
    """The same adapter trained on true pairs: what the best label-free signal could reach."""
    source = PatchSource.of_layers(zip(world.adapt, world.adapt_truths, strict=True))
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        embedding = bundle.model.embed(PatchSource(world.adapt).crops(64, 96, generator)).embedding_BD.float()

    def draw(batch: int, patch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        degraded, clean = source.crops(batch, patch, generator).split(3, 1)
        return degraded, clean

    return fit_adapter(bundle.model, draw, embedding, config, generator=generator)[0]


def _figures(bundle: Bundle, rows: dict, seed: int) -> dict[str, Figure]:
    shifted = {name: row for name, row in rows.items() if row["shifted"]}
    gains = [float(np.mean(row["gain_db"])) for row in shifted.values()]
    oracle = [row["psnr_db"]["oracle"] - row["psnr_db"]["source"] for row in shifted.values()]
    every = np.concatenate([row["gain_db"] for row in rows.values()])
    half = round(float(np.mean(oracle)) / 2, 3)
    figures = {
        "adapt_mean_gain_db": Figure.mean_of(gains, "dB", 1.0, half, seed),
        "adapt_oracle_gain_db": Figure.mean_of(oracle, "dB", seed=seed),
        "adapt_harmed_share": Figure(round(float((every < -HARM_DB).mean()), 4), "share", 0.05, 0.01),
        "adapt_worst_domain_gain_db": Figure(round(min(gains), 4), "dB", -0.05, 0.0),
    }
    for column in COLUMNS[2:5]:
        ungated = [row["psnr_db"][column] - row["psnr_db"]["source"] for row in shifted.values()]
        figures[f"{column.replace(' ', '_')}_gain_db"] = Figure.mean_of(ungated, "dB, no gate", seed=seed)
    control = [float(np.mean(row["gain_db"])) for row in rows.values() if not row["shifted"]]
    figures["adapt_in_domain_gain_db"] = Figure(round(min(control), 4), "dB", -0.05, 0.0)
    off = np.concatenate([row["ungated_gain_db"] for row in rows.values()])
    figures["gate_off_harmed_share"] = Figure(round(float((off < -HARM_DB).mean()), 4), "share")
    figures["adapt_mean_s"] = Figure.mean_of([row["seconds"] for row in rows.values()], "s", seed=seed)
    return figures


def _two_hundred(bundle: Bundle, world: World, config: RecipeConfig) -> tuple[float, int]:
    """Seconds to adapt on 200 images of one world, and the size of what comes out."""
    images = [(world.adapt + world.gate)[index % (len(world.adapt) + len(world.gate))] for index in range(200)]
    begun = time.perf_counter()
    made = adapt(bundle, images[:150], images[150:], config)
    return time.perf_counter() - begun, len(adapter_to_bytes(made.adapter))


if __name__ == "__main__":
    main()
