"""Where tone is kept, a base model that moves it loses against doing nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from udair.adaptation.base_check import check_base
from udair.bundle import load_bundle
from udair.weights import packaged


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(packaged("tiny"), replay=False)


def _images(count: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(40, 200, (64, 96, 3), dtype=np.uint8) for _ in range(count)]


def test_a_base_model_that_leaves_tone_alone_does_not_lose(bundle) -> None:
    found = check_base(bundle, _images(), "keep")
    assert (found.images, found.reason) == (4, "")


def test_one_that_brightens_loses_where_tone_is_kept_and_is_not_judged_where_it_is_restored(
    bundle, monkeypatch
) -> None:
    monkeypatch.setattr(
        "udair.adaptation.base_check.restore", lambda model, image_CHW, tone: (image_CHW + 0.1).clamp(0, 1)
    )
    found = check_base(bundle, _images(), "keep")
    assert found.tone_shift_low == pytest.approx(0.1, abs=0.01)
    assert "although tone is kept" in found.reason
    assert check_base(bundle, _images(), "restore").reason == ""


def test_images_that_differ_leave_room_for_chance(bundle, monkeypatch) -> None:
    shifts = iter([0.0, 0.08, 0.0, 0.0])
    monkeypatch.setattr(
        "udair.adaptation.base_check.restore", lambda model, image_CHW, tone: image_CHW + torch.tensor(next(shifts))
    )
    assert check_base(bundle, _images(), "keep").reason == ""
