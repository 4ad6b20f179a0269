"""What every value on the wire has in common."""

from __future__ import annotations

from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict

M = TypeVar("M", bound=BaseModel)


class Value(BaseModel):
    """A value on the wire. A client ignores fields that a newer platform adds."""

    # Validators are built when the first value comes: a client that is only imported need not wait.
    model_config = ConfigDict(
        extra="ignore", frozen=True, defer_build=True, json_schema_serialization_defaults_required=True
    )

    @classmethod
    def describe(cls, entity: object, **more: Any) -> Self:
        """The value of `entity`: its fields under their own names, and `more` that it does not hold itself."""
        held = {name: getattr(entity, name) for name in cls.model_fields if name not in more and hasattr(entity, name)}
        return cls.model_validate(held | more)


def partial(model: type[M]) -> type[M]:
    """Make every field of a request's model optional: what is left out stays as it is (JSON merge patch)."""
    for field in model.model_fields.values():
        field.annotation = field.annotation | None  # type: ignore[assignment,operator]
        field.default, field.default_factory = None, None
    model.model_rebuild(force=True)
    return model
