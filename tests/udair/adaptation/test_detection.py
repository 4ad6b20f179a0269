import torch

from udair.adaptation.detection import detect
from udair.data.patches import PatchSource
from udair.data.tasks import CLASSES, make_batch
from udair.models.appearance import appearance


def _look(bundle, scenes, shares, seed=0):
    drawn = make_batch(PatchSource(scenes), 40, 64, torch.Generator().manual_seed(seed), shares)
    with torch.no_grad():
        return bundle.model.embed(drawn.degraded_BCHW).embedding_BD.float(), appearance(drawn.degraded_BCHW)


def test_clean_images_need_no_adapter_and_degraded_ones_do(bundle, scenes):
    clean = detect(*_look(bundle, scenes, {name: float(name == "clean") for name in CLASSES}), bundle.stats)
    noisy = detect(*_look(bundle, scenes, {name: float(name == "noise") for name in CLASSES}), bundle.stats)
    assert clean.clean_share >= 0.6
    assert noisy.clean_share < 0.6
    assert noisy.in_domain_share > 0.8


def test_a_target_of_two_domains_is_seen_as_two(bundle, scenes):
    shares = {name: float(name in ("low_light", "haze")) for name in CLASSES}
    embedding, looks = _look(bundle, scenes, shares)
    # As a mixed bucket would look: two clouds, far apart in some statistics.
    looks = looks + torch.cat([torch.full((20, looks.shape[1]), 6.0), torch.zeros(20, looks.shape[1])])
    mixed = detect(embedding * 0, looks, bundle.stats)
    assert sorted(len(group) for group in mixed.groups) == [20, 20]
    alone = detect(*_look(bundle, scenes, {name: float(name == "noise") for name in CLASSES}), bundle.stats)
    assert len(alone.groups) == 1


def test_a_handful_of_crops_is_one_domain(bundle, scenes):
    embedding, looks = _look(bundle, scenes, None)
    assert len(detect(embedding[:5], looks[:5], bundle.stats).groups) == 1
