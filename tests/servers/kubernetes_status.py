"""What a Kubernetes API server says when it refuses: errors with the bodies that real ones send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass
class StatusError(Exception):
    """An answer of kind Status."""

    code: int
    reason: str
    message: str
    details: Object = field(default_factory=dict)

    def body(self) -> Object:
        """As JSON goes over the wire."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def named(group: str, plural: str) -> str:
    """How messages name a resource."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> StatusError:
    details = {"name": name, "group": group, "kind": plural}
    return StatusError(404, "NotFound", f'{named(group, plural)} "{name}" not found', details)


def exists(group: str, plural: str, name: str) -> StatusError:
    details = {"name": name, "group": group, "kind": plural}
    return StatusError(409, "AlreadyExists", f'{named(group, plural)} "{name}" already exists', details)


def stale(group: str, plural: str, name: str) -> StatusError:
    text = (
        f'Operation cannot be fulfilled on {named(group, plural)} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return StatusError(409, "Conflict", text, {"name": name, "group": group, "kind": plural})


def forbidden(group: str, plural: str, name: str, why: str, cause: Object | None = None) -> StatusError:
    details = {"name": name, "group": group, "kind": plural, **({"causes": [cause]} if cause else {})}
    who = f' "{name}"' if name else ""
    return StatusError(403, "Forbidden", f"{named(group, plural)}{who} is forbidden: {why}", details)


def terminating(group: str, plural: str, name: str, namespace: str) -> StatusError:
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    return forbidden(group, plural, name, why, cause)


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def invalid(kind: str, group: str, name: str, causes: list[tuple[str, str]]) -> StatusError:
    """422 with one (field, text) for each thing that is wrong."""
    said = [f"{where}: {text}" for where, text in causes]
    text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    listed = [{"reason": "FieldValueInvalid", "message": text, "field": where} for where, text in causes]
    of = f"{kind}.{group}" if group else kind
    details = {"name": name, "group": group, "kind": kind, "causes": listed}
    return StatusError(422, "Invalid", f'{of} "{name}" is invalid: {text}', details)


def apply_conflict(conflicts: list[tuple[str, str, str]]) -> StatusError:
    """409 of server-side apply, with (manager, version, path) of each field that somebody else owns."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}" using {version}', "field": path}
        for manager, version, path in conflicts
    ]
    said = "; ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    noun = "conflict" if len(causes) == 1 else "conflicts"
    return StatusError(409, "Conflict", f"Apply failed with {len(causes)} {noun}: {said}", {"causes": causes})


def expired(asked: int, oldest: int) -> StatusError:
    return StatusError(410, "Expired", f"too old resource version: {asked} ({oldest})")
