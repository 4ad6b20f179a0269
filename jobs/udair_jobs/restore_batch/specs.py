"""What a batch restoration needs, and what it gives."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from udair.config import TestTimeConfig, Tone
from udair_jobs.specs import LimitsSpec, Reason, StrictModel


class BatchSpec(StrictModel):
    """A prefix of degraded images in, a prefix of restored ones out, under the same names.

    Credentials are never in it: they come from the environment of the processes that run the job,
    which may assume the role that the spec names.
    """

    source_uri: str = Field(description="prefix of the images to restore")
    source_endpoint_url: str | None = Field(None, description="S3 endpoint of source_uri, if not AWS")
    source_role_arn: str | None = Field(
        None, description="role to read source_uri with, instead of the job's own rights"
    )
    source_external_id: str | None = Field(None, description="what that role's trust policy asks for; no secret")
    output_uri: str = Field(description="prefix for the restored images; the report goes to _udair/ below it")
    kept_uri: str | None = Field(
        None, description="folder for spec, progress and result, e.g. where a platform's console looks; null: _udair/"
    )
    base_uri: str = Field("packaged:base", description="the base model: packaged:NAME, a folder, or s3://...")
    adapter_uri: str | None = Field(None, description="folder of the domain's adapter; null: the base model alone")
    store_endpoint_url: str | None = Field(None, description="S3 endpoint of everything but source_uri")
    format: Literal["same", "png", "jpeg", "webp", "tiff"] = Field("same", description="of the restored files")
    quality: int = Field(95, ge=1, le=100, description="of JPEG and WebP")
    scores: bool = Field(True, description="NIQE before and after, in the report")
    tone: Tone = Field("keep", description="keep: exposure, colour and haze stay; restore: they are corrected, too")
    memory_budget_bytes: int = Field(
        2 * 2**30, ge=2**27, description="working memory of one picture; one that does not fit whole goes in pieces"
    )
    test_time: TestTimeConfig = TestTimeConfig(steps=0)
    workers: int = Field(2, ge=1, le=1024, description="Ray actors, each with one model")
    use_gpu: bool = Field(False, description="one GPU for each worker")
    chunk: int = Field(16, ge=1, le=1024, description="objects that a worker is given at a time")
    retries: int = Field(2, ge=0, le=10, description="further tries for an object that failed")
    limits: LimitsSpec = LimitsSpec()


class BatchResult(StrictModel):
    """How a batch restoration ended: `_udair/result.json`, overwritten by every run."""

    state: Literal["SUCCEEDED", "FAILED"]
    reason: Reason | None = None
    detail: str = ""
    objects: int = 0
    restored: int = Field(0, description="by this run")
    unchanged: int = Field(0, description="restored by an earlier run, from the same content in the same way")
    skipped: int = 0
    skipped_by_reason: dict[str, int] = Field({})
    failed: int = 0
    base_digest: str = ""
    adapter_digest: str | None = None
    report_uri: str = ""
    seconds: float = 0.0
    restoring_s: float = Field(0.0, description="of these, from the first worker's readiness to the last object")
