"""What an adapter changes in the model, one row a sample: everything applies by gather or bmm.

Axes: B samples, D code width, K codes, S scope features (embedding, then appearance), F restorer
modulations (scale and shift of every norm), O outputs and C inputs of the last convolution, T knots of a tone curve.

All zeros is the identity: `x * (1 + 0) + 0` is x to the last bit, so a source model and a domain
without an adapter give the same pixels. An adapter has a scope: a half-space of image features, on
the far side of which a sample is treated as the source model treats it, so that a clean or
in-domain image sent to an adapted domain is not harmed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from udair.errors import ShapeError
from udair.models.appearance import STATISTICS
from udair.models.tone_curve import KNOTS, bends


@dataclass(frozen=True)
class Modulation:
    """Per-sample deltas of the model's parameters.

    Attributes:
        projection_BDD: Target-to-source projection of the embedding, minus the identity.
        bias_BD: Its bias.
        codes_BKD: Offsets of the codes.
        film_BF: Deltas of FiLM scales and shifts, all blocks in order.
        readout_BOC: Pointwise delta of the restorer's last convolution.
        gain_B: Delta of the residual's gain.
        affine_B6: Delta of the output's scale (3) and shift (3) per colour channel.
        curve_B3T: What a tone curve before the net adds at its knots (`udair/models/tone_curve.py`).
        scope_weight_BS: Normal of the half-space to which the row applies.
        scope_bias_B: Its offset; with zero weights and a positive offset the row applies always.
    """

    projection_BDD: Tensor
    bias_BD: Tensor
    codes_BKD: Tensor
    film_BF: Tensor
    readout_BOC: Tensor
    gain_B: Tensor
    affine_B6: Tensor
    curve_B3T: Tensor
    scope_weight_BS: Tensor
    scope_bias_B: Tensor

    @classmethod
    def identity(
        cls,
        batch: int,
        code_dim: int,
        codes: int,
        films: int,
        readout: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> Modulation:
        """The zero modulation of `batch` samples."""
        return cls(
            torch.zeros(batch, code_dim, code_dim, device=device),
            torch.zeros(batch, code_dim, device=device),
            torch.zeros(batch, codes, code_dim, device=device),
            torch.zeros(batch, films, device=device),
            torch.zeros(batch, *readout, device=device),
            torch.zeros(batch, device=device),
            torch.zeros(batch, 6, device=device),
            torch.zeros(batch, 3, KNOTS, device=device),
            torch.zeros(batch, code_dim + len(STATISTICS), device=device),
            torch.ones(batch, device=device),
        )

    @cached_property
    def has_curve(self) -> bool:
        """Whether a tone curve changes anything: looked at once, so not for rows that are being trained."""
        return bends(self.curve_B3T)

    def without_curve(self) -> Modulation:
        """The same rows with curves of no knots: nobody has to ask the device whether they bend."""
        return replace(self, curve_B3T=self.curve_B3T[:, :, :0])

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.gain_B.shape[0]

    def inside(self, feature_BS: Tensor) -> Tensor:
        """1.0 for samples whose features lie in their row's scope, else 0.0; (B,)."""
        return ((feature_BS * self.scope_weight_BS).sum(1) + self.scope_bias_B > 0).to(feature_BS.dtype)

    def rows(self, index_B: Tensor) -> Modulation:
        """Gather rows; a row may be taken many times."""
        return Modulation(*(getattr(self, item.name)[index_B] for item in fields(self)))

    def expand(self, batch: int) -> Modulation:
        """Give one row to every sample of a batch.

        Raises:
            ShapeError: There is more than one row and not `batch` of them.
        """
        if self.batch == batch:
            return self
        if self.batch != 1:
            raise ShapeError("modulation", (self.batch,), f"1 or {batch} rows")
        return self.rows(torch.zeros(batch, dtype=torch.long, device=self.gain_B.device))

    def to(self, device: torch.device | str) -> Modulation:
        """The same rows on another device."""
        return Modulation(*(getattr(self, item.name).to(device) for item in fields(self)))


def stack(rows: list[Modulation]) -> Modulation:
    """Stack modulations along the batch axis."""
    return Modulation(*(torch.cat([getattr(row, item.name) for row in rows]) for item in fields(Modulation)))
