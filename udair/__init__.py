"""UDAIR: all-in-one image restoration that adapts itself to the domain it is deployed in."""

import os

__version__ = "0.1.0"

# Read once, when torch loads its threads. By default a thread that is done with its part of a convolution burns its
# core until the others are; on a machine that others use, it burns what they wait for (docs/log.md, 2026-11-26).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
