import numpy as np
import pytest
import torch

from udair.adaptation.gate import GatePolicy, judge
from udair.adaptation.recipe import adapt
from udair.adaptation.scenes import Scenes
from udair.adaptation.toning import find_toning
from udair.config import RecipeConfig
from udair.data.scenes import dead_leaves
from udair.errors import ConfigError

QUICK = RecipeConfig(steps=0)


def _scenes(count: int, seed: int) -> list[np.ndarray]:
    return list(dead_leaves(count, 96, seed=seed))


def _dark(images: list[np.ndarray]) -> list[np.ndarray]:
    return [np.rint(255 * 0.25 * (image / 255) ** 1.4 * [1.0, 0.95, 0.85]).astype(np.uint8) for image in images]


def _error(bundle, row, images, truths) -> float:
    seen, wanted = (torch.from_numpy(np.stack(s)).permute(0, 3, 1, 2).float() / 255 for s in (images, truths))
    return float((bundle.model(seen, row, tone="restore").clamp(0, 1) - wanted).abs().mean())


def test_references_say_how_a_dark_domain_should_look(bundle):
    clean, held_out = _scenes(16, 1), _scenes(6, 2)
    made = adapt(bundle, _dark(clean[:10]), _dark(clean[10:]), QUICK, tone="restore", references=_scenes(16, 3))
    assert judge(made.evidence, GatePolicy()).verdict == "PASSED"
    assert made.adapter.notes["candidate"] == "tone curve"
    assert made.evidence.retones
    assert not made.evidence.denoises
    assert made.match["words"][0].startswith("Tone: one curve before the model")
    row = made.adapter.row
    assert _error(bundle, row, _dark(held_out), held_out) < 0.3 * _error(bundle, None, _dark(held_out), held_out)


def test_without_references_or_an_aim_tone_is_left_to_the_base_model(bundle):
    images = _dark(_scenes(12, 4))
    made = adapt(bundle, images[:9], images[9:], QUICK, tone="restore")
    assert made.adapter.is_identity
    assert "do not say how they should look" in made.match["words"][1]


def test_references_that_the_domain_looks_like_change_nothing(bundle):
    made = adapt(bundle, _scenes(12, 5), _scenes(6, 6), QUICK, tone="restore", references=_scenes(16, 7))
    assert made.adapter.is_identity
    assert "look as the references do" in made.match["words"][1]


def test_an_aim_moves_the_mean_to_it_and_leaves_a_cast(bundle):
    images = _dark(_scenes(20, 8))
    scenes = Scenes.packaged(bundle)
    scale_S = scenes.looks.statistic_NS.std(0)
    toning = find_toning(bundle, images, scenes.at_mean(0.5), scale_S, 0.5)
    assert toning.found
    assert torch.equal(toning.delta_1CT[0, 0], toning.delta_1CT[0, 2])
    means = [toning.image(image).mean() / 255 for image in images]
    assert float(np.mean(means)) == pytest.approx(0.5, abs=0.05)
    assert "0.50 is asked for" in toning.words


@pytest.mark.parametrize(("tone", "aim"), [("keep", 0.5), ("restore", 0.0), ("restore", 1.2)])
def test_an_aim_that_makes_no_sense_is_refused(bundle, tone, aim):
    with pytest.raises(ConfigError, match=f"tone_aim is {aim} with tone '{tone}'"):
        adapt(bundle, _scenes(8, 9), [], QUICK, tone=tone, tone_aim=aim)


def test_few_references_are_not_used_and_said(bundle):
    images = _dark(_scenes(12, 10))
    made = adapt(bundle, images[:9], images[9:], QUICK, tone="restore", references=_scenes(7, 11))
    assert made.adapter.is_identity
    assert any("7 references; 8 are needed" in note for note in made.evidence.notes)
