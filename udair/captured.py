"""A step as one CUDA graph: it is hundreds of launches, and launches cost more than arithmetic.

Without CUDA, or where a graph cannot be had, the very same step runs eagerly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

WARM_STEPS = 4  # libraries choose and allocate in the first steps; a graph may hold neither


class CapturedStep:
    """Runs a step on inputs of one shape: eagerly at first, then by replaying its graph.

    Args:
        step: What is done with the inputs. Its shapes depend on nothing but theirs, it waits for
            nothing, and what it gives lies in tensors that exist before.
        like: Tensors of the shapes, types, layouts and devices of the inputs.
        capture: Make a graph once warm; False stays eager.
        warm_steps: Eager steps before that.
        pool: `torch.cuda.graph_pool_handle()` of graphs of which one runs at a time: they share memory.
    """

    def __init__(
        self,
        step: Callable[[Sequence[Tensor]], None],
        like: Sequence[Tensor],
        *,
        capture: bool,
        warm_steps: int = WARM_STEPS,
        pool: Any = None,
    ) -> None:
        self._step, self._warm_steps, self._pool = step, warm_steps, pool
        # A graph reads the same memory every time: inputs are copied there.
        self._inputs = [torch.empty_like(tensor) for tensor in like] if capture else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream() if capture else None
        self._warm = 0

    def __call__(self, inputs: Sequence[Tensor]) -> None:
        """Take one step."""
        if self._inputs is None or self._stream is None:
            self._step(inputs)
            return
        for held, tensor in zip(self._inputs, inputs, strict=True):
            held.copy_(tensor, non_blocking=True)
        if self._graph is None and self._warm == self._warm_steps and not self._capture(self._inputs):
            self._inputs = None
            self._step(inputs)
            return
        if self._graph is not None:
            self._graph.replay()
            return
        self._warm += 1
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._step(self._inputs)
        torch.cuda.current_stream().wait_stream(self._stream)

    def _capture(self, inputs: Sequence[Tensor]) -> bool:
        """Record the step; whether that could be done."""
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads use the device meanwhile: only this thread's calls are recorded.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                self._step(inputs)
        except RuntimeError as error:
            log.warning("this step cannot be captured; it runs eagerly: %s", error)
            return False
        self._graph = graph
        return True
