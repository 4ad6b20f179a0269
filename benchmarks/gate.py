"""Does the gate catch planted harm, and does it let good adapters pass?

python benchmarks/gate.py --data data --json benchmarks/results/gate.json

Each world gives good adapters (trained with labels, or matched) and harmful ones: noise in the FiLM
parameters, over-smoothing, colour shift, sign flip, and an adapter trained for a *wrong* degradation whose
pseudo-target it fits. What counts as harm is decided by PSNR on hidden test pairs, not by how it was planted:
harmful below -0.1 dB, good above +0.1 dB, and those between are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from adaptation import HARM_DB, oracle_row
from models import base, psnr
from report import Figure, arguments, publish
from worlds import World, worlds

from udair.adaptation.adapter import Adapter
from udair.adaptation.evidence import Yardstick, gate_view
from udair.adaptation.fitting import fit_adapter
from udair.adaptation.gate import GatePolicy, judge
from udair.adaptation.matching import Matched, look, match
from udair.adaptation.pairs import as_matched, crop_scenes, degrade_mixed, matched_pairs, run, source_pairs
from udair.adaptation.recipe import SOURCE_PAIRS
from udair.adaptation.scope import scoped
from udair.adaptation.search import MATCH_SCENES
from udair.adaptation.target import CROP, EMBED_CROPS
from udair.bundle import Bundle
from udair.config import RecipeConfig
from udair.data.degradations import Chain
from udair.data.degradations.family import convolve, gaussian_kernel
from udair.data.patches import PatchSource, to_array, to_tensor
from udair.models.modulation import Modulation

WORLDS = ("sigma75", "heavy_rain", "dark_cast", "jpeg_noise", "camera_shake", "sots_haze")


def main() -> None:
    options = arguments(__doc__ or "", quality=True)
    torch.set_num_threads(options.threads)
    bundle = base(options.base)
    config = RecipeConfig(steps=40, match_trials=150) if options.quick else RecipeConfig(steps=80)
    names = WORLDS[:2] if options.quick else WORLDS
    chosen = [world for world in worlds(options.data, side=160, test=12, seed=options.seed) if world.name in names]
    judged = []
    for world in chosen:
        found = _judge_world(bundle, world, config)
        judged += found
        caught = [item for item in found if item["true_gain_db"] < -HARM_DB]
        good = [item for item in found if item["true_gain_db"] > HARM_DB]
        print(
            f"{world.name:18} harmful {len(caught)}, passed {sum(i['passed'] for i in caught)}; "
            f"good {len(good)}, refused {sum(not i['passed'] for i in good)}",
            flush=True,
        )
    harmful = [item for item in judged if item["true_gain_db"] < -HARM_DB]
    good = [item for item in judged if item["true_gain_db"] > HARM_DB]
    wrong = [item for item in harmful if item["kind"] == "wrong match"]
    figures = {
        "gate_catch_rate": Figure.mean_of([float(not i["passed"]) for i in harmful], "share", 0.95, 0.99),
        "gate_false_reject_rate": Figure.mean_of([float(not i["passed"]) for i in good], "share", 0.25, 0.10),
        "harmful_adapters": Figure(len(harmful), "adapters"),
        "good_adapters": Figure(len(good), "adapters"),
    }
    if wrong:
        figures["wrong_match_catch_rate"] = Figure.mean_of([float(not i["passed"]) for i in wrong], "share")
    publish("gate", figures, options, base={"name": bundle.name, "digest": bundle.digest}, judged=judged)
    if options.picture:
        from pictures import scatter

        scatter(options.picture, judged)


def _judge_world(bundle: Bundle, world: World, config: RecipeConfig) -> list[dict]:
    generator = torch.Generator().manual_seed(config.seed)
    crops = PatchSource(world.adapt).crops(EMBED_CROPS, CROP, generator)
    with torch.no_grad():
        embedding = bundle.model.embed(crops).embedding_BD.float()
    scenes = crop_scenes(bundle.replay_train_NCHW.float() / 255, MATCH_SCENES, CROP, generator)
    right = match(bundle.model, look(bundle.model, crops), scenes, trials=config.match_trials, generator=generator)
    images = [gate_view(image) for image in world.gate]
    source = source_pairs(bundle, SOURCE_PAIRS, CROP, config.seed)

    def yardstick(matches: Sequence[Matched]) -> Yardstick:
        held_out = matched_pairs(bundle, matches, generator)
        return Yardstick(bundle, held_out or source, source, images, len(world.adapt) + len(images), config.seed)

    def trained(matches: Sequence[Matched], smooth: float = 0.0) -> Modulation:
        replay = bundle.replay_train_NCHW.float() / 255

        def draw(batch: int, patch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            clean = crop_scenes(replay, batch, patch, generator)
            degraded, wanted = degrade_mixed(matches, clean, generator, jitter=0.05, tone="keep")
            if smooth:
                wanted = convolve(wanted, gaussian_kernel(torch.full((batch,), smooth), 13))
            return degraded, wanted

        row = fit_adapter(bundle.model, draw, embedding, config, generator=generator)[0]
        return scoped(bundle, row, crops, as_matched(matches, "keep"), generator)

    own = yardstick(right)
    matched = trained(right)
    tested: list[tuple[str, Modulation, Yardstick]] = [
        ("matched", _scaled(bundle, matched, share), own) for share in (1.0, 0.5)
    ]
    labelled = scoped(bundle, oracle_row(bundle, world, config), crops, as_matched(right, "keep"), generator)
    tested += [("with labels", _scaled(bundle, labelled, share), own) for share in (1.0, 0.75, 0.5)]
    tested += [(kind, row, own) for kind, row in _planted(bundle, matched, generator)]
    tested += [("over-smoothing", trained(right, smooth), own) for smooth in (1.0, 2.5)]
    # The worst case: the job believes the wrong match, trains on it and measures gain on it.
    tested += [("wrong match", trained([wrong]), yardstick([wrong])) for wrong in _wrong(generator)]
    inputs = to_tensor(world.inputs)
    before = [
        psnr(to_array(image), truth) for image, truth in zip(run(bundle.model, inputs, None), world.truths, strict=True)
    ]
    found = []
    for kind, row, measure in tested:
        evidence = measure.measure(Adapter(bundle.digest, row))
        report = judge(evidence, GatePolicy())
        after = [psnr(to_array(i), t) for i, t in zip(run(bundle.model, inputs, row), world.truths, strict=True)]
        found.append(
            {
                "world": world.name,
                "kind": kind,
                "passed": report.verdict == "PASSED",
                "true_gain_db": round(float(np.mean(after) - np.mean(before)), 3),
                "match_distance": round(evidence.match_distance, 3),
                "refused_by": [check.name for check in report.checks if check.judged and not check.passed],
            }
        )
    return found


def _scaled(bundle: Bundle, row: Modulation, share: float) -> Modulation:
    return Adapter(bundle.digest, row).interpolate(share).row


def _planted(bundle: Bundle, good: Modulation, generator: torch.Generator) -> list[tuple[str, Modulation]]:
    """Harm of several kinds and strengths, on top of the identity or of a good adapter."""
    identity = bundle.model.identity()

    def noisy(strength: float) -> Modulation:
        return replace(good, film_BF=good.film_BF + strength * torch.randn(good.film_BF.shape, generator=generator))

    def tinted(shift: float) -> Modulation:
        colour = torch.tensor([[0.0, 0.0, 0.0, shift, -shift / 2, -shift]])
        return replace(good, affine_B6=good.affine_B6 + colour)

    def gained(gain: float) -> Modulation:
        return replace(identity, gain_B=torch.full_like(identity.gain_B, gain))

    return [
        *(("parameter noise", noisy(strength)) for strength in (0.15, 0.4, 1.0)),
        *(("colour shift", tinted(shift)) for shift in (0.03, 0.08, 0.2)),
        *(("sign flip or overshoot", gained(gain)) for gain in (-2.0, -1.0, 1.5)),
        ("sign flip or overshoot", replace(good, film_BF=-good.film_BF, affine_B6=-good.affine_B6)),
    ]


def _wrong(generator: torch.Generator) -> list[Matched]:
    """A random degradation of each of four families, whatever the world carries."""
    names = ("haze", "low_light", "blur", "noise")
    return [Matched((name,), Chain([name]).sample(1, generator)[0], 0.0) for name in names]


if __name__ == "__main__":
    main()
