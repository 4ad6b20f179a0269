"""Settings of the model, its training and its adaptation: frozen, range-checked when they are made."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from udair.errors import ConfigError

AlignedParameters = Literal["projection+bias", "projection", "bias"]
TestTimeMethod = Literal["flat_places", "alignment"]
Reset = Literal["request", "stream"]
# What a restoration may change. Pixels cannot tell a dark scene from a dark exposure, so people say which is meant:
# keep leaves exposure, colour and haze as they are; restore corrects them.
Tone = Literal["keep", "restore"]
TONES: tuple[Tone, ...] = get_args(Tone)


# Read by pydantic where a settings class is part of a document; the library itself does not need it.
_STRICT = {"extra": "forbid"}


def setting(default: Any, help: str, **limits: float) -> Any:
    """A dataclass field that says its range: `ge`, `le`, `multiple_of`, in pydantic's words, and what it is."""
    return field(default=default, metadata={"description": help, **limits})


def _within(owner: str, name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{owner}.{name} is {value}; expected {low:g} to {high:g}.")


def _one_of(owner: str, name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{owner}.{name} is {value!r}; expected one of {', '.join(known)}.")


def check_settings(owner: str, settings: Any) -> None:
    """Hold every field of a dataclass of `setting`s to its declaration.

    Raises:
        ConfigError: A value is out of range, no multiple, or none of the known words.
    """
    kinds = get_type_hints(type(settings))
    for item in fields(settings):
        value, limits = getattr(settings, item.name), item.metadata
        if get_origin(kinds[item.name]) is Literal:
            _one_of(owner, item.name, value, get_args(kinds[item.name]))
        if "ge" in limits:
            _within(owner, item.name, value, limits["ge"], limits["le"])
        if "multiple_of" in limits and value % limits["multiple_of"]:
            raise ConfigError(f"{owner}.{item.name} is {value}; expected a multiple of {limits['multiple_of']}.")


# Mean brightness, in (0, 1), that a person may ask for: beyond these a picture is nearly black or nearly white.
LEAST_AIM, MOST_AIM = 0.05, 0.95


def check_aim(tone: str, aim: float | None) -> float | None:
    """The mean brightness that a person asks for, if any.

    Raises:
        ConfigError: It is out of range, or the tone is kept as it is.
    """
    if aim is None:
        return None
    _within("domain", "tone_aim", aim, LEAST_AIM, MOST_AIM)
    if tone != "restore":
        raise ConfigError(
            f"tone_aim is {aim:g} and tone is {tone!r}; expected an aim where tone is 'restore' only. "
            "Set tone to restore, or take the aim away."
        )
    return aim


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
    """How the base model is trained. The paper states no loss weight: these are our reading."""

    __pydantic_config__ = _STRICT

    steps: int = setting(10_000, "optimizer steps at most", ge=1, le=10**8)
    minutes: float = setting(
        60.0, "time budget; the learning rate follows whichever of time and steps is further", ge=0.01, le=10**5
    )
    batch: int = setting(16, "patches per backward pass and worker", ge=2, le=4096)
    accumulate: int = setting(1, "backward passes per step: what does not fit into memory at once", ge=1, le=1024)
    patch: int = setting(128, "side of a training patch, pixels", ge=32, le=1024, multiple_of=16)
    finish_patch: int = setting(
        192, "side of the patches of the last share of the run, fewer of them, pixels", ge=32, le=1024, multiple_of=16
    )
    finish_share: float = setting(0.15, "of the run; 0: none", ge=0, le=1)
    # There is no norm in a block: above 2e-3 runs diverge within hundreds of steps (docs/adr/0020).
    learning_rate: float = setting(8e-4, "peak of the cosine schedule, of AdamW; Muon's follows it", ge=1e-8, le=1)
    warm_steps: int = setting(500, "steps over which the rate rises to the schedule's", ge=1, le=10**6)
    fft_weight: float = setting(0.1, "of the Fourier term", ge=0, le=1e4)
    contrast_weight: float = setting(0.05, "of the cross-sample contrastive loss", ge=0, le=1e4)
    class_weight: float = setting(0.1, "of the classes' cross entropy", ge=0, le=1e4)
    severity_weight: float = setting(0.05, "of the severity's error", ge=0, le=1e4)
    commitment_weight: float = setting(0.25, "of the codebook's commitment", ge=0, le=1e4)
    tone_weight: float = setting(0.5, "of low frequencies where tone is kept", ge=0, le=1e4)
    covariance_contrast: float = setting(
        0.0, "share of the contrastive loss that compares covariances of latents, not pooled codes", ge=0, le=1
    )
    ema: float = setting(0.999, "decay of the averaged weights that are published", ge=0, le=0.99999)
    seed: int = setting(0, "of patches, degradations and initial weights", ge=0, le=2**63 - 1)

    def __post_init__(self) -> None:
        check_settings("train", self)


@dataclass(frozen=True)
class AlignmentConfig:
    """How target embeddings are pulled to the source cluster that they belong to.

    Source: UDAIR (arXiv 2505.22284) names the parts and states no value: these are our reading.
    """

    __pydantic_config__ = _STRICT

    steps: int = setting(60, "Adam steps", ge=0, le=1000)
    learning_rate: float = setting(0.02, "of Adam", ge=1e-8, le=10)
    parameters: AlignedParameters = setting("projection+bias", "which part of an adapter's row moves")
    coral_weight: float = setting(
        1.0, "of the CORAL distance to the cluster's covariance, beside its centre", ge=0, le=1e4
    )
    projection_rank: int = setting(0, "largest rank of the projection; 0: any", ge=0, le=4096)
    assignment_temperature: float = setting(
        1.0, "softness of the assignment to clusters; small is hard", ge=1e-4, le=1e4
    )
    fallback_strength: float = setting(0.1, "ridge on the projection: pulls it back to the base model", ge=0, le=1e6)

    def __post_init__(self) -> None:
        check_settings("alignment", self)


@dataclass(frozen=True)
class RecipeConfig:
    """How one domain is adapted. API, command line, Hydra and jobs read this one declaration."""

    __pydantic_config__ = _STRICT

    steps: int = setting(120, "adapter-training steps; 0 leaves only candidates without gradients", ge=0, le=2000)
    batch: int = setting(8, "patches per training step", ge=1, le=256)
    patch: int = setting(64, "side of a training patch, pixels", ge=32, le=512, multiple_of=16)
    learning_rate: float = setting(5e-3, "of Adam on the adapter's parameters", ge=1e-8, le=1)
    budget_s: float = setting(
        1800.0, "time after which an adaptation gives up and keeps the base model, seconds", ge=0.001, le=86_400
    )
    seed: int = setting(0, "of everything random in the recipe", ge=0, le=2**63 - 1)
    coral_weight: float = setting(0.01, "of the CORAL regulariser while training (ours)", ge=0, le=1e4)
    alignment: AlignmentConfig = AlignmentConfig()

    def __post_init__(self) -> None:
        check_settings("adapt", self)


@dataclass(frozen=True)
class TestTimeConfig:
    """Test-time adaptation to each image; off unless a caller asks for it.

    By ``flat_places``, a picture gets no more of the model's change than its own flat places bear out. By ``alignment``
    it is what the paper describes; the defaults are what a sweep over a rainy domain left of it (docs/log.md): anything
    stronger harms there. Search a domain of your own (`sweep=tta`) before you use that.
    """

    __test__ = False  # pytest: not a test class
    __pydantic_config__ = _STRICT

    steps: int = setting(1, "Adam steps for each image; 0: off, whatever the method", ge=0, le=1000)
    method: TestTimeMethod = setting(
        "flat_places", "flat_places: as much of the change as a picture's flat places bear out; alignment: the paper's"
    )
    learning_rate: float = setting(5e-4, "of Adam", ge=1e-8, le=10)
    parameters: AlignedParameters = setting("bias", "which part of the row moves")
    reset: Reset = setting(
        "request", "request: every image starts from the given row; stream: from where the last image ended"
    )
    crop: int = setting(96, "side of the crops whose statistics are aligned, pixels", ge=16, le=1024, multiple_of=16)

    def __post_init__(self) -> None:
        check_settings("tta", self)
