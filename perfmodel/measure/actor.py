"""One process of a scenario: performs steps on its own region and counts what they did."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from perfmodel.measure import actions
from perfmodel.measure.pressure import Pressure
from perfmodel.measure.region import MappedRegion
from perfmodel.measure.system import RUSAGE_COUNTERS

Reply = dict[str, Any]


def _faults() -> tuple[int, int]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt, usage.ru_majflt


class Actor:
    """Performs the steps of one process.

    Parameters
    ----------
    region : MappedRegion
    content : ndarray
        What a fill writes.
    pressure : Pressure
    """

    def __init__(
        self, region: MappedRegion, content: npt.NDArray[np.int64], pressure: Pressure
    ) -> None:
        self.region = region
        self._content = content
        self._pressure = pressure

    def perform(self, step: dict[str, Any]) -> Reply:
        """Do one step to the region, timed and counted.

        Page faults are this process's own over the timed part alone.
        """
        run, finish = actions.prepare(self.region, step, self._content)
        faults = after = _faults()

        def watched() -> int:
            nonlocal faults, after
            with self._pressure.charging():
                faults = _faults()
                start = time.perf_counter_ns()
                run()
                elapsed = time.perf_counter_ns() - start
                after = _faults()
            return elapsed

        reply = self.count(watched)
        for index, name in enumerate(RUSAGE_COUNTERS):
            reply["counters"][name] = after[index] - faults[index]
        return reply | {"observed": finish()}

    def perform_on_system(self, step: dict[str, Any]) -> Reply:
        """Do a step that no process asks for."""
        action = step["action"]
        if action == "wait":
            return self.count(lambda: self._pressure.wait(step["milliseconds"]))
        if action == "reclaim":
            return self.count(lambda: self._pressure.reclaim(self._resident_pages))
        if action == "khugepaged":
            return self.count(self._pressure.khugepaged_pass)
        reply = self.count(self._pressure.swap_off)
        self._pressure.swap_on()
        return reply

    def fork(self) -> tuple[int, Reply]:
        """Make a child; its process number and what it cost. In the child the number is 0.

        The call itself takes no page fault. What faults next is the worker's own memory, which both
        share now, and is none of the scenario's.
        """
        child = 0

        def fork() -> int:
            nonlocal child
            start = time.perf_counter_ns()
            child = os.fork()
            return time.perf_counter_ns() - start

        reply = self.count(fork)
        if child:
            self.region.keep_all_else_in_memory()
        return child, reply

    def count(self, timed: Callable[[], int]) -> Reply:
        """What a call has moved of the whole machine's counters, until all is written.

        It returns its own time; page faults count as none.
        """
        each_before = self._pressure.each_device()
        before = self._pressure.counters()
        elapsed = timed()
        self._pressure.settle()
        after = self._pressure.counters()
        devices = [
            {
                "pswpout": now["pswpout"] - then["pswpout"],
                "pswpin": now["pswpin"] - then["pswpin"],
                "used_slots": now["used_slots"],
            }
            for then, now in zip(each_before, self._pressure.each_device(), strict=True)
        ]
        counters = dict.fromkeys(RUSAGE_COUNTERS, 0)
        counters |= {name: after[name] - before[name] for name in before}
        reply = {"elapsed_ns": elapsed, "counters": counters, "observed": {}}
        return reply | ({"devices": devices} if devices else {})

    def _resident_pages(self) -> int:
        """Pages of the region that are mapped or in the swap cache."""
        return sum(actions.resident_pages(*piece) for piece in self.region.pieces())
