"""How many threads torch may use: what the environment says, else the cores this process may run on."""

from __future__ import annotations

import os

MAX_THREADS = 16  # beyond this the small convolutions of these models only wait for each other


def thread_count() -> int:
    """OMP_NUM_THREADS if it is a positive number, else the cores of this process, at most 16."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_THREADS)


def set_threads() -> int:
    """Tell torch, and return the number."""
    import torch

    count = thread_count()
    torch.set_num_threads(count)
    return count
