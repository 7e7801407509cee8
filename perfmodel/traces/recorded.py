"""The accesses of a step that goes through a recorded trace."""

from __future__ import annotations

from perfmodel.constants import PAGE_BYTES
from perfmodel.errors import InputError, Problem
from perfmodel.specs.catalog import find_trace
from perfmodel.specs.step import Step
from perfmodel.traces.accesses import Accesses, Words
from perfmodel.traces.store import TraceFile
from perfmodel.units import format_bytes


class RepeatedTrace(Accesses):
    """A trace, over and over again.

    Parameters
    ----------
    trace : TraceFile
    accesses : int
        How many there are in all.
    """

    def __init__(self, trace: TraceFile, accesses: int) -> None:
        self._trace = trace
        self.pages = trace.pages
        self.accesses = accesses

    def fill_words(self, first: int, words: Words) -> None:
        """Write the accesses from number `first` on into an array."""
        done = 0
        while done < words.size:
            begin = (first + done) % self._trace.accesses
            part = words[done : done + self._trace.accesses - begin]
            self._trace.fill_words(begin, part)
            done += part.size


def recorded_accesses(step: Step, pages: int) -> RepeatedTrace:
    """The accesses of a step that goes through a trace, to a region of so many pages.

    Raises
    ------
    InputError
        If there is no such trace, it is damaged or empty, or the region is too small for it.
    """
    path = find_trace(step.trace)
    trace = TraceFile(path)
    if not trace.accesses:
        raise InputError(Problem("has no accesses", file=str(path)))
    if trace.pages > pages:
        needed, given = (format_bytes(count * PAGE_BYTES) for count in (trace.pages, pages))
        message = f"goes over {needed}; the region's size of {given} is too small"
        raise InputError(Problem(message, file=str(path), key="region.size"))
    return RepeatedTrace(trace, step.accesses or step.rounds * trace.accesses)
