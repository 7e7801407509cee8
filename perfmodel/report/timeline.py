"""A timeline in the Chrome trace event format, which ui.perfetto.dev opens.

Slices of CPUs nest: an access's fault holds the events that it consists of. Holds of locks and
requests to the device may overlap, so they are asynchronous events. Times are in microseconds,
rounded to whole nanoseconds so that slices stay within one another; ``args.ps`` is the exact
duration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from perfmodel import abi
from perfmodel.constants import Event, Fallback, Happening, Lock, Wait
from perfmodel.kernels import layout
from perfmodel.models.timeline import Timeline

Json = dict[str, Any]
SCENARIO, CPUS, LOCKS, DEVICE = 1, 2, 3, 4
_PROCESSES = {SCENARIO: "scenario", CPUS: "CPUs", LOCKS: "lock holds", DEVICE: "device"}
_PICOSECONDS_PER_NANOSECOND = 1000


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _microseconds(picoseconds: int) -> float:
    return round(picoseconds / _PICOSECONDS_PER_NANOSECOND) / 1000


def _slice(process: int, thread: int, name: str, category: str, begin: int, end: int) -> Json:
    start = _microseconds(begin)
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "pid": process,
        "tid": thread,
        "ts": start,
        "dur": round(_microseconds(end) - start, 3),
        "args": {"ps": end - begin},
    }


def _both_ends(
    process: int, number: int, name: str, category: str, begin: int, end: int
) -> Iterator[Json]:
    common = {"name": name, "cat": category, "pid": process, "tid": 0, "id": number}
    yield {**common, "ph": "b", "ts": _microseconds(begin), "args": {"ps": end - begin}}
    yield {**common, "ph": "e", "ts": _microseconds(end)}


def _happening(number: int, row: list[int], own_ranges: int) -> Iterator[Json]:
    kind, what = Happening(row[layout.ROW_KIND]), row[layout.ROW_WHAT]
    cpu, count = row[layout.ROW_CPU], row[layout.ROW_COUNT]
    begin, end = row[layout.ROW_BEGIN], row[layout.ROW_END]
    process, span = divmod(row[layout.ROW_RANGE], own_ranges)
    where: Json = {"process": process, "range": span, "cpu": cpu}
    if cpu == layout.KSWAPD_CPU:
        where = {"cpu": "kswapd"}
    if kind is Happening.EVENT:
        event = Event(what)
        found = [_slice(CPUS, cpu, _words(event.name), abi.PRICES[event][1], begin, end)]
        where["count"] = count
    elif kind is Happening.WAITING:
        wait = Wait(what)
        name = f"wait: {_words(wait.name)}"
        found = [_slice(CPUS, cpu, name, abi.WAIT_PARTS[wait], begin, end)]
    elif kind is Happening.FAULT:
        name = "major fault" if what else "fault"
        found = [_slice(CPUS, cpu, name, "fault", begin, end)]
        where["page"] = count
    elif kind is Happening.HOLD:
        name = _words(Lock(what).name)
        found = list(_both_ends(LOCKS, number, name, "lock hold", begin, end))
        where["entries"] = count
    elif kind is Happening.REQUEST:
        name = "write" if what else "read"
        found = list(_both_ends(DEVICE, number, name, "request", begin, end))
        where["pages"] = count
    else:
        name = f"fell back to PTEs: {_words(Fallback(what).name)}"
        moment = {"ph": "i", "s": "t", "pid": CPUS, "tid": cpu, "ts": _microseconds(begin)}
        found = [{"name": name, "cat": "fallback", "args": {}, **moment}]
    if "args" in found[0]:
        found[0]["args"] |= where
    yield from found


def _metadata(cpus: list[int]) -> Iterator[Json]:
    for process, name in _PROCESSES.items():
        common = {"ph": "M", "pid": process, "tid": 0}
        yield {**common, "name": "process_name", "args": {"name": name}}
        yield {**common, "name": "process_sort_index", "args": {"sort_index": process}}
    for cpu in cpus:
        yield {
            "ph": "M",
            "pid": CPUS,
            "tid": cpu,
            "name": "thread_name",
            "args": {"name": "kswapd" if cpu == layout.KSWAPD_CPU else f"CPU {cpu}"},
        }


def to_trace_events(timeline: Timeline, ranges: int) -> Json:
    """A timeline as a document of the Chrome trace event format.

    Parameters
    ----------
    timeline : Timeline
    ranges : int
        2 MiB ranges of the scenario's region.
    """
    rows = timeline.rows
    # What holds others comes before them: it begins no later, and ends no earlier.
    inner = (rows[:, layout.ROW_KIND] != Happening.FAULT).astype(np.int64)
    order = np.lexsort((inner, -rows[:, layout.ROW_END], rows[:, layout.ROW_BEGIN]))
    seen = np.unique(rows[:, layout.ROW_CPU])
    own = seen[seen == layout.KSWAPD_CPU].tolist()
    programs = int(seen[seen != layout.KSWAPD_CPU].max(initial=0)) + 1
    events = [*_metadata([*range(programs), *own])]
    events += [
        _slice(SCENARIO, 0, step.name, "step", step.begin_ps, step.end_ps)
        for step in timeline.steps
    ]
    for number, row in enumerate(rows[order].tolist()):
        # A process has one range more than the region, for what is moved by less than 2 MiB.
        events += _happening(number, row, ranges + 1)
    return {
        "displayTimeUnit": "ns",
        "otherData": {
            "scenario": timeline.scenario,
            "machine": timeline.machine,
            "device": timeline.device,
            "entry": timeline.entry,
            "complete": timeline.complete,
            "range": "all" if timeline.only_range is None else timeline.only_range,
        },
        "traceEvents": events,
    }
