"""Times small programs on this machine under several page layouts.

Needs no root and changes no setting. A layout's huge pages are asked for with madvise, 2 MiB by
2 MiB, and smaps says whether the kernel gave them.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PMD_BYTES
from perfmodel.errors import CapabilityError
from perfmodel.host import available_memory_bytes, facts
from perfmodel.kernels import chase, workloads
from perfmodel.kernels.touch import reference_loop
from perfmodel.measure import linux
from perfmodel.measure.chase import first_words
from perfmodel.measure.mapped import AIR_BYTES, huge_bytes, mapped
from perfmodel.results.runtime import LayoutTimes, RuntimeMeasurement
from perfmodel.studies.runtime_workloads import (
    DEFAULT_ACCESSES,
    DEFAULT_FOOTPRINTS,
    Program,
    Workload,
    layouts,
)
from perfmodel.units import format_bytes

DEFAULT_REPETITIONS = 8
ROUNDS = 2
_REFERENCE_TURNS = 20_000

Key = tuple[Workload, int, str]


def _advice(huge: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    return [
        (
            number * PMD_BYTES,
            PMD_BYTES,
            linux.MADV_HUGEPAGE if wanted else linux.MADV_NOHUGEPAGE,
        )
        for number, wanted in enumerate(huge.tolist())
    ]


def _prepare(program: Program, words: npt.NDArray[np.uint64]) -> Callable[[], object]:
    """What one run of a program is, ready to be called."""
    if program.workload is Workload.CHASE:
        places = first_words(program.pages)
        chase.link(words, places, program.cycle().astype(np.uint64))
        first = np.uint64(places[int(program.cycle()[0])])
        return lambda: chase.chase(words, first, program.accesses // chase.UNROLLED)
    run: Any = workloads.update_lines if program.workload.stores else workloads.read_lines
    lines, numbers = program.lines(), words.view(np.int64)
    return lambda: run(numbers, lines)


def _time(run: Callable[[], object], repetitions: int) -> tuple[list[float], list[float]]:
    run()
    times, references = [], []
    for _ in range(repetitions):
        begin = time.perf_counter_ns()
        reference_loop(_REFERENCE_TURNS)
        middle = time.perf_counter_ns()
        run()
        done = time.perf_counter_ns()
        references.append(float(middle - begin))
        times.append(float(done - middle))
    return times, references


def _compile() -> None:
    words = np.zeros(PMD_BYTES // 8, dtype=np.uint64)
    for workload in Workload:
        _prepare(Program(workload, PMD_BYTES, 8), words)()
    reference_loop(1)


def measure_runtimes(
    footprints: Sequence[int] = DEFAULT_FOOTPRINTS,
    *,
    programs: Sequence[Workload] = tuple(Workload),
    accesses: int = DEFAULT_ACCESSES,
    repetitions: int = DEFAULT_REPETITIONS,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> RuntimeMeasurement:
    """Time every program under every layout.

    Layouts take turns in two rounds, each with other physical pages, so that what disturbs the
    machine for a while does not hit one of them alone.

    Parameters
    ----------
    footprints : sequence of int
        Bytes, multiples of 2 MiB.
    programs : sequence of Workload
    accesses : int
        Of each run of a program, a multiple of 8.
    repetitions : int
        Runs of each program under each layout in each round.
    seed : int
    progress : callable
        Called with layouts done and in all.

    Raises
    ------
    CapabilityError
        If memory is too low, or the kernel gives none of the layouts.
    """
    needed = max(footprints) + AIR_BYTES
    if needed > available_memory_bytes():
        raise CapabilityError(
            f"programs of {format_bytes(max(footprints))} take {format_bytes(needed)} of memory "
            f"and {format_bytes(available_memory_bytes())} are available; free some of it"
        )
    _compile()
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    found: dict[Key, tuple[list[float], list[float]]] = {}
    skipped: list[str] = []
    arms = [
        (footprint, name, huge)
        for footprint in footprints
        for name, huge in layouts(footprint // PMD_BYTES).items()
    ]
    for turn in range(ROUNDS):
        for number, (footprint, name, huge) in enumerate(arms, 1):
            progress(turn * len(arms) + number, ROUNDS * len(arms))
            label = f"{format_bytes(footprint)} {name}"
            try:
                with mapped(footprint, _advice(huge)) as (address, words):
                    given, wanted = huge_bytes(address, footprint), int(huge.sum()) * PMD_BYTES
                    if given != wanted:
                        skipped.append(
                            f"{label}: {format_bytes(given)} are THPs instead of "
                            f"{format_bytes(wanted)}; enable THP with madvise and free memory"
                        )
                        continue
                    for workload in programs:
                        program = Program(workload, footprint, accesses, seed)
                        times, references = _time(_prepare(program, words), repetitions)
                        own = found.setdefault((workload, footprint, name), ([], []))
                        own[0].extend(times)
                        own[1].extend(references)
                    del words
            except linux.LinuxCallError as error:
                skipped.append(f"{label}: {error}")
    if not found:
        raise CapabilityError(sorted(set(skipped)))
    return RuntimeMeasurement(
        host=facts(),
        started=started,
        accesses=accesses,
        seed=seed,
        times=tuple(
            LayoutTimes(
                workload=workload.value,
                footprint_bytes=footprint,
                layout=name,
                repetitions_ns=tuple(times),
                reference_ns=tuple(references),
            )
            for (workload, footprint, name), (times, references) in found.items()
        ),
        skipped=tuple(sorted(set(skipped))),
    )
