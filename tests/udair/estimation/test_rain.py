import numpy as np
import pytest
from PIL import Image, ImageDraw

from udair.data.scenes import dead_leaves
from udair.estimation.rain import rain


def _rained(scene: np.ndarray, angle_deg: float, seed: int) -> np.ndarray:
    rng, side = np.random.default_rng(seed), len(scene)
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    for _ in range(side * side // 200):
        x, y = rng.uniform(0, side, 2)
        right, down = 14 * np.sin(np.deg2rad(angle_deg)), 14 * np.cos(np.deg2rad(angle_deg))
        pen.line([(x, y), (x + right, y + down)], fill=150, width=1)
    streaks = np.asarray(canvas, dtype=np.float64)[..., None]
    return np.clip(scene + 0.6 * streaks, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("angle_deg", [-50, 0, 20])
def test_the_direction_of_drawn_streaks_is_told(angle_deg):
    scenes = dead_leaves(8, 160, seed=3)
    found = rain([_rained(scene, angle_deg, seed) for seed, scene in enumerate(scenes)])
    assert found.told
    assert found.direction_deg == pytest.approx(angle_deg, abs=4)
    assert f"{abs(found.direction_deg):.0f} degrees" in found.describe()


def test_scenes_without_rain_and_too_few_are_not_told_of():
    scenes = list(dead_leaves(8, 160, seed=4))
    found = rain(scenes)
    assert not found.told
    assert "none" in found.describe()
    assert rain(scenes[:3]) is None
    assert rain([scene[:20] for scene in scenes]) is None
