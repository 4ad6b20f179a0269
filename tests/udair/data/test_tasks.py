import numpy as np
import pytest
import torch
from PIL import Image

from udair.config import TONES
from udair.data.pairs import PairSource, read_pairs
from udair.data.patches import PatchSource
from udair.data.tasks import CLASSES, TRAINING_SHARES, make_batch, training_batch, training_batches
from udair.errors import ConfigError


@pytest.mark.parametrize("tone", TONES)
def test_every_batch_comes_as_near_to_the_shares_as_it_can(scenes, tone):
    source, generator, shares = PatchSource(scenes), torch.Generator().manual_seed(0), TRAINING_SHARES[tone]
    counts = torch.stack(
        [
            make_batch(source, 50, 32, generator, shares, tone=tone).label_B.bincount(minlength=len(CLASSES))
            for _ in range(4)
        ]
    )
    wanted = torch.tensor([50 * shares[name] for name in CLASSES])
    assert sum(shares.values()) == pytest.approx(1.0)
    assert float((counts - wanted).abs().max()) <= 1.0


def test_a_part_of_a_training_batch_keeps_tone_and_holds_no_haze_or_darkness_to_remove(scenes):
    batch = training_batch(PatchSource(scenes), 60, 32, torch.Generator().manual_seed(0))
    kept = batch.tone_B == TONES.index("keep")
    assert int(kept.sum()) == 30  # half of 60
    names = {CLASSES[label] for label in batch.label_B[kept].tolist()}
    assert not names & {"haze", "low_light"}
    assert {CLASSES[label] for label in batch.label_B[~kept].tolist()} >= {"haze", "low_light"}


def test_batches_that_are_drawn_together_each_have_their_share_of_every_task(scenes):
    batches = training_batches(PatchSource(scenes), 6, 30, 32, torch.Generator().manual_seed(0))
    assert len(batches) == 6
    for batch in batches:
        assert len(batch.label_B) == 30
        assert int((batch.tone_B == TONES.index("keep")).sum()) == 15
        noisy = batch.label_B == CLASSES.index("noise")
        assert 6 <= int(noisy.sum()) <= 9  # 0.31 of 14 and 0.20 of 16: 7.5


def test_where_tone_is_kept_the_target_is_as_dark_or_hazy_as_the_picture(scenes):
    shares = {name: float(name == "clean") for name in CLASSES}
    batch = make_batch(PatchSource(scenes), 64, 32, torch.Generator().manual_seed(0), shares, tone="keep")
    # Faint sensor noise is the only difference; the scenes themselves are of very different brightness.
    assert float((batch.degraded_BCHW - batch.clean_BCHW).mean((1, 2, 3)).abs().max()) < 0.01
    brightness_B = batch.clean_BCHW.mean((1, 2, 3))
    bright_B = make_batch(PatchSource(scenes), 64, 32, torch.Generator().manual_seed(0), shares).clean_BCHW.mean(
        (1, 2, 3)
    )
    assert float((brightness_B < 0.5 * bright_B).float().mean()) > 0.1
    assert float((brightness_B > 1.05 * bright_B).float().mean()) > 0.05


def test_real_pairs_are_mixed_in_registered_and_their_severity_is_unknown(scenes):
    # A pair whose clean half says, pixel by pixel, what its degraded half is.
    pairs = PairSource({"haze": [(np.clip(s, 0, 200) // 2 + 100, np.clip(s, 0, 200)) for s in scenes]})
    shares = {name: float(name == "haze") for name in CLASSES}
    batch = make_batch(PatchSource(scenes), 40, 32, torch.Generator().manual_seed(3), shares, pairs)
    real = torch.isnan(batch.severity_B)
    assert 5 < int(real.sum()) < 30
    expected = (batch.clean_BCHW[real] * 255).round().int() // 2 + 100
    assert torch.equal((batch.degraded_BCHW[real] * 255).round().int(), expected)


def test_rain_of_real_pairs_falls_on_other_photographs(scenes):
    wet = [(np.clip(s.astype(int) + 40, 0, 255).astype(np.uint8), s) for s in scenes[:2]]
    clean = torch.full((4, 3, 32, 32), 0.25)
    rained = PairSource({"rain": wet}).transplant("rain", clean, torch.Generator().manual_seed(0))
    assert float((rained - clean).median()) == pytest.approx(40 / 255, abs=1e-3)


def test_a_pair_without_its_other_half_or_of_two_sizes_is_refused(tmp_path, scenes):
    for side in ("input", "target"):
        (tmp_path / "derain" / side).mkdir(parents=True)
    Image.fromarray(scenes[0]).save(tmp_path / "derain" / "input" / "a.png")
    with pytest.raises(ConfigError, match="no target"):
        read_pairs(tmp_path)
    Image.fromarray(scenes[0][:40]).save(tmp_path / "derain" / "target" / "a.png")
    with pytest.raises(ConfigError, match="expected equal"):
        read_pairs(tmp_path)
    Image.fromarray(scenes[0]).save(tmp_path / "derain" / "target" / "a.png")
    assert read_pairs(tmp_path).classes == ("rain",)
    with pytest.raises(ConfigError, match="holds no pairs"):
        read_pairs(tmp_path / "derain" / "input")
