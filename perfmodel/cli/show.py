"""``perfmodel show``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from perfmodel.cli.common import print_json
from perfmodel.errors import InputError, Problem
from perfmodel.specs import catalog
from perfmodel.specs.io import to_table
from perfmodel.specs.quantity import Quantity

_MECHANISM = "mechanism"
_LOADERS: dict[str, Callable[[str], Any]] = {
    "machine": catalog.load_machine,
    "device": catalog.load_device,
    "scenario": catalog.load_scenario,
}


def show(name: str | None = None, *, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """List what is installed, or show one machine, device or scenario with all its sources.

    Parameters
    ----------
    name
        Name or path of a machine, device or scenario; or mechanism: what every caller in the kernel
        does with a swapped-out 2 MiB range.
    json
        Print one JSON document.
    """
    if name is None:
        _list(json=json)
    elif name == _MECHANISM:
        from perfmodel.cli.mechanism import show_mechanism

        show_mechanism(json=json)
    elif json:
        print_json(to_table(_find(name)))
    else:
        sys.stdout.write("\n".join(_lines(_find(name))) + "\n")


def _list(*, json: bool) -> None:
    found = {
        f"{kind}s": {n: load(n).description for n in catalog.names(kind)}
        for kind, load in _LOADERS.items()
    }
    if json:
        print_json(found)
        return
    lines = []
    for kinds, descriptions in found.items():
        lines.append(kinds)
        lines += [f"  {n:26s} {description}" for n, description in descriptions.items()]
    lines += [_MECHANISM, "  what every caller does with a swapped-out 2 MiB range"]
    sys.stdout.write("\n".join(lines) + "\n")


def _find(name: str) -> Any:
    if name.endswith(".toml") or "/" in name:
        return _by_path(name)
    for kind, load in _LOADERS.items():
        if name in catalog.names(kind):
            return load(name)
    known = ", ".join(known for kind in _LOADERS for known in catalog.names(kind))
    raise InputError(Problem(f"{name[:80]!r} is not installed; installed: {known}", key="name"))


def _by_path(name: str) -> Any:
    """The spec in a file, of whichever kind its keys fit best."""
    problems: list[InputError] = []
    for load in _LOADERS.values():
        try:
            return load(name)
        except InputError as error:
            problems.append(error)
    raise min(problems, key=lambda error: len(error.problems))


def _lines(spec: Any, indent: str = "") -> Iterator[str]:
    for attribute in attrs.fields(type(spec)):
        value = getattr(spec, attribute.name)
        if _is_default(attribute, value):
            continue
        if isinstance(value, Quantity):
            spread = f" +- {value.spread:.4g}" if value.spread else ""
            unit = "" if value.unit == "1" else f" {value.unit}"
            number = f"{value.value:.4g}{spread}{unit}"
            yield f"{indent}{attribute.name:30s} {number:24s} {value.how:10s} {value.source}"
        elif attrs.has(type(value)):
            yield f"{indent}{attribute.name}"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield f"{indent}{attribute.name} {key}"
                yield from _lines(inner, indent + "  ")
        elif attribute.name == "correlation":
            continue
        elif isinstance(value, tuple):
            for inner in value:
                yield f"{indent}{attribute.name:30s} {_short(inner)}"
        elif value is not None:
            yield f"{indent}{attribute.name:30s} {value}"


def _short(value: Any) -> str:
    if not attrs.has(type(value)):
        return str(value)
    pairs = (
        (attribute.name, getattr(value, attribute.name))
        for attribute in attrs.fields(type(value))
        if not _is_default(attribute, getattr(value, attribute.name))
    )
    return ", ".join(f"{name} {inner}" for name, inner in pairs)


def _is_default(attribute: attrs.Attribute[Any], value: Any) -> bool:
    """Whether a file that does not say it means the same."""
    default: Any = attribute.default
    if hasattr(default, "factory"):
        default = default.factory()
    return bool(value == default)
