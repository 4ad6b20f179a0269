from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from udair.adaptation.adapter import Adapter
from udair.adaptation.evidence import Yardstick
from udair.adaptation.flat_places import TakenOut
from udair.adaptation.gate import GatePolicy, judge
from udair.adaptation.pairs import Pairs
from udair.adaptation.projection import align
from udair.adaptation.recipe import adapt
from udair.adaptation.scope import fit_scope
from udair.adaptation.test_time import adapt_at_test_time
from udair.config import RecipeConfig, TestTimeConfig
from udair.data.degradations import FAMILIES
from udair.data.patches import PatchSource, to_array, to_tensor
from udair.data.scenes import dead_leaves
from udair.errors import AdaptationError, AdapterError, ConfigError


def _dusk(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    scenes = np.stack(dead_leaves(count, 96, seed=seed))
    clean = torch.from_numpy(scenes).permute(0, 3, 1, 2).float() / 255
    values = {
        name: torch.full((count,), value)
        for name, value in {"exposure": 0.35, "gamma": 1.0, "warmth": 0.1, "sigma": 0.02}.items()
    }
    return FAMILIES["low_light"].degrade(clean, values, torch.Generator().manual_seed(seed)), clean


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
        bundle,
        noisy[:12],
        noisy[12:16],
        RecipeConfig(steps=40, batch=4, patch=48, learning_rate=1e-2),
        lambda phase, share, metrics: phases.append(phase) if phase not in phases else None,
    )
    assert phases == ["EMBEDDING", "ALIGNING", "ADAPTING", "EVALUATING"]
    assert made.evidence.version == 2
    assert any(note.startswith("Noise: sigma 1") and "correlated over" in note for note in made.match["words"])
    best = made.adapters["flat places"].row
    held = Pairs.make(
        bundle.model, *(torch.from_numpy(np.stack(s[16:])).permute(0, 3, 1, 2).float() / 255 for s in (noisy, clean))
    )
    assert held.gain_db(bundle.model, best) > 0.1  # in truth, on scenes that nothing was fitted to
    assert made.candidates["flat places"] > 0.05


def test_after_each_round_it_is_told_what_the_adapter_so_far_gains_and_nothing_else_changes(bundle, monkeypatch):
    noisy, _ = _grainy(24, seed=65)
    config, told = RecipeConfig(steps=20, batch=2, patch=48), []
    made = adapt(bundle, noisy[:16], noisy[16:], config, lambda phase, _, metrics: told.append((phase, metrics)))
    rounds = [(phase, metrics) for phase, metrics in told if "round_gain_db" in metrics]
    assert [phase for phase, _ in rounds] == ["ADAPTING"] * 4, "two banks, the second round, the own pictures"
    last = rounds[-1][1]
    assert last["round_gain_low_db"] < last["round_gain_db"]
    assert last["round_gain_db"] == pytest.approx(made.candidates["flat places"], abs=0.2)
    assert 0 < last["round_noise_left_share"] < made.metrics["noise_left_share"]
    monkeypatch.setattr("udair.adaptation.flat_bank._watched", lambda *_: SimpleNamespace(figures=lambda row: {}))
    unseen = adapt(bundle, noisy[:16], noisy[16:], config)
    assert torch.equal(made.adapter.row.film_BF, unseen.adapter.row.film_BF)
    assert made.candidates == unseen.candidates


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
    assert {n for n in first.adapters if n.startswith("flat places")}
    for name, adapter in first.adapters.items():
        assert torch.equal(adapter.row.film_BF, again.adapters[name].row.film_BF)
    assert first.candidates == again.candidates


def test_the_second_round_sees_the_scenes_and_the_domains_own_pictures(bundle, monkeypatch):
    noisy, _ = _grainy(12, seed=66)
    given = []
    monkeypatch.setattr(
        "udair.adaptation.flat_bank.train_on",
        lambda bundle, scenes, *_, **__: given.append(scenes) or (bundle.model.identity(), {}),
    )
    adapt(bundle, noisy[:8], noisy[8:], RecipeConfig(steps=2, batch=2, patch=32))
    first, second = given[0], given[-1]
    assert len(second) == 2 * len(first)
    assert torch.equal(second[: len(first)], first)
    own = second[len(first) :].mean((0, 2, 3)) - to_tensor(noisy[:8]).mean((0, 2, 3))
    assert float(own.abs().max()) < 0.08  # the colours of the domain's pictures, not of the scenes


def test_an_adapter_is_the_mean_of_what_was_trained(bundle, monkeypatch):
    noisy, _ = _grainy(12, seed=66)
    rows = []

    def trained(bundle, *_, **__):
        row = bundle.model.identity()
        rows.append(replace(row, film_BF=row.film_BF + len(rows) + 1.0))
        return rows[-1], {}

    def on_own_pictures(model, draw, embedding, config, *, start, **_):
        assert torch.allclose(start.film_BF, torch.full_like(start.film_BF, mean_of(rows)))
        return replace(start, film_BF=torch.full_like(start.film_BF, 10.0)), {}

    def mean_of(rows):
        return sum(range(1, len(rows) + 1)) / len(rows)

    monkeypatch.setattr("udair.adaptation.flat_bank.train_on", trained)
    monkeypatch.setattr("udair.adaptation.flat_bank.fit_adapter", on_own_pictures)
    made = adapt(bundle, noisy[:8], noisy[8:], RecipeConfig(steps=2, batch=2, patch=32))
    assert len(rows) >= 2
    mean = (mean_of(rows) + 10.0) / 2
    for name, share in (("flat places", 1.0), ("flat places x 0.5", 0.5)):
        film = made.adapters[name].row.film_BF
        assert torch.allclose(film, torch.full_like(film, share * mean))


def test_noise_that_the_base_model_takes_out_is_left_to_it(bundle, monkeypatch):
    monkeypatch.setattr("udair.adaptation.flat_bank.taken_out", _everything_taken)
    made = adapt(bundle, *(images[:10] for images in _grainy(10, seed=61)), RecipeConfig(steps=5))
    assert made.adapter.is_identity
    assert not made.candidates
    assert any("there is little left to gain" in note for note in made.match["words"])


def _everything_taken(images, base, restored):
    ones = torch.ones(len(images))
    return TakenOut(ones, ones, ones, 0.01 * ones)


def test_a_budget_that_runs_out_keeps_the_base_model_and_says_how_far_it_came(bundle):
    noisy, _ = _grainy(12, seed=62)
    made = adapt(bundle, noisy[:8], noisy[8:], RecipeConfig(steps=50, batch=2, patch=32, budget_s=0.001))
    assert made.adapter.is_identity
    assert judge(made.evidence, GatePolicy()).verdict == "NOT_NEEDED"
    assert any("ran out at step 0 of 50" in note for note in made.evidence.notes)
    assert made.match["words"][0].startswith("No adapter was made: the budget of 0.001 s ran out at step 0 of 50.")


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
    noisy, _ = _grainy(8, seed=51)
    config = RecipeConfig(steps=5, batch=2, patch=32, seed=4)
    first, again = (adapt(bundle, noisy, [], config) for _ in range(2))
    assert {name for name in first.adapters if name.startswith("flat places")}
    for name, adapter in first.adapters.items():
        assert torch.equal(adapter.row.film_BF, again.adapters[name].row.film_BF)


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
    config = TestTimeConfig(method="alignment")
    fitted = adapt_at_test_time(bundle, image, row, config)
    assert bool(fitted.bias_BD.any())
    assert not bool(row.bias_BD.any())
    assert adapt_at_test_time(bundle, image[:, :50, :50], row, config) is row


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


def test_a_clean_target_keeps_the_source_model_at_once(bundle):
    _, soft = _grainy(12, seed=63)
    for tone, images in (("keep", soft), ("restore", soft)):
        made = adapt(bundle, images[:9], images[9:], RecipeConfig(steps=5), tone=tone)
        assert made.adapter.is_identity
        assert not made.candidates
        assert judge(made.evidence, GatePolicy()).verdict == "NOT_NEEDED"
        assert any("flat" in note for note in made.match["words"])
        assert made.match["words"][0].startswith("No adapter was made: no correction was found that helps.")


def test_of_too_few_images_no_adapter_is_made_and_it_is_said_how_many_are_needed(bundle):
    degraded, _ = _dusk(7, seed=55)
    images = [to_array(image) for image in degraded]
    made = adapt(bundle, images[:5], images[5:], RecipeConfig(steps=5))
    assert judge(made.evidence, GatePolicy()).verdict == "NOT_NEEDED"
    assert made.match["words"][0] == (
        "No adapter was made: of its pictures 7 can be used, and 8 are needed to judge one by. Add some and adapt again. "
        "What serves goes on serving."
    )
    assert any("8 are needed" in note for note in made.evidence.notes)


@pytest.mark.parametrize("value", [0, 255])
def test_images_of_one_colour_are_counted_and_not_used(bundle, value):
    flat = np.full((96, 96, 3), value, np.uint8)
    with pytest.raises(AdaptationError, match="all 9 images to adapt on are of one colour"):
        adapt(bundle, [flat] * 9, [])
    degraded, _ = _dusk(8, seed=56)
    images = [to_array(image) for image in degraded]
    made = adapt(bundle, [*images[:6], flat], [*images[6:], flat], RecipeConfig(steps=2, batch=2))
    assert made.evidence.target_images == 8
    assert "2 images of one colour were not used" in made.evidence.notes


def test_a_loss_that_is_not_finite_stops_and_says_why(bundle):
    images, _ = _grainy(10, seed=57)
    config = RecipeConfig(steps=40, batch=2, patch=32, learning_rate=1.0)
    object.__setattr__(config, "coral_weight", float("inf"))  # behind the check of its range
    with pytest.raises(AdaptationError, match=r"adaptation loss is nan.*source model is kept") as caught:
        adapt(bundle, images, [], config)
    assert caught.value.reason == "NAN_LOSS"


def test_noise_laid_over_once_more_asks_for_what_is_behind_a_picture(bundle, monkeypatch):
    """No clean picture is seen, and the best answer in the mean square is the clean one: a net that gives it loses least."""
    noisy, clean = _grainy(12, seed=67)
    losses = {}

    def look(model, draw, embedding, config, *, generator, distance, start, **_):
        source = PatchSource.of_layers(zip(noisy[:8], clean[:8], strict=True))
        totals = dict.fromkeys(("clean", "as it came", "smooth"), 0.0)
        for _ in range(40):
            given_BCHW, clean_BCHW = source.crops(4, 48, generator).split(3, 1)
            with monkeypatch.context() as once:
                once.setattr(PatchSource, "crops", lambda *_, given=given_BCHW: given)
                disturbed, wanted = draw(4, 48, generator)
            smooth = torch.nn.functional.avg_pool2d(disturbed, 9, 1, 4)
            for name, answer in (("clean", clean_BCHW), ("as it came", disturbed), ("smooth", smooth)):
                totals[name] += float(distance(answer, wanted))
        losses.update(totals)
        return start, {}

    monkeypatch.setattr("udair.adaptation.flat_bank.train_on", lambda bundle, *_, **__: (bundle.model.identity(), {}))
    monkeypatch.setattr("udair.adaptation.flat_bank.fit_adapter", look)
    adapt(bundle, noisy[:8], noisy[8:], RecipeConfig(steps=2, batch=2, patch=32))
    assert losses["clean"] < losses["as it came"]
    assert losses["clean"] < losses["smooth"]


@pytest.mark.parametrize(("tone", "moved"), [("restore", 0.1), ("keep", 0.0)])
def test_to_undo_the_base_model_is_a_shift_of_tone_where_tone_is_restored(bundle, tone, moved):
    degraded, clean = _dusk(4, seed=71)
    brightens = deepcopy(bundle.model)
    brightens.leave.weight.zero_()
    brightens.leave.bias.fill_(0.1)
    brighter = replace(bundle, model=brightens)
    pairs = Pairs.make(brightens, degraded, clean, tone)
    row = replace(brightens.identity(), gain_B=torch.tensor([-1.0]))
    evidence = Yardstick(brighter, pairs, pairs, list(degraded), 20, seed=0).measure(
        Adapter(bundle.digest, row, tone=tone)
    )
    assert evidence.tone_shift == pytest.approx(moved, abs=1e-3)
