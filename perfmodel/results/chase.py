"""Measured pointer chases: every repetition, the host's facts, and a file that is never edited."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from perfmodel.results.store import EvidenceFormat
from perfmodel.specs.quantity import text, tuple_of
from perfmodel.specs.translation import PageSize

QUANTILES = (0.1, 0.25, 0.5)


def positive_times(_: object, attribute: attrs.Attribute[Any], value: tuple[float, ...]) -> None:
    """Validator: times of some repetitions."""
    if not value or not all(np.isfinite(time) and time > 0 for time in value):
        raise ValueError(f"{attribute.name} must be a list of positive numbers")


@attrs.frozen(kw_only=True)
class ChasePoint:
    """One working set: pages of 4 KiB, one line used of each.

    Parameters
    ----------
    pages : int
    page_size : PageSize
        What the memory was really mapped with: 4k or 2m.
    loads : int
        In each repetition.
    repetitions_ns : tuple of float
        Time of each repetition.
    reference_ns : tuple of float
        Time of the reference loop beside each.
    """

    pages: int = attrs.field(validator=attrs.validators.ge(2))
    page_size: PageSize = attrs.field(validator=attrs.validators.instance_of(PageSize))
    loads: int = attrs.field(validator=attrs.validators.ge(1))
    repetitions_ns: tuple[float, ...] = attrs.field(validator=positive_times)
    reference_ns: tuple[float, ...] = attrs.field(validator=positive_times)

    def ns(self, quantile: float = QUANTILES[0]) -> float:
        """Nanoseconds of one load, at a quantile over the repetitions."""
        return float(np.quantile(self.repetitions_ns, quantile)) / self.loads


@attrs.frozen(kw_only=True)
class ChaseMeasurement:
    """All points of one run, and what it ran on.

    Parameters
    ----------
    host : dict
        As `perfmodel.host.facts` says it.
    started : str
        Date and time, UTC.
    points : tuple of ChasePoint
    skipped : tuple of str
        Page sizes that could not be measured, and why.
    """

    host: dict[str, Any] = attrs.field(validator=attrs.validators.instance_of(dict))
    started: str = attrs.field(validator=text)
    points: tuple[ChasePoint, ...] = attrs.field(
        validator=[tuple_of(ChasePoint), attrs.validators.min_len(1)]
    )
    skipped: tuple[str, ...] = attrs.field(default=(), validator=tuple_of(str))

    def of(self, page_size: PageSize | str) -> list[ChasePoint]:
        """Points of one page size, by number of pages."""
        chosen = [point for point in self.points if point.page_size == page_size]
        return sorted(chosen, key=lambda point: point.pages)


_FILES = EvidenceFormat("perfmodel-chase", 1, ChaseMeasurement)
save_chase = _FILES.save
load_chase = _FILES.load
