"""`name=value` arguments: composed by Hydra for people, read literally where paths are involved."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined, to_jsonable_python

from udair.errors import UdairError
from udair_jobs.errors import JobError, JobsError
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.failures import exit_status, explain
from udair_jobs.runtime.logs import quiet
from udair_jobs.specs import Reason

if TYPE_CHECKING:
    from omegaconf import DictConfig

Spec = TypeVar("Spec", bound=BaseModel)

CONF = Path(__file__).parents[1] / "conf"


def run_job(
    name: str, model: type[Spec], arguments: Sequence[str] | None, job: Callable[[Spec, Cancellation], Reason | None]
) -> int:
    """Run the job that `conf/<name>.yaml` and the command line describe, and return the exit status.

    Args:
        name: Of the job.
        model: What its configuration is checked against.
        arguments: Overrides; None takes those of the process.
        job: Does the work of the composed spec and prints what came of it; returns why it failed.
    """
    quiet()
    config = compose(name, model, sys.argv[1:] if arguments is None else arguments)
    if config is None:
        return 0  # --help, --cfg: Hydra has answered
    cancellation = Cancellation()
    cancellation.install()
    try:
        with cancellation.armed():
            failure = job(parsed(model, to_plain(config)), cancellation)
    except (JobsError, UdairError) as error:  # the library's own, too: a damaged base model, a foreign adapter
        failure, detail = explain(error)
        print(f"{failure}: {detail}", file=sys.stderr)
        if failure == "INVALID_SPEC":
            return 2
    return cancellation.leave(exit_status(failure) if failure else 0)


def parsed(model: type[Spec], values: Mapping[str, Any]) -> Spec:
    """A spec from what was typed; nulls take their defaults.

    Raises:
        JobError: INVALID_SPEC with the fields that are wrong or missing.
    """
    try:
        return model.model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        raise JobError("INVALID_SPEC", complaints(error)) from error


def named(arguments: Sequence[str]) -> dict[str, str]:
    """The `name=value` arguments, values as they were typed."""
    return {name: value for name, equals, value in (item.partition("=") for item in arguments) if equals}


def compose(config_name: str, model: type[BaseModel], arguments: Sequence[str]) -> DictConfig | None:
    """`conf/<config_name>.yaml` with the overrides of `arguments`; None if only help was asked for.

    What is settings within settings (recipe, limits) takes its defaults from `model`, not from the file: the
    file's `settings` in its list of defaults. Hydra ends the process with its own message when an override is wrong.
    """
    import hydra
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="settings", node=nested_defaults(model))
    composed: list[DictConfig] = []

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)
    def keep(config: DictConfig) -> None:
        composed.append(config)

    before = sys.argv
    sys.argv = [before[0], *(_quoted(argument) for argument in arguments)]
    try:
        keep()
    finally:
        sys.argv = before
    return composed[0] if composed else None


def nested_defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Of a spec, the defaults of those fields that are settings themselves, as plain dictionaries."""
    defaults = {name: field.default for name, field in model.model_fields.items()}
    plain = {name: to_jsonable_python(value) for name, value in defaults.items() if value is not PydanticUndefined}
    return {name: value for name, value in plain.items() if isinstance(value, dict) and value}


def to_plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain dictionaries, interpolations resolved."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict), "a configuration file holds a mapping"
    return {str(key): value for key, value in plain.items()}


def complaints(error: ValidationError) -> str:
    """pydantic's complaints in one line: field, value, expectation."""
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"]) or "the document"
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            lines.append(f"{place} is unknown")
            continue
        value = "" if item["type"] == "missing" else f" is {item['input']!r:.80}"
        lines.append(f"{place}{value}: {item['msg']}")
    return "; ".join(lines)


def _quoted(argument: str) -> str:
    # Hydra's grammar refuses many characters that paths have; quoted, they mean themselves.
    name, equals, value = argument.partition("=")
    if not equals or not name.endswith("_uri") or value[:1] in ("'", '"', "") or value == "null":
        return argument
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'"
