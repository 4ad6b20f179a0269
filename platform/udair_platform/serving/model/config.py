"""How a replica of the backbone is set up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BackboneConfig:
    """How a replica is set up; every node reads the same.

    Attributes:
        base_uri, base_digest: The bundle, and the digest that it must have: ``packaged:NAME``, a folder of every
            node, or ``s3://…`` (of the store's endpoint), which every replica fetches for itself.
        store_uri, store_endpoint_url: The platform's store: routes, adapters, reports.
        cache: Folder for copies of routes and adapters; a temporary one if None.
        slots: Adapters resident on the device.
        budget_pixels: Pixels of one step; 0 picks it by device.
        max_waiting: Images that may wait before more are refused.
        timeout_s: Longest that one image may take.
        threads: CPU threads of the forward pass; 0 leaves torch's default.
        poll_s: Seconds after which a promotion is visible.
        window_s: Length of a drift window.
        report_s: Seconds between reports to the store; 0 writes none.
        metrics_names: Label metrics by domains' names, not by digests of them.
    """

    base_uri: str
    base_digest: str
    store_uri: str
    store_endpoint_url: str | None = None
    cache: str | None = None
    slots: int = 1024
    budget_pixels: int = 0
    max_waiting: int = 256
    timeout_s: float = 60.0
    threads: int = 0
    poll_s: float = 1.0
    window_s: float = 3600.0
    report_s: float = 30.0
    metrics_names: bool = False
