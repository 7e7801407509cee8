"""Measured TLB shootdowns: every repetition, the interrupts that were counted, the host's facts."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs
import numpy as np

from perfmodel.results.chase import positive_times
from perfmodel.results.store import EvidenceFormat
from perfmodel.specs.quantity import text, tuple_of

QUANTILE = 0.25
# A repetition counts where so near to all, or so near to none, of its flushes were interrupts.
_NEAR = 0.1
_RUNNING = 0.9
# Reference loops whose 90 % quantile is so much above their 10 % quantile saw another clock.
_STEADY = 1.2


class Change(StrEnum):
    """What is done to mappings, over and over."""

    DROP = "drop"  # MADV_DONTNEED of one page, then a write to it: one flush
    PROTECT = "protect"  # read-only and writable again: two flushes
    NOTHING = "nothing"  # the same of a page that was never touched: no entry and no flush
    PROTECT_HUGE = "protect-huge"  # the same of one 2 MiB page: two flushes of one entry


class Remote(StrEnum):
    """What another thread of the process does on the other CPU."""

    NONE = "none"  # there is no other thread
    BUSY = "busy"  # it computes, so that its CPU holds translations
    IDLE = "idle"  # it did, and sleeps: its CPU is idle, in lazy TLB mode


_FLUSHES = {Change.DROP: 1, Change.PROTECT: 2, Change.NOTHING: 0, Change.PROTECT_HUGE: 2}


def _counts(_: object, attribute: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
    tuple_of(int)(_, attribute, value)
    if any(count < 0 for count in value):
        raise ValueError(f"{attribute.name} must not be negative")


@attrs.frozen(kw_only=True)
class ShootdownPoint:
    """One change beside one state of the other CPU.

    Parameters
    ----------
    change : Change
    remote : Remote
    pages : int
        Of 4 KiB in the range.
    turns : int
        In each repetition.
    repetitions_ns : tuple of float
        Time of each repetition.
    reference_ns : tuple of float
        Time of the reference loop beside each.
    interrupts : tuple of int
        TLB interrupts that the other CPU counted in each repetition; empty where the kernel does
        not count them.
    responder_turns : tuple of int
        Turns of the other thread's loop in each repetition; empty without one that is busy.
    """

    change: Change = attrs.field(validator=attrs.validators.instance_of(Change))
    remote: Remote = attrs.field(validator=attrs.validators.instance_of(Remote))
    pages: int = attrs.field(validator=attrs.validators.ge(1))
    turns: int = attrs.field(validator=attrs.validators.ge(1))
    repetitions_ns: tuple[float, ...] = attrs.field(validator=positive_times)
    reference_ns: tuple[float, ...] = attrs.field(validator=positive_times)
    interrupts: tuple[int, ...] = attrs.field(default=(), validator=_counts)
    responder_turns: tuple[int, ...] = attrs.field(default=(), validator=_counts)

    def __attrs_post_init__(self) -> None:
        count = len(self.repetitions_ns)
        for name in ("reference_ns", "interrupts", "responder_turns"):
            row = getattr(self, name)
            if len(row) != count and (row or name == "reference_ns"):
                raise ValueError(f"{name} must have one number for each repetition")

    @property
    def flushes(self) -> int:
        """Of each repetition."""
        return _FLUSHES[self.change] * self.turns

    def rows(self, *, interrupted: bool = True) -> list[int]:
        """Repetitions that count, as `turn_ns` says."""
        rows = range(len(self.repetitions_ns))
        if self.remote is Remote.NONE or not self.flushes or not self.interrupts:
            return list(rows)
        wanted = self.flushes if interrupted and self.remote is Remote.BUSY else 0
        return [n for n in rows if abs(self.interrupts[n] - wanted) <= _NEAR * self.flushes]

    def count(self, *, interrupted: bool = True) -> int:
        """Repetitions in which the other CPU was interrupted for every flush, or for none."""
        return len(self.rows(interrupted=interrupted))

    def turn_ns(self, quantile: float = QUANTILE, *, interrupted: bool = True) -> float | None:
        """Time of one turn over the repetitions that count; None where there are none.

        Beside an idle thread these are the repetitions without interrupts. Beside a busy one they
        are those in which every flush interrupted its CPU or, without `interrupted`, none: a
        hypervisor that runs something else on that CPU leaves the flush to its next entry.
        """
        rows = self.rows(interrupted=interrupted)
        if not rows:
            return None
        return float(np.quantile([self.repetitions_ns[n] for n in rows], quantile)) / self.turns

    def responder_rate(self) -> float:
        """Turns per nanosecond of the other thread where it gets to run: a high quantile.

        A hypervisor may not run its CPU for some of the repetitions; without such a thread it is 0.
        """
        rates = [
            turns / time
            for turns, time in zip(self.responder_turns, self.repetitions_ns, strict=False)
        ]
        return float(np.quantile(rates, _RUNNING)) if rates else 0.0

    def taken_ns(self, rate: float) -> float | None:
        """What a flush takes from the other CPU, given its thread's undisturbed turns in a ns.

        A low quantile over the repetitions that count; None where there are none.
        """
        rows = self.rows() if self.responder_turns and self.flushes and rate > 0 else []
        if not rows:
            return None
        lost = [self.repetitions_ns[row] - self.responder_turns[row] / rate for row in rows]
        return float(np.quantile(lost, QUANTILE)) / self.flushes


@attrs.frozen(kw_only=True)
class ShootdownMeasurement:
    """All points of one run, and what it ran on.

    Parameters
    ----------
    host : dict
        As `perfmodel.host.facts` says it.
    hypervisor : tuple of str
        What the hypervisor offers to a KVM guest, as far as it can be read.
    started : str
        Date and time, UTC.
    points : tuple of ShootdownPoint
    skipped : tuple of str
        What could not be measured, and why.
    """

    host: dict[str, Any] = attrs.field(validator=attrs.validators.instance_of(dict))
    started: str = attrs.field(validator=text)
    points: tuple[ShootdownPoint, ...] = attrs.field(
        validator=[tuple_of(ShootdownPoint), attrs.validators.min_len(1)]
    )
    hypervisor: tuple[str, ...] = attrs.field(default=(), validator=tuple_of(str))
    skipped: tuple[str, ...] = attrs.field(default=(), validator=tuple_of(str))

    def __attrs_post_init__(self) -> None:
        keys = [(point.change, point.remote, point.pages) for point in self.points]
        if len(set(keys)) < len(keys):
            raise ValueError("points has a change, remote and pages twice")

    def alone_ns(self, change: Change, pages: int) -> float | None:
        """Time of one turn while no other CPU takes part: without another thread or an idle one."""
        times = [
            point.repetitions_ns[row] / point.turns
            for remote in (Remote.NONE, Remote.IDLE)
            if (point := self.point(change, remote, pages)) is not None
            for row in point.rows()
        ]
        return float(np.quantile(times, QUANTILE)) if times else None

    def point(self, change: Change, remote: Remote, pages: int) -> ShootdownPoint | None:
        """The point of this change, if it was measured."""
        for point in self.points:
            if (point.change, point.remote, point.pages) == (change, remote, pages):
                return point
        return None

    def warnings(self) -> list[str]:
        """What makes the times of this run worth less, in words."""
        references = [time for point in self.points for time in point.reference_ns]
        low, high = np.quantile(references, (0.1, 0.9))
        found = []
        if high > _STEADY * low:
            found.append(
                f"unstable: a reference loop beside each repetition took {low / 1000:.0f} to "
                f"{high / 1000:.0f} us (10 and 90 % quantiles)"
            )
        busy = [p for p in self.points if p.remote is Remote.BUSY and p.flushes and p.interrupts]
        rare = [p for p in busy if p.count() < len(p.repetitions_ns) / 2]
        if rare:
            found.append(
                f"in {len(rare)} of {len(busy)} points with a busy thread, less than half of the "
                "repetitions interrupted it: its CPU was not always running"
            )
        return found


_FILES = EvidenceFormat("perfmodel-shootdown", 1, ShootdownMeasurement)
save_shootdowns = _FILES.save
load_shootdowns = _FILES.load
