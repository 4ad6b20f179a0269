"""How well the base model restores, blind, beside published figures; and what it costs.

python benchmarks/restoration.py --data data --json benchmarks/results/restoration.json

One model, never told which degradation it sees, full images in RGB through the public `restore`. Each row names the
intent that it was asked with: ``keep`` leaves exposure, colour and haze, ``restore`` corrects them. Public
figures come from papers whose training data differ (and whose Rain100L rows train on RainTrainL, and SOTS
rows on 72,135 hazy images); they are context, not opponents of equal means. BM3D runs in the same
process, blind as well: it is told a noise level that is estimated from the picture.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from models import RestormerSize, base, cpu_s, gmacs, parameters_m, psnr, trained_images
from photographs import folder, leaked, pairs
from report import Figure, arguments, publish
from worlds import after, dusk, gaussian, jpeg, levin_kernels, shake, to_image, to_plane

from udair.bundle import Bundle
from udair.config import Tone
from udair.data.images import ImageArray, pixel_hash
from udair.data.patches import PatchSource, to_array, to_tensor
from udair.data.tasks import CLASSES, make_batch
from udair.estimation.noise import haar_level
from udair.inference import restore

# Published, RGB, one model for all tasks: plain NAFNet, PromptIR, MoCE-IR (three-task tables).
PUBLIC = {
    "cbsd68_sigma15": {"NAFNet 17M": 33.18, "PromptIR 36M": 33.98, "MoCE-IR 25M": 34.11},
    "cbsd68_sigma25": {"NAFNet 17M": 30.47, "PromptIR 36M": 31.31, "MoCE-IR 25M": 31.45},
    "cbsd68_sigma50": {"NAFNet 17M": 27.12, "PromptIR 36M": 28.06, "MoCE-IR 25M": 28.18},
    "rain100l": {"NAFNet 17M": 33.64, "PromptIR 36M": 36.37, "MoCE-IR 25M": 38.57},
    "sots_indoor": {"NAFNet 17M": 24.11, "PromptIR 36M": 30.58, "MoCE-IR 25M": 31.34},
}
# Least that is acceptable, and the aim.
FLOORS = {
    "cbsd68_sigma15_psnr_db": (33.1, 33.98),
    "cbsd68_sigma25_psnr_db": (30.5, 31.31),
    "cbsd68_sigma50_psnr_db": (27.3, 28.06),
    "rain100l_gain_db": (4.1, 9.0),
    "sots_indoor_psnr_db": (24.5, 28.0),
    "polyu_gain_db": (1.8, 2.2),
    "kodak24_low_light_psnr_db": (22.0, None),
    "kodak24_blur_gain_db": (0.0, 1.5),
    "kodak24_clean_psnr_db": (45.0, None),
    "cbsd68_clean_psnr_db": (45.0, None),
}
HARMED_DB = -0.1
MOST_HARMED = 0.02
PROBED = ("haze", "rain", "low_light", "blur", "noise", "jpeg")


@dataclass(frozen=True)
class Row:
    """One set: what was damaged, the truth, and the intent that it is restored with."""

    degraded: list[ImageArray]
    clean: list[ImageArray]
    tone: Tone = "keep"


def main() -> None:
    options = arguments(__doc__ or "", quality=True)
    torch.set_num_threads(options.threads)
    bundle, trained = base(options.base), trained_images(options.base)
    limit = 8 if options.quick else None
    scored: set[str] = set()
    figures: dict[str, Figure] = {}
    rows: dict[str, dict[str, object]] = {}
    for name, row in _sets(options, limit).items():
        held = leaked([*row.degraded, *row.clean], trained)
        if held:
            raise SystemExit(f"{len(held)} images of {name} are training images; their scores would be worthless.")
        scored |= set(map(pixel_hash, row.clean))
        before = [psnr(image, truth) for image, truth in zip(row.degraded, row.clean, strict=True)]
        after_db = [psnr(_restored(bundle, i, row.tone), t) for i, t in zip(row.degraded, row.clean, strict=True)]
        gains = [b - a for a, b in zip(before, after_db, strict=True)]
        for key, values in ((f"{name}_psnr_db", after_db), (f"{name}_gain_db", gains)):
            floor, aim = FLOORS.get(key, (None, None))
            figures[key] = Figure.mean_of(values, "dB", floor, aim, options.seed)
        harmed = float(np.mean([gain < HARMED_DB for gain in gains]))
        if row.tone == "keep" and not name.endswith("_clean"):
            figures[f"{name}_harmed_share"] = Figure(round(harmed, 4), f"share below {HARMED_DB} dB", None, MOST_HARMED)
        rows[name] = {
            "tone": row.tone, "images": len(row.clean), "input": float(np.mean(before)),
            "restored": float(np.mean(after_db)), "harmed_share": harmed, "worst_gain": min(gains),
            "halves": [float(np.mean(after_db[first::2])) for first in (0, 1)],
        }  # fmt: skip
        print(
            f"{name:18} {row.tone:8} {np.mean(before):6.2f} -> {np.mean(after_db):6.2f}  harmed {harmed:.2f}   "
            f"public: {PUBLIC.get(name, '-')}",
            flush=True,
        )
    figures |= _bm3d(bundle, options, limit)
    figures["code_probe_accuracy"] = Figure(_probe(bundle, options), "share", 0.93, 0.99)
    figures |= _cost(bundle, 1 if options.quick else 5)
    publish(
        "restoration",
        figures,
        options,
        base={"name": bundle.name, "digest": bundle.digest},
        sets=rows,
        public=PUBLIC,
        scored_images=sorted(scored),
    )
    if options.picture:
        from pictures import bars

        bars(options.picture, rows, PUBLIC)


def _restored(bundle: Bundle, image: ImageArray, tone: Tone) -> ImageArray:
    """One image through the public entry point, as a customer gets it: 8 bits."""
    return to_array(restore(bundle.model, to_tensor([image])[0], tone=tone))


def _noisy(clean: list[ImageArray], sigma: int, seed: int) -> list[ImageArray]:
    """Clipped and rounded to 8 bits, as the all-in-one papers' loaders do."""
    rng = np.random.default_rng([seed, sigma])
    return [to_image(gaussian(sigma)(to_plane(image), rng)) for image in clean]


def _sets(options: argparse.Namespace, limit: int | None) -> dict[str, Row]:
    data = options.data
    clean = folder(data, "test/CBSD68/target", limit)
    kodak = folder(data, "test/Kodak24/target", limit)
    made = {f"cbsd68_sigma{sigma}": Row(_noisy(clean, sigma, options.seed), clean) for sigma in (15, 25, 50)}
    made["rain100l"] = Row(*pairs(data, "test/Rain100L", limit))
    made["sots_indoor"] = Row(*pairs(data, "test/SOTS_indoor", limit), "restore")
    made["polyu"] = Row(*pairs(data, "test/PolyU_real_noise", limit))
    damages = {
        "kodak24_low_light": (dusk(0.3, 1.3, (1.0, 1.0, 1.0), 1000), "restore"),
        "kodak24_blur": (after(shake(levin_kernels(data)), gaussian(1)), "keep"),
        "kodak24_jpeg20": (jpeg(20), "keep"),
    }
    for name, (damage, tone) in damages.items():
        rng = np.random.default_rng([options.seed, len(made)])
        made[name] = Row([to_image(damage(to_plane(i), rng)) for i in kodak], kodak, tone)
    # Nothing is wrong with these: what comes out is what went in, or harm.
    made |= {"kodak24_clean": Row(kodak, kodak), "cbsd68_clean": Row(clean, clean)}
    return made


def _bm3d(bundle: Bundle, options: argparse.Namespace, limit: int | None) -> dict[str, Figure]:
    """PSNR over BM3D's (Dabov et al. 2007) on CBSD68 at sigma 25, image by image."""
    try:
        import bm3d
    except ImportError:
        print("bm3d is not installed: no bm3d_gain_db. Run: python -m pip install bm3d", flush=True)
        return {}
    clean = folder(options.data, "test/CBSD68/target", limit)
    gains = []
    for noisy, truth in zip(_noisy(clean, 25, options.seed), clean, strict=True):
        plane = to_plane(noisy)
        theirs = to_image(np.asarray(bm3d.bm3d_rgb(plane, haar_level(plane))))
        gains.append(psnr(_restored(bundle, noisy, "keep"), truth) - psnr(theirs, truth))
    return {"bm3d_gain_db": Figure.mean_of(gains, "dB at sigma 25", 1.0, None, options.seed)}


@torch.no_grad()
def _probe(bundle: Bundle, options: argparse.Namespace) -> float:
    """Accuracy of a linear probe on pooled codes: which of the five tasks and JPEG damaged it?

    The probe is fitted on CBSD68 patches and scored on Kodak24 patches, both unseen in training,
    degraded over the source ranges of each family.
    """
    batch = 600 if options.quick else 1800
    shares = {name: float(name in PROBED) for name in CLASSES}
    sides = []
    for seed, name in enumerate(("CBSD68", "Kodak24")):
        source = PatchSource(folder(options.data, f"test/{name}/target"))
        drawn = make_batch(source, batch, 128, torch.Generator().manual_seed(options.seed + seed), shares)
        embedding = torch.cat([bundle.model.embed(part).embedding_BD for part in drawn.degraded_BCHW.split(64)])
        sides.append((embedding, drawn.label_B))
    (train, label), (test, truth) = sides
    mean, spread = train.mean(0), train.std(0) + 1e-4
    probe = torch.nn.Linear(train.shape[1], len(CLASSES))
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(probe((train - mean) / spread), label)
        loss = loss + 1e-3 * probe.weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return float((probe((test - mean) / spread).argmax(1) == truth).float().mean())


def _cost(bundle: Bundle, repeats: int) -> dict[str, Figure]:
    nets = {"udair": bundle.model, "restormer_size": RestormerSize().eval()}
    seconds = cpu_s(nets, repeats=repeats)
    figures = {}
    for name, net in nets.items():
        figures[f"{name}_parameters_m"] = Figure(round(parameters_m(net), 3), "million")
        figures[f"{name}_gmacs"] = Figure(round(gmacs(net), 2), "GMAC at 256 x 256")
        figures[f"{name}_cpu_s"] = Figure(round(seconds[name], 4), "s, one thread, 256 x 256")
    ratio = seconds["restormer_size"] / seconds["udair"]
    figures["cpu_speedup_over_restormer_size"] = Figure(round(ratio, 2), "x", 25.0)
    return figures


if __name__ == "__main__":
    main()
