"""What a build writes before it packs: the SDK's client for threads, from its client for event loops (ADR 15)."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Synchronous(BuildHookInterface):
    """Runs for wheels, source distributions and editable installs alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write `client/synchronous` where the sources are."""
        runpy.run_path(str(Path(self.root, "platform", "make_synchronous.py")), run_name="__main__")
