"""`python -m udair_platform.cli` is `udair`."""

from __future__ import annotations

from udair_platform.cli import main

main()
