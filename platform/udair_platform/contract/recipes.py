"""A recipe on the wire: those fields of `udair.config.RecipeConfig` that somebody set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from udair.config import RecipeConfig


class _SetFields:
    """Validates a mapping as a `RecipeConfig`, and keeps only what it names, with its types made right."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            lambda given, validate: _kept(validate(given), given),
            handler.generate_schema(RecipeConfig),
            serialization=core_schema.plain_serializer_function_ser_schema(dict),  # what is kept is no RecipeConfig
        )


def _kept(settings: Any, given: Any) -> dict[str, Any]:
    named = given if isinstance(given, Mapping) else vars(settings)
    values = {name: getattr(settings, name) for name in named}
    return {name: _kept(value, named[name]) if is_dataclass(value) else value for name, value in values.items()}


Recipe = Annotated[dict[str, Any], _SetFields()]
