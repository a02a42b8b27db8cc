"""Frozen settings: defaults in code, then a YAML file, then ``key=value`` overrides; nothing unknown passes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from videoalign.errors import ConfigError, did_you_mean

_KIND = re.compile(r"(constrained-|literal\[|function-|nullable\[|list\[|tuple\[|dict\[).*|float|int|str|bool")
"""What pydantic adds to the name of a setting that takes values of several kinds."""

_EACH = "*"
"""Stands for the number of a member of a list, in the name of a setting."""


class Config(BaseModel):
    """Base of every settings class: frozen, unknown keys refused, each field documented by the string below it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _keep_other_defaults(cls, values: Any) -> Any:
        """A group of settings that is given in part keeps the defaults that this class has for the rest of it; true and
        false are no numbers."""
        if not isinstance(values, dict):
            return values
        for name in cls.model_fields.keys() & values.keys():
            if _is_flag(cls.model_fields[name].annotation, values[name]):
                raise ValueError(f"setting '{name}' got {json.dumps(values[name])}, wanted a number")
        groups = {name: field.default for name, field in cls.model_fields.items() if isinstance(field.default, Config)}
        return values | {name: _fill(groups[name], values[name]) for name in groups.keys() & values.keys()}

    @classmethod
    def load(cls, file: str | Path | None = None, overrides: list[str] | tuple[str, ...] = ()) -> Self:
        """Settings from a YAML file and dotted ``key=value`` overrides, the latter winning.

        Raises:
            ConfigError: file missing or not YAML, unknown key (with the nearest known one), value refused.
        """
        values = _read_yaml(Path(file)) if file is not None else {}
        for override in overrides:
            _apply(values, override)
        return cls.build_from(values, source=str(file) if file is not None else "overrides")

    @classmethod
    def build_from(cls, values: dict[str, Any], source: str = "settings") -> Self:
        """Settings from a plain dictionary; see `load` for the errors."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{source}: {_explain(cls, error)}") from None


def _is_flag(kind: Any, value: Any) -> bool:
    """Whether a value is, or holds, true or false where its setting takes numbers."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
    if not any(isinstance(one, bool) for one in inside):
        return False
    kinds = list(_kinds(kind))
    return bool({int, float}.intersection(kinds)) and not {bool, Any}.intersection(kinds)


def _kinds(kind: Any) -> Iterator[Any]:
    """The kinds that a type is made of, as int and str of ``list[int | str]``."""
    if isinstance(kind, bool):  # in a Literal
        yield bool
    elif isinstance(kind, type) and not get_args(kind):
        yield kind
    elif kind is Any:
        yield Any
    for part in get_args(kind):
        yield from _kinds(part)


def _fill(default: Config, given: Any) -> Any:
    """What was given for a group of settings, the rest of it as in ``default``."""
    if not isinstance(given, dict):
        return given
    rest = {name: getattr(default, name) for name in type(default).model_fields}
    filled = {name: _fill(rest[name], v) if isinstance(rest.get(name), Config) else v for name, v in given.items()}
    return rest | filled


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = _parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config: cannot read {file}: {error.strerror}. Give the path of a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: must hold 'key: value' lines; got {type(values).__name__}.")
    return values


def _parse(text: str) -> Any:
    """JSON is YAML too, but its own reader joins the halves of an escaped emoji, in a hundredth of the time."""
    try:
        return json.loads(text, object_pairs_hook=_different)
    except ValueError:
        return yaml.load(text, _Yaml)


def _different(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError
    return values


class _Yaml(yaml.SafeLoader):  # type: ignore[misc]
    """A name that stands twice is a mistake, not a way to take the first back."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"'{name}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override '{override}' must look like key=value.")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"override '{override}': '{parent}' is a value, not a group of settings.")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        values[last] = text


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    named = _setting(first)
    path = named or cls.__name__
    if first["type"] == "extra_forbidden":
        return f"unknown setting '{path}'.{_nearest_settings(cls, path)}"
    if first["type"] == "missing":
        return f"setting '{path}' is required; set it with {path}=<value>."
    if first["type"] == "model_type":
        way = f"wanted settings of its own, by name. Set them with {path}.<name>=<value>."
        return f"setting '{path}' got {first['input']!r}: {way}"
    if first["type"] == "value_error" and isinstance(first["input"], dict | BaseModel):
        told = first["msg"].removeprefix("Value error, ").rstrip(".")
        return f"{named}: {told}." if named else f"{told}."  # a group as a whole names the settings that it means
    got, wanted = first.get("input"), " or ".join(dict.fromkeys(one["msg"] for one in errors if _setting(one) == named))
    listed = re.split(r"\.\d+", path)[0]
    way = f"{path}=<value>" if listed == path else f"{listed}=[<values>]"
    return f"setting '{path}' got {got!r}: {wanted}. Set it with {way}."


def _setting(error: Any) -> str:
    """The setting that an error is about, without which of its kinds of values did not fit."""
    return ".".join(str(part) for part in error["loc"] if not _KIND.fullmatch(str(part)))


def _nearest_settings(cls: type[BaseModel], path: str) -> str:
    """What an unknown setting may be meant for: one of its name in another group, else a near one of its own group."""
    known = list(_setting_names(cls))
    group, _, name = re.sub(r"\.\d+", f".{_EACH}", path).rpartition(".")
    elsewhere = [f"'{one}'" for one in known if one.rpartition(".")[2] == name and _EACH not in one]
    if elsewhere:
        return f" Did you mean {' or '.join(elsewhere)}?"
    return did_you_mean(name, {one.rpartition(".")[2] for one in known if one.rpartition(".")[0] == group})


def _setting_names(cls: type[BaseModel]) -> Iterator[str]:
    """Every setting by its path, as ``fit.num_steps``; of what is in a list, as ``examples.*.text``."""
    for name, field in cls.model_fields.items():
        yield name
        origin = get_origin(field.annotation)
        inside = name if origin in (None, Union, UnionType) else f"{name}.{_EACH}"
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from (f"{inside}.{inner}" for inner in _setting_names(kind))
