"""Goes back to healthy weights when a run leaves its usual loss: a leased device has no second try.

There is no norm in a block, so a rate that was calm for minutes may tip within a few steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

USUAL = 2.5  # times the usual loss that is still taken for chance
PATIENCE = 2  # looks in a row above it
SHRINK = 0.6  # of the rate, each time
MOST_ROLLBACKS = 8


class Guard:
    """Two snapshots of the averaged weights, and what the loss usually is.

    The older snapshot is the one to go back to: the younger may have been taken on the way out.

    Args:
        weights: Gives the averaged weights by name.
        snapshot_every: Looks between two snapshots.

    Attributes:
        rate_scale: Factor on the learning rate; shrinks with every return.
        rollbacks: How often it went back.
        usual: Running mean of the loss; None before the first look.
    """

    def __init__(self, weights: Callable[[], Mapping[str, Tensor]], snapshot_every: int = 8) -> None:
        self._weights, self._snapshot_every = weights, snapshot_every
        self._older: dict[str, Tensor] | None = None
        self._younger: dict[str, Tensor] | None = None
        self._looks = self._bad = 0
        self.rate_scale, self.rollbacks = 1.0, 0
        self.usual: float | None = None

    def look(self, loss: float) -> dict[str, Tensor] | None:
        """Take in the loss of one step; weights to go back to, or None where all is well.

        Raises:
            FloatingPointError: The loss is not finite and there is nothing to go back to, or it went wrong too often.
        """
        wild = not math.isfinite(loss) or (self.usual is not None and loss > USUAL * self.usual)
        if not wild:
            self._bad = 0
            self.usual = loss if self.usual is None else 0.9 * self.usual + 0.1 * loss
            if self._looks % self._snapshot_every == 0:
                self._older, self._younger = self._younger, self._copy()
            self._looks += 1
            return None
        self._bad += 1
        if math.isfinite(loss) and self._bad < PATIENCE:
            return None
        healthy = self._older or self._younger
        if healthy is None or self.rollbacks == MOST_ROLLBACKS:
            raise FloatingPointError(
                f"loss is {loss} after {self.rollbacks} returns to healthy weights; expected about {self.usual}. "
                "Lower train.learning_rate."
            )
        self._bad, self._looks = 0, 1
        self._younger = self._older = healthy
        self.rate_scale *= SHRINK
        self.rollbacks += 1
        return healthy

    def facts(self) -> dict[str, float | int | None]:
        """For a checkpoint's clock; `continue_with` reads them back."""
        return {"rate_scale": self.rate_scale, "rollbacks": self.rollbacks, "usual": self.usual}

    def continue_with(self, facts: Mapping[str, float | int | None]) -> None:
        """Go on where a run that is continued stood."""
        self.rate_scale = float(facts.get("rate_scale") or 1.0)
        self.rollbacks = int(facts.get("rollbacks") or 0)
        usual = facts.get("usual")
        self.usual = None if usual is None else float(usual)

    @torch.no_grad()
    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self._weights().items()}
