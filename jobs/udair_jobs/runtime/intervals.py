"""How surely a mean is what it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def mean_low(values: Sequence[float]) -> float:
    """Lower end of the 95 % interval (normal) of the mean; -inf below two values."""
    if len(values) < 2:
        return -math.inf
    return float(np.mean(values) - 1.96 * np.std(values, ddof=1) / math.sqrt(len(values)))
