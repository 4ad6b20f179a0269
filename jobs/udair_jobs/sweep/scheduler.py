"""Which trials of a sweep go on, and how many have ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler, TrialScheduler


class DefaultKeeper(ASHAScheduler):
    """ASHA (Li et al. 2020) that never prunes the default configuration: the best is compared with it."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Count the result; stop the trial only if it is not the default one."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE if result.get("default") else decision


class TrialCounter(Callback):
    """Says how many trials have ended.

    Ray stores callbacks with the sweep, so whom it tells is known to the class, not to the object.
    """

    listener: ClassVar[Callable[[int], None]] = staticmethod(lambda ended: None)

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """A trial ended by itself or was pruned."""
        type(self).listener(sum(each.is_finished() for each in trials))

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """A trial failed for good."""
        self.on_trial_complete(iteration, trials, trial)
