"""The process that owns the measured memory: runs one repetition for each line it is sent.

It changes no settings but those that a step of the scenario is about, which the session has written
down. It is pinned to one CPU, dies with its parent, and is the first to be killed if memory runs
out. Requests and replies are JSON, a line each, on standard input and output.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD, PMD_BYTES
from perfmodel.errors import CapabilityError
from perfmodel.kernels.touch import (
    access_pages,
    access_pages_to_write,
    replay_accesses,
    touch_pages,
    write_pages,
    write_regions,
)
from perfmodel.measure import linux
from perfmodel.measure.actor import Actor
from perfmodel.measure.content import make_content
from perfmodel.measure.pressure import Pressure, from_request
from perfmodel.measure.processes import Processes
from perfmodel.measure.reference import References
from perfmodel.measure.region import MappedRegion
from perfmodel.measure.system import System
from perfmodel.specs.step import Step, StepAction, Workload
from perfmodel.traces.generator import trace_of

_SYSTEM = System()


def run_repetition(request: dict[str, Any], references: References) -> dict[str, Any]:
    """Map a region, run the steps, unmap it.

    Parameters
    ----------
    request : dict
        ``size_bytes``, ``content``, ``memfd``, ``huge``, ``steps`` as `session.request` lists them,
        and what `pressure.from_request` needs.
    references : References

    Returns
    -------
    dict
        Per step the elapsed nanoseconds, the counters' changes and what was observed; the mapping
        at the end; bytes mapped by PMDs after the first step; by name the times of the reference
        loops right before and right after; stolen ticks.
    """
    content = make_content(request["content"])
    _have_host_back(request["size_bytes"])
    steal = _SYSTEM.steal_ticks()
    before = references.run()
    pressure = from_request(request, _SYSTEM)
    region = MappedRegion(request["size_bytes"], memfd=request["memfd"], huge=request["huge"])
    steps = []
    thp_bytes = 0
    try:
        actor = Actor(region, content, pressure)
        forks = sum(step["action"] == "fork" for step in request["steps"])
        processes = Processes(actor, forks)
        try:
            for step in request["steps"]:
                steps.append(_perform(actor, processes, step))
                if len(steps) == 1:
                    thp_bytes = region.mapping()["pmd_mapped_bytes"]
            mapping = region.mapping()
        finally:
            processes.end()
    finally:
        region.unmap()
        if pressure.limited is not None:
            pressure.limited.remove()
    after = references.run()
    return {
        "steps": steps,
        "mapping": mapping,
        "thp_bytes": thp_bytes,
        "reference_ns": {name: [before[name], after[name]] for name in before},
        "steal_ticks": _SYSTEM.steal_ticks() - steal,
    }


def _have_host_back(size: int) -> None:
    """Write to as much memory as a region takes, and give it back.

    A guest may have told its host what memory has been free for seconds; the host then finds memory
    for it anew, at the first write, and a fill takes 5 to 15 times as long.
    """
    region = MappedRegion(size, memfd=False)
    region.words[:: PAGE_BYTES // 8] = 1
    region.unmap()


def _perform(actor: Actor, processes: Processes, step: dict[str, Any]) -> dict[str, Any]:
    try:
        if step["of_the_system"]:
            return actor.perform_on_system(step)
        return processes.perform(step)
    except OSError as error:
        raise CapabilityError(f"the kernel refused step {step['name']!r}: {error}") from None


def _settle() -> References:
    """Be pinned, mortal, and compiled before the first timing; the reference loops."""
    linux.die_with_parent()
    linux.allow_huge_pages()
    # The kernel reaps children that a scenario ends.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    Path("/proc/self/oom_score_adj").write_text("1000")
    words = make_content("zero").copy()
    write_regions(words, words[: PAGE_BYTES // 8])
    pages = np.arange(PAGES_PER_PMD, dtype=np.int64)
    write_pages(words, 1, pages)
    touch_pages(words, 1, pages)
    references = References()
    _rehearse()
    # A collection in the middle of a step would write to memory that was shared by a fork.
    gc.collect()
    gc.freeze()
    gc.disable()
    return references


def _rehearse() -> None:
    """Do to small pages what steps do, so that no step is the first to run its code."""
    region = MappedRegion(PMD_BYTES, memfd=False)
    linux.advise(region.address, PMD_BYTES, linux.MADV_NOHUGEPAGE)
    pressure = Pressure(_SYSTEM, Path(), "", cgroup=None)
    actor = Actor(region, make_content("zero"), pressure)
    trace = Step("access", StepAction.ACCESS, workload=Workload.ZIPF)
    access_pages(region.words, trace_of(trace, PAGES_PER_PMD).all_pages())
    for access in (access_pages_to_write, replay_accesses):
        access(region.words, np.zeros(1, dtype=np.int64))
    step = {"first_page": 0, "page_count": 8, "pages": [0], "write": True, "writable": True}
    for action in ("touch", "protect", "mincore", "pagemap", "smaps"):
        actor.perform(step | {"action": action})
    region.unmap()


def main() -> None:
    """Answer requests until standard input ends."""
    references = _settle()
    for line in sys.stdin:
        try:
            reply = run_repetition(json.loads(line), references)
        except CapabilityError as error:
            reply = {"error": str(error)}
        except OSError as error:
            reply = {"error": f"the kernel refused a step: {error}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
