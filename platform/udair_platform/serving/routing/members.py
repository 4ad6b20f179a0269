"""Which replicas there are, as a replica of Ray Serve hears it: at the moment when requests are sent otherwise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

_HEARD_WITHIN_S = 1.0


class Members:
    """The replicas of this replica's deployment that take requests, by their ids.

    Serve's controller says it to routers and to this, at the same time. A replica that begins is told of the others
    before it is one of them; the first of all is told nothing until it is.

    Args:
        on_change: Called with each new set, in a thread of this object.
    """

    def __init__(self, on_change: Callable[[frozenset[str]], None]) -> None:
        from ray import serve
        from ray.serve._private.common import DeploymentTargetInfo
        from ray.serve._private.long_poll import LongPollClient, LongPollNamespace
        from ray.serve.context import _get_global_client

        deployment = serve.get_replica_context().replica_id.deployment_id
        heard = threading.Event()

        def told(targets: DeploymentTargetInfo) -> None:
            on_change(frozenset(one.replica_id.unique_id for one in targets.running_replicas))
            heard.set()

        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="members", daemon=True).start()
        client: Any = _get_global_client()
        listeners: Any = {(LongPollNamespace.DEPLOYMENT_TARGETS, deployment): told}
        self._client: Any = LongPollClient(
            client._controller, listeners, call_in_event_loop=self._loop, client_id=f"udair:{deployment}"
        )
        heard.wait(_HEARD_WITHIN_S)

    def close(self) -> None:
        """Hear no more."""
        self._client.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
