"""PSNR and SSIM of a base model and of what adapts it, image by image.

Axes: C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from udair.adaptation.adapter import adapter_from_bytes
from udair.adaptation.test_time import TestTimeStream
from udair.bundle import Bundle
from udair.data.images import ImageArray
from udair.data.patches import to_array, to_tensor
from udair.inference import restore
from udair.metrics import psnr_db, ssim
from udair.models.modulation import Modulation
from udair_jobs.evaluate.specs import EvaluateSpec
from udair_jobs.runtime.intervals import mean_low


class Scorer:
    """Restores an image with the base model, and with the adapter if there is one, and compares with the truth.

    Args:
        bundle: The base model.
        adapter: An encoded adapter, or None.
        spec: Tiles, test-time adaptation, and what counts as harm.
    """

    def __init__(self, bundle: Bundle, adapter: bytes | None, spec: EvaluateSpec) -> None:
        self._bundle, self._spec = bundle, spec
        self._row = adapter_from_bytes(adapter, bundle.digest, bundle.model).row if adapter else None
        self._stream = None
        if spec.test_time.steps:
            start = self._row or bundle.model.identity()
            config = spec.test_time
            self._stream = TestTimeStream(bundle.model, bundle.stats, start, config)

    def score(self, degraded: ImageArray, clean: ImageArray) -> dict[str, Any]:
        """PSNR (dB) and SSIM of the input and of every restoration, rounded to bytes as a file would be."""
        image_CHW, truth_CHW = to_tensor([degraded, clean])
        scores = _compare("input", image_CHW, truth_CHW) | self._restored("source", image_CHW, truth_CHW, None)
        row = self._stream.next(image_CHW) if self._stream else self._row
        if row is not None:
            scores |= self._restored("adapted", image_CHW, truth_CHW, row)
            scores["gain_db"] = scores["adapted_psnr_db"] - scores["source_psnr_db"]
        return scores

    def summary(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Means over the rows of a set, the gain's lower 95 % bound, and the share of images harmed."""
        figures = [name for name in rows[0] if name.endswith(("_db", "_ssim"))]
        means: dict[str, Any] = {name: float(np.mean([row[name] for row in rows])) for name in figures}
        means["images"] = len(rows)
        if "gain_db" in means:
            gains = [row["gain_db"] for row in rows]
            means["harmed_share"] = float(np.mean([gain < -self._spec.harm_db for gain in gains]))
            if len(gains) > 1:
                means["gain_low_db"] = mean_low(gains)
        return means

    @torch.inference_mode()
    def _restored(self, name: str, image_CHW: Tensor, truth_CHW: Tensor, row: Modulation | None) -> dict[str, float]:
        restored_CHW = restore(self._bundle.model, image_CHW, row, tile=self._spec.tile, overlap=self._spec.overlap)
        return _compare(name, to_tensor([to_array(restored_CHW)])[0], truth_CHW)


def _compare(name: str, image_CHW: Tensor, truth_CHW: Tensor) -> dict[str, float]:
    pair = image_CHW[None], truth_CHW[None]
    return {f"{name}_psnr_db": float(psnr_db(*pair)[0]), f"{name}_ssim": float(ssim(*pair)[0])}
