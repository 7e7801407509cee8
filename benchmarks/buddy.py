"""How fast page frames are allocated and freed, as a pyperf program.

Run with ``python benchmarks/buddy.py``. A 1 GiB zone; so many owners give their blocks back and
take new ones, in order or in a random one. One operation is one allocation or one release.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pyperf

from perfmodel.kernels.buddy import allocate, refill
from perfmodel.models.fragmentation import aged_frames
from perfmodel.specs.memory import PhysicalMemory

ZONE = PhysicalMemory(1 << 30, used_share=0.0)
CASES = ((0, 1000), (0, 100_000), (4, 1000), (9, 200))


def timed(loops: int, order: int, count: int, shuffled: bool) -> float:
    f = aged_frames(ZONE, owners=count)
    owners = np.arange(count, dtype=np.int64)
    for owner in owners:
        allocate(f, order, owner, 1)
    if shuffled:
        owners = np.random.default_rng(1).permutation(owners)
    refill(f, order, owners, 1, 1)
    begin = perf_counter()
    refill(f, order, owners, 1, loops)
    return perf_counter() - begin


def main() -> None:
    runner = pyperf.Runner(processes=3)
    for order, count in CASES:
        for shuffled in (False, True):
            name = f"order {order}, {count} blocks, {'shuffled' if shuffled else 'in order'}"
            runner.bench_time_func(name, timed, order, count, shuffled, inner_loops=2 * count)


if __name__ == "__main__":
    main()
