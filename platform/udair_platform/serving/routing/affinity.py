"""Which replica answers for a domain: the one that has its adapter, and more of them as the domain gets busier."""

from __future__ import annotations

from typing import Any

from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

from udair_platform.serving.routing.order import ordered

_EVERY_REPLICA = 10_000


class AdapterAffinityRouter(ConsistentHashRouter):  # type: ignore[misc]
    """Sends a domain to the first replica of its order, and spreads a busy one over the next.

    A quiet domain is resident on one replica. Once that one has `spill` requests, the domain's next
    requests go to the less busy of two, with twice as many to the least busy of three, and so on: a
    busy domain is resident as often as it needs, and a thousand quiet ones thrash no bank. Ray's own
    router waits until a replica refuses a request, and has an order that a replica cannot know.
    """

    def initialize_state(self, **kwargs: Any) -> None:
        """Take `spill`; the rest is Ray's."""
        self._spill = int(kwargs.pop("spill", 4))
        if self._spill < 1:
            raise ValueError(f"spill is {self._spill}; expected 1 or more.")
        super().initialize_state(num_fallback_replicas=_EVERY_REPLICA, **kwargs)

    async def choose_replicas(self, candidate_replicas: list[Any], pending_request: Any = None) -> list[list[Any]]:
        """Ranks of replicas: of the first rank, Serve takes the one with the shortest queue."""
        ranks: list[list[Any]] = await super().choose_replicas(candidate_replicas, pending_request)
        domain = self._routing_key(pending_request)
        if not ranks or domain is None:
            return ranks
        by_id = {rank[0].replica_id.unique_id: rank[0] for rank in ranks}
        ring = [by_id[id] for id in ordered(domain, by_id)]
        busy = self._replica_queue_len_cache.get(ring[0].replica_id) or 0
        first = ring[: 1 + busy // self._spill]
        return [first, *([replica] for replica in ring[len(first) :])]
