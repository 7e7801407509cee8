"""``perfmodel simulate``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from perfmodel.cli.common import parse_parameters, pick_machine, say_if_compiling
from perfmodel.cli.steps import print_result
from perfmodel.models import simulated
from perfmodel.specs.catalog import load_scenario


def simulate(
    scenario: str,
    *,
    machine: str | None = None,
    device: str = "zram-lz4",
    entry: str = "pte",
    parameter: list[str] | None = None,
    order9_failure: float = 0.0,
    seed: int = 1,
    draws: int = simulated.DEFAULT_DRAWS,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run a scenario in the model.

    Parameters
    ----------
    scenario
        Name or path of a scenario.
    machine
        Name or path of a machine or profile; the best for this processor without it.
    device
        Name or path of a swap device.
    entry
        pte, mthp-16k to mthp-1024k or pmd; pte-batched or pmd-lazy.
    parameter
        A parameter of the scenario as name=value; may be repeated.
    order9_failure
        Probability that no order-9 page can be had behind a PMD swap entry.
    seed
        The same seed gives the same result.
    draws
        Draws behind the intervals.
    json
        Print one JSON document.
    """
    chosen, values = pick_machine(machine), parse_parameters(parameter)
    loaded = load_scenario(scenario, **values)
    say_if_compiling()
    result = simulated.simulate(
        loaded,
        chosen,
        device=device,
        entry=entry,
        seed=seed,
        draws=draws,
        order9_failure=order9_failure,
    )
    print_result(result, json=json)
