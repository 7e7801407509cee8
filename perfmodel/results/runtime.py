"""Measured runtimes of small programs under page layouts: a file that is never edited."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from perfmodel.results.chase import positive_times
from perfmodel.results.store import EvidenceFormat
from perfmodel.specs.quantity import text, tuple_of

# Of the repetitions of one program under one layout.
QUANTILE = 0.25


@attrs.frozen(kw_only=True)
class LayoutTimes:
    """One program under one page layout.

    Parameters
    ----------
    workload : str
        A workload of `perfmodel.studies.runtime_workloads`.
    footprint_bytes : int
    layout : str
        Name of the layout there.
    repetitions_ns : tuple of float
        Time of each run of the program.
    reference_ns : tuple of float
        Time of the reference loop beside each.
    """

    workload: str = attrs.field(validator=text)
    footprint_bytes: int = attrs.field(validator=attrs.validators.ge(1))
    layout: str = attrs.field(validator=text)
    repetitions_ns: tuple[float, ...] = attrs.field(validator=positive_times)
    reference_ns: tuple[float, ...] = attrs.field(validator=positive_times)

    def ns(self, quantile: float = QUANTILE) -> float:
        """Runtime at a quantile over the repetitions."""
        return float(np.quantile(self.repetitions_ns, quantile))


@attrs.frozen(kw_only=True)
class RuntimeMeasurement:
    """All programs and layouts of one run, and what it ran on.

    Parameters
    ----------
    host : dict
        As `perfmodel.host.facts` says it.
    started : str
        Date and time, UTC.
    accesses, seed : int
        Of every program.
    times : tuple of LayoutTimes
    skipped : tuple of str
        Layouts that could not be measured, and why.
    """

    host: dict[str, Any] = attrs.field(validator=attrs.validators.instance_of(dict))
    started: str = attrs.field(validator=text)
    accesses: int = attrs.field(validator=attrs.validators.ge(8))
    seed: int = attrs.field(validator=attrs.validators.ge(0))
    times: tuple[LayoutTimes, ...] = attrs.field(
        validator=[tuple_of(LayoutTimes), attrs.validators.min_len(1)]
    )
    skipped: tuple[str, ...] = attrs.field(default=(), validator=tuple_of(str))

    def __attrs_post_init__(self) -> None:
        keys = [(each.workload, each.footprint_bytes, each.layout) for each in self.times]
        if len(set(keys)) < len(keys):
            raise ValueError("times has a program and layout twice")


_FILES = EvidenceFormat("perfmodel-runtime", 1, RuntimeMeasurement)
save_runtimes = _FILES.save
load_runtimes = _FILES.load
