"""One run of the engine with everything that happens in it, and when."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel import abi
from perfmodel.constants import Event, Happening, Wait
from perfmodel.errors import CapabilityError, InputError, Problem
from perfmodel.kernels import layout
from perfmodel.kernels.layout import Cell
from perfmodel.models.engine_prices import best_prices, own_prices
from perfmodel.models.memory import fresh_memory, fresh_timeline, out_of_memory, run_one_step
from perfmodel.models.physical import physical_frames
from perfmodel.models.simulated import RUNS_PER_SEED, state_sizes
from perfmodel.models.swap_devices import check_together, pack_all, set_parameters, swap_rows
from perfmodel.models.zswap_pool import fresh_pool, set_pool_parameters
from perfmodel.specs.catalog import load_devices, load_machine, load_policy, load_scenario
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import SIMULATED_ENTRIES
from perfmodel.specs.scenario import Scenario

DEFAULT_ROWS = 500_000


@attrs.frozen
class TimelineStep:
    """One step of the run: its name, and its first and last moment in picoseconds."""

    name: str
    begin_ps: int
    end_ps: int


@attrs.frozen(eq=False)
class Timeline:
    """What happened in one run, and when.

    Parameters
    ----------
    scenario, machine, device, entry : str
    steps : tuple of TimelineStep
    rows : int64 array, shape (happenings, TIMELINE_COLUMNS)
        In the order in which they were entered; columns as in `kernels.layout`, times in
        picoseconds.
    complete : bool
        Whether there was room for all of them.
    only_range : int, optional
        Number of the 2 MiB range for whose sake these things happened; None for all ranges.
    """

    scenario: str
    machine: str
    device: str
    entry: str
    steps: tuple[TimelineStep, ...]
    rows: npt.NDArray[np.int64]
    complete: bool
    only_range: int | None = None

    def breakdown_ps(self, step: str) -> dict[str, int]:
        """Picoseconds of one step by part, as `StepResult.breakdown_ns` has them in nanoseconds.

        A wait for another CPU's shootdown belongs to the step in which it begins.
        """
        found = next(each for each in self.steps if each.name == step)
        begins = self.rows[:, layout.ROW_BEGIN]
        last = found is self.steps[-1]
        inside = (begins >= found.begin_ps) & ((begins < found.end_ps) | last)
        parts = dict.fromkeys(abi.BREAKDOWN_PARTS, 0)
        for row in self.rows[inside]:
            kind, what = Happening(row[layout.ROW_KIND]), int(row[layout.ROW_WHAT])
            if kind is Happening.EVENT:
                part = abi.PRICES[Event(what)][1]
            elif kind is Happening.WAITING:
                part = abi.WAIT_PARTS[Wait(what)]
            else:
                continue
            parts[part] += int(row[layout.ROW_END] - row[layout.ROW_BEGIN])
        return parts


def record_timeline(
    scenario: Scenario | str | Path,
    machine: Machine | str | Path,
    *,
    device: SwapDevice | str | Path = "zram-lz4",
    entry: str = "pte",
    seed: int = 1,
    order9_failure: float = 0.0,
    only_range: int | None = None,
    rows: int = DEFAULT_ROWS,
) -> Timeline:
    """Run a scenario once at the machine's best numbers, and keep what happens when.

    It is the first run of `perfmodel.simulate` with the same arguments.

    Parameters
    ----------
    scenario, machine, device, entry, seed, order9_failure
        See `perfmodel.simulate`.
    only_range : int, optional
        Keep only what happens for the sake of this 2 MiB range of the first process; all without
        it. What a call does once for all ranges belongs to the range before.
    rows : int
        Room for so many happenings; what comes later is lost, and `Timeline.complete` says so.

    Returns
    -------
    Timeline
    """
    scenario = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    machine = machine if isinstance(machine, Machine) else load_machine(machine)
    device = device if isinstance(device, SwapDevice) else load_devices(device, machine)
    policy = load_policy(entry, order9_failure=order9_failure, allowed=SIMULATED_ENTRIES)
    if only_range is not None and not 0 <= only_range < scenario.region.count:
        message = f"must be a 2 MiB range of the region: from 0 to {scenario.region.count - 1}"
        raise InputError(Problem(message, file=scenario.name, key="range"))
    check_together(scenario, device)
    seeds = range(seed * RUNS_PER_SEED, seed * RUNS_PER_SEED + 1)
    parameters = abi.pack_parameters(scenario, policy, device.kind, seeds)
    set_parameters(parameters, device)
    set_pool_parameters(parameters, scenario, device)
    sizes = state_sizes(scenario, policy, 1, len(device.all))
    frames = physical_frames(scenario, parameters, sizes)(0)
    timeline = fresh_timeline(rows, -1 if only_range is None else only_range)
    memory = fresh_memory(
        parameters[0],
        sizes,
        machine.translation,
        best_prices(machine, device, seed, scenario.region.content),
        max(step.threads for step in scenario.steps),
        pack_all(device),
        frames,
        timeline,
        swap=swap_rows(scenario, device),
        zswap=fresh_pool(scenario, sizes),
        device_prices=own_prices(machine, device, 0, seed, scenario.region.content)[0],
    )
    steps = []
    for step in scenario.steps:
        begin = int(memory.state[Cell.NOW])
        run_one_step(memory, step)
        steps.append(TimelineStep(step.name, begin, int(memory.state[Cell.NOW])))
    if memory.state[Cell.OUT_OF_MEMORY]:
        raise out_of_memory(int(memory.state[Cell.OUT_OF_MEMORY]))
    if memory.state[Cell.EXHAUSTED]:
        raise CapabilityError("the memory of this run is too small for what it splits")
    used = int(timeline[0, layout.NEXT_ROW])
    return Timeline(
        scenario=scenario.name,
        machine=machine.name,
        device=device.label,
        entry=entry,
        steps=tuple(steps),
        rows=timeline[1:used],
        complete=used < len(timeline),
        only_range=only_range,
    )
