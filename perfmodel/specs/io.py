"""Reads specs from TOML: units converted, everything validated, all errors of a file at once."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.cols import homogenous_tuple_structure_factory, mapping_structure_factory
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from perfmodel.errors import InputError, Problem, nearest
from perfmodel.specs.quantity import How, Quantity
from perfmodel.units import conversion_factor, parse_bytes

Spec = TypeVar("Spec")
_LARGEST_FILE = 16 << 20
_QUANTITY_KEYS = ("value", "unit", "spread", "source", "how")


def read_bytes(path: Path) -> bytes:
    """Content of a file that a user named.

    Raises
    ------
    InputError
        If it cannot be read, or is too large to be what is wanted.
    """
    try:
        if path.exists() and not path.is_file():  # a device or pipe could go on for ever
            raise InputError(Problem("is no regular file", file=str(path)))
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise InputError(Problem("is larger than 16 MiB", file=str(path)))
        return content
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", file=str(path))) from None
    except ValueError:  # a name that no file can have
        raise InputError(Problem("is no file name", file=repr(str(path)))) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file, with one clear error if it is none."""
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start})"
        raise InputError(Problem(message, file=str(path))) from None
    return parse_toml(text, str(path))


def parse_toml(text: str, file: str) -> dict[str, Any]:
    """Parse TOML, with one clear error that names `file` if it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = Problem(f"is not valid TOML: {error}", file=file)
    except (RecursionError, ValueError):  # nesting or digits beyond what the parser takes
        problem = Problem("is not valid TOML: nested too deeply or a number too long", file=file)
    raise InputError(problem)


def read_json(path: Path) -> Any:
    """Parse a JSON file, with one clear error if it is none."""
    try:
        return json.loads(read_bytes(path))
    except json.JSONDecodeError as error:
        problem = Problem(f"is not valid JSON, or not all of it: {error}", file=str(path))
    except (UnicodeDecodeError, RecursionError, ValueError):
        problem = Problem("is not valid JSON", file=str(path))
    raise InputError(problem)


def _strict(kind: type, name: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"must be {name}, not {_describe(value)}")
        return value

    return hook


def _describe(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return repr(value)[:40]


def _structure_float(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, not {_describe(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("must be a finite number") from None
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number, not {number}")
    return number


def _structure_choice(value: Any, kind: type[StrEnum]) -> StrEnum:
    choices = ", ".join(f'"{choice}"' for choice in kind)
    if not isinstance(value, str) or value not in list(kind):
        hint = nearest(value, [choice.value for choice in kind])
        raise ValueError(f"must be one of {choices}, not {_describe(value)}{hint}")
    return kind(value)


def _structure_quantity(value: Any, unit: str) -> Quantity:
    if not isinstance(value, dict):
        raise ValueError(
            f"must be a table {{value, unit, spread, source, how}}, not {_describe(value)}"
        )
    complaints = [f"{key} is missing" for key in _QUANTITY_KEYS if key not in value]
    complaints += [
        f"{key} is no key of a quantity{nearest(key, _QUANTITY_KEYS)}"
        for key in value
        if key not in _QUANTITY_KEYS
    ]
    numbers = dict.fromkeys(("value", "spread"), 0.0)
    for key in numbers:
        if key in value:
            try:
                numbers[key] = _structure_float(value[key], float)
                if numbers[key] < 0:
                    raise ValueError("must not be negative")
            except ValueError as error:
                complaints.append(f"{key} {error}")
    factor = 1.0
    if "unit" in value:
        try:
            factor = conversion_factor(_strict(str, "a text")(value["unit"], str), unit)
        except ValueError as error:
            complaints.append(str(error))
    for key in ("source", "how"):
        if key in value and (not isinstance(value[key], str) or not value[key].strip()):
            complaints.append(f"{key} must be a text that is not empty")
    if isinstance(value.get("how"), str) and value["how"] not in list(How):
        complaints.append(f"how must be one of {', '.join(How)}, not {value['how'][:40]!r}")
    if not math.isfinite(numbers["value"] * factor + numbers["spread"] * factor):
        complaints.append("is too large")
    if complaints:
        raise ValueError("; ".join(complaints))
    return Quantity(
        value=numbers["value"] * factor,
        spread=numbers["spread"] * factor,
        unit=unit,
        source=value["source"],
        how=How(value["how"]),
    )


def _structure_size(value: Any, _: Any) -> int:
    if not isinstance(value, str):
        raise ValueError(f'must be a text with a unit such as "64 MiB", not {_describe(value)}')
    return parse_bytes(value)


def _origin(kind: Any) -> Any:
    return get_origin(kind)


def _is_fixed_tuple(kind: Any) -> bool:
    return _origin(kind) is tuple and get_args(kind)[-1] is not Ellipsis


def _is_open_tuple(kind: Any) -> bool:
    return _origin(kind) is tuple and get_args(kind)[-1] is Ellipsis


def _is_dict(kind: Any) -> bool:
    return _origin(kind) is dict


def _quantity_hook(unit: str) -> Callable[[Any, Any], Any]:
    return lambda value, _: _structure_quantity(value, unit)


def _numbers_hook(length: int) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> tuple[float, ...]:
        if not isinstance(value, list) or len(value) != length:
            raise ValueError(f"must be a list of {length} numbers, not {_describe(value)}")
        return tuple(_structure_float(number, float) for number in value)

    return hook


# A key of a file whose name or form differs from the attribute it becomes; quantities never do.
_SPECIAL_KEYS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "size_bytes": ("size", _structure_size),
    "memory_limit_bytes": ("memory_limit", _structure_size),
}

# Fields that hold a number of bytes, which a file says with a unit.
SIZES = frozenset(_SPECIAL_KEYS)


def _validated(
    attribute: attrs.Attribute[Any], structure: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    """Run a field's own validator at once, so that the errors of all fields are seen together."""

    def hook(value: Any, kind: Any) -> Any:
        structured = structure(value, kind)
        if attribute.validator is not None and attribute.name != "correlation":
            attribute.validator(None, attribute, structured)
        return structured

    return hook


@cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(int, _strict(int, "a whole number"))
    converter.register_structure_hook(str, _strict(str, "a text"))
    converter.register_structure_hook(bool, _strict(bool, "true or false"))
    converter.register_structure_hook(float, _structure_float)
    converter.register_structure_hook(StrEnum, _structure_choice)

    def only(container: type, name: str, inner: Callable[[Any, Any], Any]) -> Any:
        def hook(value: Any, kind: Any) -> Any:
            if not isinstance(value, container):
                raise ValueError(f"must be {name}, not {_describe(value)}")
            return inner(value, kind)

        return hook

    def structure_spec(kind: type) -> Any:
        attrs.resolve_types(kind)
        overrides: dict[str, Any] = {}
        for attribute in attrs.fields(kind):
            if not attribute.metadata.get("in_files", True):
                overrides[attribute.name] = override(omit=True)
            elif attribute.type is Quantity:
                inner = _quantity_hook(attribute.metadata["unit"])
                overrides[attribute.name] = override(struct_hook=_validated(attribute, inner))
            elif attribute.name in _SPECIAL_KEYS:
                key, inner = _SPECIAL_KEYS[attribute.name]
                overrides[attribute.name] = override(
                    rename=key, struct_hook=_validated(attribute, inner)
                )
            else:
                overrides[attribute.name] = override(
                    struct_hook=_validated(attribute, converter.structure)
                )
        plain: Any = make_dict_structure_fn(
            kind, converter, _cattrs_forbid_extra_keys=True, **overrides
        )
        return only(dict, "a table", plain)

    def structure_numbers(kind: Any) -> Any:
        return _numbers_hook(len(get_args(kind)))

    def structure_list(kind: Any) -> Any:
        return only(list, "a list", homogenous_tuple_structure_factory(kind, converter))

    def structure_dict(kind: Any) -> Any:
        return only(dict, "a table", mapping_structure_factory(kind, converter))

    converter.register_structure_hook_factory(attrs.has, structure_spec)
    converter.register_structure_hook_factory(_is_fixed_tuple, structure_numbers)
    converter.register_structure_hook_factory(_is_open_tuple, structure_list)
    converter.register_structure_hook_factory(_is_dict, structure_dict)
    return converter


def _problems(error: BaseException, file: str, path: str = "") -> Iterator[Problem]:
    """Flatten cattrs' nested errors into one problem per key."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        for inner in error.exceptions:
            yield from _problems(inner, file, _extend(path, inner))
    elif isinstance(error, ForbiddenExtraKeysError):
        known = sorted(_keys_of(error.cl))
        for key in sorted(error.extra_fields, key=str):
            message = f"is not known here{nearest(key, known)}; known are {', '.join(known)}"
            yield Problem(message, file=file, key=f"{path}{key}")
    elif isinstance(error, KeyError):
        yield Problem("is missing", file=file, key=f"{path}{error.args[0]}".rstrip("."))
    else:
        # attrs' own validators raise with the attribute and value behind the message.
        message = str(error.args[0]) if error.args else type(error).__name__
        yield Problem(message, file=file, key=path.rstrip("."))


def _key_of(name: str, kind: Any) -> str:
    return name if kind is Quantity else _SPECIAL_KEYS.get(name, (name,))[0]


def key_of(attribute: attrs.Attribute[Any]) -> str:
    """The key that a field of a spec has in its file."""
    return _key_of(attribute.name, attribute.type)


def structure_field(attribute: attrs.Attribute[Any], value: Any) -> Any:
    """What one field of a spec becomes from what a file would say.

    Raises
    ------
    ValueError
        If the field cannot hold it.
    """
    special = _SPECIAL_KEYS.get(attribute.name)
    structure_one = special[1] if special else _converter().structure
    return _validated(attribute, structure_one)(value, attribute.type)


def _keys_of(kind: type) -> list[str]:
    return [
        _key_of(attribute.name, attribute.type)
        for attribute in attrs.fields(kind)
        if attribute.metadata.get("in_files", True)
    ]


def _extend(path: str, error: BaseException) -> str:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            if isinstance(error, KeyError):
                return path
            return f"{path}{_key_of(note.name, note.type)}."
        if isinstance(note, IterableValidationNote):
            return f"{path.rstrip('.')}[{note.index}]."
    return path


def to_table(value: Any) -> Any:
    """A spec as the tables, lists and texts that TOML and JSON know; `structure` reads it back."""
    if attrs.has(type(value)):
        table = {}
        for attribute in attrs.fields(type(value)):
            inner = getattr(value, attribute.name)
            if inner is None:
                continue
            if attribute.name in _SPECIAL_KEYS and not isinstance(inner, Quantity):
                table[_SPECIAL_KEYS[attribute.name][0]] = f"{inner} B"
            else:
                table[attribute.name] = to_table(inner)
        return table
    if isinstance(value, dict):
        return {key: to_table(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [to_table(inner) for inner in value]
    return value.value if isinstance(value, StrEnum) else value


def structure(kind: type[Spec], table: Mapping[str, Any], file: str) -> Spec:
    """Turn a parsed table into a spec.

    Raises
    ------
    InputError
        With every problem of the table, each with `file` and key.
    """
    try:
        return _converter().structure(table, kind)
    except RecursionError:
        raise InputError(Problem("is nested too deeply", file=file)) from None
    except Exception as error:  # whatever a file contains, no traceback
        raise InputError(list(_problems(error, file))) from None
