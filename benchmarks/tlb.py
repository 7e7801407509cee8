"""How fast TLBs are simulated, beside other simulators on the same work, as a pyperf program.

Run with ``make benchmark-tlb``. Work: 16 sets of 4 ways before 256 sets of 8 ways, exact LRU,
4 KiB pages, both filled on a miss; accesses of 8 bytes over 1 GiB: uniform, sequential, and Zipf
0.99 over permuted pages. `full` is everything: TLBs, walk caches, page tables and data in three
caches, mixed page sizes. `bound` only reads the trace and adds the pages up. At the end stands a
table in million accesses per second; compiling is no part of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any

import numba
import numpy as np
import pyperf

from perfmodel.models.stacks import associativity_hits
from perfmodel.models.translation import Mapping, TranslationSimulation, mapping_kind
from perfmodel.models.two_level import two_level_hits
from perfmodel.specs.catalog import load_machine

REACH = 1 << 30
PAGE = 4096
ACCESSES = 20_000_000
# Slower ones get a shorter trace from its start.
RIVAL_ACCESSES = 1_000_000
FULL_ACCESSES = 5_000_000
ASSOCIATIVITIES = 16
TRACES = ("uniform", "sequential", "zipf")


@cache
def trace(name: str) -> np.ndarray:
    generator = np.random.default_rng(1)
    words = REACH // 8
    if name == "uniform":
        return generator.integers(0, words, ACCESSES, dtype=np.uint64) * np.uint64(8)
    if name == "sequential":
        return np.arange(ACCESSES, dtype=np.uint64) % np.uint64(words) * np.uint64(8)
    pages = REACH // PAGE
    weights = np.cumsum(1 / np.arange(1, pages + 1) ** 0.99)
    ranks = np.searchsorted(weights, generator.random(ACCESSES) * weights[-1])
    offsets = generator.integers(0, PAGE // 8, ACCESSES, dtype=np.uint64) * np.uint64(8)
    return generator.permutation(pages).astype(np.uint64)[ranks] * np.uint64(PAGE) + offsets


@numba.njit
def add_pages(addresses: np.ndarray) -> np.uint64:
    total = np.uint64(0)
    for index in range(addresses.size):
        total += addresses[index] >> np.uint64(12)
    return total


def bound(name: str) -> Callable[[], Any]:
    addresses = trace(name)
    return lambda: add_pages(addresses)


def ours(name: str) -> Callable[[], Any]:
    addresses = trace(name)
    return lambda: two_level_hits(addresses)


def all_associativities(name: str) -> Callable[[], Any]:
    pages = (trace(name) // np.uint64(PAGE)).astype(np.int64)
    return lambda: associativity_hits(pages, 256)


def full(name: str) -> Callable[[], Any]:
    # Every second 2 MiB is one page, of the others every second one is contiguous.
    small, contiguous = mapping_kind("4k"), mapping_kind("4k", contiguous=True)
    kinds = np.resize(np.array([small, mapping_kind("2m"), contiguous, mapping_kind("2m")]), 512)
    translation = load_machine("intel-sapphire-rapids").translation
    simulation = TranslationSimulation(translation, Mapping(kinds.astype(np.uint8)))
    addresses = trace(name)[:FULL_ACCESSES].astype(np.int64)
    return lambda: simulation.run(addresses)


def pycachesim(name: str) -> Callable[[], Any]:
    import cachesim

    memory = cachesim.MainMemory()
    second = cachesim.Cache("L2", 256, 8, PAGE, "LRU")
    first = cachesim.Cache("L1", 16, 4, PAGE, "LRU", load_from=second)
    memory.load_to(second)
    memory.store_from(second)
    simulator = cachesim.CacheSimulator(first, memory)
    addresses = trace(name)[:RIVAL_ACCESSES].tolist()
    return lambda: simulator.load(addresses, length=1)


def libcachesim(name: str) -> Callable[[], Any]:
    """One fully associative level of 2048 pages; its requests are made beforehand."""
    import libcachesim as rival

    pages = (trace(name)[:RIVAL_ACCESSES] // np.uint64(PAGE)).tolist()
    requests = []
    for page in pages:
        request = rival.Request()
        request.obj_id, request.obj_size = page, 1
        requests.append(request)
    get = rival.LRU(2048).get

    def run() -> None:
        for request in requests:
            get(request)

    return run


ARMS: dict[str, tuple[Callable[[str], Callable[[], Any]], int]] = {
    "bound": (bound, ACCESSES),
    "perfmodel": (ours, ACCESSES),
    "all-16-ways": (all_associativities, ACCESSES),
    "full": (full, FULL_ACCESSES),
    "pycachesim": (pycachesim, RIVAL_ACCESSES),
    "libcachesim": (libcachesim, RIVAL_ACCESSES),
}


def timed(loops: int, arm: str, name: str) -> float:
    """Of several turns the fastest: the machine is shared."""
    run = ARMS[arm][0](name)
    run()
    fastest = float("inf")
    for _ in range(loops):
        begin = perf_counter()
        run()
        fastest = min(fastest, perf_counter() - begin)
    return fastest * loops


def main() -> None:
    runner = pyperf.Runner(processes=3, values=3, warmups=0, loops=3)
    found = {}
    for name in TRACES:
        for arm, (_, accesses) in ARMS.items():
            benchmark = runner.bench_time_func(
                f"{arm} {name}", timed, arm, name, inner_loops=accesses
            )
            if benchmark is not None and not runner.args.worker:
                found[arm, name] = 1e-6 / np.array(benchmark.get_values())
    if not found:
        return
    sys.stdout.write(f"\nmillion accesses per second, median (best)\n{'':13s}")
    sys.stdout.write("".join(f"{name:>22s}" for name in TRACES) + "\n")
    for arm in ARMS:
        rates = [found[arm, name] for name in TRACES]
        cells = "".join(f"{np.median(rate):13.1f} ({rate.max():6.1f})" for rate in rates)
        sys.stdout.write(f"{arm:13s}{cells}\n")
    for arm in ("bound", "pycachesim", "libcachesim"):
        ratios = [np.median(found["perfmodel", n]) / np.median(found[arm, n]) for n in TRACES]
        cells = "".join(f"{ratio:22.2f}" for ratio in ratios)
        sys.stdout.write(f"perfmodel / {arm}: {cells}\n")
    rates = [np.median(found["all-16-ways", name]) * ASSOCIATIVITIES for name in TRACES]
    cells = "".join(f"{rate:22.0f}" for rate in rates)
    sys.stdout.write(f"configuration-accesses of all 16 associativities: {cells}\n")


if __name__ == "__main__":
    main()
