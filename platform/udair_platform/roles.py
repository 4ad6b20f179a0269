"""What a bearer may do: scopes, and roles as named sets of them, for keys and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

Scope = Literal["domain:read", "domain:write", "job:run", "version:approve", "restore:invoke", "metrics:read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
Role = Literal["viewer", "operator", "approver", "admin"]

# Nobody but an admin both submits jobs and lets versions serve.
ROLES: Mapping[Role, tuple[Scope, ...]] = {
    "viewer": ("domain:read",),
    "operator": ("domain:read", "domain:write", "job:run", "restore:invoke"),
    "approver": ("domain:read", "version:approve"),
    "admin": ("admin",),
}


def role_of(scopes: Sequence[str]) -> Role | None:
    """The role that consists of just these scopes, if there is one."""
    return next((role for role, held in ROLES.items() if set(held) == set(scopes)), None)
