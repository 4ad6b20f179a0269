"""What a source-training run needs, and what it gives."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from udair.config import TrainConfig
from udair_jobs.specs import LimitsSpec, StrictModel

SCORE = "validation_psnr_db"


class TrainSpec(StrictModel):
    """One base model to train. Credentials are never in it: they come from the environment.

    `output_uri` names the run: the same one again continues it, or returns what it published.
    """

    name: str = Field("udair-tiny", pattern=r"^[a-z][a-z0-9-]{2,62}$", description="what the base model is called")
    size: str = Field("tiny", description="tiny or base")
    data_uri: str = Field(description="prefix of clean photographs")
    data_endpoint_url: str | None = Field(None, description="S3 endpoint of data_uri, if not AWS")
    output_uri: str = Field(description="folder of the run: snapshot, checkpoints and the base model go here")
    store_endpoint_url: str | None = Field(None, description="S3 endpoint of output_uri, if not AWS")
    workers: int = Field(2, ge=1, le=1024)
    min_workers: int | None = Field(None, ge=1, description="go on with this many when nodes are lost; null: wait")
    use_gpu: bool = False
    checkpoint_every: int = Field(200, ge=1, description="steps between checkpoints, each with a validation")
    keep_best: int = Field(2, ge=1, description="checkpoints kept, by validation; the latest is always kept")
    validation_batches: int = Field(4, ge=0, description="held-out batches a validation takes; 0: none")
    patience: int = Field(0, ge=0, description="validations without a better score that end training; 0: any number")
    max_failures: int = Field(3, ge=0, description="worker failures that are survived")
    replay_scenes: int = Field(64, ge=4, le=4096, description="generated clean scenes in the base model")
    replay_side: int = Field(128, ge=96, le=1024, description="their side, pixels")
    statistics_batches: int = Field(40, ge=4, le=10_000, description="batches that source statistics are taken from")
    train: TrainConfig = TrainConfig()
    limits: LimitsSpec = LimitsSpec(max_side=2048, gate_share=0.05)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers is {self.min_workers}; expected at most workers, {self.workers}")
        if self.patience and not self.validation_batches:
            raise ValueError("patience needs validations; set validation_batches to 1 or more")
        return self


class TrainResult(StrictModel):
    """A published base model."""

    name: str
    digest: str
    base_uri: str
    steps: int
    images: int
    metrics: dict[str, float]
