"""Measures scenarios on the live kernel: arms in short turns, all repetitions kept."""

from __future__ import annotations

import datetime
from collections import Counter as Tally
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from perfmodel.constants import Mapping
from perfmodel.errors import InputError, Problem
from perfmodel.host import facts
from perfmodel.measure.session import LiveSession, Repetition
from perfmodel.results.provenance import provenance
from perfmodel.results.result import Result, StepResult
from perfmodel.specs.catalog import load_devices, load_scenario
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.io import to_table
from perfmodel.specs.policy import MEASURED_ENTRIES, check_entry
from perfmodel.specs.scenario import Scenario

DEFAULT_REPETITIONS = 25
WARM_UPS = 2
# The location on machines that others share, where noise only adds; the spread stands beside it.
LOCATION_QUANTILE = 0.25
# The slowest quarter says more about the neighbours, and about memory that a guest's host has yet
# to back, than about the scenario. It stays in the repetitions.
SPREAD_QUANTILES = (0.05, LOCATION_QUANTILE, 0.75)
LIVE_MACHINE = "this machine"

Progress = Callable[[int, int], None]


def measure_arms(
    arms: list[tuple[Scenario, str]],
    device: SwapDevice,
    *,
    repetitions: int = DEFAULT_REPETITIONS,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda _done, _total: None,
) -> list[Result]:
    """Measure several arms side by side.

    Goes round the arms in turn, one repetition each, so that what drifts hits all of them. The
    first rounds warm up and are not counted.

    Parameters
    ----------
    arms : list of (Scenario, str)
        Scenario and entry of each arm.
    device : SwapDevice
        Says what to set up; its numbers play no part.
    repetitions : int
        Counted repetitions of each arm.
    report, progress : callable
        Get a line worth telling, and (repetitions done, in all).

    Returns
    -------
    list of Result
        In the order of `arms`.
    """
    check_repetitions(repetitions)
    for _, entry in arms:
        check_entry(entry, MEASURED_ENTRIES)
    rounds = WARM_UPS + repetitions
    raw: list[list[Repetition]] = [[] for _ in arms]
    scenarios = [scenario for scenario, _ in arms]
    entries = list(dict.fromkeys(entry for _, entry in arms))
    with LiveSession(scenarios, device, entries, report=report) as session:
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        for turn in range(rounds):
            for index, (scenario, entry) in enumerate(arms):
                raw[index].append(session.run(scenario, entry))
                progress(turn * len(arms) + index + 1, rounds * len(arms))
    return [
        summarise(scenario, entry, device, repetitions_of_arm[WARM_UPS:], started)
        for (scenario, entry), repetitions_of_arm in zip(arms, raw, strict=True)
    ]


def check_repetitions(repetitions: int) -> None:
    """Raise an `InputError` for a number of repetitions that cannot be."""
    if type(repetitions) is not int or not 3 <= repetitions <= 1000:
        raise InputError(Problem("must be a whole number from 3 to 1000", key="repetitions"))


def summarise(
    scenario: Scenario, entry: str, device: SwapDevice, raw: list[Repetition], started: str
) -> Result:
    """One arm's repetitions as a result.

    A counter that the whole system shares can move by other processes' doing; the result has its
    most common change and names it as unstable.
    """
    steps = []
    for index, step in enumerate(scenario.steps):
        times = [float(repetition["steps"][index]["elapsed_ns"]) for repetition in raw]
        unstable: list[str] = []
        done = [repetition["steps"][index] for repetition in raw]
        counters = _most_common([reply["counters"] for reply in done], unstable)
        observed = _most_common([reply.get("observed", {}) for reply in done], unstable)
        low, location, high = np.quantile(times, SPREAD_QUANTILES)
        steps.append(
            StepResult(
                name=step.name,
                elapsed_ns=round(float(location), 3),
                interval_ns=(round(float(low), 3), round(float(high), 3)),
                counters=counters,
                repetitions_ns=tuple(times),
                unstable_counters=tuple(unstable),
                observed=observed,
                devices=_devices(device, done),
            )
        )
    mapping = raw[-1]["mapping"]
    known: dict[str, int | None] = dict(mapping)
    known["pmd_swap_entries"], known["pte_swap_entries"] = 0, mapping["swap_entries"]
    if entry == "pmd" and mapping["swap_entries"]:
        # Such a kernel does not tell the two apart.
        known["pmd_swap_entries"] = known["pte_swap_entries"] = None
    return Result(
        scenario=scenario.name,
        machine=LIVE_MACHINE,
        device=device.label,
        entry=entry,
        regions=scenario.region.count,
        steps=tuple(steps),
        mapping={kind.name.lower(): known[kind.name.lower()] for kind in Mapping},
        provenance=provenance(
            "measured",
            {"scenario": scenario},
            scenario=to_table(scenario),
            started=started,
            host=facts(),
            repetitions=len(raw),
            warm_ups=WARM_UPS,
            location=f"{LOCATION_QUANTILE:.0%} quantile",
            steal_ticks=[repetition["steal_ticks"] for repetition in raw],
        ),
        reference_ns={
            name: tuple((float(before), float(after)) for before, after in pairs)
            for name, pairs in _references(raw).items()
        },
    )


def _devices(device: SwapDevice, replies: list[Repetition]) -> tuple[dict[str, Any], ...]:
    """What each of several swap devices did in a step, as it mostly was."""
    if device.beside is None:
        return ()
    return tuple(
        {"device": one.name, "priority": one.priority}
        | _most_common([reply["devices"][number] for reply in replies], [])
        for number, one in enumerate(device.all)
    )


def _references(raw: list[Repetition]) -> dict[str, list[list[int]]]:
    """The pairs of each reference loop over the repetitions."""
    names = raw[0]["reference_ns"]
    return {name: [repetition["reference_ns"][name] for repetition in raw] for name in names}


def _most_common(readings: list[dict[str, int]], unstable: list[str]) -> dict[str, int]:
    """The most common value of each name; `unstable` gets those that had several."""
    found = {}
    for name in dict.fromkeys(name for reading in readings for name in reading):
        tally = Tally(reading.get(name, 0) for reading in readings)
        found[name] = min(tally, key=lambda value: (-tally[value], value))
        if len(tally) > 1:
            unstable.append(name)
    return found


def measure(
    scenario: Scenario | str | Path,
    *,
    device: SwapDevice | str | Path = "zram-lz4",
    entry: str = "pte",
    repetitions: int = DEFAULT_REPETITIONS,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda _done, _total: None,
) -> Result:
    """Run a scenario on the live kernel of this machine.

    Needs root, THP swap and what the swap device is made of, because devices and kernel settings
    are changed meanwhile; they are put back whatever happens.

    Parameters
    ----------
    scenario, device : spec, or the name or path of one
    entry : str
        ``pte``, ``mthp-16k`` to ``mthp-1024k``, ``shmem-pmd`` (a memfd THP, which a stock kernel
        swaps in whole), or ``pmd`` on a kernel with PMD swap entries.
    repetitions : int
        Counted repetitions, from 3 to 1000.
    report, progress : callable
        See `measure_arms`.

    Returns
    -------
    Result
        Times are 25 % quantiles; every repetition is kept.

    Raises
    ------
    CapabilityError
        If this machine cannot do it; says what is missing and how to get it.
    """
    scenario = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    device = device if isinstance(device, SwapDevice) else load_devices(device)
    (result,) = measure_arms(
        [(scenario, entry)], device, repetitions=repetitions, report=report, progress=progress
    )
    return result
