"""Many adapters stacked on one device, so that one batch can mix domains.

Axes: S slots, B samples of a batch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields

import torch

from udair.adaptation.adapter import Adapter
from udair.errors import AdapterError, ConfigError
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer


class AdapterBank:
    """Adapters keyed by digest in preallocated slots; the least recently used makes room.

    Slot 0 is the identity and stays: it is the source model.

    Args:
        model: The backbone whose adapters these are.
        base_digest: Of its bundle.
        slots: Most adapters resident at once.
    """

    def __init__(self, model: Restorer, base_digest: str, slots: int = 64) -> None:
        if slots < 1:
            raise ConfigError(f"bank has {slots} slots; expected 1 or more.")
        self.base_digest, self.slots = base_digest, slots
        identity = model.identity()
        index = torch.zeros(slots + 1, dtype=torch.long, device=identity.gain_B.device)
        self._rows = identity.rows(index)
        self._slot_of: OrderedDict[str, int] = OrderedDict()
        self._free = list(range(slots, 0, -1))
        self.loads = self.evictions = 0

    def __contains__(self, digest: str) -> bool:
        return digest in self._slot_of

    def __len__(self) -> int:
        return len(self._slot_of)

    def put(self, digest: str, adapter: Adapter) -> None:
        """Make an adapter resident, evicting the least recently used one if there is no slot.

        Raises:
            AdapterError: It was made for another base model.
        """
        if adapter.base_digest != self.base_digest:
            raise AdapterError(
                f"adapter is for base {adapter.base_digest[:12]}; the bank is for {self.base_digest[:12]}."
            )
        if digest in self._slot_of:
            self._slot_of.move_to_end(digest)
            return
        if self._free:
            slot = self._free.pop()
        else:
            _, slot = self._slot_of.popitem(last=False)
            self.evictions += 1
        for item in fields(Modulation):
            getattr(self._rows, item.name)[slot] = getattr(adapter.row, item.name)[0]
        self._slot_of[digest] = slot
        self.loads += 1

    def gather(self, digests: Sequence[str | None]) -> Modulation:
        """One row for every sample; None is the source model. The rows are a copy: a later eviction
        does not touch a batch under way.

        Raises:
            AdapterError: An adapter is not resident.
        """
        slots = []
        for digest in digests:
            if digest is not None and digest not in self._slot_of:
                raise AdapterError(f"adapter {digest[:12]} is not resident; put it into the bank first.")
            if digest is not None:
                self._slot_of.move_to_end(digest)
            slots.append(0 if digest is None else self._slot_of[digest])
        return self._rows.rows(torch.tensor(slots, device=self._rows.gain_B.device))
