"""``perfmodel show``."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from perfmodel.cli.common import print_json
from perfmodel.errors import InputError, Problem, nearest
from perfmodel.specs import catalog
from perfmodel.specs.io import to_table
from perfmodel.specs.quantity import How, Quantity
from perfmodel.units import format_bytes

_MECHANISM = "mechanism"
_WIDTH = 100
_NAMES = 34
_LOADERS: dict[str, Callable[[str], Any]] = {
    "machine": catalog.load_machine,
    "device": catalog.load_device,
    "scenario": catalog.load_scenario,
    "study": catalog.load_study,
}
_PLURALS = {"study": "studies"}


def show(
    name: str | None = None,
    *,
    influence: Annotated[bool, Parameter(negative=())] = False,
    scenario: str = "thp-roundtrip",
    device: str = "zram-lz4",
    agreement: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """List what is installed, or show one machine, device, scenario or study with all its sources.

    Parameters
    ----------
    name
        Name or path of a machine, device or scenario; or mechanism: what every caller in the kernel
        does with a swapped-out 2 MiB range.
    influence
        Of a machine: which of its numbers the cost of falling back to PTEs hangs on, and what to
        measure next.
    scenario, device
        With --influence: what that is about.
    agreement
        Name or path of another profile of the same machine, to set its prices beside.
    json
        Print one JSON document.
    """
    if influence or agreement is not None:
        _show_calibration(
            name, influence=influence, scenario=scenario, device=device, other=agreement, json=json
        )
    elif name is None:
        _list(json=json)
    elif name == _MECHANISM:
        from perfmodel.cli.mechanism import show_mechanism

        show_mechanism(json=json)
    else:
        spec = _find(name)
        found = list(_quantities(spec))
        if json:
            print_json(to_table(spec) | ({"summary": _summary(found)} if found else {}))
        else:
            lines = [*_lines(spec), *(_summary_lines(found) if found else ())]
            sys.stdout.write("\n".join(lines) + "\n")


def _show_calibration(
    name: str | None,
    *,
    influence: bool,
    scenario: str,
    device: str,
    other: str | None,
    json: bool,
) -> None:
    """What the answer hangs on, or two profiles beside each other."""
    from perfmodel.calibrate.agreement import agree
    from perfmodel.cli.common import pick_machine, say_if_compiling
    from perfmodel.report.calibration import agreement_lines, influence_lines
    from perfmodel.studies.influence import influence as influence_of

    if influence and other is not None:
        raise InputError(Problem("choose one of --influence and --agreement", key="--influence"))
    machine = pick_machine(name)
    if other is not None:
        shared = agree(machine, catalog.load_machine(other))
        document, lines = shared.to_json(), agreement_lines(shared)
    else:
        say_if_compiling()
        loaded = catalog.load_scenario(scenario)
        found = influence_of(loaded, machine, catalog.load_device(device, machine))
        document, lines = found.to_json(), influence_lines(found)
    if json:
        print_json(document)
    else:
        sys.stdout.write("\n".join(lines) + "\n")


def _list(*, json: bool) -> None:
    found = {
        _PLURALS.get(kind, f"{kind}s"): {n: load(n).description for n in catalog.names(kind)}
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
    known = [known for kind in _LOADERS for known in catalog.names(kind)]
    message = f"{name[:80]!r} is not installed{nearest(name, known)}; installed: {', '.join(known)}"
    raise InputError(Problem(message, key="name"))


def _by_path(name: str) -> Any:
    """The spec in a file, of whichever kind its keys fit best."""
    problems: list[InputError] = []
    for load in _LOADERS.values():
        try:
            return load(name)
        except InputError as error:
            problems.append(error)
    raise min(problems, key=lambda error: len(error.problems))


def _quantities(spec: Any, path: str = "") -> Iterator[tuple[str, Quantity]]:
    """Every number of a spec with its dotted path, as error messages write it."""
    if isinstance(spec, Quantity):
        yield path, spec
    elif isinstance(spec, dict):
        for key, value in spec.items():
            yield from _quantities(value, f"{path}.{key}")
    elif isinstance(spec, tuple):
        for index, value in enumerate(spec):
            yield from _quantities(value, f"{path}[{index}]")
    elif attrs.has(type(spec)):
        for attribute in attrs.fields(type(spec)):
            inner = f"{path}.{attribute.name}".lstrip(".")
            yield from _quantities(getattr(spec, attribute.name), inner)


def _summary(found: list[tuple[str, Quantity]]) -> dict[str, Any]:
    """How many numbers are known how, and which of the translation hardware are assumed."""
    counts = Counter(quantity.how for _, quantity in found)
    return {
        "quantities": {str(how): counts[how] for how in How},
        "gaps": [
            path
            for path, quantity in found
            if path.startswith("translation.") and quantity.how is How.ASSUMED
        ],
    }


def _summary_lines(found: list[tuple[str, Quantity]]) -> Iterator[str]:
    summary = _summary(found)
    counted = ", ".join(f"{count} {how}" for how, count in summary["quantities"].items())
    yield ""
    yield f"{len(found)} numbers: {counted}"
    if summary["gaps"]:
        yield f"{len(summary['gaps'])} gaps, numbers of the translation hardware that are assumed:"
        yield from (f"  {path}" for path in summary["gaps"])


def _lines(spec: Any, indent: str = "") -> Iterator[str]:
    for attribute in attrs.fields(type(spec)):
        name, value = attribute.name, getattr(spec, attribute.name)
        if _is_default(attribute, value) or value is None or name == "correlation":
            continue
        if isinstance(value, Quantity):
            yield from _number(name, value, indent)
        elif attrs.has(type(value)):
            yield f"{indent}{name}"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield f"{indent}{name} {key}"
                yield from _lines(inner, indent + "  ")
        elif isinstance(value, tuple):
            yield from _members(name, value, indent)
        else:
            yield from _text(name, str(value), indent)


def _text(name: str, text: str, indent: str) -> Iterator[str]:
    """A text beside its name."""
    lead, margin = f"{indent + name:{_NAMES}s} ", " " * (_NAMES + 1)
    yield from _wrapped(text, lead, margin) or [lead.rstrip()]


def _wrapped(text: str, lead: str, margin: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=lead, subsequent_indent=margin, break_on_hyphens=False
    )


def _number(name: str, quantity: Quantity, indent: str) -> Iterator[str]:
    """Value, unit and how it is known, and below it where it comes from."""

    def plain(value: float) -> str:
        if quantity.unit == "byte":
            return format_bytes(int(value))
        return f"{value:.4g}" if value < 1000 else f"{value:.0f}"

    number = plain(quantity.value) + (f" +- {plain(quantity.spread)}" if quantity.spread else "")
    unit = "" if quantity.unit in ("1", "byte") else f" {quantity.unit}"
    yield f"{indent + name:{_NAMES}s} {number + unit:26s} {quantity.how}"
    margin = indent + " " * 4
    yield from _wrapped(quantity.source, margin, margin)


def _members(name: str, members: tuple[Any, ...], indent: str) -> Iterator[str]:
    """A list: a block for each member that holds numbers, a line for each other one."""
    if not any(attrs.has(type(member)) or " " in str(member) for member in members):
        yield from _text(name, ", ".join(map(str, members)), indent)
        return
    for index, member in enumerate(members):
        if next(_quantities(member), None) is None:
            yield from _text(name, _short(member), indent)
        else:
            yield f"{indent}{name}[{index}]"
            yield from _lines(member, indent + "  ")


def _short(value: Any) -> str:
    if not attrs.has(type(value)):
        return str(value)
    pairs = (
        (attribute.name, getattr(value, attribute.name))
        for attribute in attrs.fields(type(value))
        if not _is_default(attribute, getattr(value, attribute.name))
    )
    return ", ".join(
        f"{name} {' '.join(map(str, inner)) if isinstance(inner, tuple) else inner}"
        for name, inner in pairs
    )


def _is_default(attribute: attrs.Attribute[Any], value: Any) -> bool:
    """Whether a file that does not say it means the same."""
    if isinstance(value, Quantity):
        return False  # every number is said, with its source
    default: Any = attribute.default
    if hasattr(default, "factory"):
        default = default.factory()
    return bool(value == default)
