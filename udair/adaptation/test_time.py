"""Test-time adaptation: to what one request's own pixels tell, or CORAL on its embeddings. Off unless asked for.

Axes: N crops, C channels, H x W pixels, D code width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from udair.adaptation.flat_places import borne_out
from udair.adaptation.projection import align
from udair.bundle import Bundle
from udair.config import AlignmentConfig, TestTimeConfig, Tone
from udair.inference import restore
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer

NEARLY_ALL = 0.95  # of a change; what would be left out is not seen


@torch.no_grad()
def crops_of(image_CHW: Tensor, side: int = 96) -> Tensor:
    """Non-overlapping crops (N, 3, side, side), N >= 1; a smaller image gives itself."""
    height, width = image_CHW.shape[1:]
    if height < side or width < side:
        return image_CHW[None]
    tiles = image_CHW.unfold(1, side, side).unfold(2, side, side)
    return tiles.permute(1, 2, 0, 3, 4).reshape(-1, 3, side, side)


def adapt_at_test_time(
    bundle: Bundle, image_CHW: Tensor, row: Modulation, config: TestTimeConfig, tone: Tone = "keep"
) -> Modulation:
    """The row for one image, starting from `row`; nothing is kept.

    Args:
        bundle: The base model with its source statistics.
        image_CHW: RGB in [0, 1].
        row: The adapter's, or the identity.
        config: Method and its settings.
        tone: The intent of the request.
    """
    if config.steps == 0:
        return row
    if config.method == "flat_places":
        return _as_far_as_flat_places_bear_out(bundle.model, image_CHW, row, tone)
    return _aligned(bundle, image_CHW, row, config)


@torch.no_grad()
def _as_far_as_flat_places_bear_out(model: Restorer, image_CHW: Tensor, row: Modulation, tone: Tone) -> Modulation:
    """Scale the model's change down to the share that leaves least in the picture's flat places.

    Flat places hold noise alone, so what is left in them is least where the change is right; a change that adds to
    them is none of a denoiser's. It is never scaled up: that costs more on pictures without noise than it gains on
    noisy ones (docs/log.md, 2026-11-27). Costs one more pass. Ours.
    """
    share = borne_out(image_CHW, restore(model, image_CHW, row, tone=tone))
    return row if share > NEARLY_ALL else replace(row, gain_B=(1 + row.gain_B) * share - 1)


def _aligned(bundle: Bundle, image_CHW: Tensor, row: Modulation, config: TestTimeConfig) -> Modulation:
    """Pull one image's degradation embeddings towards their source cluster.

    An image too small for two crops has no covariance and gets `row` back.

    Source: UDAIR (arXiv 2505.22284), CORAL-based test-time adaptation. Which parameters move, and
    for how many steps, the paper does not say: we move the bias, one step (docs/log.md, the sweep).
    """
    crops = crops_of(image_CHW, config.crop)
    if len(crops) < 2:
        return row
    with torch.no_grad():
        embedding_ND = bundle.model.embed(crops).embedding_BD
    alignment = AlignmentConfig(steps=config.steps, learning_rate=config.learning_rate, parameters=config.parameters)
    fitted, _ = align(embedding_ND, bundle.stats, row, alignment)
    return fitted


class TestTimeStream:
    """Rows for the images of one stream, one after the other.

    Args:
        bundle: The base model with its source statistics.
        row: The adapter's, or the identity.
        config: `reset` decides whether an image starts from `row` or from where the last one ended.
        tone: The intent.
    """

    __test__ = False  # pytest: not a test class

    def __init__(self, bundle: Bundle, row: Modulation, config: TestTimeConfig, tone: Tone = "keep") -> None:
        self._bundle, self._config, self._tone = bundle, config, tone
        self._given = self._last = row

    def next(self, image_CHW: Tensor) -> Modulation:
        """The row to restore `image_CHW` with, RGB in [0, 1]."""
        start = self._given if self._config.reset == "request" else self._last
        self._last = adapt_at_test_time(self._bundle, image_CHW, start, self._config, self._tone)
        return self._last
