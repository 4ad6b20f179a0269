"""Settings of the model, its training and its adaptation: frozen, range-checked when they are made."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from udair.errors import ConfigError

AlignedParameters = Literal["projection+bias", "projection", "bias"]
Reset = Literal["request", "stream"]
# What a restoration may change. Pixels cannot tell a dark scene from a dark exposure, so people say which is meant:
# keep leaves exposure, colour and haze as they are; restore corrects them.
Tone = Literal["keep", "restore"]
TONES: tuple[Tone, ...] = get_args(Tone)


def _within(owner: str, name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{owner}.{name} is {value}; expected {low:g} to {high:g}.")


def _one_of(owner: str, name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{owner}.{name} is {value!r}; expected one of {', '.join(known)}.")


def check_tone(tone: str) -> Tone:
    """The intent that a caller named.

    Raises:
        ConfigError: It is neither ``keep`` nor ``restore``.
    """
    if tone not in TONES:
        raise ConfigError(
            f"tone is {tone!r}; expected keep (noise, rain, blur and compression go; exposure, colour and haze stay) "
            "or restore (those are corrected, too)."
        )
    return tone


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of one base model: a dense residual U-Net and its degradation encoder.

    Attributes:
        name: What it is called, e.g. ``tiny``.
        widths: Channels of each level, finest first; a level halves the side of the one before.
        counts: Residual blocks of each level: on the way down and again on the way up; the last
            level has them once.
        codes: K, number of codes.
        code_dim: D, width of a code.
        embedder_width: Channels of the degradation encoder's first layer.
        stem: Side of the pixel blocks that become channels before the first level; 2 halves the
            resolution of the whole U-Net (Zhang et al. 2018, FFDNet; docs/adr/0005).
    """

    name: str
    widths: tuple[int, ...]
    counts: tuple[int, ...]
    codes: int = 64
    code_dim: int = 32
    embedder_width: int = 24
    stem: int = 2

    def __post_init__(self) -> None:
        for width in self.widths:
            _within("model", "widths", width, 4, 1024)
        for count in self.counts:
            _within("model", "counts", count, 1, 64)
        _within("model", "codes", self.codes, 2, 8192)
        _within("model", "code_dim", self.code_dim, 2, 1024)
        _within("model", "embedder_width", self.embedder_width, 4, 512)
        _within("model", "stem", self.stem, 1, 4)
        if len(self.widths) != len(self.counts) or len(self.widths) < 2:
            raise ConfigError(
                f"model has {len(self.widths)} widths and {len(self.counts)} counts; "
                "expected one of each for every level, and two levels or more."
            )

    @property
    def stride(self) -> int:
        """Side that images are padded to a multiple of, in pixels."""
        return math.lcm(16, self.stem << (len(self.widths) - 1))

    @classmethod
    def named(cls, name: str) -> ModelConfig:
        """The size called `name`: ``tiny`` or ``base``."""
        if name not in SIZES:
            raise ConfigError(f"model size {name!r} is unknown; expected one of {', '.join(SIZES)}.")
        return SIZES[name]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `from_dict` reads it back."""
        return {"family": FAMILY, **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ModelConfig:
        """Read what `to_dict` wrote.

        Raises:
            ConfigError: It describes a model of another family, or lacks a setting.
        """
        family = value.get("family", "none named")
        if family != FAMILY:
            raise ConfigError(
                f"model is of family {family!r}; expected {FAMILY!r}: earlier families are no longer read. "
                "Use a base model of this release, or train one (python -m udair.training)."
            )
        settings = {key: item for key, item in value.items() if key != "family"}
        known = [item.name for item in fields(cls)]
        unknown, missing = sorted(set(settings) - set(known)), [key for key in known[:3] if key not in settings]
        if unknown or missing:
            raise ConfigError(f"model config has unknown settings {unknown} and lacks {missing}; expected {known}.")
        tuples = {key: tuple(settings[key]) for key in ("widths", "counts")}
        return cls(**{**settings, **tuples})


# What `bundle.json` calls this architecture, so that weights of another are refused by name.
FAMILY = "dense-1"
SIZES = {
    "tiny": ModelConfig("tiny", (24, 48, 64, 96), (1, 1, 1, 2)),
    "base": ModelConfig("base", (64, 128, 192, 256), (2, 2, 3, 3), codes=256, code_dim=64, embedder_width=48),
}


@dataclass(frozen=True)
class TrainConfig:
    """How the source model is trained.

    Attributes:
        steps: Optimizer steps at most.
        minutes: Time budget; training ends cleanly inside it. The learning rate follows whichever
            of the two is further.
        batch: Patches per backward pass and worker.
        accumulate: Backward passes per step: what does not fit into memory at once.
        patch: Side of a training patch, pixels.
        finish_patch, finish_share: The last share of the run takes patches of this side, fewer of
            them, so that the net meets statistics of larger images; share 0 turns it off.
        learning_rate: Peak of the cosine schedule, of AdamW; Muon's follows it. There is no norm in a block:
            above 2e-3 runs diverge within hundreds of steps (docs/adr/0020).
        warm_steps: Steps over which the rate rises to the schedule's.
        fft_weight, contrast_weight, class_weight, severity_weight, commitment_weight, tone_weight: Loss
            weights. The paper states none of them: these are our reading.
        covariance_contrast: Share of the contrastive loss that compares covariances of latents
            instead of pooled codes, in [0, 1].
        ema: Decay of the averaged weights that are published.
        seed: Of patches, degradations and initial weights.
    """

    steps: int = 10_000
    minutes: float = 60.0
    batch: int = 16
    accumulate: int = 1
    patch: int = 128
    finish_patch: int = 192
    finish_share: float = 0.15
    learning_rate: float = 8e-4
    warm_steps: int = 500
    fft_weight: float = 0.1
    contrast_weight: float = 0.05
    class_weight: float = 0.1
    severity_weight: float = 0.05
    commitment_weight: float = 0.25
    tone_weight: float = 0.5
    covariance_contrast: float = 0.0
    ema: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        _within("train", "steps", self.steps, 1, 10**8)
        _within("train", "minutes", self.minutes, 0.01, 10**5)
        _within("train", "batch", self.batch, 2, 4096)
        _within("train", "accumulate", self.accumulate, 1, 1024)
        _within("train", "patch", self.patch, 32, 1024)
        _within("train", "learning_rate", self.learning_rate, 1e-8, 1.0)
        _within("train", "warm_steps", self.warm_steps, 1, 10**6)
        _within("train", "ema", self.ema, 0.0, 0.99999)
        _within("train", "finish_share", self.finish_share, 0.0, 1.0)
        _within("train", "covariance_contrast", self.covariance_contrast, 0.0, 1.0)
        for name in ("patch", "finish_patch"):
            if getattr(self, name) % 16:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; expected a multiple of 16.")


@dataclass(frozen=True)
class AlignmentConfig:
    """How target embeddings are pulled to the source cluster that they belong to.

    Attributes:
        steps: Adam steps.
        learning_rate: Of Adam.
        parameters: Which part of an adapter's row moves.
        coral_weight: Of the CORAL distance to the cluster's covariance, beside the pull to its centre.
        projection_rank: Largest rank of the projection; 0 leaves it free.
        assignment_temperature: Softness of the assignment to clusters; small is hard.
        fallback_strength: Ridge on the projection: what pulls it back to the source model.

    Source: UDAIR (arXiv 2505.22284) names the parts and states no value: these are our reading.
    """

    steps: int = 60
    learning_rate: float = 0.02
    parameters: AlignedParameters = "projection+bias"
    coral_weight: float = 1.0
    projection_rank: int = 0
    assignment_temperature: float = 1.0
    fallback_strength: float = 0.1

    def __post_init__(self) -> None:
        _within("alignment", "steps", self.steps, 0, 1000)
        _within("alignment", "learning_rate", self.learning_rate, 1e-8, 10.0)
        _within("alignment", "coral_weight", self.coral_weight, 0.0, 1e4)
        _within("alignment", "projection_rank", self.projection_rank, 0, 4096)
        _within("alignment", "assignment_temperature", self.assignment_temperature, 1e-4, 1e4)
        _within("alignment", "fallback_strength", self.fallback_strength, 0.0, 1e6)
        _one_of("alignment", "parameters", self.parameters, get_args(AlignedParameters))


@dataclass(frozen=True)
class RecipeConfig:
    """How one domain is adapted.

    Attributes:
        steps: Adapter-training steps; 0 leaves only the zero-gradient candidates.
        batch, patch: Size of a training batch; patch is its side in pixels.
        learning_rate: Of Adam on the adapter's parameters.
        match_trials: Degradations tried while matching the target's own.
        budget_s: Time after which training stops early, seconds.
        seed: Of everything random in the recipe.
        coral_weight: Of the CORAL regulariser (ours; the paper states none).
        alignment: Of the candidate that only aligns embeddings.
    """

    steps: int = 120
    batch: int = 8
    patch: int = 64
    learning_rate: float = 5e-3
    match_trials: int = 600
    budget_s: float = 240.0
    seed: int = 0
    coral_weight: float = 0.01
    alignment: AlignmentConfig = AlignmentConfig()

    def __post_init__(self) -> None:
        _within("adapt", "steps", self.steps, 0, 2000)
        _within("adapt", "batch", self.batch, 1, 256)
        _within("adapt", "patch", self.patch, 32, 512)
        _within("adapt", "learning_rate", self.learning_rate, 1e-8, 1.0)
        _within("adapt", "match_trials", self.match_trials, 0, 10_000)
        _within("adapt", "budget_s", self.budget_s, 0.001, 86_400)
        if self.patch % 16:
            raise ConfigError(f"adapt.patch is {self.patch}; expected a multiple of 16.")


@dataclass(frozen=True)
class TestTimeConfig:
    """Test-time adaptation by correlation alignment; off unless a caller asks for it.

    The defaults are what a sweep over a rainy domain left of it (docs/log.md): anything stronger harms there.
    Search a domain of your own (`sweep=tta`) before you use it.

    Attributes:
        steps: Adam steps for each image.
        learning_rate: Of Adam.
        parameters: Which part of the row moves.
        reset: `request` starts every image from the row that was given; `stream` from where the last
            image of the stream ended.
        crop: Side of the crops whose statistics are aligned, pixels.
    """

    __test__ = False  # pytest: not a test class

    steps: int = 1
    learning_rate: float = 5e-4
    parameters: AlignedParameters = "bias"
    reset: Reset = "request"
    crop: int = 96

    def __post_init__(self) -> None:
        _within("tta", "steps", self.steps, 0, 1000)
        _within("tta", "learning_rate", self.learning_rate, 1e-8, 10.0)
        _within("tta", "crop", self.crop, 16, 1024)
        _one_of("tta", "parameters", self.parameters, get_args(AlignedParameters))
        _one_of("tta", "reset", self.reset, get_args(Reset))
        if self.crop % 16:
            raise ConfigError(f"tta.crop is {self.crop}; expected a multiple of 16.")
