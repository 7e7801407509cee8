"""Fields of specs by their path, such as ``kernel.fault_ns`` or ``steps.touch.pages_per_2mib``.

A path names keys as the spec's file has them. Members of a list are named by their name, or by
their number where they have none.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import attrs

from perfmodel.specs import io
from perfmodel.specs.quantity import How, Quantity
from perfmodel.units import conversion_factor

Spec = TypeVar("Spec")
Change = Callable[[Any], Any]


class Place(NamedTuple):
    """One field of a spec.

    Parameters
    ----------
    value : object
        What stands there now; a whole table for a path that ends above a single value.
    unit : str
        Of a quantity or a size; else empty.
    attribute : attrs.Attribute, optional
        The field, unless it is a member of a list or table.
    """

    value: Any
    unit: str
    attribute: attrs.Attribute[Any] | None


def paths(spec: Any, prefix: str = "") -> Iterator[str]:
    """Paths of all single values of a spec."""
    for name, inner, attribute in _members(spec):
        path = f"{prefix}{name}"
        if _is_leaf(inner):
            if attribute is not None and attribute.name not in ("name", "description"):
                yield path
        else:
            yield from paths(inner, f"{path}.")


def find(spec: Any, path: str) -> Place:
    """What stands at a path.

    Raises
    ------
    ValueError
        If there is no such field; the text names the nearest one.
    """
    owner: Any = spec
    attribute = None
    unit = ""
    for name in path.split("."):
        for known, inner, found in _members(owner):
            if known == name:
                owner, attribute = inner, found
                break
        else:
            raise ValueError(_nearest(spec, path))
    if isinstance(owner, Quantity):
        unit = owner.unit
    elif attribute is not None and attribute.name in io.SIZES:
        unit = "byte"
    return Place(owner, unit, attribute)


def replace(spec: Spec, path: str, change: Change) -> Spec:
    """A copy of a spec in which what stands at a path has been changed.

    Raises
    ------
    ValueError
        If the spec cannot be so.
    """
    return _replaced(spec, path.split("."), change)  # type: ignore[no-any-return]


def setting(place: Place, value: Any, source: str) -> Change:
    """The change that puts a value in a field.

    A number in a quantity's own unit, or a text with a unit; it is exact then, whatever the spread
    was before. Other fields take what their file takes, and sizes also a number of bytes.

    Raises
    ------
    ValueError
        If the field cannot hold it.
    """
    if isinstance(place.value, Quantity):
        number = _number(value, place.value.unit)
        new = attrs.evolve(place.value, value=number, spread=0.0, source=source, how=How.ASSUMED)
        return lambda _: new
    if place.attribute is None or not _is_leaf(place.value):
        raise ValueError("is a whole table; name one of its fields, or make it relative")
    if place.unit == "byte" and type(value) in (int, float):
        if value != int(value):
            raise ValueError("must be whole bytes")
        size = int(value)
        return lambda _: size
    if place.attribute.type is int and type(value) is float and value.is_integer():
        value = int(value)
    held = io.structure_field(place.attribute, value)
    return lambda _: held


def scaling(place: Place, factor: float, source: str) -> Change:
    """The change that multiplies a quantity and its spread, or all times of a table.

    Raises
    ------
    ValueError
        If there is nothing to be multiplied.
    """
    value = place.value
    if isinstance(value, Quantity):
        return lambda old: _scaled(old, factor, source)
    if type(value) in (int, float):
        whole = type(value) is int
        return lambda old: round(old * factor) if whole else old * factor
    if _is_leaf(value):
        raise ValueError("is no number that could be multiplied")
    if not any(True for _ in _times(value)):
        raise ValueError("has no times below it that could be multiplied")
    return lambda old: _all_scaled(old, factor, source)


def _scaled(old: Quantity, factor: float, source: str) -> Quantity:
    return attrs.evolve(
        old,
        value=old.value * factor,
        spread=old.spread * factor,
        source=f"{old.source}; times {factor:g}: {source}",
        how=How.ASSUMED,
    )


def _times(value: Any) -> Iterator[Quantity]:
    if isinstance(value, Quantity):
        if value.unit == "ns":
            yield value
    elif not _is_leaf(value):
        for _, inner, _ in _members(value):
            yield from _times(inner)


def _all_scaled(value: Any, factor: float, source: str) -> Any:
    """The same table with all its times multiplied, put together at once."""
    if isinstance(value, Quantity):
        return _scaled(value, factor, source) if value.unit == "ns" else value
    if _is_leaf(value):
        return value
    if isinstance(value, dict):
        return {key: _all_scaled(inner, factor, source) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_all_scaled(inner, factor, source) for inner in value)
    changes = {
        field.name: _all_scaled(getattr(value, field.name), factor, source)
        for field in attrs.fields(type(value))
    }
    return attrs.evolve(value, **changes)


def _number(value: Any, unit: str) -> float:
    if isinstance(value, str):
        number, _, given = value.strip().partition(" ")
        try:
            return float(number) * conversion_factor(given.strip() or unit, unit)
        except ValueError as error:
            raise ValueError(f"must be a number in {unit}: {error}") from None
    if type(value) not in (int, float):
        raise ValueError(f"must be a number in {unit}, not {value!r}")
    return float(value)


def _is_leaf(value: Any) -> bool:
    if isinstance(value, Quantity) or value is None:
        return True
    return not (attrs.has(type(value)) or isinstance(value, dict | tuple))


def _members(owner: Any) -> Iterator[tuple[str, Any, attrs.Attribute[Any] | None]]:
    """Names and values of what is directly below, with the field where it is one."""
    if isinstance(owner, Quantity):
        return
    if attrs.has(type(owner)):
        for attribute in attrs.fields(attrs.resolve_types(type(owner))):
            yield io.key_of(attribute), getattr(owner, attribute.name), attribute
    elif isinstance(owner, dict):
        for key, inner in owner.items():
            yield str(key), inner, None
    elif isinstance(owner, tuple):
        for number, inner in enumerate(owner):
            if attrs.has(type(inner)):
                yield getattr(inner, "name", str(number)), inner, None


def _replaced(owner: Any, names: list[str], change: Change) -> Any:
    if not names:
        return change(owner)
    name, rest = names[0], names[1:]
    if isinstance(owner, dict):
        return {
            key: _replaced(inner, rest, change) if str(key) == name else inner
            for key, inner in owner.items()
        }
    if isinstance(owner, tuple):
        known = [getattr(inner, "name", str(number)) for number, inner in enumerate(owner)]
        at = known.index(name)
        return (*owner[:at], _replaced(owner[at], rest, change), *owner[at + 1 :])
    for attribute in attrs.fields(type(owner)):
        if io.key_of(attribute) == name:
            new = _replaced(getattr(owner, attribute.name), rest, change)
            return attrs.evolve(owner, **{attribute.name: new})
    raise ValueError(f"has no field {name!r}")


def _nearest(spec: Any, path: str) -> str:
    known = list(paths(spec))
    leaf = path.rsplit(".", 1)[-1]
    same = [other for other in known if other.rsplit(".", 1)[-1] == leaf]
    found = difflib.get_close_matches(path, same or known, 1, 0.0)
    return f"is no field; the nearest is {found[0]!r}" if found else "is no field"
