"""A profile's parts add up, and its sample stays small and spread."""

from __future__ import annotations

import numpy as np
import pytest

from udair.adaptation.profile import SAMPLE, Embeddings, Profile, embed


def test_parts_add_up_and_survive_a_checkpoint():
    whole = Profile.empty(3)
    whole.add(Embeddings(np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]), np.array([0, 0])))
    part = Profile.empty(3)
    part.add(Embeddings(np.array([[0.0, 1.0, 0.0]]), np.array([3])))
    whole.merge(part)
    read = Profile.from_state(type(whole.to_state()).from_bytes(whole.to_state().to_bytes()))
    assert read.to_dict() == whole.to_dict()
    assert read.to_dict()["class_shares"]["clean"] == pytest.approx(2 / 3, abs=1e-6)
    assert read.to_dict()["sample"] == [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 1.0, 0.0]]


def test_the_sample_is_bounded_and_holds_each_part_by_its_share():
    rows = np.arange(1000.0)[:, None] / 1000
    whole = Profile.empty(1)
    for start in range(0, 1000, 50):
        whole.add(Embeddings(rows[start : start + 50], np.zeros(50, int)))
    assert whole.images == 1000
    assert len(whole.sample_NK) == SAMPLE
    assert float(whole.sample_NK.mean()) == pytest.approx(0.5, abs=0.08)


def test_an_image_of_any_size_has_a_look(bundle):
    images = [np.zeros((8, 300, 3), np.uint8), np.full((200, 120, 3), 90, np.uint8)]
    looks = embed(bundle.model, bundle.stats, images)
    assert looks.histogram_NK.shape == (2, bundle.model.config.codes)
    assert np.allclose(looks.histogram_NK.sum(1), 1, atol=1e-5)
    assert looks.class_N.shape == (2,)
