import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from udair.adaptation.adapter import Adapter, adapter_digest, adapter_from_bytes, adapter_to_bytes, identity_adapter
from udair.adaptation.bank import AdapterBank
from udair.errors import AdapterError, ConfigError
from udair.models.modulation import stack


def _adapter(bundle, value: float) -> Adapter:
    identity = bundle.model.identity()
    return Adapter(bundle.digest, replace(identity, film_BF=identity.film_BF + value), {"candidate": "test"})


def test_round_trip_is_exact_and_small(bundle):
    adapter = _adapter(bundle, 0.25)
    data = adapter_to_bytes(adapter)
    loaded = adapter_from_bytes(data, bundle.digest, bundle.model)
    assert torch.equal(loaded.row.film_BF, adapter.row.film_BF)
    assert loaded.notes == {"candidate": "test"}
    assert len(data) < 2**20
    assert adapter_digest(data) == adapter_digest(adapter_to_bytes(loaded))


def test_identity_and_interpolation(bundle):
    assert identity_adapter(bundle.model, bundle.digest).is_identity
    adapter = _adapter(bundle, 0.5)
    assert not adapter.is_identity
    assert adapter.interpolate(0.0).is_identity
    assert torch.allclose(adapter.interpolate(0.5).row.film_BF, adapter.row.film_BF / 2)


def test_another_base_model_is_refused(bundle):
    with pytest.raises(AdapterError, match="Adapt the domain again"):
        adapter_from_bytes(adapter_to_bytes(_adapter(bundle, 0.1)), "f" * 64)


def test_an_adapter_of_the_other_intent_is_refused(bundle):
    data = adapter_to_bytes(replace(_adapter(bundle, 0.1), tone="restore"))
    assert adapter_from_bytes(data, bundle.digest).tone == "restore"
    assert adapter_from_bytes(data, bundle.digest, tone="restore").tone == "restore"
    with pytest.raises(AdapterError, match=r"made for tone 'restore'; it was asked to 'keep'.*adapt the domain again"):
        adapter_from_bytes(data, bundle.digest, tone="keep")
    with pytest.raises(AdapterError, match="names tone 'bright'; expected one of keep, restore"):
        adapter_from_bytes(adapter_to_bytes(replace(_adapter(bundle, 0.1), tone="bright")), bundle.digest)


def test_an_adapter_keeps_its_intent_between_identity_and_itself(bundle):
    adapter = replace(_adapter(bundle, 0.1), tone="restore")
    assert adapter.interpolate(0.5).tone == adapter.within(adapter.row).tone == "restore"


@pytest.mark.parametrize("cut", [0, 7, 100, -4])
def test_damage_is_refused(bundle, cut):
    data = adapter_to_bytes(_adapter(bundle, 0.1))
    with pytest.raises(AdapterError):
        adapter_from_bytes(data[:cut], bundle.digest)


@pytest.mark.parametrize("facts", ["[]", '"x"', "null", '{"notes": []}', "[" * 100_000, '{"a":' * 100_000])
def test_facts_that_are_no_object_are_damage(bundle, facts):
    tensors = load_tensors(adapter_to_bytes(_adapter(bundle, 0.1)))
    with pytest.raises(AdapterError, match="damaged"):
        adapter_from_bytes(save_tensors(tensors, {"udair": facts}), bundle.digest)


def test_nan_is_refused(bundle):
    with pytest.raises(AdapterError, match="NaN"):
        adapter_from_bytes(adapter_to_bytes(_adapter(bundle, float("nan"))), bundle.digest)


def test_a_bank_mixes_domains_and_evicts_the_least_recently_used(bundle):
    bank = AdapterBank(bundle.model, bundle.digest, slots=2)
    adapters = {name: _adapter(bundle, value) for name, value in (("a", 0.1), ("b", 0.2), ("c", 0.3))}
    bank.put("a", adapters["a"])
    bank.put("b", adapters["b"])
    image = torch.rand(3, 3, 32, 32)

    mixed = bundle.model(image, stack([bank.row("a"), bundle.model.identity(), bank.row("b")]))

    for index, row in enumerate((adapters["a"].row, None, adapters["b"].row)):
        alone = bundle.model(image[index : index + 1], row)
        assert float((mixed[index] - alone[0]).abs().max()) < 1e-5
    held = bank.row("a")
    bank.row("b")
    bank.put("c", adapters["c"])  # "a" is the oldest
    assert "a" not in bank
    assert "b" in bank
    assert bank.evictions == 1
    assert torch.equal(held.film_BF, adapters["a"].row.film_BF)  # a batch under way is not touched
    assert bank.row("a") is None
    bank.pinned = frozenset({"b"})
    bank.put("a", adapters["a"])
    bank.put("d", adapters["a"])
    assert "b" in bank  # pinned, and the oldest


def test_threads_that_evict_each_other_each_get_their_own_row(bundle):
    bank = AdapterBank(bundle.model, bundle.digest, slots=1)
    adapters = {str(number): _adapter(bundle, 0.01 * number) for number in range(8)}
    together = Barrier(len(adapters))

    def load(name: str) -> bool:
        wanted = adapters[name].row.film_BF
        together.wait(60)  # on a busy machine one thread would be done before the next begins
        found = []
        for _ in range(50):
            found += [bank.put(name, adapters[name]), bank.row(name)]
            time.sleep(0)
        return all(torch.equal(row.film_BF, wanted) for row in found if row is not None)

    with ThreadPoolExecutor(len(adapters)) as pool:
        assert all(pool.map(load, adapters))
    assert bank.evictions > 8


def test_a_bank_refuses_another_base_and_no_slots(bundle):
    with pytest.raises(ConfigError):
        AdapterBank(bundle.model, bundle.digest, slots=0)
    with pytest.raises(AdapterError):
        AdapterBank(bundle.model, "f" * 64).put("x", _adapter(bundle, 0.1))
