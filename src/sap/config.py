"""Options are declared once, as dataclass fields; schema, defaults, checks and docs come from them.

    @dataclass(frozen=True)
    class Options:
        density: float = option(0.2, "share of entries each client keeps", above=0, high=1)

`schema_of(Options)` is a JSON schema, `parse(Options, mapping, where="merge")` an instance or a
sentence with the path of the wrong key and what is allowed there.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

import jsonschema

from sap.errors import SapError
from sap.registry import unknown

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null", dict: "object"}
_WORDS = {
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "string": "a text",
    "null": "null",
    "array": "a list",
    "object": "a mapping",
}
_BOUNDS = {
    "low": "minimum",
    "high": "maximum",
    "above": "exclusiveMinimum",
    "below": "exclusiveMaximum",
    "choices": "enum",
    "min_items": "minItems",
    "pattern": "pattern",
}


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Of what has no options."""


def option(default: Any, help: str, **bounds: Any) -> Any:
    """Declare one option: its default, one line of help and, where it has them, its bounds.

    Bounds: `low`, `high` (inclusive), `above`, `below` (exclusive), `choices`, `pattern`, `min_items`.
    For a list the bounds other than `min_items` hold for each item.
    """
    unknown_bounds = set(bounds) - set(_BOUNDS)
    if unknown_bounds:
        raise TypeError(f"unknown bounds {sorted(unknown_bounds)}")
    metadata = {"help": help, "bounds": bounds}
    if isinstance(default, (list, dict)) or dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def schema_of(options: type) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of an options dataclass: types, bounds, defaults, help; no unknown keys."""
    hints = typing.get_type_hints(options)
    properties = {}
    for field in dataclasses.fields(options):
        schema = type_schema(hints[field.name], field.metadata.get("bounds", {}))
        schema["description"] = field.metadata.get("help", "")
        if not dataclasses.is_dataclass(hints[field.name]):
            schema["default"] = _plain(_default(field))
        properties[field.name] = schema
    return {"type": "object", "properties": properties, "additionalProperties": False}


def parse(options: type, values: Mapping[str, Any], where: str) -> Any:
    """Build `options` from a plain mapping; missing keys take their defaults.

    Raises SapError naming the key's path (`where` first), what is allowed and what was given.
    """
    validate(values, schema_of(options), where)
    return _build(options, values)


def validate(values: Any, schema: Mapping[str, Any], where: str = "") -> None:
    """Check `values` against a JSON schema and raise one readable SapError for the first mistake."""
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(values), key=lambda e: list(map(str, e.path)))
    if errors:
        raise SapError(_sentence(errors[0], where))


def with_defaults(values: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with every missing key filled from the schema's defaults, in the schema's order."""
    properties = schema.get("properties", {})
    filled = {}
    for name, sub in properties.items():
        if "properties" in sub:
            filled[name] = with_defaults(values.get(name) or {}, sub)
        elif name in values:
            filled[name] = values[name]
        elif "default" in sub:
            filled[name] = sub["default"]
    return filled | {name: value for name, value in values.items() if name not in properties}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def type_schema(hint: Any, bounds: Mapping[str, Any]) -> dict[str, Any]:
    """Schema of one type hint: scalars, `X | None`, tuple[X, ...], dict and nested dataclasses."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return schema_of(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        parts = [type_schema(arg, {}) for arg in args]
        merged: dict[str, Any] = {"type": [part["type"] for part in parts]}
        for part in parts:
            merged |= {key: value for key, value in part.items() if key != "type"}
        limits = _limits(bounds)
        if "enum" in limits and "null" in merged["type"]:
            limits["enum"] = [*limits["enum"], None]
        return merged | limits
    if origin is tuple:
        own = {name: value for name, value in bounds.items() if name == "min_items"}
        inner = {name: value for name, value in bounds.items() if name != "min_items"}
        return {"type": "array", "items": type_schema(args[0], inner)} | _limits(own)
    if origin is dict:
        return {"type": "object", "additionalProperties": type_schema(args[1], bounds)}
    return {"type": _TYPES[hint]} | _limits(bounds)


def _limits(bounds: Mapping[str, Any]) -> dict[str, Any]:
    return {_BOUNDS[name]: _plain(value) for name, value in bounds.items()}


def _build(options: type, values: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(options)
    given = {}
    for field in dataclasses.fields(options):
        hint = hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            given[field.name] = _build(hint, values.get(field.name) or {})
        elif field.name in values:
            value = values[field.name]
            given[field.name] = tuple(value) if isinstance(value, list) else value
    return options(**given)


def _path(where: str, parts: typing.Iterable[Any]) -> str:
    path = where
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else (f".{part}" if path else str(part))
    return path or "the config"


def _sentence(error: jsonschema.ValidationError, where: str) -> str:
    """Turn a jsonschema error into: path, what is allowed, what was given, next step."""
    path, rule, given = _path(where, error.path), error.validator, error.instance
    if rule == "additionalProperties" and isinstance(error.schema.get("properties"), dict):
        known = list(error.schema["properties"])
        wrong = next(name for name in given if name not in known)
        return f"{path}: {unknown('key', wrong, known)}"
    if rule == "type":
        kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        hint = ""
        if isinstance(given, str) and {"number", "integer"} & set(kinds):
            hint = _number_hint(given)
        allowed = " or ".join(_WORDS[kind] for kind in kinds)
        return f"{path} must be {allowed}, got {given!r} ({type(given).__name__}).{hint}"
    if rule == "enum":
        return f"{path}: {unknown('value', given, [str(value) for value in error.validator_value])}"
    words = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}
    if rule in words:
        return f"{path} must be {words[rule]} {error.validator_value}, got {given!r}."
    if rule == "minItems":
        return f"{path} must hold at least {error.validator_value} item(s), got {len(given)}."
    if rule == "pattern":
        return f"{path} must match {error.validator_value}, got {given!r}."
    return f"{path}: {error.message}"


def _number_hint(text: str) -> str:
    try:
        float(text)
    except ValueError:
        return ""
    mantissa, _, exponent = text.partition("e")
    if exponent and "." not in mantissa:
        return f" YAML reads {text} as a text: write {mantissa}.0e{exponent} or {float(text)!r}."
    return " Write the number without quotes."
