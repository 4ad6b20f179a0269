"""One declaration of a recipe: what the API accepts, every attempt accepts, and the other way round."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pytest

from udair.config import AlignmentConfig, RecipeConfig
from udair.errors import ConfigError
from udair_jobs.runtime.command_line import nested_defaults
from udair_jobs.specs import AdaptSpec, recipe_of

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


def test_an_unknown_field_is_refused_by_name(plane):
    plane.domain()
    answer = plane.client.post(f"{D}/jobs", json={"recipe": {"stepz": 1}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/recipe/stepz")
