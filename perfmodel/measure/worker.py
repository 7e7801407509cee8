"""The process that owns the measured memory: runs one repetition for each line it is sent.

It changes no settings. It is pinned to one CPU, dies with its parent, and is the first to be killed
if memory runs out. Requests and replies are JSON, a line each, on standard input and output.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD, PMD_BYTES
from perfmodel.kernels.touch import reference_loop, touch_pages, write_regions
from perfmodel.measure.region import MappedRegion
from perfmodel.measure.system import System

_PR_SET_PDEATHSIG = 1
_REFERENCE_TURNS = 500_000
_CONTENT_SEED = 20261122
_SYSTEM = System()


def make_content(kind: str) -> npt.NDArray[np.int64]:
    """2 MiB of page content; every page of ``half-random`` is distinct, its second half zero."""
    content = np.zeros((PAGES_PER_PMD, PAGE_BYTES), dtype=np.uint8)
    if kind == "half-random":
        generator = np.random.Generator(np.random.Philox(_CONTENT_SEED))
        half = generator.integers(0, 256, (PAGES_PER_PMD, PAGE_BYTES // 2), dtype=np.uint8)
        # The touch loop needs words whose top bit is 0, see `touch_pages`.
        half[:, 7::8] &= 0x7F
        content[:, : PAGE_BYTES // 2] = half
    return content.reshape(-1).view(np.int64)


def _counters() -> dict[str, int]:
    counters = _SYSTEM.counters()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    counters["pgmajfault"] = usage.ru_majflt
    counters["pgfault"] = usage.ru_minflt + usage.ru_majflt
    return counters


def run_repetition(request: dict[str, Any]) -> dict[str, Any]:
    """Map a region, run the steps, unmap it.

    Parameters
    ----------
    request : dict
        ``size_bytes``, ``content``, ``memfd`` and ``steps``: (action, pages_per_2mib) pairs.

    Returns
    -------
    dict
        Per step the elapsed nanoseconds and the counters' changes; the mapping at the end; bytes
        mapped by PMDs after the first step; time of the reference loop; stolen ticks.
    """
    content = make_content(request["content"])
    regions = request["size_bytes"] // PMD_BYTES
    steal = _SYSTEM.steal_ticks()
    start = time.perf_counter_ns()
    reference_loop(_REFERENCE_TURNS)
    reference = time.perf_counter_ns() - start
    region = MappedRegion(request["size_bytes"], memfd=request["memfd"])
    steps = []
    thp_bytes = 0
    try:
        for action, pages in request["steps"]:
            before = _counters()
            start = time.perf_counter_ns()
            if action == "fill":
                write_regions(region.words, content)
            elif action == "pageout":
                region.page_out()
            else:
                touch_pages(region.words, regions, pages)
            elapsed = time.perf_counter_ns() - start
            after = _counters()
            steps.append(
                {
                    "elapsed_ns": elapsed,
                    "counters": {name: after[name] - before[name] for name in before},
                }
            )
            if len(steps) == 1:
                thp_bytes = region.mapping()["pmd_mapped_bytes"]
        mapping = region.mapping()
    finally:
        region.unmap()
    return {
        "steps": steps,
        "mapping": mapping,
        "thp_bytes": thp_bytes,
        "reference_ns": reference,
        "steal_ticks": _SYSTEM.steal_ticks() - steal,
    }


def _settle() -> None:
    """Be pinned, mortal, and compiled before the first timing."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    Path("/proc/self/oom_score_adj").write_text("1000")
    words = make_content("zero").copy()
    write_regions(words, words[:512])
    touch_pages(words, 1, 1)
    reference_loop(1)


def main() -> None:
    """Answer requests until standard input ends."""
    _settle()
    for line in sys.stdin:
        try:
            reply = run_repetition(json.loads(line))
        except OSError as error:
            reply = {"error": str(error)}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
