"""Registry of the variables that a labelled result holds."""

from __future__ import annotations

import attrs


@attrs.frozen
class Variable:
    """Dimensions, unit and meaning of one variable."""

    dims: tuple[str, ...]
    unit: str
    meaning: str


VARIABLES = {
    "elapsed_ns": Variable(("step",), "ns", "elapsed time of a step"),
    "interval_ns": Variable(("step", "bound"), "ns", "interval of the elapsed time"),
    "counters": Variable(("step", "counter"), "1", "change of a kernel counter, -1 if not known"),
    "breakdown_ns": Variable(("step", "part"), "ns", "where a step's time went"),
}
