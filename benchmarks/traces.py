"""How fast accesses are generated, stored, read back and looked at.

Run it alone on the machine: ``python benchmarks/traces.py``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from perfmodel.specs.step import Step, StepAction, Workload
from perfmodel.traces.accesses import Accesses
from perfmodel.traces.generator import trace_of
from perfmodel.traces.importing import import_trace, save_accesses
from perfmodel.traces.statistics import trace_statistics
from perfmodel.traces.store import TraceFile

PAGES = 1 << 16
ACCESSES = 5_000_000
TURNS = 3


def made(workload: Workload, accesses: int = ACCESSES) -> Accesses:
    return trace_of(Step("a", StepAction.ACCESS, workload=workload, accesses=accesses), PAGES)


def through(trace: Accesses) -> None:
    for _ in trace.blocks_of_words():
        pass


def fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of some turns, after one that compiles."""
    call()
    found = []
    for _ in range(TURNS):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return min(found)


def rows(folder: Path) -> Iterator[tuple[str, int, float]]:
    for workload in Workload:
        if workload is not Workload.TRACE:
            trace = made(workload)
            yield f"generate {workload.value}", ACCESSES, fastest(lambda t=trace: through(t))
    some = made(Workload.ZIPF, ACCESSES // 10)
    path = folder / "zipf.trace"
    yield "store zipf", some.accesses, fastest(lambda: save_accesses(some, path, head={}))
    yield "read zipf", some.accesses, fastest(lambda: through(TraceFile(path)))
    yield "statistics of zipf", some.accesses, fastest(lambda: trace_statistics(TraceFile(path)))
    recording = folder / "zipf.lackey"
    with recording.open("w") as file:
        file.writelines(f" L {page << 12:08x},8\n" for page in some.all_pages().tolist())
    out = folder / "out.trace"
    yield "import lackey", some.accesses, fastest(lambda: import_trace(str(recording), out))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, accesses, seconds in rows(Path(folder)):
            sys.stdout.write(f"{name:28s} {accesses / seconds / 1e6:8.1f} million a second\n")


if __name__ == "__main__":
    main()
