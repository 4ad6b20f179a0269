"""What the platform's operator asks for its use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """Of an hour each; 0 is no price.

    Attributes:
        job_hour: Of a job that runs.
        model_hour: Of restoring images.
        currency: Written behind sums.
    """

    job_hour: float = 0.0
    model_hour: float = 0.0
    currency: str = ""

    @property
    def set(self) -> bool:
        """Whether anything costs anything."""
        return bool(self.job_hour or self.model_hour)

    def cost(self, job_s: float, forward_s: float) -> float:
        """What so many seconds cost."""
        return (job_s * self.job_hour + forward_s * self.model_hour) / 3600
