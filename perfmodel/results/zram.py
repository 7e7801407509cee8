"""What a zram device was seen to do: times by content, size classes, memory over its life."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from perfmodel.results.store import EvidenceFormat
from perfmodel.specs.quantity import text, tuple_of

LOCATION_QUANTILE = 0.25


def _times(_: object, attribute: attrs.Attribute[Any], value: tuple[float, ...]) -> None:
    if not value or not all(np.isfinite(time) and time > 0 for time in value):
        raise ValueError(f"{attribute.name} must be a list of positive numbers")


@attrs.frozen(kw_only=True)
class ContentTiming:
    """Requests with pages of one content: nanoseconds of a page, in each repetition.

    Parameters
    ----------
    content : str
    write_ns, read_ns, discard_ns : tuple of float
        Everything that a page takes in a request of many, the codec's time and all else.
    mm_stat : tuple of int
        What zram said of its memory with all pages written.
    """

    content: str = attrs.field(validator=text)
    write_ns: tuple[float, ...] = attrs.field(validator=_times)
    read_ns: tuple[float, ...] = attrs.field(validator=_times)
    discard_ns: tuple[float, ...] = attrs.field(validator=_times)
    mm_stat: tuple[int, ...] = attrs.field(validator=tuple_of(int))

    def ns(self, action: str, quantile: float = LOCATION_QUANTILE) -> float:
        """Time of a page: ``write``, ``read`` or ``discard``."""
        return float(np.quantile(getattr(self, f"{action}_ns"), quantile))


@attrs.frozen(kw_only=True)
class ObservedClass:
    """Compressed sizes that were seen to share a form of zspage."""

    sizes: tuple[int, ...] = attrs.field(validator=tuple_of(int))
    pages: int
    objects: int


@attrs.frozen(kw_only=True)
class AgingStep:
    """Pages written, freed or compacted one after the other.

    Parameters
    ----------
    action : str
        ``store``, ``free`` or ``compact``.
    slots : tuple of int
        Page of the device, for each that was written or freed.
    sizes : tuple of int
        Compressed size of each that was written.
    pages : tuple of int
        Pages that zram took after each.
    """

    action: str = attrs.field(validator=attrs.validators.in_(("store", "free", "compact")))
    slots: tuple[int, ...] = attrs.field(validator=tuple_of(int))
    sizes: tuple[int, ...] = attrs.field(validator=tuple_of(int))
    pages: tuple[int, ...] = attrs.field(validator=tuple_of(int))


@attrs.frozen(kw_only=True)
class ZramMeasurement:
    """All that was seen of one algorithm in one run, and what it ran on."""

    host: dict[str, Any] = attrs.field(validator=attrs.validators.instance_of(dict))
    started: str = attrs.field(validator=text)
    algorithm: str = attrs.field(validator=text)
    pages: int
    timings: tuple[ContentTiming, ...] = attrs.field(validator=tuple_of(ContentTiming))
    classes: tuple[ObservedClass, ...] = attrs.field(validator=tuple_of(ObservedClass))
    aging: tuple[AgingStep, ...] = attrs.field(validator=tuple_of(AgingStep))


_FILES = EvidenceFormat("perfmodel-zram", 1, ZramMeasurement)
save_zram = _FILES.save
load_zram = _FILES.load
