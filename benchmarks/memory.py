"""How much memory the engine takes for huge regions that nothing has split.

Run with ``make benchmark``. Each run has a process of its own, whose peak the kernel keeps. What a
range takes is the slope from 1 TiB to 2 TiB, so the interpreter and the compiled code are no part
of it.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import attrs

from perfmodel import abi
from perfmodel.constants import PMD_BYTES
from perfmodel.models.simulated import count_events
from perfmodel.specs.catalog import load_machine, load_policy, load_scenario
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import Step, StepAction

RANGES = (1 << 40) // PMD_BYTES
STEPS = (
    Step("fill", StepAction.FILL),
    Step("pageout", StepAction.PAGEOUT),
    Step("touch", StepAction.TOUCH, pages_per_2mib=1),
)
MOST_PER_RANGE = 64
MOST_BYTES = 1 << 30


def with_ranges(count: int) -> Scenario:
    """Fill, page-out, and a touch of one page, over so many ranges of 2 MiB."""
    scenario = load_scenario("thp-roundtrip")
    region = attrs.evolve(scenario.region, size_bytes=count * PMD_BYTES)
    return attrs.evolve(scenario, region=region, steps=STEPS)


def run(ranges: int) -> int:
    """Peak of this process's resident memory after a run, in bytes."""
    mapping = count_events(
        with_ranges(ranges),
        load_machine("amd-zen3"),
        load_policy("pmd"),
        DeviceKind.ZRAM,
        range(1),
    ).mapping
    if int(mapping[0, 0]) != ranges * PMD_BYTES:
        raise SystemExit("not every range has come back whole")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak(ranges: int) -> int:
    """The same in a process of its own."""
    command = [sys.executable, __file__, str(ranges)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    peak(1)  # compiles where nothing is compiled yet, which takes more memory than any run
    alone, whole, double = peak(1), peak(RANGES), peak(2 * RANGES)
    per_range = (double - whole) / RANGES
    planned = abi.compact_bytes(with_ranges(RANGES), 1) / RANGES
    print("memory: fill, pageout, touch of one page of each 2 MiB under pmd; nothing is split")
    for size, found in (("2 MiB", alone), ("1 TiB", whole), ("2 TiB", double)):
        print(f"  {size}: peak of the process {found / 2**20:.1f} MiB")
    print(f"  per range of 2 MiB: {per_range:.1f} bytes measured; its records have {planned:.1f}")
    if per_range > MOST_PER_RANGE or whole > MOST_BYTES:
        raise SystemExit(f"more than {MOST_PER_RANGE} bytes for a range, or 1 GiB for 1 TiB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(run(int(sys.argv[1])))
    else:
        main()
