"""Test-time adaptation: CORAL on one request's or one stream's embeddings. Off unless asked for.

Axes: N crops, D code width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from udair.adaptation.projection import align
from udair.config import AlignmentConfig, TestTimeConfig
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer
from udair.source_stats import SourceStats


@torch.no_grad()
def crops_of(image_CHW: Tensor, side: int = 96) -> Tensor:
    """Non-overlapping crops (N, 3, side, side), N >= 1; a smaller image gives itself."""
    height, width = image_CHW.shape[1:]
    if height < side or width < side:
        return image_CHW[None]
    tiles = image_CHW.unfold(1, side, side).unfold(2, side, side)
    return tiles.permute(1, 2, 0, 3, 4).reshape(-1, 3, side, side)


def adapt_at_test_time(
    model: Restorer, stats: SourceStats, image_CHW: Tensor, row: Modulation, config: TestTimeConfig
) -> Modulation:
    """Pull one image's degradation embeddings towards their source cluster, starting from `row`.

    The result is a new row; nothing is kept. An image too small for two crops has no covariance and
    gets `row` back.

    Source: UDAIR (arXiv 2505.22284), CORAL-based test-time adaptation. Which parameters move, and
    for how many steps, the paper does not say: we move the bias, one step (docs/log.md, the sweep).
    """
    crops = crops_of(image_CHW, config.crop)
    if len(crops) < 2 or config.steps == 0:
        return row
    with torch.no_grad():
        embedding_ND = model.embed(crops).embedding_BD
    alignment = AlignmentConfig(steps=config.steps, learning_rate=config.learning_rate, parameters=config.parameters)
    fitted, _ = align(embedding_ND, stats, row, alignment)
    return fitted


class TestTimeStream:
    """Rows for the images of one stream, one after the other.

    Args:
        model, stats: The base model and its source statistics.
        row: The adapter's, or the identity.
        config: `reset` decides whether an image starts from `row` or from where the last one ended.
    """

    __test__ = False  # pytest: not a test class

    def __init__(self, model: Restorer, stats: SourceStats, row: Modulation, config: TestTimeConfig) -> None:
        self._model, self._stats, self._config = model, stats, config
        self._given = self._last = row

    def next(self, image_CHW: Tensor) -> Modulation:
        """The row to restore `image_CHW` with, RGB in [0, 1]."""
        start = self._given if self._config.reset == "request" else self._last
        self._last = adapt_at_test_time(self._model, self._stats, image_CHW, start, self._config)
        return self._last
