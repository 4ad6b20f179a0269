import io

import numpy as np
import pytest
import torch
from PIL import Image

from udair.data.degradations import FAMILIES, SOURCE_CHAINS, Chain
from udair.data.degradations.family import Range
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
