"""Measured TLB shootdowns, taken apart, beside what the model says of a machine file.

What a change of mappings costs is the system call, the entries and the flush. The model has the
flush alone; docs/translation.md says how the three are told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from perfmodel.constants import PAGES_PER_PMD
from perfmodel.errors import InputError, Problem
from perfmodel.models.shootdown import shootdown_cost
from perfmodel.results.shootdown import Change, Remote, ShootdownMeasurement
from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.translation import Shootdown

# Ranges that a machine's numbers are taken from; all others judge them.
FITTED_PAGES = (1, 33, 64, 512)
_DIGITS = 4
DEFAULT_PAGES = (1, 2, 8, 32, 33, 34, 64, 512)
DEFAULT_CPUS = (1, 2, 8, 64)


@attrs.frozen
class Parts:
    """A run's costs in the terms of `specs.translation.Shootdown`, in nanoseconds.

    Parameters
    ----------
    call_ns, entry_ns : float
        One mprotect that finds nothing to change, and each entry that it changes.
    range_ns, page_ns, full_ns : float
        A flush here: page by page, each page, everything.
    first_responder_ns, responder_ns : float or None
        What another CPU adds, and what is taken from it beside the flush; None where no repetition
        interrupted it.
    """

    call_ns: float
    entry_ns: float
    range_ns: float
    page_ns: float
    full_ns: float
    first_responder_ns: float | None
    responder_ns: float | None


@attrs.frozen
class FlushRow:
    """One kind of flush: measured and predicted, in nanoseconds.

    A measured value is None where nothing was measured that tells it.

    Parameters
    ----------
    change : Change
    pages, entries : int
        In the range, and TLB entries that the flush names.
    here_ns, predicted_here_ns : float
        On the CPU that asks for it.
    remote_ns, predicted_remote_ns : float
        What a second CPU that holds translations adds for the one that asks.
    taken_ns, predicted_taken_ns : float
        What is taken from the second CPU.
    idle_ns : float
        What the second CPU adds while it is idle.
    deferred_ns : float
        The same while the hypervisor does not run it.
    fitted : bool
        Whether the numbers of a fitted machine rest on this row.
    """

    change: Change
    pages: int
    entries: int
    here_ns: float | None
    predicted_here_ns: float
    remote_ns: float | None
    predicted_remote_ns: float
    taken_ns: float | None
    predicted_taken_ns: float
    idle_ns: float | None
    deferred_ns: float | None
    fitted: bool

    def errors(self) -> dict[str, float]:
        """Relative errors of the predictions that something was measured for."""
        pairs = {
            "here": (self.predicted_here_ns, self.here_ns),
            "remote": (self.predicted_remote_ns, self.remote_ns),
            "taken": (self.predicted_taken_ns, self.taken_ns),
        }
        return {
            name: predicted / measured - 1
            for name, (predicted, measured) in pairs.items()
            if measured is not None and measured > 0
        }

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel shootdown --json`` prints it."""
        return {**attrs.asdict(self), "change": self.change.value, "relative_errors": self.errors()}


def _needed(measured: ShootdownMeasurement, change: Change, pages: int) -> float:
    found = measured.alone_ns(change, pages)
    if found is None:
        message = f"has no {change} of {pages} pages without another thread"
        raise InputError(Problem(message, key="points"))
    return found


def _added(
    measured: ShootdownMeasurement,
    change: Change,
    pages: int,
    remote: Remote,
    *,
    interrupted: bool = True,
) -> float | None:
    """What another CPU adds to one flush."""
    point = measured.point(change, remote, pages)
    before = measured.point(change, Remote.NONE, pages)
    alone = measured.alone_ns(change, pages) if remote is Remote.BUSY else None
    if remote is Remote.IDLE and before is not None:
        alone = before.turn_ns()
    beside = None if point is None else point.turn_ns(interrupted=interrupted)
    flushes = 1 if change is Change.DROP else 2
    return None if alone is None or beside is None else (beside - alone) / flushes


def _taken(measured: ShootdownMeasurement, change: Change, pages: int) -> float | None:
    """What one flush takes from the busy CPU, whose loop is slower than beside calls without."""
    point = measured.point(change, Remote.BUSY, pages)
    quiet = measured.point(Change.NOTHING, Remote.BUSY, 1)
    if point is None or quiet is None:
        return None
    return point.taken_ns(quiet.responder_rate())


def take_apart(measured: ShootdownMeasurement) -> Parts:
    """The costs of one run, from the changes of `FITTED_PAGES` and of nothing.

    Beyond the ceiling an entry more is an entry more; below it, it is also a page to flush.

    Raises
    ------
    InputError
        Some of those changes were not measured.
    """
    one, last, beyond, most = (
        _needed(measured, Change.PROTECT, pages) / 2 for pages in FITTED_PAGES
    )
    call = _needed(measured, Change.NOTHING, 1) / 2
    _, at, over, end = FITTED_PAGES
    entry = max((most - beyond) / (end - over), 0.0)
    page = max((last - one) / (at - 1) - entry, 0.0)
    taken = _taken(measured, Change.PROTECT, 1)
    within = max(one - call - entry - page, 0.0)
    return Parts(
        call_ns=call,
        entry_ns=entry,
        range_ns=within,
        page_ns=page,
        full_ns=max(beyond - call - over * entry, 0.0),
        first_responder_ns=_added(measured, Change.PROTECT, 1, Remote.BUSY),
        responder_ns=None if taken is None else max(taken - within - page, 0.0),
    )


def flush_rows(measured: ShootdownMeasurement, shootdown: Shootdown) -> list[FlushRow]:
    """Every measured kind of flush beside the prediction for one and for two CPUs."""
    parts = take_apart(measured)
    rows = []
    kinds = dict.fromkeys(
        (point.change, point.pages)
        for point in measured.points
        if point.change is not Change.NOTHING
    )
    for change, pages in kinds:
        entries = 1 if change is Change.PROTECT_HUGE else pages
        cost = shootdown_cost(shootdown, [1, 2], pages, entries=entries, batched=True)
        alone, both = (float(each) for each in cost.initiator_ns)
        turn = measured.alone_ns(change, pages)
        here = None
        if change is not Change.DROP and turn is not None:
            # A page fault and a page's freeing are in the turn of a drop as well.
            here = turn / 2 - parts.call_ns - entries * parts.entry_ns
        rows.append(
            FlushRow(
                change=change,
                pages=pages,
                entries=entries,
                here_ns=here,
                predicted_here_ns=alone,
                remote_ns=_added(measured, change, pages, Remote.BUSY),
                predicted_remote_ns=both - alone,
                taken_ns=_taken(measured, change, pages),
                predicted_taken_ns=float(cost.responder_ns[1]),
                idle_ns=_added(measured, change, pages, Remote.IDLE),
                deferred_ns=_added(measured, change, pages, Remote.BUSY, interrupted=False),
                fitted=change is Change.PROTECT and pages in FITTED_PAGES,
            )
        )
    return rows


def measured_shootdown(runs: Sequence[ShootdownMeasurement], base: Shootdown) -> Shootdown:
    """A machine's shootdown with the numbers that some runs tell; the rest is `base`.

    The value is the median over the runs, the spread their standard deviation, at least a twentieth
    of the value (one run alone: a tenth).

    Raises
    ------
    InputError
        There are no runs, or as for `take_apart`.
    """
    if not runs:
        raise InputError(Problem("must be at least one run", key="shootdown"))
    parts = [take_apart(run) for run in runs]
    dates = sorted({run.started[:10] for run in runs})
    several = len(runs) > 1

    def known(name: str, before: Quantity) -> Quantity:
        values = [value for each in parts if (value := getattr(each, name)) is not None]
        if not values:
            return before
        value = float(np.median(values))
        drift = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        spread = max(drift, value * (0.05 if several else 0.1))
        return Quantity(
            float(f"{value:.{_DIGITS}g}"),
            float(f"{max(spread, 1.0):.{_DIGITS}g}"),
            "ns",
            f"{len(runs)} runs of mprotect on {', '.join(dates)}: {name}, docs/translation.md",
            How.MEASURED,
        )

    return attrs.evolve(
        base,
        local_range_ns=known("range_ns", base.local_range_ns),
        local_page_ns=known("page_ns", base.local_page_ns),
        local_full_ns=known("full_ns", base.local_full_ns),
        first_responder_ns=known("first_responder_ns", base.first_responder_ns),
        responder_ns=known("responder_ns", base.responder_ns),
    )


def predict_table(
    shootdown: Shootdown,
    pages: Sequence[int] = DEFAULT_PAGES,
    cpus: Sequence[int] = DEFAULT_CPUS,
) -> list[dict[str, Any]]:
    """One flush of so many pages on so many CPUs, in nanoseconds."""
    cost = shootdown_cost(shootdown, np.array(cpus), np.array(pages)[:, None], batched=True)
    return [
        {
            "pages": count,
            "cpus": number,
            "initiator_ns": float(cost.initiator_ns[row, column]),
            "responder_ns": float(cost.responder_ns[row, column]),
        }
        for row, count in enumerate(pages)
        for column, number in enumerate(cpus)
    ]


def label(change: Change, pages: int) -> str:
    """A kind of flush in a few words."""
    if change is Change.DROP:
        return "drop 1"
    if change is Change.PROTECT_HUGE or pages > PAGES_PER_PMD:
        return "2 MiB page"
    return f"{pages}"
