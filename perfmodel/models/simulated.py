"""The simulated world: counts by the engine, priced by a machine, with intervals."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfmodel import abi
from perfmodel.constants import (
    N_MAPPING,
    PAGE_BYTES,
    PICOSECONDS_PER_NANOSECOND,
    Event,
    Mapping,
)
from perfmodel.errors import CapabilityError, InputError, Problem
from perfmodel.host import available_memory_bytes
from perfmodel.kernels import layout
from perfmodel.kernels.layout import Cell
from perfmodel.models.memory import fresh_memory
from perfmodel.models.prices import draw_prices
from perfmodel.results.provenance import provenance
from perfmodel.results.result import Result, StepResult
from perfmodel.specs.catalog import load_device, load_machine, load_policy, load_scenario
from perfmodel.specs.device import DeviceKind, SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import SIMULATED_ENTRIES, Policy
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import StepAction
from perfmodel.specs.translation import Translation
from perfmodel.units import format_bytes

DEFAULT_DRAWS = 400
# Runs that differ in their random numbers alone; only where an allocation may or may not fail.
_RANDOM_RUNS = 32
_LOW, _HIGH = 0.05, 0.95
_LARGEST_CLOCK = float(1 << 62)
_LARGEST_SEED = (1 << 56) - 1


def check_seed_and_draws(seed: int, draws: int) -> None:
    """Raise an `InputError` for a seed or a number of draws that cannot be."""
    if type(seed) is not int or not 0 <= seed <= _LARGEST_SEED:
        raise InputError(Problem(f"must be a whole number from 0 to {_LARGEST_SEED}", key="seed"))
    if type(draws) is not int or not 20 <= draws <= 100_000:
        raise InputError(Problem("must be a whole number from 20 to 100000", key="draws"))


def _runs_at_once(runs: int) -> int:
    return min(runs, len(os.sched_getaffinity(0)))


def _state_sizes(scenario: Scenario, policy: Policy, runs: int) -> npt.NDArray[np.int64]:
    """Sizes of a run's state, so that all runs together leave half of the memory alone."""
    at_once = _runs_at_once(runs)
    available = available_memory_bytes()
    compact = abi.compact_bytes(scenario, scenario.processes)
    if policy.swap_entry == "pte" and any(s.action is StepAction.PAGEOUT for s in scenario.steps):
        # Every range that goes out gets a PTE table.
        compact += scenario.region.count * PAGE_BYTES
    allowed = available // 2 // at_once - compact
    if allowed < compact:
        raise CapabilityError(_too_large(scenario, f"takes {format_bytes(2 * compact * at_once)}"))
    return abi.state_sizes(scenario, scenario.processes, allowed)


def _too_large(scenario: Scenario, takes: str) -> str:
    return (
        f"scenario {scenario.name!r} is too large for this machine: simulating "
        f"{format_bytes(scenario.region.size_bytes)} {takes} of memory, and "
        f"{format_bytes(available_memory_bytes())} are available; choose a smaller region.size"
    )


def count_events(
    scenario: Scenario, machine: Machine, policy: Policy, device: DeviceKind, seeds: range
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Run the engine once for each seed.

    Returns
    -------
    counts : int64 array, shape (seeds, steps, N_COUNTS)
        `abi` takes counters, events and the rest out of it.
    mapping : int64 array, shape (seeds, N_MAPPING)
    """
    parameters = abi.pack_parameters(scenario, policy, device, seeds)
    steps = abi.pack_steps(scenario.steps)
    sizes = _state_sizes(scenario, policy, len(seeds))
    translation = machine.translation
    counts = np.zeros((len(seeds), len(steps), layout.N_COUNTS), dtype=np.int64)
    mapping = np.zeros((len(seeds), N_MAPPING), dtype=np.int64)

    def run(index: int) -> bool:
        return run_steps(
            parameters[index], steps, sizes, translation, counts[index], mapping[index]
        )

    # The first one alone, so that nothing is compiled twice; kernels run without the GIL.
    fits = run(0)
    with ThreadPoolExecutor(_runs_at_once(len(seeds))) as pool:
        fits = all([fits, *pool.map(run, range(1, len(seeds)))])
    if not fits:
        raise CapabilityError(_too_large(scenario, "and splitting it takes more than half"))
    return counts, mapping


def run_steps(
    record: np.void,
    steps: npt.NDArray[np.void],
    sizes: npt.NDArray[np.int64],
    translation: Translation,
    counts: npt.NDArray[np.int64],
    mapping: npt.NDArray[np.int64],
) -> bool:
    """One run of the engine.

    Parameters
    ----------
    record, sizes, translation
        As for `models.memory.fresh_memory`.
    steps : structured array, shape (steps,)
        As `abi.pack_steps` returns it.
    counts : int64 array, shape (steps, N_COUNTS)
        Receives what each step counts; zeros before.
    mapping : int64 array, shape (N_MAPPING,)
        Receives what process 0 maps in the end; zeros before.

    Returns
    -------
    bool
        Whether the memory that `sizes` allows was enough; if not, the counts are worth nothing.
    """
    from perfmodel.kernels.engine import describe_mapping, run_step

    memory = fresh_memory(record, sizes, translation)
    for step, step_counts in zip(steps, counts, strict=True):
        run_step(memory._replace(counts=step_counts), step)
    describe_mapping(memory, mapping)
    return not memory.state[Cell.EXHAUSTED]


def _check_clock(events: npt.NDArray[np.int64], prices: npt.NDArray[np.int64]) -> None:
    """Refuse a scenario that takes more picoseconds than 63 bits count (106 days)."""
    longest = np.max(events.sum(axis=1).astype(float) @ prices.max(axis=0).astype(float))
    if longest >= _LARGEST_CLOCK:
        message = "the scenario would take more than 50 days; are the prices in the right unit?"
        raise InputError(Problem(message, key="machine"))


def _nanoseconds(picoseconds: float | np.integer | np.floating) -> float:
    return round(float(picoseconds) / PICOSECONDS_PER_NANOSECOND, 3)


def _breakdown(events: npt.NDArray[np.int64], prices: npt.NDArray[np.int64]) -> dict[str, float]:
    parts = dict.fromkeys(abi.BREAKDOWN_PARTS, 0)
    for event in Event:
        parts[abi.PRICES[event][1]] += int(events[event]) * int(prices[event])
    return {part: _nanoseconds(total) for part, total in parts.items()}


def simulate_draws(
    scenario: Scenario,
    machine: Machine,
    device: SwapDevice,
    policy: Policy,
    *,
    entry: str,
    seed: int,
    draws: int,
) -> tuple[npt.NDArray[np.int64], Result]:
    """One arm with all its draws; `entry` is the arm's name.

    On a synchronous device nothing overlaps, so the time of a step is the sum of its events' prices
    and the engine need not run again for each draw of prices.

    Returns
    -------
    elapsed : int64 array, shape (draws + 1, steps), picoseconds
        First the mean over the runs at the best prices, then the draws.
    result : Result
        Counters, time and breakdown of the first run; intervals over all of them.
    """
    check_seed_and_draws(seed, draws)
    chances = (
        max(policy.order9_failure, scenario.settings.order9_failure),
        scenario.settings.charge_failure,
    )
    random = policy.swap_entry == "pmd" and any(0 < chance < 1 for chance in chances)
    runs = _RANDOM_RUNS if random else 1
    seeds = range(seed * _RANDOM_RUNS, seed * _RANDOM_RUNS + runs)
    counts, mapping = count_events(scenario, machine, policy, device.kind, seeds)
    events = abi.events_of(counts)
    prices = draw_prices(machine, device, draws, seed, scenario.region.content)
    turn = np.arange(draws + 1) % runs
    _check_clock(events, prices)
    elapsed = np.einsum("dse,de->ds", events[turn], prices)
    by_run = events @ prices[0]
    elapsed[0] = np.rint(by_run.mean(axis=0)).astype(np.int64)
    steps = []
    for index, step in enumerate(scenario.steps):
        low, high = np.quantile(elapsed[1:, index], [_LOW, _HIGH])
        steps.append(
            StepResult(
                name=step.name,
                elapsed_ns=_nanoseconds(by_run[0, index]),
                interval_ns=(_nanoseconds(low), _nanoseconds(high)),
                counters=abi.name_counters(abi.counters_of(counts[0, index])),
                breakdown_ns=_breakdown(events[0, index], prices[0]),
                events={
                    event.name.lower(): int(events[0, index, event])
                    for event in Event
                    if events[0, index, event]
                },
                fallbacks=abi.name_fallbacks(counts[0, index]),
                observed=abi.name_observed(counts[0, index]),
                lock_holds=abi.name_holds(counts[0, index]),
            )
        )
    result = Result(
        scenario=scenario.name,
        machine=machine.name,
        device=device.name,
        entry=entry,
        regions=scenario.region.count,
        steps=tuple(steps),
        mapping={kind.name.lower(): int(mapping[0, kind]) for kind in Mapping},
        provenance=provenance(
            "simulated",
            {"scenario": scenario, "machine": machine, "device": device, "policy": policy},
            seed=seed,
            draws=draws,
            order9_failure=policy.order9_failure,
            kernel=policy.kernel,
        ),
    )
    return elapsed, result


def simulate(
    scenario: Scenario | str | Path,
    machine: Machine | str | Path,
    *,
    device: SwapDevice | str | Path = "zram-lz4",
    entry: str = "pte",
    seed: int = 1,
    draws: int = DEFAULT_DRAWS,
    order9_failure: float = 0.0,
) -> Result:
    """Run a scenario in the model.

    Parameters
    ----------
    scenario, machine, device : spec, or the name or path of one
        A device that a fitted machine brings along replaces the published one of that name.
    entry : str
        ``pte`` (Linux 6.18), ``mthp-16k`` to ``mthp-1024k`` (the same, swapping in by mTHP order)
        or ``pmd`` (one PMD swap entry); ``pte-batched`` (batched unmap at swap-out) or ``pmd-lazy``
        (lazy page-table deposit).
    seed : int
        The same seed gives the same result, bit for bit.
    draws : int
        Draws from the spreads behind the intervals.
    order9_failure : float
        Probability that no order-9 page can be had at a swap-in behind a PMD swap entry, which then
        falls back to 512 PTEs.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If a name, file or number is wrong.
    CapabilityError
        If this computer has too little memory for the scenario.

    Examples
    --------
    >>> import perfmodel as pm
    >>> r = pm.simulate("thp-roundtrip", "amd-zen3", entry="pmd")
    >>> r.step("touch").counters["pgmajfault"]
    32
    """
    scenario = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    machine = machine if isinstance(machine, Machine) else load_machine(machine)
    device = device if isinstance(device, SwapDevice) else load_device(device, machine)
    policy = load_policy(entry, order9_failure=order9_failure, allowed=SIMULATED_ENTRIES)
    _, result = simulate_draws(
        scenario, machine, device, policy, entry=entry, seed=seed, draws=draws
    )
    return result
