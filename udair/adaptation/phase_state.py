"""What an adaptation remembers of its finished phases, so that one that was killed goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

GENERATOR = "generator"


@dataclass(frozen=True)
class PhaseState:
    """What a phase made.

    Attributes:
        tensors: By name.
        facts: JSON-ready.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """One safetensors file; `from_bytes` reads it back."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        return save_tensors(tensors, {"udair": json.dumps(dict(self.facts), sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes) -> PhaseState:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: The file is none of ours, or damaged.
        """
        try:
            tensors = load_tensors(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            return cls(tensors, json.loads(header["__metadata__"]["udair"]))
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"no state of a phase: {error}") from error


class PhaseStates(Protocol):
    """Where phases are remembered; may forget, e.g. what another configuration made."""

    def load(self, phase: str) -> PhaseState | None:
        """What `phase` made, if that is known."""
        ...

    def save(self, phase: str, state: PhaseState) -> None:
        """Remember it."""
        ...


def remembered(
    states: PhaseStates | None, phase: str, generator: torch.Generator, compute: Callable[[], PhaseState]
) -> PhaseState:
    """What `phase` made earlier, else what `compute` makes now; random numbers go on as if it had just run."""
    known = states.load(phase) if states is not None else None
    if known is not None:
        generator.set_state(known.tensors[GENERATOR])
        return known
    made = compute()
    if states is not None:
        states.save(phase, replace(made, tensors={**made.tensors, GENERATOR: generator.get_state()}))
    return made
