import numpy as np
import pytest
import torch
from PIL import Image

from udair.adaptation.adapter import Adapter
from udair.adaptation.evidence import Yardstick
from udair.adaptation.flat_places import TakenOut
from udair.adaptation.gate import GatePolicy, judge
from udair.adaptation.matching import Matched, look, match
from udair.adaptation.pairs import Pairs, degrade_mixed
from udair.adaptation.projection import align
from udair.adaptation.recipe import adapt
from udair.adaptation.scope import fit_scope
from udair.adaptation.test_time import adapt_at_test_time
from udair.config import RecipeConfig, TestTimeConfig
from udair.data.degradations import FAMILIES
from udair.data.patches import to_array
from udair.data.scenes import dead_leaves
from udair.errors import AdaptationError, AdapterError, ConfigError


def _dusk(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    scenes = np.stack(dead_leaves(count, 96, seed=seed))
    clean = torch.from_numpy(scenes).permute(0, 3, 1, 2).float() / 255
    values = {name: torch.full((count,), value) for name, value in
              {"exposure": 0.35, "gamma": 1.0, "warmth": 0.1, "sigma": 0.02}.items()}  # fmt: skip
    return FAMILIES["low_light"].degrade(clean, values, torch.Generator().manual_seed(seed)), clean


def test_restoring_tone_improves_the_matched_degradation_and_reports_its_phases(bundle):
    degraded, _ = _dusk(32, seed=50)
    images = [to_array(image) for image in degraded]
    phases: list[str] = []

    made = adapt(
        bundle, images[:24], images[24:], RecipeConfig(steps=40, batch=4, patch=48, match_trials=60, learning_rate=1e-2),
        lambda phase, share, metrics: phases.append(phase) if phase not in phases else None, tone="restore",
    )  # fmt: skip

    assert phases == ["EMBEDDING", "ALIGNING", "ADAPTING", "EVALUATING"]
    assert made.candidates["re-degradation"] > 0.1
    assert made.evidence.target_images == 32
    assert made.evidence.finite
    assert made.match["matched"][0]["parameters"]
    assert made.adapter.base_digest == bundle.digest
    assert {candidate.tone for candidate in made.adapters.values()} == {made.adapter.tone} == {"restore"}
    assert any("moment match" in name for name in made.candidates)


def _grainy(count: int, seed: int, strength: float = 0.06) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Scenes with noise that is smooth over two pixels, as no family of training draws it."""
    small = [Image.fromarray(scene) for scene in dead_leaves(count, 32, seed=seed)]  # enlarged: with flat places
    clean = [np.asarray(scene.resize((192, 192), Image.Resampling.BICUBIC)) // 2 + 64 for scene in small]
    rng = np.random.default_rng(seed)
    noisy = []
    for scene in clean:
        noise = rng.normal(0, 1, (194, 194, 3))
        noise = noise[:-2] + 2 * noise[1:-1] + noise[2:]
        noise = (noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]) / 6
        noisy.append(np.clip(np.rint(scene + 255 * strength * noise), 0, 255).astype(np.uint8))
    return noisy, clean


def test_keeping_tone_a_domain_is_adapted_to_the_noise_of_its_flat_places(bundle):
    noisy, clean = _grainy(20, seed=60)
    phases: list[str] = []
    made = adapt(
        bundle, noisy[:12], noisy[12:16], RecipeConfig(steps=40, batch=4, patch=48, learning_rate=1e-2),
        lambda phase, share, metrics: phases.append(phase) if phase not in phases else None,
    )  # fmt: skip
    assert phases == ["EMBEDDING", "ALIGNING", "ADAPTING", "EVALUATING"]
    assert made.evidence.version == 2
    assert any(note.startswith("Noise: sigma 1") and "correlated over" in note for note in made.evidence.notes)
    best = made.adapters["flat bank 5%"].row
    held = Pairs.make(
        bundle.model, *(torch.from_numpy(np.stack(s[16:])).permute(0, 3, 1, 2).float() / 255 for s in (noisy, clean))
    )
    assert held.gain_db(bundle.model, best) > 0.1  # in truth, on scenes that nothing was fitted to
    assert made.candidates["flat bank 5%"] > 0.1


class _Remembers(dict):
    def load(self, phase):
        return self.get(phase)

    def save(self, phase, state):
        self[phase] = state


def test_adapters_for_noise_that_were_trained_once_are_not_trained_again(bundle, monkeypatch):
    noisy, _ = _grainy(12, seed=64)
    config, states = RecipeConfig(steps=3, batch=2, patch=32), _Remembers()
    first = adapt(bundle, noisy[:8], noisy[8:], config, states=states)
    assert set(states) == {"ADAPTING"}
    monkeypatch.setattr("udair.adaptation.flat_bank.train_on", None)  # would fail if it were called
    again = adapt(bundle, noisy[:8], noisy[8:], config, states=states)
    assert {n for n in first.adapters if n.startswith("flat bank")}
    for name, adapter in first.adapters.items():
        assert torch.equal(adapter.row.film_BF, again.adapters[name].row.film_BF)
    assert first.candidates == again.candidates


def test_noise_that_the_base_model_takes_out_is_left_to_it(bundle, monkeypatch):
    monkeypatch.setattr("udair.adaptation.flat_bank.taken_out", _everything_taken)
    made = adapt(bundle, *(images[:10] for images in _grainy(10, seed=61)), RecipeConfig(steps=5))
    assert made.adapter.is_identity
    assert not made.candidates
    assert any("there is little left to gain" in note for note in made.evidence.notes)


def _everything_taken(images, base, restored):
    ones = torch.ones(len(images))
    return TakenOut(ones, ones, ones, 0.01 * ones)


def test_a_budget_that_runs_out_keeps_the_base_model_and_says_how_far_it_came(bundle):
    noisy, _ = _grainy(12, seed=62)
    made = adapt(bundle, noisy[:8], noisy[8:], RecipeConfig(steps=50, batch=2, patch=32, budget_s=0.001))
    assert made.adapter.is_identity
    assert judge(made.evidence, GatePolicy()).verdict == "INCONCLUSIVE"
    assert any("ran out at step 0 of 50" in note for note in made.evidence.notes)


def test_where_tone_is_kept_a_domain_is_matched_to_its_own_scenes_not_to_daylight(bundle):
    matched = Matched(("low_light", "noise"), torch.full((7,), 0.5), 0.0)
    scenes = bundle.replay_NCHW.float() / 255
    dark, wanted = degrade_mixed([matched], scenes, torch.Generator().manual_seed(0), 0.0, "keep")
    same, daylight = degrade_mixed([matched], scenes, torch.Generator().manual_seed(0), 0.0, "restore")
    assert torch.equal(dark, same)
    assert torch.equal(daylight, scenes)
    assert float((wanted.mean((1, 2, 3)) - dark.mean((1, 2, 3))).abs().max()) < 0.03
    assert float(wanted.mean()) < 0.6 * float(scenes.mean())


def test_an_adapter_of_the_other_intent_is_no_start_and_no_candidate(bundle):
    degraded, clean = _dusk(8, seed=59)
    images = [to_array(image) for image in degraded]
    other = Adapter(bundle.digest, bundle.model.identity(), tone="restore")
    with pytest.raises(AdapterError, match="made for tone 'restore'; this adaptation is for 'keep'"):
        adapt(bundle, images, [], champion=other)
    pairs = Pairs.make(bundle.model, degraded, clean)
    with pytest.raises(AdapterError, match="the evidence is for 'keep'"):
        Yardstick(bundle, pairs, pairs, [], 8, seed=0).measure(other)
    with pytest.raises(ConfigError, match="tone is 'dim'"):
        adapt(bundle, images, [], tone="dim")


def test_the_same_seed_gives_the_same_adapter(bundle):
    degraded, _ = _dusk(8, seed=51)
    images = [to_array(image) for image in degraded]
    config = RecipeConfig(steps=5, batch=2, patch=32, match_trials=25, seed=4)
    first, again = (adapt(bundle, images, [], config, tone="restore") for _ in range(2))
    assert torch.equal(first.adapter.row.film_BF, again.adapter.row.film_BF)


def test_matching_prefers_the_degradation_that_is_there(bundle):
    degraded, _ = _dusk(12, seed=52)
    replay = bundle.replay_NCHW.float() / 255
    found = match(
        bundle.model, look(bundle.model, degraded), replay, trials=120, generator=torch.Generator().manual_seed(0)
    )
    assert "low_light" in found[0].chain
    assert found[0].distance == min(matched.distance for matched in found)


@pytest.mark.parametrize("trials", [0, 1, 5, 23, 70])
def test_few_trials_find_something_or_nothing_but_never_fail(bundle, trials):
    degraded, _ = _dusk(4, seed=54)
    replay = bundle.replay_NCHW[:4].float() / 255
    seed = torch.Generator().manual_seed(0)
    found = match(bundle.model, look(bundle.model, degraded), replay, trials=trials, generator=seed)
    assert bool(found) == (trials > 0)


def test_alignment_reduces_pull_and_touches_the_projection_alone(bundle):
    embedding = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    row, figures = align(embedding, bundle.stats, bundle.model.identity())
    assert figures["pull_after"] < figures["pull_before"]
    assert bool(row.projection_BDD.any())
    assert not bool(row.film_BF.any())


def test_a_scope_keeps_its_own_and_leaves_others_out():
    generator = torch.Generator().manual_seed(0)
    alike, others = torch.randn(200, 5, generator=generator) + 3, torch.randn(200, 5, generator=generator) - 3
    from udair.models.modulation import Modulation

    row = Modulation.identity(1, 2, 2, 2, (3, 4))
    row = fit_scope(row, alike, others)
    assert float(((alike * row.scope_weight_BS).sum(1) + row.scope_bias_B > 0).float().mean()) > 0.97
    assert float(((others * row.scope_weight_BS).sum(1) + row.scope_bias_B > 0).float().mean()) < 0.03


def test_test_time_adaptation_starts_afresh_and_leaves_a_single_crop_alone(bundle):
    image = torch.rand(3, 192, 192)
    row = bundle.model.identity()
    fitted = adapt_at_test_time(bundle.model, bundle.stats, image, row, TestTimeConfig())
    assert bool(fitted.bias_BD.any())
    assert not bool(row.bias_BD.any())
    assert adapt_at_test_time(bundle.model, bundle.stats, image[:, :50, :50], row, TestTimeConfig()) is row


def test_planted_harm_shows_in_the_evidence(bundle):
    from dataclasses import replace

    degraded, clean = _dusk(4, seed=53)
    pairs = Pairs.make(bundle.model, degraded, clean)
    yardstick = Yardstick(bundle, pairs, pairs, list(degraded), 20, seed=0)
    identity = bundle.model.identity()
    shifted = replace(identity, affine_B6=torch.tensor([[0.0, 0.0, 0.0, 0.5, -0.3, 0.5]]))

    evidence = yardstick.measure(Adapter(bundle.digest, shifted))

    assert evidence.drift > 0.05
    assert evidence.source_loss_db > 0.05 or evidence.matched_gain_db < 0.1
    harmless = yardstick.measure(Adapter(bundle.digest, identity))
    assert harmless.matched_gain_db == pytest.approx(0.0)
    assert harmless.disagreement_ratio == pytest.approx(1.0)


def test_no_images_and_bad_settings_are_refused(bundle):
    with pytest.raises(AdaptationError) as caught:
        adapt(bundle, [], [])
    assert caught.value.reason == "TOO_FEW_IMAGES"
    with pytest.raises(ConfigError, match=r"adapt\.steps is -1; expected 0 to 2000"):
        RecipeConfig(steps=-1)


def test_a_clean_target_keeps_the_source_model_at_once(bundle, scenes):
    _, soft = _grainy(12, seed=63)
    for tone, images, word in (("keep", soft, "flat"), ("restore", scenes, "look clean")):
        made = adapt(bundle, images[:9], images[9:], RecipeConfig(steps=5, match_trials=20), tone=tone)
        assert made.adapter.is_identity
        assert not made.candidates
        assert judge(made.evidence, GatePolicy()).verdict == "INCONCLUSIVE"
        assert any(word in note for note in made.evidence.notes)


def test_too_few_images_are_inconclusive_and_say_how_many_are_needed(bundle):
    degraded, _ = _dusk(7, seed=55)
    images = [to_array(image) for image in degraded]
    made = adapt(bundle, images[:5], images[5:], RecipeConfig(steps=5, match_trials=20))
    assert judge(made.evidence, GatePolicy()).verdict == "INCONCLUSIVE"
    assert any("8 are needed" in note for note in made.evidence.notes)


@pytest.mark.parametrize("value", [0, 255])
def test_images_of_one_colour_are_counted_and_not_used(bundle, value):
    flat = np.full((96, 96, 3), value, np.uint8)
    with pytest.raises(AdaptationError, match="all 9 images to adapt on are of one colour"):
        adapt(bundle, [flat] * 9, [])
    degraded, _ = _dusk(8, seed=56)
    images = [to_array(image) for image in degraded]
    made = adapt(bundle, [*images[:6], flat], [*images[6:], flat], RecipeConfig(steps=2, batch=2, match_trials=20))
    assert made.evidence.target_images == 8
    assert "2 images of one colour were not used" in made.evidence.notes


def test_a_loss_that_is_not_finite_stops_and_says_why(bundle):
    degraded, _ = _dusk(10, seed=57)
    images = [to_array(image) for image in degraded]
    config = RecipeConfig(steps=40, batch=2, patch=32, match_trials=20, learning_rate=1.0)
    object.__setattr__(config, "coral_weight", float("inf"))  # behind the check of its range
    with pytest.raises(AdaptationError, match=r"adaptation loss is nan.*source model is kept") as caught:
        adapt(bundle, images, [], config, tone="restore")
    assert caught.value.reason == "NAN_LOSS"


def test_a_wrong_match_is_seen_on_the_gate_images(bundle):
    degraded, clean = _dusk(16, seed=58)
    fog = FAMILIES["haze"].degrade(
        clean, {n: torch.full((16,), v) for n, v in {"density": 2.5, "airlight": 0.9, "warmth": 0.0}.items()},
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    right, wrong = (
        Yardstick(
            bundle,
            Pairs.make(bundle.model, pairs, clean, "restore"),
            Pairs.make(bundle.model, pairs, clean, "restore"),
            list(degraded),
            16,
            0,
        )
        for pairs in (degraded, fog)
    )
    identity = Adapter(bundle.digest, bundle.model.identity(), tone="restore")
    assert right.measure(identity).match_distance < 0.2
    report = judge(wrong.measure(identity), GatePolicy())
    assert not report.check("match").passed
