"""The do-no-harm gate: measured evidence against stated limits, and the verdict.

Torch-free on purpose. The adaptation recipe uses it to choose among candidates, and the control
plane applies a domain's own policy to the same evidence without loading a tensor library.

The claim of a PASSED verdict is "no measured regression on the listed checks", never "better":
the target has no labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from udair.errors import ConfigError

# Checks whose measurement must reach the limit; the others must not exceed it.
AT_LEAST = frozenset({"target images", "matched gain", "gain over the input", "looks", "flat places"})

_LEAST_ESTIMATE_DB = 0.5  # of gain, where the evidence has no bound
# Of the energy in flat places; behind a tone curve they may be that much noisier than behind the base model. It is a
# tenth of a decibel, which nobody sees: of changes that are none, a lower bound of zero refuses nearly all.
_NO_WORSE = -0.02

Verdict = Literal["PASSED", "FAILED", "INCONCLUSIVE", "NOT_NEEDED", "WAIVED"]


@dataclass(frozen=True)
class GatePolicy:
    """Limits that an adapter must keep before a domain may serve it.

    Attributes:
        min_matched_gain_db: Least PSNR gain over the source model on held-out clean images that
            carry the matched degradation: its lower bound; of evidence of version 1, which has none, the estimate, and
            never less than half a decibel.
        max_match_distance: Most that the target may look unlike scenes with the matched degradation.
        max_source_loss_db: Most PSNR that may be lost on the source domain's own degradations.
        max_source_loss_toned_db: The same for an adapter with a tone curve: the source's dark or hazy pictures that look
            like the domain's are treated as the domain's, on purpose.
        max_niqe_worsening: Upper limit on the lower end of the paired-bootstrap interval of
            NIQE(adapted) - NIQE(source) over the gate split; above it the adapter is
            significantly worse.
        min_niqe_images: With fewer gate images NIQE is reported and not judged.
        max_disagreement_ratio: Most that the spread under a half turn may grow beyond its
            growth on matched scenes.
        max_drift: Most that mean colour may leave the clean prior's band, in [0, 1].
        max_clipped_share: Most that the share of clipped values may grow beyond its growth on matched
            scenes.
        min_flat_gain: Least share of what the target's flattest places hold that must be gone beyond what the base model
            takes out. Half of it where busy places lose no more beside flat ones than by the base model: all harm that
            passed for a gain in flat places took texture. None, to a fiftieth, with a tone curve, whose ground is looks.
        max_busy_change: Where tone is kept: most that busy places may lose beside flat ones, in units of what they
            do with the base model.
        max_tone_shift: Where tone is kept: most that local means may move, in [0, 1].
        min_images: With fewer target images the verdict on an adapter is INCONCLUSIVE.
    """

    min_matched_gain_db: float = 0.2
    max_match_distance: float = 1.55
    max_source_loss_db: float = 0.25
    max_source_loss_toned_db: float = 1.5
    max_niqe_worsening: float = 0.0
    min_niqe_images: int = 5
    max_disagreement_ratio: float = 1.5
    max_drift: float = 0.05
    max_clipped_share: float = 0.02
    min_flat_gain: float = 0.12
    max_busy_change: float = 1.5
    max_tone_shift: float = 2.5 / 255
    min_images: int = 8

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not math.isfinite(value):
                raise ConfigError(f"gate.{item.name} is {value}; expected a finite number.")
        if self.min_images < 1:
            raise ConfigError(f"gate.min_images is {self.min_images}; expected 1 or more.")

    @classmethod
    def named(cls, name: str) -> GatePolicy:
        """The policy called `name`: ``standard`` (the default) or ``strict``."""
        try:
            return POLICIES[name]
        except KeyError:
            raise ConfigError(f"gate policy {name!r} is unknown; expected one of {', '.join(POLICIES)}.") from None


POLICIES: Mapping[str, GatePolicy] = {
    "standard": GatePolicy(),
    "strict": GatePolicy(min_matched_gain_db=1.0, max_source_loss_db=0.05, max_drift=0.03, max_disagreement_ratio=1.2),
}


@dataclass(frozen=True)
class Evidence:
    """What was measured about one adapter, without labels of the target.

    Attributes:
        target_images: Usable images in the target snapshot.
        gate_images: Images held out from adaptation and used here.
        matched_gain_db: PSNR gain over the source model on held-out clean images that carry the
            matched degradation.
        source_loss_db: PSNR lost on the source domain (positive is worse). Zero when the domain
            routes in-domain codes to the source model.
        niqe_source, niqe_adapted: Set-level NIQE on the gate split (lower is better).
        niqe_worsening_low: Lower end of the 95 % paired-bootstrap interval of the difference.
        disagreement_ratio: Spread of outputs under a half turn, adapted over source, in
            units of the same ratio on matched scenes where that is above one.
        drift: Distance of the mean colour of the outputs from the clean prior's band.
        clipped_share_growth: Growth of the share of values at 0 or 1, less that on matched scenes.
        match_distance: How differently gate images look from scenes with the matched degradation, in
            units of how differently photographs do that truly have it.
        finite: No output held NaN or infinity.
        identity: The adapter changes nothing: none was made.
        version: Of what is measured and judged: 1 is what was found by a search, and leaves what follows at zero.
        denoises: The adapter changes more than tone: flat places and texture are judged.
        retones: It has a tone curve: looks are judged.
        looks_gain: How much nearer restored images, of the gate and others, come to the domain's references, or to the
            brightness that was asked for. A curve towards references is chosen only where it surely does.
        matched_gain_low_db: Lower 95 % bound of `matched_gain_db` over images.
        input_gain_low_db: The same, of the gain over doing nothing.
        harmed_share: Share of the matched scenes that lose more than 0.1 dB against the source model; reported, not judged.
            Not known of evidence of earlier releases.
        flat_gain_low: Share of the energy in the gate images' flattest places that is gone and that the base model
            leaves (behind the adapter's tone curve); lower 95 % bound over images.
        busy_change: How much more of the energy is taken out of busy places than by the base model, as a ratio.
        tone_shift: How far the local means leave both the base model's answer and the picture behind its tone curve, in [0, 1].
        notes: Anything a reader of the report should know.
    """

    target_images: int
    gate_images: int
    matched_gain_db: float
    source_loss_db: float
    niqe_source: float
    niqe_adapted: float
    niqe_worsening_low: float
    disagreement_ratio: float
    drift: float
    clipped_share_growth: float
    finite: bool
    match_distance: float = 0.0
    identity: bool = False
    version: int = 1
    denoises: bool = True
    retones: bool = False
    looks_gain: float = 0.0
    matched_gain_low_db: float = 0.0
    input_gain_low_db: float = 0.0
    harmed_share: float = math.nan
    flat_gain_low: float = 0.0
    busy_change: float = 0.0
    tone_shift: float = 0.0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Evidence:
        """Read what `to_dict` wrote; unknown keys are refused."""
        unknown = set(value) - {item.name for item in fields(cls)}
        if unknown:
            raise ConfigError(f"gate evidence has unknown keys {sorted(unknown)}.")
        # JSON has no NaN: what could not be measured is written as null.
        measured: dict[str, Any] = {name: math.nan if item is None else item for name, item in value.items()}
        return cls(**measured | {"notes": tuple(value.get("notes", ()))})


@dataclass(frozen=True)
class Check:
    """One line of the gate's report: what was measured, its limit, and whether it held."""

    name: str
    measured: float | None
    limit: float | None
    passed: bool
    judged: bool = True
    detail: str = ""


@dataclass(frozen=True)
class GateReport:
    """The verdict with every check behind it."""

    verdict: Verdict
    checks: tuple[Check, ...] = field(default_factory=tuple)

    def check(self, name: str) -> Check:
        """The check called `name`; KeyError lists the names there are."""
        for item in self.checks:
            if item.name == name:
                return item
        raise KeyError(f"no check {name!r}; there are {[c.name for c in self.checks]}")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {"verdict": self.verdict, "checks": [asdict(check) for check in self.checks]}


def judge(evidence: Evidence, policy: GatePolicy) -> GateReport:
    """Apply `policy` to `evidence`.

    NOT_NEEDED for the identity, of however many images: no adapter was made, there is nothing to judge, and nobody to be
    asked. Else INCONCLUSIVE when there are too few images to say, FAILED when a judged check does not hold, and PASSED
    otherwise.
    """

    def at_least(name: str, measured: float, limit: float, detail: str) -> Check:
        assert name in AT_LEAST, name  # pages draw its limit on the right side
        return Check(name, measured, limit, math.isfinite(measured) and measured >= limit, True, detail)

    def at_most(name: str, measured: float, limit: float, detail: str, judged: bool = True) -> Check:
        assert name not in AT_LEAST, name
        held = math.isfinite(measured) and measured <= limit
        return Check(name, measured, limit, held or not judged, judged, detail)

    enough_for_niqe = evidence.gate_images >= policy.min_niqe_images
    naturalness = f"NIQE {evidence.niqe_source:.2f} -> {evidence.niqe_adapted:.2f}, lower 95 % bound of the rise"
    first = at_least("target images", evidence.target_images, policy.min_images, "usable images in the snapshot")
    most_loss_db = policy.max_source_loss_toned_db if evidence.retones else policy.max_source_loss_db
    spares = evidence.busy_change <= 1.0
    least_flat_gain = _NO_WORSE if evidence.retones else policy.min_flat_gain / 2 if spares else policy.min_flat_gain
    source = at_most("source loss", evidence.source_loss_db, most_loss_db, "dB lost on the source domain")
    common = (
        at_most(
            "disagreement",
            evidence.disagreement_ratio,
            policy.max_disagreement_ratio,
            "spread under a half turn, adapted / source, beyond that on matched scenes",
            # What takes more noise out disagrees more with a half turn of it: measured on cameras, docs/log.md.
            evidence.version < 2,
        ),
        at_most(
            "clipping", evidence.clipped_share_growth, policy.max_clipped_share, "growth of the share of clipped values"
        ),
        Check("finite", None, None, evidence.finite, True, "no NaN or infinity in any output"),
    )
    flat = (
        at_least(
            "flat places",
            evidence.flat_gain_low,
            least_flat_gain,
            "share of the noise in the domain's flattest places taken out beyond the base model, lower 95 % bound",
        ),
        at_most(
            "texture",
            evidence.busy_change,
            policy.max_busy_change,
            "energy taken out of busy places beside flat ones, in units of the base model's",
        ),
    )
    looks = (at_least("looks", evidence.looks_gain, 0.0, "how much nearer pictures come to the references or the aim"),)
    checks: tuple[Check, ...]
    if evidence.version >= 2:
        checks = (
            first,
            at_least(
                "matched gain",
                evidence.matched_gain_low_db,
                policy.min_matched_gain_db,
                "dB over the base model on held-out scenes with the domain's noise, lower 95 % bound",
            ),
            at_least(
                "gain over the input",
                evidence.input_gain_low_db,
                0.0,
                "dB over doing nothing on the same scenes, lower 95 % bound",
            ),
            *(looks if evidence.retones else ()),
            *(flat if evidence.denoises else ()),
            at_most(
                "tone",
                evidence.tone_shift,
                policy.max_tone_shift,
                "how far local means leave the base model's answer and the picture",
            ),
            source,
            at_most(
                "naturalness", evidence.niqe_worsening_low, policy.max_niqe_worsening, f"{naturalness}; reported", False
            ),
            *common,
        )
    else:
        checks = (
            first,
            at_least(
                "matched gain",
                evidence.matched_gain_db,
                max(policy.min_matched_gain_db, _LEAST_ESTIMATE_DB),
                "dB on held-out clean images with the matched degradation",
            ),
            at_most(
                "match",
                evidence.match_distance,
                policy.max_match_distance,
                "distance between the gate images and scenes with the matched degradation, in that of a perfect match",
            ),
            source,
            at_most(
                "naturalness",
                evidence.niqe_worsening_low,
                policy.max_niqe_worsening,
                naturalness + ("" if enough_for_niqe else f"; not judged below {policy.min_niqe_images} gate images"),
                enough_for_niqe,
            ),
            at_most("colour drift", evidence.drift, policy.max_drift, "mean colour outside the clean band"),
            *common,
        )
    if evidence.identity:  # of what changes nothing only the pictures can be counted
        return GateReport("NOT_NEEDED", (replace(first, passed=True, judged=False),))
    if not first.passed:
        return GateReport("INCONCLUSIVE", checks)
    failed = any(check.judged and not check.passed for check in checks)
    return GateReport("FAILED" if failed else "PASSED", checks)
