"""What a hyperparameter sweep needs, and what it gives."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from udair.config import Tone
from udair_jobs.specs import LimitsSpec, StrictModel

SweepKind = Literal["tta", "alignment", "recipe", "source"]
Value = bool | int | float | str


class Range(StrictModel):
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = Field(False, description="search their logarithms")
    integer: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}; expected low < high")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}; a logarithmic range starts above 0")
        return self


class Choices(StrictModel):
    """One of a few values."""

    choices: Annotated[list[Value], Field(min_length=2)]


class SweepSpec(StrictModel):
    """One sweep; the same `output_uri` again continues it, or returns what it found.

    Credentials are never in it: they come from the environment of the processes that run the job.
    """

    kind: SweepKind = Field(description="what is searched: tta, alignment, recipe (of adapt_domain), source training")
    source_uri: str = Field(description="prefix of the domain's images; for source: of clean photographs")
    clean_uri: str | None = Field(
        None, description="prefix of their clean versions under the same names: PSNR on these pairs is the objective"
    )
    source_endpoint_url: str | None = Field(None, description="S3 endpoint of source_uri and clean_uri, if not AWS")
    base_uri: str = Field("packaged:base", description="the base model: packaged:NAME, a folder, or s3://...")
    output_uri: str = Field(description="folder of the sweep")
    tone: Tone = Field("keep", description="keep: exposure, colour and haze stay; restore: they are corrected, too")
    store_endpoint_url: str | None = Field(None, description="S3 endpoint of output_uri, if not AWS")
    space: dict[str, Range | Choices] = Field(min_length=1, description="what is tried for each hyperparameter")
    fixed: dict[str, Any] = Field({}, description="hyperparameters that every trial has")
    trials: int = Field(24, ge=2, le=10_000, description="configurations tried; the first is the default one")
    concurrent: int = Field(2, ge=1, le=1024, description="trials at the same time; 1 makes a sweep repeatable")
    use_gpu: bool = Field(False, description="source: one GPU a trial")
    retries: int = Field(1, ge=0, le=10, description="further tries for a trial whose process dies")
    reduction_factor: int = Field(3, ge=2, description="ASHA: one trial in this many goes on at each rung")
    pairs: int = Field(
        24, ge=4, le=4096, description="pairs that trials are scored on, and as many that check the best"
    )
    side: int = Field(256, ge=64, le=1024, multiple_of=16, description="of these pairs, pixels")
    size: str = Field("tiny", description="source: tiny or base")
    validation_every: int = Field(20, ge=1, description="source: training steps between scores")
    seed: int = Field(0, ge=0)
    limits: LimitsSpec = LimitsSpec()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        both = sorted(self.space.keys() & self.fixed.keys())
        if both:
            raise ValueError(f"{', '.join(both)}: both searched and fixed")
        if self.kind == "source" and self.clean_uri is not None:
            raise ValueError("clean_uri: source photographs are clean already")
        if self.kind == "source" and "steps" in self.space:
            raise ValueError("space.steps: trials of a source sweep are compared step by step; set fixed.steps")
        if self.kind != "source" and self.use_gpu:
            raise ValueError(f"use_gpu: trials of a {self.kind} sweep run on CPUs")
        return self


class Trial(StrictModel):
    """One configuration and what became of it: a score, or the reason why there is none."""

    trial_id: str
    state: Literal["COMPLETED", "PRUNED", "FAILED", "CANCELLED"]
    values: dict[str, Value]
    score_db: float | None = Field(None, description="on the pairs of the search")
    check_db: float | None = Field(None, description="on the pairs that the search does not see; completed trials only")
    check_low_db: float | None = Field(None, description="lower 95 % bound of check_db minus the default's")
    seconds: float = 0.0
    detail: str = ""


class SweepResult(StrictModel):
    """`result.json` of a sweep, written when it has ended; one that failed has none and can be continued."""

    kind: SweepKind
    objective: Literal["pseudo-target gain", "labelled gain", "validation"]
    trials: int = 0
    by_state: dict[str, int] = Field({})
    default: Trial | None = None
    best: Trial | None = None
    improved: bool = Field(
        False, description="the best is better than the default on pairs that the search did not see"
    )
    importance: dict[str, float] = Field({}, description="share of the score's variation that each one explains")
    trials_uri: str = ""
    tuned_uri: str = ""
    seconds: float = 0.0
