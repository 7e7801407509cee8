"""Published speeds of storage devices, and which of them a device file was fitted to."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from perfmodel.specs.quantity import text, tuple_of, whole_number


class Measure(StrEnum):
    """What was published of a load."""

    MEAN_US = "mean_us"
    MEDIAN_US = "median_us"
    P99_US = "p99_us"
    P99_999_US = "p99_999_us"
    IOPS = "iops"
    MB_PER_S = "mb_per_s"  # 10^6 bytes


class Use(StrEnum):
    """What a published value is to the catalog's device."""

    FIT = "fit"  # a number of the device was chosen to meet it, or is it
    CHECK = "check"  # nothing was chosen by it
    TIED = "tied"  # follows from others of the table, as IOPS from a mean latency


def _positive(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e12:
        raise ValueError(f"{attribute.name} must be a positive number")


def _share(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} must be from 0 to 1")


def _think(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value <= 1e6:
        raise ValueError(f"{attribute.name} must be from 0 to 1000000")


@attrs.frozen(kw_only=True)
class PublishedValue:
    """One number of one load."""

    measure: Measure = attrs.field(validator=attrs.validators.instance_of(Measure))
    value: float = attrs.field(validator=_positive)
    use: Use = attrs.field(validator=attrs.validators.instance_of(Use))


@attrs.frozen(kw_only=True)
class PublishedLoad:
    """A load and what was published of it.

    Parameters
    ----------
    queue_depth, block_bytes : int
    read_share, think_us : float
        Of requests that are reads; between completion and the next request.
    source : str
    values : tuple of PublishedValue
    """

    queue_depth: int = whole_number(1, 4096)
    block_bytes: int = whole_number(512, 1 << 26, 4096)
    read_share: float = attrs.field(default=1.0, validator=_share)
    think_us: float = attrs.field(default=0.0, validator=_think)
    source: str = attrs.field(validator=text)
    values: tuple[PublishedValue, ...] = attrs.field(
        validator=[tuple_of(PublishedValue), attrs.validators.min_len(1)]
    )


@attrs.frozen(kw_only=True)
class PublishedDevice:
    """Loads of one device; `device` is its name in the catalog."""

    device: str = attrs.field(validator=text)
    loads: tuple[PublishedLoad, ...] = attrs.field(
        validator=[tuple_of(PublishedLoad), attrs.validators.min_len(1)]
    )


@attrs.frozen(kw_only=True)
class PublishedDevices:
    """All that was published and can be compared, and what was left out and why."""

    left_out: tuple[str, ...] = attrs.field(validator=tuple_of(str))
    devices: tuple[PublishedDevice, ...] = attrs.field(
        validator=[tuple_of(PublishedDevice), attrs.validators.min_len(1)]
    )
