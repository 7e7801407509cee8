"""``perfmodel measure``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from perfmodel.cli.common import parse_parameters, progress_bar, say
from perfmodel.cli.steps import print_result
from perfmodel.measure import run
from perfmodel.specs.catalog import load_scenario


def measure(
    scenario: str,
    *,
    device: str = "zram-lz4",
    entry: str = "pte",
    repetitions: int = run.DEFAULT_REPETITIONS,
    parameter: list[str] | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run a scenario on the live kernel of this machine; everything is put back afterwards.

    Parameters
    ----------
    scenario
        Name or path of a scenario.
    device
        Name or path of the swap device to set up, or of several: zram-lz4:100,ram-disk:-2.
    entry
        pte, mthp-16k to mthp-1024k, shmem-pmd, or pmd on a kernel that has it.
    repetitions
        Counted repetitions.
    parameter
        A parameter of the scenario as name=value; may be repeated.
    json
        Print one JSON document.
    """
    loaded = load_scenario(scenario, **parse_parameters(parameter))
    with progress_bar("repetitions") as progress:
        result = run.measure(
            loaded,
            device=device,
            entry=entry,
            repetitions=repetitions,
            report=say,
            progress=progress,
        )
    print_result(result, json=json)
