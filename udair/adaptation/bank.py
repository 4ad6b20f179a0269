"""Many adapters stacked on one device, so that one batch can mix domains.

Axes: S slots.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import fields

import torch

from udair.adaptation.adapter import Adapter
from udair.errors import AdapterError, ConfigError
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer


class AdapterBank:
    """Adapters by name, mostly a digest, in the rows of one set of tensors; the least recently used makes room.

    Safe to use from several threads.

    Args:
        model: The backbone whose adapters these are.
        base_digest: Of its bundle.
        slots: Most adapters resident at once. Memory is taken as slots are first used on a CPU, and
            at once on a GPU.

    Attributes:
        pinned: Names that are evicted only when there is nothing else left.
        loads, evictions: Counted since the start.
    """

    def __init__(self, model: Restorer, base_digest: str, slots: int = 64) -> None:
        if slots < 1:
            raise ConfigError(f"bank has {slots} slots; expected 1 or more.")
        self.base_digest, self.slots = base_digest, slots
        identity = model.identity()
        # Zeros that the system commits when they are first written; gathered rows would be written at once.
        rows = {
            item.name: torch.zeros(slots, *value.shape[1:], device=value.device)
            for item in fields(Modulation)
            for value in [getattr(identity, item.name)]
        }
        self._rows = Modulation(**rows)
        self._slot_of: OrderedDict[str, int] = OrderedDict()
        self._free = list(range(slots - 1, -1, -1))
        self._lock = threading.Lock()
        self.pinned: frozenset[str] = frozenset()
        self.loads = self.evictions = 0

    def __contains__(self, name: str) -> bool:
        return name in self._slot_of

    def __len__(self) -> int:
        return len(self._slot_of)

    @property
    def slot_bytes(self) -> int:
        """Bytes of one adapter's row."""
        return sum(
            getattr(self._rows, i.name)[0].numel() * getattr(self._rows, i.name).element_size()
            for i in fields(Modulation)
        )

    def put(self, name: str, adapter: Adapter) -> Modulation:
        """Make an adapter resident, evicting the least recently used one if there is no slot.

        Returns:
            A copy of its row, as `row` gives it: another thread may evict it at once.

        Raises:
            AdapterError: It was made for another base model.
        """
        if adapter.base_digest != self.base_digest:
            raise AdapterError(
                f"adapter is for base {adapter.base_digest[:12]}; the bank is for {self.base_digest[:12]}."
            )
        with self._lock:
            if name in self._slot_of:
                return self._copy(name)
            slot = self._free.pop() if self._free else self._evict()
            for item in fields(Modulation):
                getattr(self._rows, item.name)[slot] = getattr(adapter.row, item.name)[0]
            self._slot_of[name] = slot
            self.loads += 1
            return self._copy(name)

    def row(self, name: str) -> Modulation | None:
        """A copy of one adapter's row, or None if it is not resident.

        A later eviction does not touch who uses it. Where several threads load, to ask first whether
        the adapter is there tells nothing: it may be gone on the next line.
        """
        with self._lock:
            return self._copy(name) if name in self._slot_of else None

    def _copy(self, name: str) -> Modulation:
        slot = self._slot_of[name]
        self._slot_of.move_to_end(name)
        return Modulation(*(getattr(self._rows, i.name)[slot : slot + 1].clone() for i in fields(Modulation)))

    def _evict(self) -> int:
        name = next((name for name in self._slot_of if name not in self.pinned), next(iter(self._slot_of)))
        self.evictions += 1
        return self._slot_of.pop(name)
