"""Muon for the matrices of a network, AdamW for everything else, stepped as one.

Source: Jordan et al. 2024, Muon: an optimizer for hidden layers; Liu et al. 2025 (arXiv 2502.16982)
for the scale that lets both share one learning rate. A convolution's kernel is the matrix that maps
one input window to its output channels. Why: docs/adr/0007.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn, optim

# Muon's rate over AdamW's; measured (docs/log.md, 2026-11-25).
MATRIX_RATE = 2.5
# Below this many outputs or inputs a kernel is a filter bank, not a matrix worth orthogonalising.
SMALLEST_SIDE = 16
MOMENTUM = 0.95
# Quintic that drives singular values to one in five rounds (Jordan et al. 2024).
_QUINTIC = (3.4445, -4.7750, 2.0315)


class MatrixOptimizer:
    """One learning rate for two optimizers.

    Matrices of one shape are orthogonalised together: `torch.optim.Muon` takes them one by one,
    which on a GPU is thousands of launches a step.

    Args:
        model: In channels-last memory format, so that kernels can be seen as matrices without a copy.
        learning_rate: Of AdamW; Muon's follows it.
    """

    def __init__(self, model: nn.Module, learning_rate: float) -> None:
        kernels = [p for p in model.parameters() if _is_matrix(p)]
        taken = {id(kernel) for kernel in kernels}
        others = [p for p in model.parameters() if id(p) not in taken]
        self.kernels: dict[torch.Size, list[nn.Parameter]] = {}
        for kernel in kernels:
            self.kernels.setdefault(_as_matrix(kernel).shape, []).append(kernel)
        self.momenta = {
            shape: torch.zeros(len(group), *shape, device=group[0].device) for shape, group in self.kernels.items()
        }
        # A tensor, so that a captured step reads the rate of the day.
        self.rate = torch.tensor(float(learning_rate), device=others[0].device)
        self.adamw = optim.AdamW(
            others, lr=self.rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True, capturable=self.rate.is_cuda
        )

    @torch.no_grad()
    def step(self, learning_rate: float | None = None) -> None:
        """Move every parameter once, along the gradients that the backward pass left.

        Args:
            learning_rate: Of AdamW; None takes what `rate` holds.
        """
        if learning_rate is not None:
            self.rate.fill_(learning_rate)
        for shape, kernels in self.kernels.items():
            if kernels[0].grad is None:
                continue
            gradient_GON = torch.stack([_as_matrix(kernel.grad) for kernel in kernels if kernel.grad is not None])
            momentum_GON = self.momenta[shape].lerp_(gradient_GON, 1 - MOMENTUM)
            moved_GON = _orthogonalised(gradient_GON.lerp(momentum_GON, MOMENTUM))
            # An update of the size that AdamW's has (Liu et al. 2025, section 2.2).
            moved_GON *= -self.rate * (MATRIX_RATE * 0.2 * math.sqrt(max(shape)))
            torch._foreach_add_([_as_matrix(k.data) for k in kernels], list(moved_GON.unbind()))
        for group in self.adamw.param_groups:
            group["lr"] = self.rate
        self.adamw.step()

    @torch.no_grad()
    def forget(self) -> None:
        """Moments back to zero, in the memory where they are."""
        moments = [value for state in self.adamw.state.values() for value in state.values()]
        for moment in (*self.momenta.values(), *moments):
            moment.zero_()

    def tensors(self) -> dict[str, Tensor]:
        """The moments, by name; `load_tensors` reads them back."""
        muon = {_name(shape): value for shape, value in self.momenta.items()}
        return muon | {
            f"adamw.{index}.{name}": value
            for index, state in self.adamw.state_dict()["state"].items()
            for name, value in state.items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue with moments that `tensors` gave; without any, start afresh."""
        for shape, momentum in self.momenta.items():
            momentum.copy_(tensors.get(_name(shape), torch.zeros_like(momentum)))
        document = self.adamw.state_dict()
        parameters = [parameter for group in self.adamw.param_groups for parameter in group["params"]]
        states: dict[int, dict[str, Tensor]] = {}
        for path, value in tensors.items():
            owner, _, rest = path.partition(".")
            if owner == "adamw":
                index, name = rest.split(".")
                like = parameters[int(index)]
                # The fused kernel walks through memory: moments must lie there as their parameter does.
                laid = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
                states.setdefault(int(index), {})[name] = laid
        document["state"] = states
        self.adamw.load_state_dict(document)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for kernels in self.kernels.values():
            for kernel in kernels:
                kernel.grad = None
        self.adamw.zero_grad()


def _name(shape: torch.Size) -> str:
    return "muon." + "x".join(map(str, shape))


def _orthogonalised(update_GON: Tensor) -> Tensor:
    """Matrices with the same singular vectors, and all singular values near one; in bfloat16."""
    a, b, c = _QUINTIC
    tall = update_GON.shape[1] > update_GON.shape[2]
    x = update_GON.bfloat16()
    x = x.transpose(1, 2) if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.transpose(1, 2) if tall else x).to(update_GON.dtype)


def _is_matrix(parameter: nn.Parameter) -> bool:
    if parameter.ndim != 4 or parameter.shape[1] == 1:
        return False
    return parameter.shape[0] >= SMALLEST_SIDE and parameter[0].numel() >= SMALLEST_SIDE


def _as_matrix(kernel_OIhw: Tensor) -> Tensor:
    """(O, h * w * I): a view where the kernel is channels-last."""
    return kernel_OIhw.permute(0, 2, 3, 1).flatten(1)
