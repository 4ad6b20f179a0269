"""Settings of the model, its training and its adaptation: frozen, range-checked when they are made."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from udair.errors import ConfigError

AlignedParameters = Literal["projection+bias", "projection", "bias"]
Reset = Literal["request", "stream"]


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


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of one base model.

    Attributes:
        name: What it is called, e.g. ``tiny``.
        width: Channels of the restorer at full resolution.
        encoder_blocks, middle_blocks, decoder_blocks: NAF blocks per level; a level halves the side.
        codes: K, number of codes.
        code_dim: D, width of a code.
        embedder_width: Channels of the degradation encoder's first layer.
        stem: Side of the pixel blocks that become channels before the first level; 2 halves the
            resolution of the whole U-Net (Zhang et al. 2018, FFDNet; docs/adr/0005).
    """

    name: str
    width: int
    encoder_blocks: tuple[int, ...]
    middle_blocks: int
    decoder_blocks: tuple[int, ...]
    codes: int = 64
    code_dim: int = 32
    embedder_width: int = 24
    stem: int = 1

    def __post_init__(self) -> None:
        _within("model", "width", self.width, 4, 256)
        _within("model", "codes", self.codes, 2, 8192)
        _within("model", "code_dim", self.code_dim, 2, 1024)
        _within("model", "embedder_width", self.embedder_width, 4, 512)
        _within("model", "stem", self.stem, 1, 4)
        if len(self.encoder_blocks) != len(self.decoder_blocks) or not self.encoder_blocks:
            raise ConfigError(
                f"model has {len(self.encoder_blocks)} encoder and {len(self.decoder_blocks)} decoder levels; "
                "expected the same number, at least one."
            )

    @property
    def stride(self) -> int:
        """Side that images are padded to a multiple of, in pixels."""
        return math.lcm(16, self.stem << len(self.encoder_blocks))

    @classmethod
    def named(cls, name: str) -> ModelConfig:
        """The size called `name`: ``tiny``, ``small`` or ``base``."""
        if name not in SIZES:
            raise ConfigError(f"model size {name!r} is unknown; expected one of {', '.join(SIZES)}.")
        return SIZES[name]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ModelConfig:
        """Read what `to_dict` wrote."""
        tuples = {key: tuple(value[key]) for key in ("encoder_blocks", "decoder_blocks")}
        return cls(**{**value, **tuples})


SIZES = {
    "tiny": ModelConfig("tiny", 16, (1, 1, 2), 2, (1, 1, 1)),
    "small": ModelConfig("small", 32, (2, 4, 6), 4, (2, 2, 2), codes=128, code_dim=64, embedder_width=32, stem=2),
    "base": ModelConfig("base", 48, (2, 4, 6), 4, (2, 2, 2), codes=256, code_dim=64, embedder_width=48, stem=2),
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
        learning_rate: Peak of the cosine schedule, of AdamW; Muon's follows it.
        fft_weight, contrast_weight, class_weight, severity_weight, commitment_weight: Loss weights.
            The paper states none of them: these are our reading.
        covariance_contrast: Share of the contrastive loss that compares covariances of latents
            instead of pooled codes, in [0, 1].
        ema: Decay of the averaged weights that are published.
        seed: Of patches, degradations and initial weights.
    """

    steps: int = 10_000
    minutes: float = 60.0
    batch: int = 16
    accumulate: int = 1
    patch: int = 96
    finish_patch: int = 160
    finish_share: float = 0.15
    learning_rate: float = 4e-3
    fft_weight: float = 0.1
    contrast_weight: float = 0.05
    class_weight: float = 0.1
    severity_weight: float = 0.05
    commitment_weight: float = 0.25
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
        _within("train", "ema", self.ema, 0.0, 0.99999)
        _within("train", "finish_share", self.finish_share, 0.0, 1.0)
        _within("train", "covariance_contrast", self.covariance_contrast, 0.0, 1.0)
        for name in ("patch", "finish_patch"):
            if getattr(self, name) % 16:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; expected a multiple of 16.")


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
    match_trials: int = setting(600, "degradations tried while matching the target's own", ge=0, le=10_000)
    budget_s: float = setting(240.0, "time after which training stops early, seconds", ge=0.001, le=86_400)
    seed: int = setting(0, "of everything random in the recipe", ge=0, le=2**63 - 1)
    coral_weight: float = setting(0.01, "of the CORAL regulariser while training (ours)", ge=0, le=1e4)
    alignment: AlignmentConfig = AlignmentConfig()

    def __post_init__(self) -> None:
        check_settings("adapt", self)


@dataclass(frozen=True)
class TestTimeConfig:
    """Test-time adaptation by correlation alignment; off unless a caller asks for it.

    The defaults are what a sweep over a rainy domain left of it (docs/log.md): anything stronger harms there.
    Search a domain of your own (`sweep=tta`) before you use it.
    """

    __test__ = False  # pytest: not a test class
    __pydantic_config__ = _STRICT

    steps: int = setting(1, "Adam steps for each image; 0: off", ge=0, le=1000)
    learning_rate: float = setting(5e-4, "of Adam", ge=1e-8, le=10)
    parameters: AlignedParameters = setting("bias", "which part of the row moves")
    reset: Reset = setting(
        "request", "request: every image starts from the given row; stream: from where the last image ended"
    )
    crop: int = setting(96, "side of the crops whose statistics are aligned, pixels", ge=16, le=1024, multiple_of=16)

    def __post_init__(self) -> None:
        check_settings("tta", self)
