"""One declaration of a recipe: what the API accepts, every attempt accepts, and the other way round."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

import udair_jobs
from udair.config import AlignmentConfig, RecipeConfig, TestTimeConfig
from udair.errors import ConfigError
from udair_jobs.runtime.command_line import nested_defaults
from udair_jobs.specs import AdaptSpec, recipe_of
from udair_platform.cli.lazy import Commands
from udair_platform.cli.running import _settings

CONF = Path(udair_jobs.__path__[0]) / "conf/sweep"
D = "/v1/domains/foggy-cams"


def _edges(settings: type[Any]) -> list[tuple[str, Any, bool]]:
    """Of every field: values at and just beyond its limits, and whether they may be."""
    found: list[tuple[str, Any, bool]] = []
    for item in fields(settings):
        limits, whole = item.metadata, get_type_hints(settings)[item.name] is int
        if "ge" in limits:
            low, high = limits["ge"], limits["le"]
            found += [(item.name, low, True), (item.name, high, True)]
            found += [(item.name, low - (1 if whole else abs(low) or 1e-9), False), (item.name, high * 2 + 1, False)]
        if "multiple_of" in limits:
            found.append((item.name, item.default + 1, False))
        for word in get_args(get_type_hints(settings)[item.name]):
            found += [(item.name, word, True), (item.name, f"{word}-", False)]
    return found


CASES = [((name,), value, good) for name, value, good in _edges(RecipeConfig)]
CASES += [(("alignment", name), value, good) for name, value, good in _edges(AlignmentConfig)]


@pytest.mark.parametrize(("path", "value", "good"), CASES)
def test_api_job_and_library_agree_on_every_limit_of_a_recipe(plane, path: tuple[str, ...], value: Any, good: bool):
    plane.domain()
    recipe: dict[str, Any] = {path[-1]: value}
    for step in reversed(path[:-1]):
        recipe = {step: recipe}

    answer = plane.client.post(f"{D}/jobs", json={"recipe": recipe})

    if good:
        assert answer.status_code == 202, answer.text
        assert answer.json()["recipe"] == recipe
        held = asdict(recipe_of(recipe))
        for step in path:
            held = held[step]
        assert held == value
        return
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/recipe/" + "/".join(path)
    with pytest.raises(ValueError):  # pydantic's, of the attempt's spec
        recipe_of(recipe)
    with pytest.raises(ConfigError):
        {"alignment": AlignmentConfig}.get(path[0], RecipeConfig)(**{path[-1]: value})


def test_every_field_of_the_settings_says_its_limits_and_what_it_is():
    for settings in (RecipeConfig, AlignmentConfig):
        for item in fields(settings):
            if is_dataclass(item.default):
                continue
            assert item.metadata["description"], item.name
            assert "ge" in item.metadata or get_args(get_type_hints(settings)[item.name]), item.name


def test_hydra_takes_its_defaults_from_the_declaration():
    assert nested_defaults(AdaptSpec)["recipe"] == asdict(RecipeConfig())


@pytest.mark.parametrize("settings", [RecipeConfig, AlignmentConfig], ids=lambda kind: kind.__name__)
def test_the_schema_of_the_api_says_what_the_declaration_says(plane, settings: type[Any]):
    said = plane.client.get("/v1/openapi.json").json()["components"]["schemas"][settings.__name__]["properties"]
    assert list(said) == [item.name for item in fields(settings)]
    for item in fields(settings):
        if is_dataclass(item.default):
            continue
        field, kind = said[item.name], get_type_hints(settings)[item.name]
        words = {"minimum": "ge", "maximum": "le", "multipleOf": "multiple_of"}
        assert {word: field[word] for word in words if word in field} == {
            word: float(item.metadata[ours]) for word, ours in words.items() if ours in item.metadata
        }
        assert (field["description"], field["default"]) == (item.metadata["description"], item.default)
        assert tuple(field.get("enum", ())) == get_args(kind)
        assert field["type"] == {int: "integer", float: "number"}.get(kind, "string")


@pytest.mark.parametrize("command", ["run", "demo"])
def test_the_command_line_says_what_the_declaration_says(command: str):
    declared = {item.name: item for item in fields(RecipeConfig)}
    found = [option for option in Commands()[command].params if option.name in declared]
    assert {"steps", "seed"} <= {option.name for option in found}
    for option in found:
        said = declared[option.name].metadata
        assert (option.min, option.max) == (said["ge"], said["le"]), option.name
        assert option.help.rstrip(".").lower() == said["description"].lower()
        assert option.default in (None, declared[option.name].default)
    for name, item in declared.items():
        hints = get_type_hints(RecipeConfig)
        if not is_dataclass(item.default):
            assert _settings([f"{name}={item.default}"]) == {name: hints[name](item.default)}, "--set takes them all"


@pytest.mark.parametrize(
    ("sweep", "settings"), [("recipe", RecipeConfig), ("alignment", AlignmentConfig), ("tta", TestTimeConfig)]
)
def test_a_sweep_tries_what_the_declaration_lets_it(sweep: str, settings: type[Any]):
    space = yaml.safe_load((CONF / f"{sweep}.yaml").read_text())["space"]
    for name, axis in space.items():
        for value in axis.get("choices", [axis.get("low"), axis.get("high")]):
            settings(**{name: value})  # raises ConfigError beyond a limit


def test_whoever_takes_a_recipe_takes_the_same_one(plane):
    """A job, a schedule, and a job that is shown: one schema. The console's button sends the default recipe."""
    schemas = plane.client.get("/v1/openapi.json").json()["components"]["schemas"]
    taken = {
        name: schema["properties"]["recipe"]
        for name, schema in schemas.items()
        if "recipe" in schema.get("properties", {})
    }
    assert {"JobCreate", "ScheduleBody"} <= set(taken)
    requests = [taken[name] for name in ("JobCreate", "ScheduleBody")]
    assert all("#/components/schemas/RecipeConfig" in json.dumps(one) for one in requests)


def test_an_unknown_field_is_refused_by_name(plane):
    plane.domain()
    answer = plane.client.post(f"{D}/jobs", json={"recipe": {"stepz": 1}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/recipe/stepz")
