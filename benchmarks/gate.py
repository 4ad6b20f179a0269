"""Does the gate catch harm, planted and real, and does it let good adapters pass?

python benchmarks/gate.py --data data --json benchmarks/results/gate.json
python benchmarks/gate.py --data data --again FILE --json …   judges the evidence of an earlier run by the policy of today

Each world gives every candidate of its adaptation, adapters trained with labels, and harmful ones: noise in the FiLM
parameters, over-smoothing, colour shift, sign flip, and adapters for noise or a tone curve that the domain does not have. What
counts as harm is decided by PSNR on hidden test pairs, not by how it was planted: harmful below -0.1 dB, good above
+0.3 dB, and those between are left out. The evidence is the job's own: nothing of the test pairs is in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from adaptation import HARM_DB
from models import base, psnr
from report import Figure, arguments, publish
from worlds import World, worlds

from udair.adaptation.adapter import Adapter
from udair.adaptation.evidence import Yardstick
from udair.adaptation.fitting import CROP, EMBED_CROPS, fit_adapter, fit_with_labels
from udair.adaptation.flat_bank import FLATTEST, MOST_UNEVEN, as_it_comes
from udair.adaptation.gate import Evidence, GatePolicy, judge
from udair.adaptation.pairs import Pairs, crop_scenes, gate_view, run, source_pairs
from udair.adaptation.recipe import GATE_IMAGES, SOURCE_PAIRS, adapt
from udair.adaptation.scenes import FEWEST_REFERENCES, Scenes
from udair.adaptation.scope import scoped
from udair.adaptation.toning import Toning, find_toning
from udair.bundle import Bundle
from udair.config import RecipeConfig
from udair.data.degradations.family import convolve, gaussian_kernel
from udair.data.patches import PatchSource, to_array, to_tensor
from udair.estimation.noise import noise_bank
from udair.models.modulation import Modulation

STRICTNESS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0)
WORTH_DB = 0.3  # of true gain, above which a refusal is a loss
MEANT_WELL = ("candidate", "with labels")  # the others were planted as harm, and some of it helps by chance
WORLDS = (
    "camera_iso400", "camera_iso800", "camera_iso1600", "camera_iso3200", "camera_iso6400", "camera_soft_iso3200",
    "control_sigma25", "control_iso100", "correlated_poisson", "jpeg_noise", "polyu", "dark_cast_references",
    "dark_cast_aim", "fog_shake_noise_references", "sots_haze",
)  # fmt: skip


def main() -> None:
    options = arguments(__doc__ or "", quality=True, only=True, again=True)
    torch.set_num_threads(options.threads)
    bundle = base(options.base)
    config = RecipeConfig(steps=20) if options.quick else RecipeConfig(steps=60)
    names = options.only or (WORLDS[3:5] if options.quick else WORLDS)
    chosen = [world for world in worlds(options.data, side=192, test=12, seed=options.seed) if world.name in names]
    judged, evidence_of = [], {}
    if options.again:
        earlier = json.loads(options.again.read_text())
        chosen, evidence_of = [], {name: earlier[name] for name in ("date", "commit", "base", "quick")}
        judged = [item | _verdict(Evidence.from_dict(item["evidence"])) for item in earlier["judged"]]
    for world in chosen:
        found = _judge_world(bundle, world, config)
        judged += found
        caught = [item for item in found if item["true_gain_db"] < -HARM_DB]
        good = [item for item in found if item["true_gain_db"] > WORTH_DB]
        print(
            f"{world.name:28} harmful {len(caught)}, passed {sum(i['passed'] for i in caught)}; "
            f"good {len(good)}, refused {sum(not i['passed'] for i in good)}",
            flush=True,
        )
    harmful = [item for item in judged if item["true_gain_db"] < -HARM_DB]
    good = [item for item in judged if item["true_gain_db"] > WORTH_DB]
    own = [item for item in harmful if item["kind"] == "candidate"]
    figures = {
        "gate_catch_rate": Figure.mean_of([float(not i["passed"]) for i in harmful], "share", 0.97, 0.99),
        "gate_false_reject_rate": _refused([item for item in good if item["kind"] in MEANT_WELL], judged=True),
        "gate_false_reject_rate_candidates": _refused([item for item in good if item["kind"] == "candidate"]),
        "gate_false_reject_rate_planted": _refused([item for item in good if item["kind"] not in MEANT_WELL]),
        "harmful_adapters": Figure(len(harmful), "adapters"),
        "good_adapters": Figure(len(good), "adapters"),
        "harmful_candidates": Figure(len(own), "adapters that a job itself would have made"),
        "harmful_candidates_passed": Figure(sum(i["passed"] for i in own), "adapters"),
    }
    grounds = {
        name: {
            "caught": round(float(np.mean([bool(set(i["refused_by"]) - {name}) for i in harmful])), 4),
            "refused": round(float(np.mean([bool(set(i["refused_by"]) - {name}) for i in good])), 4),
        }
        for name in sorted({name for item in judged for name in item["refused_by"]})
    }
    for name, row in grounds.items():
        print(f"without {name:24} caught {row['caught']:.3f}  refused {row['refused']:.3f}")
    meant = [item for item in good if item["kind"] in MEANT_WELL]
    curve = [_at(strictness, harmful, meant) for strictness in STRICTNESS]
    publish(
        "gate",
        figures,
        options,
        base={"name": bundle.name, "digest": bundle.digest},
        evidence_of=evidence_of,
        without=grounds,
        curve=curve,
        judged=judged,
    )
    if options.picture:
        from pictures import gate_curve

        gate_curve(options.picture, judged, curve)


def _at(strictness: float, harmful: Sequence[dict], good: Sequence[dict]) -> dict[str, float]:
    """What a gate catches and refuses whose every limit is so many times as strict as the standard one."""
    plain = GatePolicy()
    policy = replace(
        plain,
        min_matched_gain_db=plain.min_matched_gain_db * strictness,
        max_source_loss_db=plain.max_source_loss_db / strictness,
        max_source_loss_toned_db=plain.max_source_loss_toned_db / strictness,
        max_clipped_share=plain.max_clipped_share / strictness,
        min_flat_gain=plain.min_flat_gain * strictness,
        max_busy_change=1 + (plain.max_busy_change - 1) / strictness,
        max_tone_shift=plain.max_tone_shift / strictness,
    )

    def refused(items: Sequence[dict]) -> float:
        verdicts = [judge(Evidence.from_dict(item["evidence"]), policy).verdict for item in items]
        return round(float(np.mean([verdict != "PASSED" for verdict in verdicts])), 4) if verdicts else 0.0

    return {"strictness": strictness, "caught": refused(harmful), "refused": refused(good)}


def _judge_world(bundle: Bundle, world: World, config: RecipeConfig) -> list[dict]:
    generator = torch.Generator().manual_seed(config.seed)
    identity = bundle.model.identity()
    made = adapt(
        bundle, world.adapt, world.gate, config, tone=world.tone, references=world.references, tone_aim=world.tone_aim
    )
    scenes = packaged = Scenes.packaged(bundle)
    if len(world.references) >= FEWEST_REFERENCES:
        scenes = Scenes.of(world.references, generator, "cpu")
    scenes = scenes.at_mean(world.tone_aim)
    toning = Toning(identity.curve_B3T)
    if world.tone == "restore":
        toning = find_toning(bundle, world.adapt, scenes, packaged.looks.statistic_NS.std(0), world.tone_aim)
    bank = noise_bank([toning.image(image) for image in world.adapt], FLATTEST[0])
    raw = as_it_comes(bank if bank is not None and bank.evenness <= MOST_UNEVEN else None, toning)
    source = source_pairs(bundle, SOURCE_PAIRS, CROP, config.seed, world.tone)
    held_out = Pairs.make(bundle.model, *raw(scenes.gate_NCHW, generator), world.tone)
    views = [gate_view(image) for image in world.gate[:GATE_IMAGES]]
    measure = Yardstick(bundle, held_out, source, views, len(world.adapt) + len(views), config.seed, toning)

    crops = PatchSource(world.adapt).crops(EMBED_CROPS, CROP, generator)
    with torch.no_grad():
        embedding = bundle.model.embed(crops).embedding_BD.float()

    def trained(smooth: float = 0.0, sigma: float = 0.0) -> Modulation:
        def draw(batch: int, patch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            clean = crop_scenes(scenes.train_NCHW, batch, patch, generator)
            degraded, wanted = raw(clean, generator)
            if sigma:  # noise that the domain does not have
                degraded = (clean + sigma * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
            if smooth:
                wanted = convolve(wanted, gaussian_kernel(torch.full((batch,), smooth), 13))
            return degraded, wanted

        return fit_adapter(bundle.model, draw, embedding, config, generator=generator, tone=world.tone)[0]

    # In the form that a job gives its own: behind the tone curve that references or an aim called for.
    told = [toning.image(image) for image in world.adapt]
    labelled = toning.over(fit_with_labels(bundle, told, world.adapt_truths, config, world.tone))
    tested = [("candidate", adapter.row) for adapter in made.adapters.values()]
    tested += [("with labels", _scaled(bundle, labelled, share)) for share in (1.0, 0.5)]
    tested += [(kind, row) for kind, row in _planted(identity, labelled, generator)]
    tested += [("over-smoothing", trained(smooth=smooth)) for smooth in (1.0, 2.5)]
    tested += [("wrong noise", trained(sigma=sigma)) for sigma in (0.12, 0.3)]
    # Every adapter is bounded as a job bounds its own: one that is not would be caught for that alone.
    alike = crop_scenes(scenes.train_NCHW, len(crops), crops.shape[-1], generator)
    scope = scoped(bundle, identity, torch.cat([crops, raw(alike, generator)[0]]), generator, world.tone)
    before = _scores(bundle, world, None)
    found = []
    for kind, unbounded in tested:
        row = unbounded
        if kind != "candidate":
            row = Adapter(bundle.digest, unbounded, tone=world.tone).within(scope).row
        evidence = measure.measure(Adapter(bundle.digest, row, tone=world.tone))
        found.append(
            {
                "world": world.name,
                "kind": kind,
                "true_gain_db": round(_scores(bundle, world, row) - before, 3),
                "evidence": {
                    name: round(value, 5) if isinstance(value, float) else value
                    for name, value in evidence.to_dict().items()
                },
            }
            | _verdict(evidence)
        )
    return found


def _verdict(evidence: Evidence) -> dict:
    report = judge(evidence, GatePolicy())
    refused_by = [check.name for check in report.checks if check.judged and not check.passed]
    return {"passed": report.verdict == "PASSED", "refused_by": refused_by}


def _refused(good: Sequence[dict], judged: bool = False) -> Figure:
    limits = (0.25, 0.15) if judged else ()
    if not good:
        return Figure(0.0, "share of none")
    return Figure.mean_of([float(not item["passed"]) for item in good], "share", *limits)


def _scores(bundle: Bundle, world: World, row: Modulation | None) -> float:
    restored = (
        run(bundle.model, to_tensor([image]), row, tone=world.tone)[0] for image in world.inputs
    )  # of several sizes
    return float(np.mean([psnr(to_array(image), truth) for image, truth in zip(restored, world.truths, strict=True)]))


def _scaled(bundle: Bundle, row: Modulation, share: float) -> Modulation:
    return Adapter(bundle.digest, row).interpolate(share).row


def _planted(identity: Modulation, good: Modulation, generator: torch.Generator) -> list[tuple[str, Modulation]]:
    """Harm of several kinds and strengths, on top of the identity or of a good adapter."""

    def noisy(strength: float) -> Modulation:
        return replace(good, film_BF=good.film_BF + strength * torch.randn(good.film_BF.shape, generator=generator))

    def tinted(shift: float) -> Modulation:
        colour = torch.tensor([[0.0, 0.0, 0.0, shift, -shift / 2, -shift]])
        return replace(good, affine_B6=good.affine_B6 + colour)

    def gained(gain: float) -> Modulation:
        return replace(identity, gain_B=torch.full_like(identity.gain_B, gain))

    def curved(power: float) -> Modulation:
        at = torch.linspace(0, 1, identity.curve_B3T.shape[2]).square()
        return replace(identity, curve_B3T=(at**power - at).expand_as(identity.curve_B3T).clone())

    return [
        *(("parameter noise", noisy(strength)) for strength in (0.15, 0.4, 1.0)),
        *(("colour shift", tinted(shift)) for shift in (0.03, 0.08, 0.2)),
        *(("sign flip or overshoot", gained(gain)) for gain in (-2.0, -1.0, 1.5)),
        ("sign flip or overshoot", replace(good, film_BF=-good.film_BF, affine_B6=-good.affine_B6)),
        *(("wrong curve", curved(power)) for power in (0.7, 1.5)),
    ]


if __name__ == "__main__":
    main()
