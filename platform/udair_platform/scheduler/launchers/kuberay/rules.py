"""Every permission that the launcher needs, as a Role names them; it works with these and no others.

The launcher reads no Secrets, makes no pods and no namespaces, and never touches a RayService. With a
shared namespace all of it is a Role there. With a namespace per tenant `WATCHED` is a ClusterRole,
since one watch covers all tenants, and the rest a Role in each tenant's namespace.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """Verbs on one resource; the core group is the empty one."""

    group: str
    resource: str
    verbs: tuple[str, ...]


WATCHED = (
    Rule("ray.io", "rayjobs", ("list", "watch")),
    Rule("", "pods", ("list", "watch")),
)
LAUNCHER_RULES = (
    *WATCHED,
    # Server-side apply is a patch, and the server asks for create as well where there is nothing yet.
    Rule("ray.io", "rayjobs", ("create", "patch", "delete")),
    Rule("", "events", ("list",)),
    Rule("", "pods/log", ("get",)),
)
