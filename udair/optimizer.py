"""Muon for the matrices of a network, AdamW for everything else, stepped as one.

Source: Jordan et al. 2024, Muon: an optimizer for hidden layers; Liu et al. 2025 (arXiv 2502.16982)
for the scale that lets both share one learning rate. A convolution's kernel is the matrix that maps
one input window to its output channels. Why: docs/adr/0007.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn, optim

# Muon's rate over AdamW's; measured (docs/log.md, 2026-11-25).
MATRIX_RATE = 2.5
# Below this many outputs or inputs a kernel is a filter bank, not a matrix worth orthogonalising.
SMALLEST_SIDE = 16


class MatrixOptimizer:
    """One learning rate for two optimizers.

    Args:
        model: In channels-last memory format, so that kernels can be seen as matrices without a copy.
        learning_rate: Of AdamW; Muon's follows it.
    """

    def __init__(self, model: nn.Module, learning_rate: float) -> None:
        kernels = [p for p in model.parameters() if _is_matrix(p)]
        taken = {id(kernel) for kernel in kernels}
        others = [p for p in model.parameters() if id(p) not in taken]
        self.matrices = [(kernel, nn.Parameter(_as_matrix(kernel.data))) for kernel in kernels]
        self.muon = optim.Muon(
            [matrix for _, matrix in self.matrices],
            lr=learning_rate * MATRIX_RATE,
            weight_decay=0.0,
            adjust_lr_fn="match_rms_adamw",
        )
        self.adamw = optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)

    def step(self, learning_rate: float) -> None:
        """Move every parameter once, along the gradients that the backward pass left."""
        for group in self.muon.param_groups:
            group["lr"] = learning_rate * MATRIX_RATE
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        for kernel, matrix in self.matrices:
            matrix.grad = None if kernel.grad is None else _as_matrix(kernel.grad)
        self.muon.step()
        self.adamw.step()

    def tensors(self) -> dict[str, Tensor]:
        """The moments, by name; `load_tensors` reads them back."""
        return {
            f"{kind}.{index}.{name}": value
            for kind, optimizer in self._parts()
            for index, state in optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue with moments that `tensors` gave; without any, start afresh."""
        for kind, optimizer in self._parts():
            document = optimizer.state_dict()
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            states: dict[int, dict[str, Tensor]] = {}
            for path, value in tensors.items():
                owner, index, name = path.split(".")
                if owner == kind:
                    like = parameters[int(index)]
                    # The fused kernel walks through memory: moments must lie there as their parameter does.
                    laid = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
                    states.setdefault(int(index), {})[name] = laid
            document["state"] = states
            optimizer.load_state_dict(document)

    def _parts(self) -> tuple[tuple[str, optim.Optimizer], ...]:
        return ("muon", self.muon), ("adamw", self.adamw)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for kernel, matrix in self.matrices:
            kernel.grad = matrix.grad = None
        self.adamw.zero_grad()


def _is_matrix(parameter: nn.Parameter) -> bool:
    if parameter.ndim != 4 or parameter.shape[1] == 1:
        return False
    return parameter.shape[0] >= SMALLEST_SIDE and parameter[0].numel() >= SMALLEST_SIDE


def _as_matrix(kernel_OIhw: Tensor) -> Tensor:
    """(O, h * w * I): a view where the kernel is channels-last."""
    return kernel_OIhw.permute(0, 2, 3, 1).flatten(1)
