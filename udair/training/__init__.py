"""Source training: batches to losses, one loop with and without Ray, continued any number of times.

Run alone on one device: `python -m udair.training --data photos/ --out runs/source --size base --minutes 28`.
Run again with the same `--out` and it continues. Nothing here imports ray.
"""

from udair.training.source_model import SourceModel
from udair.training.trainer import SourceTrainer
from udair.training.validation import validation_psnr_db

__all__ = ["SourceModel", "SourceTrainer", "validation_psnr_db"]
