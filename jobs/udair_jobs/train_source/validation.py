"""Scores on photographs that training does not see: which checkpoint is best, and when to stop."""

from __future__ import annotations

import json
import math
from pathlib import Path

from udair.data.patches import PatchSource
from udair.models.restorer import Restorer
from udair.training import validation_psnr_db

VALIDATION = "validation.json"


class Validation:
    """The best score of a run, and how many validations ago it was.

    Every worker keeps one and is told the same scores, so that all of them stop at the same step.

    Args:
        source: Held-out photographs; None on workers that are only told the scores.
        batches: Batches that a validation takes; 0 turns validation off.
        patience: Validations without a better score after which training ends; 0: never.
    """

    def __init__(self, source: PatchSource | None, *, batches: int, patience: int) -> None:
        self._source, self._batches, self._patience = source, batches, patience
        self.best_db = -math.inf
        self.stale = 0

    @property
    def exhausted(self) -> bool:
        """Whether the score has stood still for as long as anybody is willing to wait."""
        return 0 < self._patience <= self.stale

    def score(self, model: Restorer) -> float:
        """PSNR of `model`, dB; -inf without held-out photographs."""
        if self._source is None or not self._batches:
            return -math.inf
        return validation_psnr_db(model, self._source, batches=self._batches)

    def keep(self, score_db: float) -> None:
        """Count a score that `score` gave on the worker that has the photographs."""
        if not math.isfinite(score_db):
            return
        self.stale = 0 if score_db > self.best_db else self.stale + 1
        self.best_db = max(self.best_db, score_db)

    def save(self, folder: Path) -> None:
        """Write the state beside the checkpoint that it belongs to."""
        state = {"best_db": self.best_db if math.isfinite(self.best_db) else None, "stale": self.stale}
        (folder / VALIDATION).write_text(json.dumps(state))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = json.loads((folder / VALIDATION).read_text())
        self.best_db = -math.inf if state["best_db"] is None else float(state["best_db"])
        self.stale = int(state["stale"])
