"""Finished phases of an adaptation on the store, for the attempt that follows one that was killed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping

from udair.adaptation.phase_state import PhaseState
from udair_jobs.errors import NotFound, StorageError
from udair_jobs.storage import Storage

log = logging.getLogger(__name__)

MADE_FROM, FACTS = "made_from", "facts"


class PhaseCheckpoints:
    """Keeps what phases made, and gives back only what was made from the very same things.

    Args:
        storage: Folder of the checkpoints, one for all attempts of a job.
        made_from: Everything that decides what a phase makes: base model, snapshot, recipe, version.
    """

    def __init__(self, storage: Storage, made_from: Mapping[str, object]) -> None:
        self._storage = storage
        self._made_from = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()

    def load(self, phase: str) -> PhaseState | None:
        """What an earlier attempt left; anything damaged or made from other things counts as nothing."""
        try:
            state = PhaseState.from_bytes(self._storage.get(_key(phase), max_bytes=2**28))
        except NotFound:
            return None
        except (ValueError, StorageError) as error:
            log.warning("the checkpoint of %s cannot be read and is made again: %s", phase, error)
            return None
        if state.facts.get(MADE_FROM) != self._made_from:
            log.warning("the checkpoint of %s was made from other things and is made again", phase)
            return None
        log.info("%s was done by an earlier attempt", phase.lower())
        return PhaseState(state.tensors, state.facts[FACTS])

    def save(self, phase: str, state: PhaseState) -> None:
        """Write it; a store that refuses costs the next attempt time, never this one its result."""
        data = PhaseState(state.tensors, {MADE_FROM: self._made_from, FACTS: dict(state.facts)}).to_bytes()
        try:
            self._storage.put(_key(phase), data)
        except StorageError as error:
            log.warning("no checkpoint of %s: %s", phase, error)


def _key(phase: str) -> str:
    return f"{phase.lower()}.safetensors"
