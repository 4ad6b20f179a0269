import torch
from torch import nn

from udair.optimizer import MatrixOptimizer


def make() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(16, 32, 3), nn.Conv2d(32, 32, 3, groups=32), nn.Conv2d(32, 16, 1))
    return layers.to(memory_format=torch.channels_last)


def step(model: nn.Module, optimizer: MatrixOptimizer, seed: int, rate: float = 1e-2) -> None:
    model(torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(seed))).square().mean().backward()
    optimizer.step(rate)
    optimizer.zero_grad()


def test_kernels_are_matrices_and_everything_else_is_not():
    model = make()
    optimizer = MatrixOptimizer(model, 1e-2)
    assert {id(kernel) for group in optimizer.kernels.values() for kernel in group} == {
        id(model[0].weight),
        id(model[2].weight),
    }
    before = [p.detach().clone() for p in model.parameters()]
    step(model, optimizer, 0)
    assert all(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_a_matrix_moves_by_nearly_the_same_length_in_every_direction():
    model = make()
    before = model[2].weight.detach().clone()
    step(model, MatrixOptimizer(model, 1e-2), 0)
    moved = (model[2].weight.detach() - before).flatten(1)
    singular = torch.linalg.svdvals(moved)
    assert float(singular.max() / singular.min()) < 4  # a plain gradient: hundreds


def test_moments_are_read_back():
    whole, model = make(), make()
    optimizer = MatrixOptimizer(whole, 1e-2)
    for seed in range(4):
        step(whole, optimizer, seed)
    early = MatrixOptimizer(model, 1e-2)
    for seed in range(2):
        step(model, early, seed)
    late = MatrixOptimizer(model, 1e-2)
    late.load_tensors(early.tensors())
    for seed in range(2, 4):
        step(model, late, seed)
    for ours, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
