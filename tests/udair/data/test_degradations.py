import io

import numpy as np
import pytest
import torch
from PIL import Image

from udair.data.degradations import FAMILIES, SOURCE_CHAINS, Chain
from udair.data.degradations.family import Range, path_kernel
from udair.errors import ConfigError, ShapeError
from udair.metrics import psnr_db


def _clean(batch: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.nn.functional.interpolate(torch.rand(batch, 3, 8, 8), (64, 72), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("space", ["source", "search"])
def test_a_family_is_seeded_keeps_shape_and_range_and_damages(name, space):
    clean, chain = _clean(), Chain([name])
    unit = chain.sample(3, torch.Generator().manual_seed(2)) * 0.6 + 0.4

    first = chain.degrade(clean, unit, torch.Generator().manual_seed(5), space)
    again = chain.degrade(clean, unit, torch.Generator().manual_seed(5), space)

    assert first.shape == clean.shape
    assert torch.equal(first, again)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert float(psnr_db(first, clean).max()) < 50


@pytest.mark.parametrize("name", list(FAMILIES))
def test_the_search_range_holds_the_source_range(name):
    for parameter in FAMILIES[name].parameters.values():
        assert parameter.search.low <= parameter.source.low
        assert parameter.search.high >= parameter.source.high


def test_more_severity_means_less_psnr():
    for name in ("noise", "haze", "jpeg", "low_light"):
        chain = Chain([name])
        low, high = torch.full((3, chain.width), 0.2), torch.full((3, chain.width), 0.2)
        for index, parameter in enumerate(chain.families[0].parameters.values()):
            if parameter.severity:
                high[:, index], low[:, index] = (0.9, 0.1) if parameter.severity > 0 else (0.1, 0.9)
        assert chain.severity(high).mean() > chain.severity(low).mean()
        worse = chain.degrade(_clean(), high, torch.Generator().manual_seed(0))
        better = chain.degrade(_clean(), low, torch.Generator().manual_seed(0))
        assert psnr_db(worse, _clean()).mean() < psnr_db(better, _clean()).mean(), name


def test_noise_has_the_standard_deviation_that_it_was_asked_for():
    grey = torch.full((1, 3, 256, 256), 0.5)
    for correlation in (0.0, 1.2):
        values = {"sigma": torch.tensor([0.1]), "shot": torch.tensor([0.0]), "correlation": torch.tensor([correlation])}
        noisy = FAMILIES["noise"].degrade(grey, values, torch.Generator().manual_seed(0))
        assert float((noisy - grey).std()) == pytest.approx(0.1, rel=0.06)


def test_jpeg_agrees_with_a_real_encoder():
    image = (np.asarray(_clean(1)[0].permute(1, 2, 0)) * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=30, subsampling=2)
    real = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)[None].float() / 255
    clean = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    ours = FAMILIES["jpeg"].degrade(clean, {"quality": torch.tensor([30.0])}, torch.Generator())
    assert float(psnr_db(ours, real)) > 38


def test_camera_noise_is_coloured_correlated_and_strongest_in_the_dark():
    values = {"shot": 0.002, "read": 0.005, "smooth": 0.6, "coarse": 0.0, "quality": 95.0}
    tensors = {name: torch.tensor([value]) for name, value in values.items()}
    spread = {}
    for level in (0.1, 0.6):
        flat = torch.full((1, 3, 192, 192), level)
        noise = (FAMILIES["camera"].degrade(flat, tensors, torch.Generator().manual_seed(0)) - flat)[0]
        spread[level] = float(noise.std())
        neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.square().mean()
        assert float(neighbours) > 0.4  # white noise: 0
        assert abs(float(noise.mean())) < 0.01
    assert spread[0.1] > 1.2 * spread[0.6]


def test_rain_follows_two_laws_of_light():
    bright = torch.full((2, 3, 96, 96), 0.9)
    values = {"density": 0.02, "length": 20.0, "angle": 10.0, "width": 1.0, "opacity": 1.0, "veil": -0.1}
    tensors = {name: torch.full((2,), value) for name, value in values.items()}
    rained = FAMILIES["rain"].degrade(
        bright, tensors | {"lit": torch.tensor([-0.3, 0.3])}, torch.Generator().manual_seed(0)
    )
    screened, added = (rained - bright).amax((1, 2, 3)).tolist()
    assert screened <= 0.05 + 1e-6  # up to 0.95 at most
    assert added > 0.08


def test_a_kernel_of_a_shaken_camera_is_long_and_dwells():
    generator = torch.Generator().manual_seed(0)
    length, angle = torch.full((64,), 36.0), torch.zeros(64)
    straight, shaken = (path_kernel(length, angle, torch.full((64,), s), 45, generator) for s in (0.0, 1.0))
    for kernel in (straight, shaken):
        assert torch.allclose(kernel.sum((1, 2)), torch.ones(64), atol=1e-4)
    assert float((straight.sum(2) > 1e-3).float().sum(1).mean()) > 30
    assert float(shaken.amax((1, 2)).median()) > 1.5 * float(straight.amax((1, 2)).median())


def test_what_keeps_tone_is_the_scene_in_its_own_haze_and_light_without_the_rest():
    clean, chain = _clean(), Chain(["haze", "low_light", "noise"])
    unit = torch.full((3, chain.width), 0.5)
    degraded, wanted = chain.degrade_keeping_tone(clean, unit, torch.Generator().manual_seed(3))
    assert torch.equal(degraded, chain.degrade(clean, unit, torch.Generator().manual_seed(3)))
    assert float((wanted.mean((1, 2, 3)) - degraded.mean((1, 2, 3))).abs().max()) < 0.02
    assert float((wanted - clean).abs().mean()) > 0.1
    # What is left between the two is noise: it has no low frequencies.
    coarse = torch.nn.functional.avg_pool2d(degraded - wanted, 8)
    assert float(coarse.std()) < 0.3 * float((degraded - wanted).std())


def test_where_tone_is_kept_rain_loses_its_streaks_and_keeps_its_veil():
    clean, chain = _clean(), Chain(["rain"])
    unit = torch.full((3, chain.width), 0.5)
    veil = list(chain.families[0].parameters).index("veil")
    unit[:, veil] = 1.0
    rained, wanted = chain.degrade_keeping_tone(clean, unit, torch.Generator().manual_seed(0))
    strength = chain.families[0].parameters["veil"].source.high
    torch.testing.assert_close(wanted, clean * (1 - strength) + 0.75 * strength)
    assert float((rained - wanted).abs().mean()) > 0.01
    unit[:, veil] = 0.0
    assert torch.equal(chain.degrade_keeping_tone(clean, unit, torch.Generator())[1], clean)


def test_a_chain_is_applied_in_physical_order_and_describes_itself():
    chain = Chain(["jpeg", "low_light", "noise"])
    assert chain.names == ("low_light", "noise", "jpeg")
    described = chain.describe(torch.full((chain.width,), 0.5))
    assert list(described) == ["low_light", "noise", "jpeg"]
    assert described["jpeg"]["quality"] == pytest.approx(47.0)


def test_bad_chains_and_parameters_are_refused():
    with pytest.raises(ConfigError, match="different families"):
        Chain(["noise", "noise"])
    with pytest.raises(ConfigError, match="fog"):
        Chain(["fog"])
    with pytest.raises(ShapeError):
        Chain(["noise"]).degrade(_clean(), torch.rand(3, 1), torch.Generator())
    with pytest.raises(ConfigError):
        Range(2, 1)
    for names in SOURCE_CHAINS:
        Chain(names)
