import numpy as np
import pytest
import torch
from PIL import Image

from udair.data.pairs import PairSource, read_pairs
from udair.data.patches import PatchSource
from udair.data.tasks import CLASSES, TRAINING_SHARES, make_batch
from udair.errors import ConfigError


def test_every_batch_comes_as_near_to_the_shares_as_it_can(scenes):
    source, generator = PatchSource(scenes), torch.Generator().manual_seed(0)
    counts = torch.stack(
        [
            make_batch(source, 50, 32, generator, TRAINING_SHARES).label_B.bincount(minlength=len(CLASSES))
            for _ in range(4)
        ]
    )
    wanted = torch.tensor([50 * TRAINING_SHARES[name] for name in CLASSES])
    assert float((counts - wanted).abs().max()) <= 1.0


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
