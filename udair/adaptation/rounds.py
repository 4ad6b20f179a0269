"""What each round of an adaptation has come to, for whoever watches it: nothing is chosen by these figures.

Axes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from udair.adaptation.flat_places import taken_out
from udair.adaptation.pairs import Pairs
from udair.adaptation.pairs import run as run_model
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer


class Rounds:
    """A yardstick for adapters while they are trained.

    Args:
        model: The base model.
        pairs: Scenes that no adapter trains on, with the domain's noise.
        views: Pictures of the domain that no adapter trains on, (3, H, W) in [0, 1]; may be none.
    """

    def __init__(self, model: Restorer, pairs: Pairs, views: Sequence[Tensor]) -> None:
        self._model, self._pairs, self._views = model, pairs, views
        self._base = self._restore(None)

    def figures(self, row: Modulation) -> dict[str, float]:
        """Gain over the base model on the scenes, its lower 95 % bound, and what is left of the pictures' own noise."""
        scenes_NCHW = run_model(self._model, self._pairs.degraded_NCHW, row, tone=self._pairs.tone)
        found = {
            "round_gain_db": self._pairs.gain_of(scenes_NCHW),
            "round_gain_low_db": self._pairs.gain_low_db(scenes_NCHW),
        }
        if self._views:
            left = taken_out(self._views, self._base, self._restore(row)).left_share()
            found["round_noise_left_share"] = left
        return found

    def _restore(self, row: Modulation | None) -> list[Tensor]:
        return [run_model(self._model, view[None], row, tone=self._pairs.tone)[0] for view in self._views]
