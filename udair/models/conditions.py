"""What is decided once about a whole picture and holds at each of its places.

A picture that is restored in pieces gives every piece the same conditions, so that no piece can
come out lighter than the next.

Axes: B samples, D code width, F modulations of all blocks, O outputs and C inputs of the last convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from udair.models.degradation import Degradation
from udair.models.modulation import Modulation


@dataclass(frozen=True)
class Change:
    """What an adapter's row changes, zero where its scope does not hold the sample.

    Attributes:
        film_BF, readout_BOC, gain_B, affine_B6: As in `Modulation`.
    """

    film_BF: Tensor
    readout_BOC: Tensor
    gain_B: Tensor
    affine_B6: Tensor

    @classmethod
    def within(cls, modulation: Modulation, inside_B: Tensor) -> Change:
        """Rows, limited to the samples inside their scopes."""
        inside_B1 = inside_B[:, None]
        return cls(
            modulation.film_BF * inside_B1,
            modulation.readout_BOC * inside_B1[:, :, None],
            modulation.gain_B * inside_B,
            modulation.affine_B6 * inside_B1,
        )

    @classmethod
    def none(cls, batch: int, like: Change) -> Change:
        """Rows that change nothing."""
        return cls(*(torch.zeros(batch, *part.shape[1:], device=part.device, dtype=part.dtype) for part in like.parts))

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Its tensors, in order."""
        return self.film_BF, self.readout_BOC, self.gain_B, self.affine_B6


@dataclass(frozen=True)
class Conditions:
    """Everything that a piece of a picture needs to know of the whole.

    Attributes:
        embedding_BD: Degradation embedding plus the intent's row: the input of FiLM.
        codes_BD: Pooled codes, added at the bottleneck.
        change: An adapter's; None is the source model.
    """

    embedding_BD: Tensor
    codes_BD: Tensor
    change: Change | None = None

    @classmethod
    def of(cls, degradation: Degradation, intent_BD: Tensor, modulation: Modulation | None) -> Conditions:
        """From how the model sees a batch, what is wanted, and the rows of its adapters."""
        change = None if modulation is None else Change.within(modulation, degradation.inside_B)
        return cls(degradation.embedding_BD + intent_BD, degradation.codes_BD, change)

    @classmethod
    def stack(cls, several: Sequence[Conditions]) -> Conditions:
        """One batch of several; where some have an adapter, the others get rows that change nothing."""
        changed = next((item.change for item in several if item.change is not None), None)
        change = None
        if changed is not None:
            rows = [item.change or Change.none(len(item.codes_BD), changed) for item in several]
            change = Change(*(torch.cat(parts) for parts in zip(*(row.parts for row in rows), strict=True)))
        return cls(
            torch.cat([item.embedding_BD for item in several]), torch.cat([item.codes_BD for item in several]), change
        )
