"""What each alignment setting does to the row that comes out."""

import pytest
import torch

from udair.adaptation.adapter import identity_adapter
from udair.adaptation.projection import align
from udair.config import AlignmentConfig
from udair.data.patches import PatchSource
from udair.data.tasks import CLASSES, make_batch
from udair.errors import ConfigError


@pytest.fixture(scope="module")
def embedding_ND(bundle, scenes):
    shares = {name: float(name == "noise") for name in CLASSES}
    drawn = make_batch(PatchSource(scenes), 24, 64, torch.Generator().manual_seed(0), shares)
    with torch.no_grad():
        embedding = bundle.model.embed(drawn.degraded_BCHW).embedding_BD.float()
    return embedding + 0.5 * torch.linspace(-1, 1, embedding.shape[1])  # a camera of its own


def _aligned(bundle, embedding_ND, **settings):
    start = identity_adapter(bundle.model, bundle.digest).row
    return align(embedding_ND, bundle.stats, start, AlignmentConfig(**settings))


def test_alignment_pulls_the_target_to_its_cluster(bundle, embedding_ND):
    row, figures = _aligned(bundle, embedding_ND)
    assert figures["pull_after"] < figures["pull_before"]
    assert row.projection_BDD.any()
    assert row.bias_BD.any()
    assert not row.film_BF.any()


@pytest.mark.parametrize(("parameters", "projection", "bias"), [("projection", True, False), ("bias", False, True)])
def test_only_the_chosen_parameters_move(bundle, embedding_ND, parameters, projection, bias):
    row, _ = _aligned(bundle, embedding_ND, parameters=parameters)
    assert bool(row.projection_BDD.any()) == projection
    assert bool(row.bias_BD.any()) == bias


@pytest.mark.parametrize("rank", [1, 3])
def test_the_projection_keeps_to_its_rank(bundle, embedding_ND, rank):
    row, _ = _aligned(bundle, embedding_ND, projection_rank=rank)
    assert int(torch.linalg.matrix_rank(row.projection_BDD[0], atol=1e-5)) <= rank
    free, _ = _aligned(bundle, embedding_ND)
    assert int(torch.linalg.matrix_rank(free.projection_BDD[0], atol=1e-5)) > rank


def test_the_fallback_holds_the_projection_at_the_source_model(bundle, embedding_ND):
    held, _ = _aligned(bundle, embedding_ND, fallback_strength=1e4)
    free, _ = _aligned(bundle, embedding_ND, fallback_strength=0.0)
    assert held.projection_BDD.norm() < 0.5 * free.projection_BDD.norm()


def test_the_temperature_changes_where_samples_are_pulled(bundle, embedding_ND):
    soft, _ = _aligned(bundle, embedding_ND, assignment_temperature=100.0)
    hard, _ = _aligned(bundle, embedding_ND, assignment_temperature=0.01)
    assert not torch.equal(soft.bias_BD, hard.bias_BD)


def test_no_steps_leave_the_row_as_it_was(bundle, embedding_ND):
    row, figures = _aligned(bundle, embedding_ND, steps=0)
    assert not row.projection_BDD.any()
    assert figures["coral_before"] == figures["coral_after"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -1}, {"learning_rate": 0}, {"parameters": "all"}, {"coral_weight": -1}, {"projection_rank": -1},
        {"assignment_temperature": 0}, {"fallback_strength": float("nan")},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"alignment.{next(iter(wrong))}"):
        AlignmentConfig(**wrong)
