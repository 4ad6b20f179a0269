"""Writes what the chart takes from the code: values with their defaults, their schema, and two lists.

python k8s/chart/make_values.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from udair_platform.deploy.entrance import NEEDED
from udair_platform.deploy.serving import APPLIED_LIVE
from udair_platform.deploy.settings import DeploySettings

CHART = Path(__file__).parent
_MADE = "# Written by k8s/chart/make_values.py from udair_platform/deploy. "


def files() -> dict[str, str]:
    """The text of each file, by its path in the chart."""
    schema = DeploySettings.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return {
        "values.yaml": _MADE
        + "host, serve_host, both images, the store's uri and a way in must be given.\n"
        + _values(DeploySettings),
        "values.schema.json": json.dumps(schema, indent=1, sort_keys=True) + "\n",
        "files/applied-live.yaml": _MADE + "Settings that the Serve application reads.\n" + _yaml(list(APPLIED_LIVE)),
        "files/ingress-classes.yaml": _MADE + "What controllers need to be told.\n" + _yaml(NEEDED),
    }


def _values(model: type[BaseModel]) -> str:
    lines = []
    for name, field in model.model_fields.items():
        value = _default(field)
        if value is not PydanticUndefined:
            lines += [f"# {field.description}"] if field.description else []
            lines.append(_yaml({name: value}).rstrip())
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> Any:
    """What a field is if nothing is said; of a section that must be there, what its fields are that need not."""
    kind = field.annotation
    if field.is_required() and isinstance(kind, type) and issubclass(kind, BaseModel):
        found = {name: _default(inner) for name, inner in kind.model_fields.items()}
        return {name: value for name, value in found.items() if value is not PydanticUndefined}
    value = field.get_default(call_default_factory=True)
    return value.model_dump() if isinstance(value, BaseModel) else value


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=120)


if __name__ == "__main__":
    for name, text in files().items():
        (CHART / name).write_text(text)
