"""How well a model in training restores photographs that it does not see."""

from __future__ import annotations

import torch

from udair.data.patches import PatchSource
from udair.data.tasks import training_batch
from udair.metrics import psnr_db
from udair.models.restorer import Restorer


@torch.inference_mode()
def validation_psnr_db(model: Restorer, source: PatchSource, *, batches: int = 4, batch: int = 16) -> float:
    """Mean PSNR on held-out photographs with the tasks and intents of training; the same patches every time.

    Args:
        model: In evaluation mode.
        source: Photographs that training does not see.
        batches, batch: Patches of 128 x 128 pixels.
    """
    generator = torch.Generator(model.enter.weight.device).manual_seed(11)
    scores = []
    for _ in range(batches):
        drawn = training_batch(source, batch, 128, generator)
        scores.append(psnr_db(model(drawn.degraded_BCHW, tone=drawn.tone_B), drawn.clean_BCHW))
    return float(torch.cat(scores).mean())
