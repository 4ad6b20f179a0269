"""What an evaluation on labelled sets needs, and what it gives."""

from __future__ import annotations

from pydantic import Field

from udair.config import TestTimeConfig
from udair_jobs.specs import LimitsSpec, Skipped, StrictModel


class LabelledSet(StrictModel):
    """Degraded images, and their clean versions under the same names."""

    source_uri: str = Field(description="prefix of the degraded images")
    clean_uri: str = Field(description="prefix of their clean versions; suffixes may differ")


class EvaluateSpec(StrictModel):
    """Score a base model, and an adapter on it, where the truth is known.

    Credentials are never in it: they come from the environment of the process that runs the job.
    """

    sets: dict[str, LabelledSet] = Field(min_length=1, description="labelled sets by name")
    source_endpoint_url: str | None = Field(None, description="S3 endpoint of the sets, if not AWS")
    base_uri: str = Field("packaged:small", description="the base model: packaged:NAME, a folder, or s3://...")
    adapter_uri: str | None = Field(None, description="folder of an adapter; null: the base model alone")
    output_uri: str = Field(description="folder of the evaluation")
    store_endpoint_url: str | None = Field(None, description="S3 endpoint of everything but the sets")
    harm_db: float = Field(0.1, ge=0, description="loss against the base model that counts as harm, dB")
    test_time: TestTimeConfig = TestTimeConfig(steps=0)
    tile: int = Field(256, ge=64, le=4096, multiple_of=16, description="larger images go in tiles, pixels")
    overlap: int = Field(32, ge=0, le=512, multiple_of=16, description="of neighbouring tiles, pixels")
    limits: LimitsSpec = LimitsSpec(max_side=4096)


class SetScore(StrictModel):
    """Means over one set's images; `adapted` figures are of the adapter or of test-time adaptation, if asked for."""

    images: int
    skipped: int
    snapshot_digest: str = Field(description="of the degraded images that were there")
    input_psnr_db: float
    input_ssim: float
    source_psnr_db: float = Field(description="of the base model alone")
    source_ssim: float
    adapted_psnr_db: float | None = None
    adapted_ssim: float | None = None
    gain_db: float | None = Field(None, description="adapted minus source")
    gain_low_db: float | None = Field(None, description="lower 95 % bound of the gain, over images")
    harmed_share: float | None = Field(None, description="share of images that lose more than harm_db")


class EvaluateResult(StrictModel):
    """`result.json` of an evaluation."""

    base_digest: str
    adapter_digest: str | None = None
    sets: dict[str, SetScore]
    scores_uri: str = Field(description="Parquet with a row an image")
    skipped: list[Skipped] = Field([], description="first 1000")
    seconds: float
