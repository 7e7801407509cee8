"""``perfmodel compare``: the main job."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter

from perfmodel.cli.common import (
    OutFile,
    OutFolder,
    parse_parameters,
    pick_machine,
    print_json,
    progress_bar,
    result,
    say,
    say_if_compiling,
    split_entries,
    write_json,
)
from perfmodel.cli.given import given_command
from perfmodel.errors import CapabilityError
from perfmodel.measure.capabilities import capabilities, measurable, missing_for
from perfmodel.measure.run import DEFAULT_REPETITIONS, check_repetitions, measure_arms
from perfmodel.measure.session import put_back_left_over
from perfmodel.models.simulated import DEFAULT_DRAWS
from perfmodel.results.result import Result
from perfmodel.specs.catalog import load_devices, load_scenario
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.policy import SHMEM_ENTRY, VARIANT_POLICIES
from perfmodel.specs.scenario import Scenario
from perfmodel.studies import compare as study


def compare(
    scenario: str = "thp-roundtrip",
    *,
    machine: str | None = None,
    device: str = "zram-lz4",
    entries: str = ",".join(study.DEFAULT_ENTRIES),
    measured: Literal["no", "auto", "yes"] = "no",
    repetitions: int = DEFAULT_REPETITIONS,
    parameter: list[str] | None = None,
    order9_failure: float = 0.0,
    seed: int = 1,
    draws: int = DEFAULT_DRAWS,
    json: Annotated[bool, Parameter(negative=())] = False,
    report: OutFolder = None,
    save_json: OutFile = None,
) -> None:
    """Compare swap entries: what falling back to PTEs costs.

    Parameters
    ----------
    scenario
        Name or path of a scenario.
    machine
        Name or path of a machine or profile; the best for this processor without it.
    device
        Name or path of a swap device, or several with priorities: zram-lz4:100,optane-p5800x:-2.
    entries
        Arms, separated by commas: pte, mthp-16k to mthp-1024k, pmd; pte-batched, pmd-lazy.
    measured
        Whether to measure the same arms on this machine: no; auto, where the machine allows it;
        yes, or fail with what is missing. Measuring needs root.
    repetitions
        Counted repetitions of each measured arm.
    parameter
        A parameter of the scenario as name=value; may be repeated.
    order9_failure
        Probability that no order-9 page can be had behind a PMD swap entry.
    seed
        The same seed gives the same prediction.
    draws
        Draws behind the intervals.
    json
        Print one JSON document.
    report
        Also write a page with figures to this folder.
    save_json
        Also write the JSON document to this file.
    """
    if measured != "no":
        check_repetitions(repetitions)
    loaded = load_scenario(scenario, **parse_parameters(parameter))
    picked = pick_machine(machine)
    swap_device = load_devices(device, picked)
    say_if_compiling()
    comparison = study.compare(
        loaded,
        picked,
        device=swap_device,
        entries=split_entries(entries),
        seed=seed,
        draws=draws,
        order9_failure=order9_failure,
    )
    if measured != "no":
        arms = _measure(loaded, swap_device, list(comparison.arms), measured, repetitions)
        comparison = attrs.evolve(comparison, measured={arm.entry: arm for arm in arms})
    if json:
        print_json(result("compare", comparison.to_json()))
    else:
        from perfmodel.report.table import comparison_table

        sys.stdout.write(comparison_table(comparison) + "\n")
    if save_json is not None:
        write_json(result("compare", comparison.to_json()), save_json)
    if report is not None:
        from perfmodel.report.page import write_report

        say(f"report written to {write_report(comparison, report, given_command())}")


def _measure(
    scenario: Scenario,
    device: SwapDevice,
    entries: list[str],
    measured: Literal["no", "auto", "yes"],
    repetitions: int,
) -> list[Result]:
    """The arms that can be measured; a stock kernel's stand-in where it has no PMD swap entry."""
    for entry in entries:
        if entry in VARIANT_POLICIES:
            say(f"{entry} exists only in the model and is not measured")
    entries = [entry for entry in entries if entry not in VARIANT_POLICIES]
    if not entries:
        return []
    put_back_left_over(report=say)
    found = capabilities()
    if "pmd" in entries and missing_for("pmd", found) and not missing_for(SHMEM_ENTRY, found):
        entries = [SHMEM_ENTRY if entry == "pmd" else entry for entry in entries]
    if measured == "auto":
        wanted, entries = entries, measurable(tuple(entries), found)
        for line in dict.fromkeys(line for entry in wanted for line in missing_for(entry, found)):
            say(line)
        if not entries:
            return []
    arms = [(scenario, entry) for entry in entries]
    try:
        with progress_bar("measuring") as progress:
            return measure_arms(
                arms, device, repetitions=repetitions, report=say, progress=progress
            )
    except CapabilityError as error:
        if measured == "yes":
            raise
        say(f"not measured: {error.missing[0]}")
        return []
