"""Figures of restorations, picture by picture: with the truth PSNR and SSIM, without it what pixels say.

Axes: C channels, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from udair.adaptation.base_check import tone_shift
from udair.adaptation.flat_places import taken_out
from udair.data.images import ImageArray
from udair.data.patches import to_tensor
from udair.metrics import psnr_db, ssim
from udair_jobs.evaluate.specs import ColumnScore
from udair_jobs.runtime.intervals import mean_low

FIGURES = ("psnr_db", "ssim", "noise_left", "tone_moved")
INPUT = "input"


def score(restored: Mapping[str, ImageArray], base: str, truth: ImageArray | None) -> dict[str, dict[str, float]]:
    """Figures of one picture by column.

    Args:
        restored: (H, W, 3) uint8 by column, the input itself among them, as ``input``.
        base: The column that says where the picture is flat.
        truth: If it is known.
    """
    tensors = {name: to_tensor([image])[0] for name, image in restored.items()}
    truth_1CHW = None if truth is None else to_tensor([truth])
    rows = {}
    for name, image_CHW in tensors.items():
        left = float(taken_out([tensors[INPUT]], [tensors[base]], [image_CHW]).left_N[0])
        row = {"noise_left": 255 * math.sqrt(left), "tone_moved": 255 * tone_shift(tensors[INPUT], image_CHW)}
        if truth_1CHW is not None:
            row["psnr_db"] = float(psnr_db(image_CHW[None], truth_1CHW)[0])
            row["ssim"] = float(ssim(image_CHW[None], truth_1CHW)[0])
        rows[name] = row
    return rows


def summary(rows: Sequence[Mapping[str, Mapping[str, float]]], base: str, harm_db: float) -> dict[str, ColumnScore]:
    """Means over pictures by column, gains over the base model, and how many pictures were harmed."""
    found = {}
    for name in rows[0]:
        means = {key: float(np.mean([row[name][key] for row in rows])) for key in FIGURES if key in rows[0][name]}
        if "psnr_db" in means:
            over = {other: [row[name]["psnr_db"] - row[other]["psnr_db"] for row in rows] for other in (base, INPUT)}
            means |= {
                "gain_db": float(np.mean(over[base])),
                "harmed_vs_base_share": float(np.mean([gain < -harm_db for gain in over[base]])),
                "harmed_vs_input_share": float(np.mean([gain < -harm_db for gain in over[INPUT]])),
            }
            if len(rows) > 1:
                means["gain_low_db"] = mean_low(over[base])
        found[name] = ColumnScore.model_validate(means)
    return found
