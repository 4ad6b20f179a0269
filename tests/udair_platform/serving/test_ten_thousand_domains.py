"""One replica, ten thousand domains, and room for thirty-two of their adapters: the right pixels for each, in bounded memory."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from data_plane import BUNDLE, Plane, answering, apart, bearer, make_adapter, make_image, offline
from route_document import put_routes

from udair.data.images import decode, encode_png

DOMAINS, SHARDS, ADAPTERS, SLOTS, ASKED = 10_000, 256, 80, 32, 200


class Many(Plane):
    """Its domains lie in as many shards as the control plane puts them in."""

    def write(self, revoked=()) -> None:
        self._generation += 1
        shards: dict[str, dict] = {}
        for name, entry in self._routes.items():
            shards.setdefault(f"d-{zlib.crc32(name.encode()) % SHARDS:02x}", {})[name] = entry
        base = {"name": "udair-tiny", "digest": BUNDLE.digest, "uri": "packaged:tiny"}
        put_routes(
            self.store, {"generation": self._generation, "base_model": base, "revoked_keys": list(revoked)}, shards
        )
        self.known()


@pytest.mark.slow
def test_each_of_ten_thousand_domains_has_its_own_adapter(tmp_path):
    with answering(Many(tmp_path, slots=SLOTS)) as plane:
        adapters = [make_adapter(0.003 * (1 + number)) for number in range(ADAPTERS)]
        entries = [plane.entry(f"made-{number}", adapter) for number, adapter in enumerate(adapters)]
        for number in range(DOMAINS):
            plane._routes[f"acme/d{number}"] = entries[number % ADAPTERS]
        plane.write()
        image = make_image(7)
        wanted = [offline(image, adapter) for adapter in adapters]
        chosen = np.random.default_rng(0).choice(DOMAINS, ASKED, replace=False).tolist()

        def ask(number: int) -> int:
            url = f"{plane.url}/v1/domains/d{number}:restore"
            answer = httpx.post(url, content=encode_png(image), headers=bearer(), timeout=60)
            assert answer.headers["x-fallback"] == "none"
            return apart(decode(answer.content), wanted[number % ADAPTERS])

        with ThreadPoolExecutor(8) as pool:
            assert max(pool.map(ask, chosen)) <= 1
        bank = plane.backbone._adapters.bank
        assert len(bank) <= SLOTS
        assert bank.evictions >= ADAPTERS - SLOTS
        assert len({pixels.tobytes() for pixels in wanted}) == ADAPTERS, "no two of them restore alike"
