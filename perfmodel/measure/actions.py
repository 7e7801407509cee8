"""The steps that a process does to its own region: what is timed, and what comes before and after.

`prepare` gives the timed part as a call without arguments. What it needs stands ready in memory by
then, so that no page fault of the timed part is the worker's own.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES, PMD_BYTES
from perfmodel.kernels.touch import (
    access_pages,
    access_pages_to_write,
    replay_accesses,
    touch_pages,
    write_pages,
    write_regions,
)
from perfmodel.measure import linux, observe
from perfmodel.measure.linux import LinuxCallError
from perfmodel.measure.region import MappedRegion
from perfmodel.measure.userfault import Userfault
from perfmodel.specs.step import KeyValueMix, Step, StepAction, Workload
from perfmodel.traces.generator import trace_of

_MOST_TRIES = 10_000

Observed = dict[str, int]
Timed = Callable[[], object]
Finish = Callable[[], Observed]

ADVICE = {
    "pageout": linux.MADV_PAGEOUT,
    "cold": linux.MADV_COLD,
    "willneed": linux.MADV_WILLNEED,
    "discard": linux.MADV_DONTNEED,
    "free": linux.MADV_FREE,
}


def _nothing() -> Observed:
    return {}


def prepare(
    region: MappedRegion, step: dict[str, Any], content: npt.NDArray[np.int64]
) -> tuple[Timed, Finish]:
    """What to time for a step, and what to do afterwards, which returns what was observed."""
    action = step["action"]
    parts = region.parts(step["first_page"], step["page_count"])
    if action == "fill":
        return lambda: write_regions(region.words, content), _nothing
    if action == "touch":
        pages = np.array(step["pages"], dtype=np.int64)
        touch = write_pages if step["write"] else touch_pages
        words = region.words
        return lambda: touch(words, region.count, pages), _nothing
    if action == "access":
        return _access(region, _step(step)), _nothing
    if action == "collapse":
        return lambda: _collapse(*parts[0]), _nothing
    if action in ADVICE:
        return lambda: _each(linux.advise, parts, ADVICE[action]), _nothing
    if action == "unmap":
        return lambda: _each(linux.unmap, parts), _nothing
    if action == "protect":
        protection = linux.READ_WRITE if step["writable"] else mmap.PROT_READ
        return lambda: _each(linux.protect, parts, protection), _nothing
    if action == "write-protect":
        write_protect = region.userfault().write_protect
        return lambda: _each(write_protect, parts), _nothing
    return _OTHERS[action](region, step, parts)


def _step(step: dict[str, Any]) -> Step:
    """The access step that a request describes."""
    access = step["access"]
    named = {"workload": Workload(access["workload"]), "mix": KeyValueMix(access["mix"])}
    return Step(name=step["name"], action=StepAction.ACCESS, write=step["write"], **access | named)


def _access(region: MappedRegion, step: Step) -> Timed:
    """Accesses to single pages, all of which are known before the first one."""
    trace, words = trace_of(step, region.size // PAGE_BYTES), region.words
    if step.workload.both_reads_and_writes:
        accesses = trace.all_words()
        return lambda: replay_accesses(words, accesses)
    pages = trace.all_pages()
    access = access_pages_to_write if step.may_write else access_pages
    return lambda: access(words, pages)


def _each(call: Callable[..., None], parts: list[tuple[int, int]], *more: int) -> None:
    for address, size in parts:
        call(address, size, *more)


def resident_pages(address: int, size: int) -> int:
    """Pages of a mapping that are in memory, be it only in the swap cache."""
    vector = np.ones(size // PAGE_BYTES, dtype=np.uint8)
    linux.mincore(address, size, vector.ctypes.data)
    return int((vector & 1).sum())


def _collapse(address: int, size: int) -> None:
    """Collapse all of a region; where its pages are still being read, the kernel wants a retry."""
    for _ in range(_MOST_TRIES):
        try:
            linux.advise(address, size, linux.MADV_COLLAPSE)
        except LinuxCallError as error:
            if error.errno != errno.EAGAIN:
                raise
        else:
            return
    raise LinuxCallError(errno.EAGAIN, "MADV_COLLAPSE failed: asked to try again for ever")


def _mincore(
    region: MappedRegion, _: dict[str, Any], parts: list[tuple[int, int]]
) -> tuple[Timed, Finish]:
    vectors = np.ones(sum(size for _, size in parts) // PAGE_BYTES, dtype=np.uint8)
    places, place = [], vectors.ctypes.data
    for address, size in parts:
        places.append((address, size, place))
        place += size // PAGE_BYTES

    def run() -> None:
        for address, size, vector in places:
            linux.mincore(address, size, vector)

    return run, lambda: {"mincore_resident_pages": int((vectors & 1).sum())}


def _pagemap(
    region: MappedRegion, _: dict[str, Any], __: list[tuple[int, int]]
) -> tuple[Timed, Finish]:
    records = observe.pagemap_records(region.size)
    return (
        lambda: observe.read_pagemap(region.address, records),
        lambda: observe.count_pagemap(records),
    )


def _smaps(
    region: MappedRegion, _: dict[str, Any], __: list[tuple[int, int]]
) -> tuple[Timed, Finish]:
    room = observe.smaps_room(sum(1 for _ in linux.mappings(0, region.end)))
    read = 0

    def run() -> None:
        nonlocal read
        read = observe.read_smaps(region.end, room)

    def finish() -> Observed:
        text = room[:read].decode()
        return observe.count_smaps(observe.sum_smaps(text, region.address, region.end))

    return run, finish


def _clear_soft_dirty(
    region: MappedRegion, _: dict[str, Any], __: list[tuple[int, int]]
) -> tuple[Timed, Finish]:
    descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)

    def finish() -> Observed:
        os.close(descriptor)
        # Not only the region is read-only now: no later step is to fault on the worker's own pages.
        region.keep_all_else_in_memory()
        return {}

    return lambda: os.write(descriptor, b"4"), finish


def _remap(
    region: MappedRegion, step: dict[str, Any], _: list[tuple[int, int]]
) -> tuple[Timed, Finish]:
    pieces, target = region.pieces(), region.next_place(step["shift_pages"])
    moves = [(start, size, target + start - region.address) for start, size in pieces]

    def run() -> None:
        for start, size, place in moves:
            linux.move_mapping(start, size, place)

    def finish() -> Observed:
        region.stands_at(target)
        return {}

    return run, finish


def _move(
    region: MappedRegion, step: dict[str, Any], _: list[tuple[int, int]]
) -> tuple[Timed, Finish]:
    source, target = region.address, region.next_place(step["shift_pages"])
    linux.map_memory(target, region.size)
    linux.advise(target, region.size, linux.MADV_HUGEPAGE)
    userfault = Userfault(moving=True)
    userfault.watch_missing(target, region.size)
    refused = 0

    def run() -> None:
        nonlocal refused
        for offset in range(0, region.size, PMD_BYTES):
            try:
                userfault.move(source + offset, target + offset, PMD_BYTES)
            except LinuxCallError as error:
                # The kernel moves no memory that two processes share; the rest must follow suit.
                if error.errno != errno.EBUSY or refused * PMD_BYTES != offset:
                    raise
                refused += 1
            else:
                if refused:
                    raise LinuxCallError(errno.EBUSY, "UFFDIO_MOVE refused only some of it")

    def finish() -> Observed:
        userfault.close()
        linux.unmap(target if refused else source, region.size)
        if refused:
            region.stays()
            return {"refused_calls": refused}
        region.stands_at(target)
        return {}

    return run, finish


_OTHERS: dict[
    str,
    Callable[[MappedRegion, dict[str, Any], list[tuple[int, int]]], tuple[Timed, Finish]],
] = {
    "clear-soft-dirty": _clear_soft_dirty,
    "mincore": _mincore,
    "pagemap": _pagemap,
    "smaps": _smaps,
    "remap": _remap,
    "move": _move,
}
