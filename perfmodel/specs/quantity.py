"""A number with its unit, its spread, where it comes from and how it is known."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import attrs


class How(StrEnum):
    """How a number is known, from the best to the least known."""

    DATASHEET = "datasheet"
    MEASURED = "measured"
    FITTED = "fitted"
    ASSUMED = "assumed"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite_number(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not _is_number(value) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError(f"{attribute.name} must be a finite number")


def _not_negative(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if value < 0:
        raise ValueError(f"{attribute.name} must not be negative")


def text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Validator: a text that says something."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{attribute.name} must be a text that is not empty")


@attrs.frozen
class Quantity:
    """One number of a machine or device.

    Parameters
    ----------
    value, spread : float
        Best value and standard deviation, both in `unit`.
    unit : str
        The canonical unit of the field that holds the quantity: ``ns``, ``byte`` or ``1``.
    source : str
        Publication, dataset or reasoning that the number rests on.
    how : How
        How it is known.
    """

    value: float = attrs.field(validator=[_finite_number, _not_negative])
    spread: float = attrs.field(validator=[_finite_number, _not_negative])
    unit: str = attrs.field(validator=text)
    source: str = attrs.field(validator=text)
    how: How = attrs.field(validator=attrs.validators.instance_of(How))


def quantity(
    unit: str,
    doc: str,
    *,
    minimum: float = 0.0,
    maximum: float = 1e14,
    whole: bool = False,
    default: Any = attrs.NOTHING,
) -> Any:
    """Field of a spec class that holds a `Quantity` in `unit`.

    Validates on construction and on every `attrs.evolve`. A file must say it where there is no
    default.
    """

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, Quantity):
            raise ValueError("must be a quantity: {value, unit, spread, source, how}")
        if value.unit != unit:
            raise ValueError(f"must be in {unit}, not in {value.unit}")
        if value.value < minimum:
            raise ValueError(f"value must be at least {minimum:g}")
        if max(value.value, value.spread) > maximum:
            raise ValueError(f"value and spread must be at most {maximum:g}")
        if whole and value.value != int(value.value):
            raise ValueError("value must be a whole number")

    return attrs.field(default=default, validator=check, metadata={"unit": unit, "doc": doc})


def whole_number(minimum: int, maximum: int, default: Any = attrs.NOTHING) -> Any:
    """Field that holds an int within bounds; a bool or a float is not one."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not int or not minimum <= value <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")

    return attrs.field(default=default, validator=check)


def number_between(low: float, high: float) -> Any:
    """Validator: a number within bounds; a bool is none."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not _is_number(value) or not low <= value <= high:  # type: ignore[operator]
            raise ValueError(f"must be a number from {low:g} to {high:g}")

    return check


def tuple_of(kind: type) -> Any:
    """Validator: a tuple whose members are all of one type; a bool is no int."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, tuple) or any(
            not isinstance(member, kind) or isinstance(member, bool) for member in value
        ):
            raise ValueError(f"{attribute.name} must be a list of {kind.__name__}")

    return check
