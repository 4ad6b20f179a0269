"""A tenant that uses its budget: replicas that report what they restored, and what the API says of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from udair_platform.services import budgets

DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
TURN_S = 11  # more than reports and budgets are looked at


def served(
    plane, images: int, forward_s: float = 0.0, *, replica: str = "r1", tenant: str = "acme", drift=None
) -> None:
    """A replica reports what it has restored since it began, and the reconciler looks."""
    name = f"{tenant}/foggy-cams"
    report = {
        "replica": replica,
        "time": plane.clock().timestamp(),
        "began_time": plane.clock().timestamp() - 60,
        "domains": {name: {"drift": drift, "usage": {"images": images, "pixels": 1, "forward_s": forward_s}}},
        "tenants": {tenant: {"images": images, "forward_s": forward_s}},
    }
    plane.store.put(f"serving/reports/{replica}.json", json.dumps(report).encode())
    turn(plane)


def turn(plane) -> None:
    plane.clock.forward(TURN_S)
    plane.reconciler.tick()


def put(plane, **budget) -> dict:
    reply = plane.client.put("/v1/budget", json=budget)
    assert reply.status_code == 200, reply.text
    return reply.json()


def got(plane, **headers) -> dict:
    return plane.client.get("/v1/budget", headers=headers).json()


def used(plane) -> dict[str, float]:
    return {item["item"]: item["used"] for item in got(plane)["items"]}


def told(plane, *kinds: str) -> list[dict]:
    events = plane.client.get("/v1/events?page_size=1000").json()["events"]
    return [event for event in events if event["kind"] in (kinds or (budgets.WARNED, budgets.SPENT))]


def submit(plane, name: str = "foggy-cams"):
    return plane.client.post(f"/v1/domains/{name}/jobs", json={})
