"""The quality benchmarks' own promises: no score on a training image, and worlds that are what they say."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from udair.data.images import decode, encode_png, pixel_hash
from udair.data.scenes import dead_leaves
from udair.weights import TRAINING_LIST, packaged

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def _module(name: str):
    sys.modules.pop(name, None)
    return importlib.import_module(name)


def test_a_training_image_is_found_among_test_images_whatever_its_encoding():
    scenes = dead_leaves(3, 64, seed=9)
    trained = {pixel_hash(scenes[1])}
    again = [decode(encode_png(scene)) for scene in scenes]
    photographs = _module("photographs")
    assert photographs.leaked(again, trained) == [pixel_hash(scenes[1])]
    assert photographs.leaked(again[:1], trained) == []


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "results").glob("restoration*.json")), ids=lambda p: p.name)
def test_published_scores_come_from_images_that_no_training_list_holds(path):
    document = json.loads(path.read_text())
    trained = set((packaged(document["base"]["name"].removeprefix("udair-")) / TRAINING_LIST).read_text().split())
    assert len(trained) > 500
    assert len(document["scored_images"]) > 10
    assert not trained & set(document["scored_images"])


def test_scores_are_published_at_all():
    assert (BENCHMARKS / "results" / "restoration.json").is_file()


def test_a_world_damages_repeatably_and_inside_the_range():
    worlds = _module("worlds")
    clean = worlds.to_plane(dead_leaves(1, 96, seed=2)[0])
    kernel = np.zeros((9, 9))
    kernel[2:7, 4] = 0.2
    for damage in (
        worlds.gaussian(75),
        worlds.photons(28, 0.9),
        worlds.rain(0.01, 20, 45, 0.2),
        worlds.fog(1.5, (0.8, 0.8, 0.9)),
        worlds.dusk(0.2, 1.6, (1.1, 1.0, 0.8), 300),
        worlds.after(worlds.shake([kernel]), worlds.jpeg(20)),
    ):
        one, two = (worlds.to_image(damage(clean, np.random.default_rng(4))) for _ in range(2))
        assert np.array_equal(one, two)
        assert one.shape == (96, 96, 3)
        assert np.abs(one.astype(float) - worlds.to_image(clean)).mean() > 1


def test_a_centred_blur_does_not_shift_the_image():
    worlds = _module("worlds")
    clean = worlds.to_plane(dead_leaves(1, 96, seed=2)[0])
    point = np.zeros((7, 7))
    point[3, 3] = 1
    assert np.allclose(worlds.shake([point])(clean, np.random.default_rng(0)), clean, atol=1e-9)


def test_the_baseline_has_the_published_size():
    models = _module("models")
    assert models.parameters_m(models.RestormerSize()) == pytest.approx(26.1, abs=1.0)


def test_a_class_belongs_to_its_noun_by_its_name():
    shape = _module("shape")
    for name in ("Job", "JobRow", "JobView", "AsyncJob"):
        assert shape.noun_of(name, requests=False) == "job"
    assert shape.noun_of("JobCreate", requests=False) is None
    assert shape.noun_of("JobCreate", requests=True) == "job"
    assert shape.noun_of("GateRules", requests=False) == "domain"
    assert shape.noun_of("JobPage", requests=True) is None


def test_every_noun_is_found_where_it_is_declared():
    declared = _module("shape").declarations(requests=False)
    assert {noun for noun, _ in declared} == set(_module("shape").NOUNS)
    assert "entities" in {place.split("/")[2] for place in declared["job", "state"]}
