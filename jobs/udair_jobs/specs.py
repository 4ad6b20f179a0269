"""What goes into a job and what comes out: the contract between the control plane and the jobs.

Pure pydantic, so that the control plane can write and read them without torch or ray. Customers'
input reaches a job only through these models, never through Hydra or a command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from udair.config import LEAST_AIM, MOST_AIM, RecipeConfig, Tone, check_aim
from udair.errors import ConfigError

ToneAim = Annotated[float, Field(ge=LEAST_AIM, le=MOST_AIM)]

Phase = Literal[
    "VALIDATING",
    "FETCHING",
    "EMBEDDING",
    "ALIGNING",
    "ADAPTING",
    "EVALUATING",
    "EXPORTING",
    "LISTING",
    "RESTORING",
    "SEARCHING",
]
# Of an adaptation, in order; other jobs have phases of their own.
PHASES: tuple[Phase, ...] = (
    "VALIDATING",
    "FETCHING",
    "EMBEDDING",
    "ALIGNING",
    "ADAPTING",
    "EVALUATING",
    "EXPORTING",
)

Reason = Literal[
    "INVALID_SPEC",
    "DATA_EMPTY",
    "DATA_UNREADABLE",
    "ACCESS_DENIED",
    "SOURCE_NOT_FOUND",
    "TOO_FEW_IMAGES",
    "USER_CANCELLED",
    "NO_CAPACITY",
    "QUOTA_EXCEEDED",
    "PREEMPTED",
    "NODE_LOST",
    "OOM",
    "GPU_FAULT",
    "IMAGE_UNAVAILABLE",
    "CONTROLLER_ERROR",
    "PENDING_TIMEOUT",
    "RUN_TIMEOUT",
    "HEARTBEAT_LOST",
    "DIVERGED",
    "NAN_LOSS",
]

RetryClass = Literal["USER", "CAPACITY", "SYSTEM", "DEADLINE", "NUMERIC"]
RETRY_CLASS: dict[Reason, RetryClass] = {
    "INVALID_SPEC": "USER",
    "DATA_EMPTY": "USER",
    "DATA_UNREADABLE": "USER",
    "ACCESS_DENIED": "USER",
    "SOURCE_NOT_FOUND": "USER",
    "TOO_FEW_IMAGES": "USER",
    "USER_CANCELLED": "USER",
    "NO_CAPACITY": "CAPACITY",
    "QUOTA_EXCEEDED": "CAPACITY",
    "PREEMPTED": "CAPACITY",
    "NODE_LOST": "SYSTEM",
    "OOM": "SYSTEM",
    "GPU_FAULT": "SYSTEM",
    "IMAGE_UNAVAILABLE": "SYSTEM",
    "CONTROLLER_ERROR": "SYSTEM",
    "PENDING_TIMEOUT": "DEADLINE",
    "RUN_TIMEOUT": "DEADLINE",
    "HEARTBEAT_LOST": "DEADLINE",
    "DIVERGED": "NUMERIC",
    "NAN_LOSS": "NUMERIC",
}


class StrictModel(BaseModel):
    """A document of which every field is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def recipe_of(given: Mapping[str, Any]) -> RecipeConfig:
    """The recipe that these fields make, the rest as declared. Raises pydantic's ValidationError."""
    return TypeAdapter(RecipeConfig).validate_python(dict(given))


class LimitsSpec(StrictModel):
    """What a job is willing to decode: customers' images are not trusted."""

    max_image_bytes: int = Field(64 * 2**20, ge=1)
    max_image_pixels: int = Field(50_000_000, ge=1)
    max_images: int = Field(100_000, ge=1)
    max_side: int = Field(1024, ge=64, description="larger images are cropped for adaptation, pixels")
    gate_share: float = Field(0.4, gt=0, lt=1, description="share of images held out for the gate")


class AdaptSpec(StrictModel):
    """One attempt at one adaptation job.

    URIs are `s3://bucket/prefix`, `file:///abs/folder` or a plain folder. Credentials are never
    in a spec: they come from the environment of the process that runs the job, which may assume the
    role that the spec names.
    """

    schema_version: Literal[1] = 1
    tenant: str
    domain: str
    job_id: str
    attempt: int = Field(1, ge=1)
    source_uri: str = Field(description="prefix that holds the domain's unlabelled images")
    source_endpoint_url: str | None = Field(None, description="S3 endpoint of source_uri, if not AWS")
    source_role_arn: str | None = Field(
        None, description="role to read source_uri with, instead of the job's own rights"
    )
    source_external_id: str | None = Field(None, description="what that role's trust policy asks for; no secret")
    base_uri: str = Field(description="folder of the base model's bundle; 'packaged:NAME' for a shipped one")
    base_digest: str = Field(description="sha256 digest of the bundle that must be found there")
    snapshot_id: str
    snapshot_uri: str = Field(description="folder of the snapshot; written by the job if it is not there yet")
    output_uri: str = Field(description="folder of this attempt: progress, result and candidate go here")
    checkpoint_uri: str | None = Field(
        None, description="folder of finished phases, one for all attempts of a job; null: below output_uri"
    )
    champion_uri: str | None = Field(None, description="folder of the domain's adapter so far: a warm start")
    store_endpoint_url: str | None = Field(None, description="S3 endpoint of everything but source_uri, if not AWS")
    embed_workers: int = Field(
        0, ge=0, le=1024, description="Ray workers that embed every image for the profile; 0: only those adapted on"
    )
    gallery_images: int = Field(
        12, ge=0, le=1000, description="images of the domain that are published before and after; 0: none"
    )
    tone: Tone = Field("keep", description="the intent that the adapter is made for")
    tone_aim: ToneAim | None = Field(
        None, description="mean brightness of restored pictures that a person wants; with tone restore only"
    )
    reference_uri: str | None = Field(
        None, description="prefix of good pictures of the same place or kind, in no order; read with the source's role"
    )
    reference_endpoint_url: str | None = Field(None, description="S3 endpoint of reference_uri, if not AWS")
    recipe: RecipeConfig = RecipeConfig()
    limits: LimitsSpec = LimitsSpec()

    @model_validator(mode="after")
    def _aim_fits(self) -> AdaptSpec:
        try:
            check_aim(self.tone, self.tone_aim)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self


class Progress(StrictModel):
    """`progress.json` beside an attempt, overwritten as it advances: the job's heartbeat."""

    phase: Phase
    progress_percent: float = Field(ge=0, le=100)
    eta_s: float | None = None
    metrics: dict[str, float] = {}
    message: str = ""
    heartbeat_time: str = Field(description="UTC, ISO 8601")
    phases: list[PhaseRecord] = []


class PhaseRecord(StrictModel):
    """How long one phase took."""

    phase: Phase
    seconds: float


class Curve(StrictModel):
    """A figure of every step of the training, or the means of as many steps as make the points few."""

    name: str
    steps: list[int] = Field(description="of the training, so far, at the end of each point")
    values: list[float]

    @model_validator(mode="after")
    def _one_each(self) -> Curve:
        if len(self.steps) != len(self.values):
            raise ValueError(f"{len(self.steps)} steps have {len(self.values)} values; expected one each.")
        return self


class CurveSet(StrictModel):
    """`curves.json` beside an attempt, overwritten as it trains."""

    schema_version: Literal[1] = 1
    curves: list[Curve] = []


class Skipped(StrictModel):
    """One object of the customer's prefix that was not used, and why."""

    key: str
    reason: str
    detail: str


class SnapshotSummary(StrictModel):
    """`summary.json` of a snapshot; written last, so its presence is the commit."""

    schema_version: Literal[1] = 1
    snapshot_id: str
    source_uri: str
    digest: str = Field(description="sha256 over (key, content hash) of the usable images, in key order")
    objects: int
    images: int = Field(description="usable images")
    adapt_images: int
    gate_images: int
    skipped: int
    skipped_by_reason: dict[str, int]
    total_bytes: int
    seconds: float


class FileRecord(StrictModel):
    """One published file."""

    sha256: str
    bytes: int


class Manifest(StrictModel):
    """`MANIFEST.json` of a candidate: written last; readers accept nothing without it."""

    schema_version: Literal[1] = 1
    kind: Literal["adapter"] = "adapter"
    digest: str = Field(description="sha256 of adapter.safetensors: the adapter's name everywhere")
    base_digest: str
    tone: Tone = Field("keep", description="the intent that the adapter was made for")
    files: dict[str, FileRecord]
    code_version: str


class AdaptResult(StrictModel):
    """`result.json` of an attempt; written after everything else, success or failure."""

    schema_version: Literal[1] = 1
    state: Literal["SUCCEEDED", "FAILED"]
    reason: Reason | None = None
    detail: str = ""
    snapshot: SnapshotSummary | None = None
    references: SnapshotSummary | None = Field(None, description="of the good pictures, if the domain names any")
    words: list[str] = Field([], description="what was found, in plain sentences; the first lines of every report")
    candidate_uri: str | None = None
    manifest: Manifest | None = None
    evidence: dict[str, Any] | None = Field(None, description="udair.adaptation.gate.Evidence.to_dict()")
    base_loses: str = Field("", description="why the domain is better served as it came than by the base model")
    metrics: dict[str, float] = {}
    phases: list[PhaseRecord] = []
    skipped: list[Skipped] = Field([], description="first 1000; the Parquet manifest has all")
    seconds: float = 0.0


Progress.model_rebuild()
