import pytest
import torch

from udair.errors import ShapeError
from udair.models.codebook import Codebook


def test_nearest_code_is_taken():
    book = Codebook(2, 2).eval()
    book.codes_KD.copy_(torch.tensor([[0.0, 0.0], [10.0, 10.0]]))
    latent = torch.tensor([[1.0, 9.0], [1.0, 9.0]])[None, :, None, :]

    found = book(latent)

    assert found.indices_Bhw.tolist() == [[[0, 1]]]
    assert found.histogram_BK.tolist() == [[0.5, 0.5]]
    assert found.map_BDhw[0, :, 0, 1].tolist() == [10.0, 10.0]
    assert float(found.commitment) == pytest.approx(1.0)  # every entry is 1 away from its code


def test_gradient_passes_straight_through():
    book = Codebook(4, 3).train()
    latent = torch.randn(2, 3, 4, 4, requires_grad=True)

    book(latent).map_BDhw.sum().backward()

    assert torch.equal(latent.grad, torch.ones_like(latent))


def test_codes_move_to_the_mean_of_what_they_attract():
    torch.manual_seed(0)
    book = Codebook(1, 2, decay=0.5).train()
    latent = torch.full((1, 2, 4, 4), 3.0)
    for _ in range(20):
        book(latent)
    assert book.codes_KD[0].tolist() == pytest.approx([3.0, 3.0], abs=1e-3)


def test_dead_codes_are_revived_where_the_latents_are():
    torch.manual_seed(0)
    book = Codebook(8, 2, decay=0.5).train()
    book.codes_KD[1:] += 1000  # unreachable
    book.sum_KD.copy_(book.codes_KD)
    for _ in range(40):
        book(torch.randn(4, 2, 6, 6))
    assert float(book.codes_KD.abs().max()) < 10


def test_evaluation_leaves_codes_alone():
    book = Codebook(4, 2).eval()
    before = book.codes_KD.clone()
    book(torch.randn(2, 2, 3, 3))
    assert torch.equal(book.codes_KD, before)


def test_wrong_width_is_refused():
    with pytest.raises(ShapeError, match="latent_BDhw has shape"):
        Codebook(4, 2)(torch.randn(1, 3, 2, 2))
