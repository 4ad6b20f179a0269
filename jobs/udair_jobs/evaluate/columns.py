"""The ways to restore a picture that are compared, by the names of their columns.

Axes: C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from udair.adaptation.base_check import check_base
from udair.adaptation.fitting import fit_with_labels
from udair.adaptation.gate import Evidence, GatePolicy, judge
from udair.adaptation.recipe import adapt
from udair.adaptation.test_time import TestTimeStream
from udair.config import Tone
from udair.data.images import ImageArray
from udair.data.patches import to_array, to_tensor
from udair.inference import restore
from udair.models.modulation import Modulation
from udair_jobs.evaluate.classical import classical
from udair_jobs.evaluate.specs import EvaluateSpec, ServedAs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from udair.bundle import Bundle

Column = Callable[[ImageArray], ImageArray]
GATE_SHARE = 4  # of the pictures that are adapted to, every fourth is the gate's


@dataclass(frozen=True)
class Columns:
    """What is compared on one set.

    Attributes:
        by_name: In the order in which they are shown.
        base: The one that is the base model with the intent that was asked for.
        served_as: What the standard gate lets pass.
        why: Why that is not the adapter, if it is not.
        words: What adaptation told of the set.
    """

    by_name: Mapping[str, Column]
    base: Tone
    served_as: ServedAs
    why: str = ""
    words: list[str] = field(default_factory=list)


def plain_columns(bundle: Bundle, spec: EvaluateSpec) -> dict[str, Column]:
    """What needs no adapter: the base model with both intents, and a classical method if one is installed."""
    columns: dict[str, Column] = {tone: _restoring(bundle, spec, None, tone) for tone in ("keep", "restore")}
    found = classical(spec.classical)
    if found is not None:
        name, denoise = found
        columns[name] = denoise
    return columns


def given_columns(
    bundle: Bundle, spec: EvaluateSpec, row: Modulation | None, evidence: Evidence | None, base_loses: str
) -> Columns:
    """With an adapter that was made before, or with adaptation at test time, or with neither.

    Args:
        row: The adapter's.
        evidence: As its job published it; None where there is no adapter.
        base_loses: Why its domain is better served as it came than by the base model; empty if it is not.
    """
    columns = plain_columns(bundle, spec)
    if spec.test_time.steps:
        columns["adapted"] = _streaming(bundle, spec, row)
    elif row is not None:
        columns["adapted"] = _restoring(bundle, spec, row, spec.tone)
    served = None if row is None else _restoring(bundle, spec, row, spec.tone)  # requests adapt only if they ask to
    return _behind_the_gate(columns, spec.tone, evidence, base_loses, served)


def adapted_columns(
    bundle: Bundle,
    spec: EvaluateSpec,
    images: Sequence[ImageArray],
    truths: Sequence[ImageArray | None],
    jpeg_tables: Sequence[bytes | None],
) -> Columns:
    """Adapt to pictures of a set as a job does; with the truth of all of them, train an oracle as well.

    Raises:
        AdaptationError: TOO_FEW_IMAGES.
    """
    gate = list(images[::GATE_SHARE])
    numbers = [number for number in range(len(images)) if number % GATE_SHARE] or [0]
    seen, tables = [images[number] for number in numbers], [jpeg_tables[number] for number in numbers]
    made = adapt(bundle, seen, gate, spec.recipe, tone=spec.tone, jpeg_tables=tables)
    columns = plain_columns(bundle, spec)
    if made.adapters:
        trained = {name: gain for name, gain in made.candidates.items() if name != "coral"} or made.candidates
        best = made.adapters[max(trained, key=trained.__getitem__)]
        columns["adapted"] = _restoring(bundle, spec, best.row, spec.tone)
    loses = check_base(bundle, gate, spec.tone).reason
    behind = _behind_the_gate(
        columns, spec.tone, made.evidence, loses, _restoring(bundle, spec, made.adapter.row, spec.tone)
    )
    by_name = dict(behind.by_name)
    known = [truth for truth in truths if truth is not None]
    if len(known) == len(images):
        oracle = fit_with_labels(bundle, images, known, spec.recipe, spec.tone)
        by_name["oracle"] = _restoring(bundle, spec, oracle, spec.tone)
    return Columns(by_name, spec.tone, behind.served_as, behind.why, list(made.match["words"]))


def _behind_the_gate(
    columns: Mapping[str, Column], tone: Tone, evidence: Evidence | None, base_loses: str, chosen: Column | None
) -> Columns:
    """Add the column of what would be served: the adapter if it passes, else the base model, or nothing at all."""
    if evidence is not None:
        report = judge(evidence, GatePolicy())
        if report.verdict == "PASSED" and chosen is not None:
            return Columns({**columns, "served": chosen}, tone, "adapter")
        failed = [check.name for check in report.checks if check.judged and not check.passed]
        why = f"{report.verdict}: {', '.join(failed) or 'no candidate gained'}"
    else:
        why = "no adapter was given"
    if base_loses:
        return Columns({**columns, "served": lambda image: image}, tone, "as it came", f"{why}; {base_loses}")
    return Columns({**columns, "served": columns[tone]}, tone, "base model", why)


def _restoring(bundle: Bundle, spec: EvaluateSpec, row: Modulation | None, tone: Tone) -> Column:
    @torch.inference_mode()
    def column(image: ImageArray) -> ImageArray:
        return _rounded(
            restore(bundle.model, to_tensor([image])[0], row, tone=tone, budget_bytes=spec.memory_budget_bytes)
        )

    return column


def _streaming(bundle: Bundle, spec: EvaluateSpec, row: Modulation | None) -> Column:
    """Test-time adaptation: pictures in the order in which they come."""
    stream = TestTimeStream(bundle, row or bundle.model.identity(), spec.test_time, spec.tone)

    def column(image: ImageArray) -> ImageArray:
        return _restoring(bundle, spec, stream.next(to_tensor([image])[0]), spec.tone)(image)

    return column


def _rounded(image_CHW: Tensor) -> ImageArray:
    array: ImageArray = to_array(image_CHW)
    return array
