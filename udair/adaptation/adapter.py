"""One domain's small parameters: what an adaptation job makes and serving loads.

An adapter is one row of a `Modulation`, bound to the digest of the base model and to the intent that it
was made for; it loads on no other. On disk it is one safetensors file of kilobytes whose SHA-256 is its name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from udair.config import TONES, Tone
from udair.errors import AdapterError
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer

FORMAT = "udair-adapter-4"
# Where an adapter applies; everything else in a row is what it changes.
SCOPE = ("scope_weight_BS", "scope_bias_B")


@dataclass(frozen=True)
class Adapter:
    """One row of modulation and the base model it belongs to.

    Attributes:
        base_digest: Of the bundle that it was made for.
        row: A `Modulation` with one row.
        notes: Short facts for people: which candidate it is, which degradation was matched.
        tone: The intent that it was made for.
    """

    base_digest: str
    row: Modulation
    notes: Mapping[str, str] = field(default_factory=dict)
    tone: Tone = "keep"

    @property
    def is_identity(self) -> bool:
        """True when it changes no parameter."""
        return all(not bool(getattr(self.row, i.name).any()) for i in fields(self.row) if i.name not in SCOPE)

    def interpolate(self, share: float) -> Adapter:
        """The adapter between identity (0) and itself (1); its scope stays."""
        scaled = {i.name: getattr(self.row, i.name) * share for i in fields(self.row) if i.name not in SCOPE}
        return replace(self, row=replace(self.row, **scaled))

    def within(self, scope: Modulation) -> Adapter:
        """The adapter with the scope of another row."""
        return replace(self, row=replace(self.row, **{name: getattr(scope, name) for name in SCOPE}))


def identity_adapter(model: Restorer, base_digest: str, tone: Tone = "keep") -> Adapter:
    """The adapter that changes nothing."""
    return Adapter(base_digest, model.identity(), {"candidate": "identity"}, tone)


def adapter_to_bytes(adapter: Adapter) -> bytes:
    """Encode as safetensors; the base model's digest, the intent and the notes are its metadata."""
    tensors = {item.name: getattr(adapter.row, item.name).detach().cpu().contiguous() for item in fields(adapter.row)}
    facts = {"format": FORMAT, "base_digest": adapter.base_digest, "tone": adapter.tone, "notes": dict(adapter.notes)}
    # One key: safetensors writes several in random order, and the digest would differ every time.
    return save_tensors(tensors, {"udair": json.dumps(facts, sort_keys=True)})


def adapter_digest(data: bytes) -> str:
    """SHA-256 of an encoded adapter: its name in the bank, the store and the routes."""
    return hashlib.sha256(data).hexdigest()


def adapter_from_bytes(
    data: bytes, base_digest: str, like: Restorer | None = None, tone: Tone | None = None
) -> Adapter:
    """Decode and verify an adapter.

    Args:
        data: What `adapter_to_bytes` wrote.
        base_digest: Of the base model it is to be used on.
        like: That base model, to check the sizes of every tensor.
        tone: The intent that it is to be used with; None takes either.

    Raises:
        AdapterError: Damaged, of another format, for another base model or intent, of other
            sizes, or not finite.
    """
    try:
        tensors = load_tensors(data)
        facts = _facts(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise AdapterError(f"adapter of {len(data)} bytes is damaged: {error}; fetch it again.") from error
    if facts.get("format") != FORMAT:
        raise AdapterError(f"adapter has format {facts.get('format')!r}; expected {FORMAT!r}.")
    if facts.get("base_digest") != base_digest:
        raise AdapterError(
            f"adapter was made for base model {str(facts.get('base_digest'))[:12]}; "
            f"this is {base_digest[:12]}. Adapt the domain again on this base model."
        )
    made_for = facts.get("tone")
    if made_for not in TONES:
        raise AdapterError(f"adapter names tone {made_for!r}; expected one of {', '.join(TONES)}. Fetch it again.")
    if tone is not None and made_for != tone:
        raise AdapterError(
            f"adapter was made for tone {made_for!r}; it was asked to {tone!r}. Ask for {made_for!r}, or adapt the "
            f"domain again with tone {tone!r}."
        )
    expected = [item.name for item in fields(Modulation)]
    if sorted(tensors) != sorted(expected):
        raise AdapterError(f"adapter has tensors {sorted(tensors)}; expected {sorted(expected)}.")
    row = Modulation(**{name: tensors[name].float() for name in expected})
    if like is not None:
        _check_sizes(row, like.identity())
    for name in expected:
        value: Tensor = getattr(row, name)
        if not bool(torch.isfinite(value).all()):
            raise AdapterError(f"adapter's {name} holds NaN or infinity; adapt the domain again.")
    return Adapter(base_digest, row, {str(k): str(v) for k, v in facts.get("notes", {}).items()}, made_for)


def _facts(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["udair"])
    if not isinstance(facts, dict) or not isinstance(facts.get("notes", {}), dict):
        raise ValueError("its facts are no object")
    return facts


def _check_sizes(row: Modulation, like: Modulation) -> None:
    for item in fields(row):
        found, expected = tuple(getattr(row, item.name).shape), tuple(getattr(like, item.name).shape)
        if found != expected:
            raise AdapterError(f"adapter's {item.name} has shape {found}; this base model needs {expected}.")
