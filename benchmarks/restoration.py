"""How well the base model restores, blind, beside published figures; and what it costs.

python benchmarks/restoration.py --data data --json benchmarks/results/restoration.json

One model, never told which degradation it sees, full images in RGB through the public `restore`. Public
figures come from papers whose training data differ (and whose Rain100L rows train on RainTrainL, and SOTS
rows on 72,135 hazy images); they are context, not opponents of equal means.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from models import PlainNAFNet, RestormerSize, base, cpu_s, gmacs, parameters_m, psnr, restored, trained_images
from photographs import folder, leaked, pairs
from report import Figure, arguments, publish
from worlds import after, dusk, gaussian, jpeg, levin_kernels, shake, to_image, to_plane

from udair.bundle import Bundle
from udair.data.degradations import FAMILIES
from udair.data.images import ImageArray, pixel_hash
from udair.data.patches import PatchSource
from udair.data.tasks import CLASSES, make_batch

# Published, RGB, one model for all tasks: plain NAFNet, PromptIR, MoCE-IR (three-task tables).
PUBLIC = {
    "cbsd68_sigma15": {"NAFNet 17M": 33.18, "PromptIR 36M": 33.98, "MoCE-IR 25M": 34.11},
    "cbsd68_sigma25": {"NAFNet 17M": 30.47, "PromptIR 36M": 31.31, "MoCE-IR 25M": 31.45},
    "cbsd68_sigma50": {"NAFNet 17M": 27.12, "PromptIR 36M": 28.06, "MoCE-IR 25M": 28.18},
    "rain100l": {"NAFNet 17M": 33.64, "PromptIR 36M": 36.37, "MoCE-IR 25M": 38.57},
    "sots_indoor": {"NAFNet 17M": 24.11, "PromptIR 36M": 30.58, "MoCE-IR 25M": 31.34},
}
FLOORS = {
    "cbsd68_sigma15_psnr_db": (33.3, 33.98),
    "cbsd68_sigma25_psnr_db": (30.6, 31.31),
    "cbsd68_sigma50_psnr_db": (27.2, 28.06),
    "rain100l_gain_db": (5.0, 36.37 - 25.52),
}


def main() -> None:
    options = arguments(__doc__ or "", quality=True)
    torch.set_num_threads(options.threads)
    bundle, trained = base(options.base), trained_images(options.base)
    limit = 8 if options.quick else None
    scored: set[str] = set()
    figures: dict[str, Figure] = {}
    rows: dict[str, dict[str, float]] = {}
    for name, (degraded, clean) in _sets(options, limit).items():
        held = leaked([*degraded, *clean], trained)
        if held:
            raise SystemExit(f"{len(held)} images of {name} are training images; their scores would be worthless.")
        scored |= set(map(pixel_hash, clean))
        before = [psnr(image, truth) for image, truth in zip(degraded, clean, strict=True)]
        after_db = [psnr(restored(bundle, image), truth) for image, truth in zip(degraded, clean, strict=True)]
        gains = [b - a for a, b in zip(before, after_db, strict=True)]
        for key, values in ((f"{name}_psnr_db", after_db), (f"{name}_gain_db", gains)):
            floor, aim = FLOORS.get(key, (None, None))
            figures[key] = Figure.mean_of(values, "dB", floor, aim, options.seed)
        rows[name] = {
            "images": len(clean), "input": float(np.mean(before)), "restored": float(np.mean(after_db)),
            "harmed_share": float(np.mean([gain < -0.1 for gain in gains])),
        }  # fmt: skip
        print(
            f"{name:18} {rows[name]['input']:6.2f} -> {rows[name]['restored']:6.2f}   public: {PUBLIC.get(name, '-')}"
        )
    figures["code_probe_accuracy"] = Figure(_probe(bundle, options), "share", 0.95, 0.99)
    figures |= _cost(bundle, 1 if options.quick else 5)
    publish(
        "restoration", figures, options, base={"name": bundle.name, "digest": bundle.digest}, sets=rows, public=PUBLIC,
        scored_images=sorted(scored),
    )  # fmt: skip
    if options.picture:
        from pictures import bars

        bars(options.picture, rows, PUBLIC)


def _sets(options: argparse.Namespace, limit: int | None) -> dict[str, tuple[list[ImageArray], list[ImageArray]]]:
    data, made = options.data, {}
    clean = folder(data, "test/CBSD68/target", limit)
    kodak = folder(data, "test/Kodak24/target", limit)
    for sigma in (15, 25, 50):
        rng = np.random.default_rng([options.seed, sigma])
        # Clipped and rounded to 8 bits, as the all-in-one papers' loaders do.
        made[f"cbsd68_sigma{sigma}"] = ([to_image(gaussian(sigma)(to_plane(i), rng)) for i in clean], clean)
    made["rain100l"] = pairs(data, "test/Rain100L", limit)
    made["sots_indoor"] = pairs(data, "test/SOTS_indoor", limit)
    made["polyu"] = pairs(data, "test/PolyU_real_noise", limit)
    damages = {
        "kodak24_low_light": dusk(0.3, 1.3, (1.0, 1.0, 1.0), 1000),
        "kodak24_blur": after(shake(levin_kernels(data)), gaussian(1)),
        "kodak24_jpeg20": jpeg(20),
    }
    for name, damage in damages.items():
        rng = np.random.default_rng([options.seed, len(made)])
        made[name] = ([to_image(damage(to_plane(i), rng)) for i in kodak], kodak)
    return made


@torch.no_grad()
def _probe(bundle: Bundle, options: argparse.Namespace) -> float:
    """Accuracy of a linear probe on pooled codes: which of the five tasks and JPEG damaged it?

    The probe is fitted on CBSD68 patches and scored on Kodak24 patches, both unseen in training,
    degraded over the source ranges of each family.
    """
    batch = 600 if options.quick else 1800
    shares = {name: float(name in FAMILIES) for name in CLASSES}
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
    nets = {"udair": bundle.model, "nafnet_w32": PlainNAFNet().eval(), "restormer_size": RestormerSize().eval()}
    seconds = cpu_s(nets, repeats=repeats)
    figures = {}
    for name, net in nets.items():
        figures[f"{name}_parameters_m"] = Figure(round(parameters_m(net), 3), "million")
        figures[f"{name}_gmacs"] = Figure(round(gmacs(net), 2), "GMAC at 256 x 256")
        figures[f"{name}_cpu_s"] = Figure(round(seconds[name], 4), "s, one thread, 256 x 256")
    ratio = seconds["restormer_size"] / seconds["udair"]
    figures["cpu_speedup_over_restormer_size"] = Figure(round(ratio, 2), "x", 15.0, 30.0)
    figures["cpu_speedup_over_nafnet_w32"] = Figure(round(seconds["nafnet_w32"] / seconds["udair"], 2), "x")
    return figures


if __name__ == "__main__":
    main()
