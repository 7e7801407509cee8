"""Steps of scenarios as a pyperf program: root, THP swap and zram.

python calibration/bench/scenarios.py --hook perfmodel -o scenarios.json

The arms are those of a plan, each step of theirs a benchmark; PERFMODEL_ARMS picks some of them by
a part of their name (give pyperf --inherit-environ PERFMODEL_ARMS), such as probe-callers or
mthp-64k.
"""

import os

import pyperf

from perfmodel.measure.session import LiveSession
from perfmodel.specs.catalog import load_device, load_plan, load_scenario

PLANS = ("calibration", "validation")


def time_step(loops: int, scenario_name: str, entry: str, device: str, index: int) -> float:
    """Seconds that one step takes in so many repetitions of its scenario."""
    scenario = load_scenario(scenario_name)
    with LiveSession([scenario], load_device(device), [entry]) as session:
        session.run(scenario, entry)
        times = [session.run(scenario, entry)["steps"][index] for _ in range(loops)]
    return sum(step["elapsed_ns"] for step in times) / 1e9


def main() -> None:
    """Time every step of the chosen arms, for the whole region."""
    wanted = os.environ.get("PERFMODEL_ARMS", "")
    runner = pyperf.Runner(processes=3, values=3, warmups=0, loops=3)
    for plan in PLANS:
        for arms in load_plan(plan).arms:
            for entry in arms.entries:
                name = f"{arms.scenario}-{entry}-{arms.device}"
                if wanted not in name:
                    continue
                for index, step in enumerate(load_scenario(arms.scenario).steps):
                    case = (arms.scenario, entry, arms.device, index)
                    runner.bench_time_func(
                        f"{name}-{step.name}",
                        lambda loops, case=case: time_step(loops, *case),
                    )


if __name__ == "__main__":
    main()
