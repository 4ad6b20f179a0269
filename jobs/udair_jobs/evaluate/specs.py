"""What an evaluation on sets of pictures needs, and what it gives."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from udair.config import RecipeConfig, TestTimeConfig, Tone
from udair_jobs.specs import LimitsSpec, Skipped, StrictModel

ServedAs = Literal["adapter", "base model", "as it came"]


class PictureSet(StrictModel):
    """Degraded pictures, and their clean versions under the same names where there are any."""

    source_uri: str = Field(description="prefix of the degraded pictures")
    clean_uri: str | None = Field(
        None, description="prefix of their clean versions; suffixes may differ. null: no truth"
    )


class EvaluateSpec(StrictModel):
    """Compare restorations of any pictures: with a base model, an adapter, classical methods, with or without truth.

    Credentials are never in it: they come from the environment of the process that runs the job.
    """

    sets: dict[str, PictureSet] = Field(min_length=1, description="sets of pictures by name")
    source_endpoint_url: str | None = Field(None, description="S3 endpoint of the sets, if not AWS")
    base_uri: str = Field("packaged:base", description="the base model: packaged:NAME, a folder, or s3://...")
    adapter_uri: str | None = Field(None, description="folder of an adapter; null: none")
    adapt: bool = Field(False, description="adapt to every second picture of a set, and score the others")
    recipe: RecipeConfig = RecipeConfig()
    output_uri: str = Field(description="folder of the evaluation")
    store_endpoint_url: str | None = Field(None, description="S3 endpoint of everything but the sets")
    harm_db: float = Field(0.1, ge=0, description="loss that counts as harm, dB")
    test_time: TestTimeConfig = TestTimeConfig(steps=0)
    tone: Tone = Field("keep", description="keep: exposure, colour and haze stay; restore: they are corrected, too")
    classical: Literal["auto", "bm3d", "opencv", "none"] = Field(
        "auto", description="what a user would do instead; auto: BM3D, else OpenCV, whichever is installed"
    )
    sheet_pictures: int = Field(8, ge=0, le=64, description="pictures of a set on its contact sheet; 0: no sheet")
    memory_budget_bytes: int = Field(
        2 * 2**30, ge=2**27, description="working memory of one picture; one that does not fit whole goes in pieces"
    )
    limits: LimitsSpec = LimitsSpec(max_side=4096)

    @model_validator(mode="after")
    def _one_adapter(self) -> Self:
        if self.adapt and (self.adapter_uri or self.test_time.steps):
            raise ValueError("adapt=true makes an adapter of its own; leave adapter_uri and test_time.steps out")
        return self


class ColumnScore(StrictModel):
    """Means over a set of one way to restore it.

    What needs the truth is null without it. `noise_left` and `tone_moved` need none and judge little: a picture that is
    smeared has no noise left, either.
    """

    psnr_db: float | None = None
    ssim: float | None = None
    gain_db: float | None = Field(None, description="over the base model with the same intent")
    gain_low_db: float | None = Field(None, description="lower 95 % bound of it, over pictures")
    harmed_vs_base_share: float | None = Field(None, description="share of pictures that lose more than harm_db")
    harmed_vs_input_share: float | None = Field(None, description="the same, against doing nothing")
    noise_left: float = Field(description="deviation that is left in the flattest places, of 255 levels")
    tone_moved: float = Field(description="change of local means, of 255 levels")


class SetScore(StrictModel):
    """One set: how each column did."""

    images: int
    skipped: int
    snapshot_digest: str = Field(description="of the degraded pictures that were there")
    base: str = Field(description="the column of the base model with the intent that was asked for: keep or restore")
    columns: dict[str, ColumnScore] = Field(
        description="input, keep and restore (the base model with either intent), bm3d or opencv, adapted, served, oracle"
    )
    served_as: ServedAs = Field(description="what the standard gate lets pass")
    why: str = Field("", description="why it is not the adapter, if it is not")
    words: list[str] = Field([], description="what adaptation told of the set")
    sheet_uri: str | None = Field(None, description="contact sheet")


class EvaluateResult(StrictModel):
    """`result.json` of an evaluation."""

    base_digest: str
    adapter_digest: str | None = None
    sets: dict[str, SetScore]
    scores_uri: str = Field(description="Parquet with a row a picture")
    skipped: list[Skipped] = Field([], description="first 1000")
    seconds: float
