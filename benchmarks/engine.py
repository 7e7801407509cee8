"""How fast the engine is: simulated events per second, as a pyperf program.

Run with ``make benchmark``; pyperf starts the workers and keeps every repetition. Each benchmark
runs on one core, and its unit of work is named in its metadata.
"""

import attrs
import pyperf

from perfmodel import abi
from perfmodel.kernels.engine import run_all
from perfmodel.specs.catalog import load_machine, load_policy, load_scenario

REGION_MIB = 256


def main() -> None:
    runner = pyperf.Runner()
    machine = load_machine("amd-zen3")
    scenario = load_scenario("thp-roundtrip")
    region = attrs.evolve(scenario.region, size_bytes=REGION_MIB << 20)
    scenario = attrs.evolve(scenario, region=region)
    steps = abi.pack_steps(scenario)
    columns = abi.tlb_columns(machine)
    for entry in ("pte", "mthp-64k", "pmd"):
        parameters = abi.pack_parameters(scenario, machine, load_policy(entry), range(1, 2))
        runner.bench_func(
            f"roundtrip-{entry}",
            run_all,
            parameters,
            steps,
            region.count,
            columns,
            inner_loops=region.count * 512,
            metadata={
                "entry": entry,
                "work": "one page: filled, swapped out, touched twice",
            },
        )


if __name__ == "__main__":
    main()
