"""Versions that the gate could not judge wait for somebody's approval, and not for ever."""

from __future__ import annotations

from datetime import datetime, timedelta

from udair_platform.entities.version import AdapterVersion, VersionState
from udair_platform.registry import versions
from udair_platform.state.repositories import State


def overdue(state: State, *, timeout_s: float, now: datetime) -> list[AdapterVersion]:
    """Some of the versions that have waited longer than `timeout_s`; none when all is well."""
    return state.versions.unapproved(before=now - timedelta(seconds=timeout_s))


def refuse(state: State, version: AdapterVersion, *, timeout_s: float, now: datetime, actor: str) -> AdapterVersion:
    """Let a version that nobody approved be REJECTED, with its event. Raises StaleWrite."""
    cause = f"not approved within {timeout_s:g} s"
    return versions.change(state, version, VersionState.REJECTED, now=now, actor=actor, cause=cause)
