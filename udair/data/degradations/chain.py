"""Degradations in a row, as light, weather, lens, sensor and file format apply them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from udair.data.degradations.blur import BLUR
from udair.data.degradations.camera import CAMERA
from udair.data.degradations.family import Family
from udair.data.degradations.haze import HAZE
from udair.data.degradations.jpeg import JPEG
from udair.data.degradations.low_light import LOW_LIGHT
from udair.data.degradations.noise import NOISE
from udair.data.degradations.rain import RAIN
from udair.errors import ConfigError, ShapeError

# In the order in which the world applies them.
FAMILIES: Mapping[str, Family] = {family.name: family for family in (HAZE, RAIN, LOW_LIGHT, BLUR, CAMERA, NOISE, JPEG)}

# Families that do nothing but change exposure, colour or contrast of the whole scene: no damage where tone is kept.
TONE_FAMILIES = ("haze", "low_light")
# What a scene keeps of a family where tone is kept: all of it with these parameters at zero. Rain leaves its veil.
_KEPT: Mapping[str, tuple[str, ...]] = {"haze": (), "low_light": ("sigma",), "rain": ("opacity",)}

# Pairs that the source model is trained on beside the single families.
SOURCE_CHAINS: tuple[tuple[str, ...], ...] = (
    ("haze", "noise"), ("rain", "noise"), ("low_light", "noise"), ("blur", "noise"), ("noise", "jpeg"), ("haze", "rain"),
    ("low_light", "camera"), ("blur", "camera"),
)  # fmt: skip


class Chain:
    """One or more families, applied in physical order.

    Args:
        names: Families of `FAMILIES`; none at all is the clean image.

    Raises:
        ConfigError: A family is unknown or comes twice.
    """

    def __init__(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in FAMILIES]
        if unknown or len(set(names)) != len(names):
            raise ConfigError(f"chain is {list(names)}; expected different families of {', '.join(FAMILIES)}.")
        order = list(FAMILIES)
        self.names = tuple(sorted(names, key=order.index))
        self.families = tuple(FAMILIES[name] for name in self.names)

    @property
    def width(self) -> int:
        """Number of parameters of all families together."""
        return sum(len(family.parameters) for family in self.families)

    def sample(self, batch: int, generator: torch.Generator) -> Tensor:
        """Uniform unit-cube positions (B, width)."""
        return torch.rand(batch, self.width, generator=generator, device=generator.device)

    def degrade(self, clean_BCHW: Tensor, unit_BP: Tensor, generator: torch.Generator, space: str = "source") -> Tensor:
        """Degrade a batch with the parameters at `unit_BP` of the ``source`` or ``search`` space."""
        image = clean_BCHW
        for family, unit in zip(self.families, self._split(unit_BP), strict=True):
            image = family.degrade(image, family.values(unit, space), generator)
        return image

    def degrade_keeping_tone(
        self, clean_BCHW: Tensor, unit_BP: Tensor, generator: torch.Generator, space: str = "source"
    ) -> tuple[Tensor, Tensor]:
        """Degrade a batch, and give what a restoration that keeps tone should make of it.

        That is the clean scene with the chain's haze, exposure and veil, and with nothing else: without
        streaks, blur, noise, and without the noise that comes with low light.
        """
        image, wanted = clean_BCHW, clean_BCHW
        for family, unit in zip(self.families, self._split(unit_BP), strict=True):
            values = family.values(unit, space)
            state = generator.get_state()
            image = family.degrade(image, values, generator)
            if family.name in _KEPT:
                after = generator.get_state()
                generator.set_state(state)  # the same haze
                off = _KEPT[family.name]
                wanted = family.degrade(
                    wanted, {name: torch.zeros_like(v) if name in off else v for name, v in values.items()}, generator
                )
                generator.set_state(after)
        return image, wanted

    def severity(self, unit_BP: Tensor) -> Tensor:
        """Mean severity (B,) of the families, in [0, 1]."""
        if not self.families:
            return unit_BP.new_zeros(len(unit_BP))
        parts = zip(self.families, self._split(unit_BP), strict=True)
        return torch.stack([family.severity(unit) for family, unit in parts]).mean(0)

    def describe(self, unit_P: Tensor, space: str = "search") -> dict[str, Any]:
        """Physical values of one parameter set, JSON-ready."""
        parts = zip(self.families, self._split(unit_P[None]), strict=True)
        return {
            family.name: {name: round(float(value), 5) for name, value in family.values(unit, space).items()}
            for family, unit in parts
        }

    def _split(self, unit_BP: Tensor) -> list[Tensor]:
        if unit_BP.ndim != 2 or unit_BP.shape[1] != self.width:
            raise ShapeError("unit_BP", tuple(unit_BP.shape), f"(B, {self.width}) for chain {self.names}")
        return list(unit_BP.split([len(family.parameters) for family in self.families], 1))
