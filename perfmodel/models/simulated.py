"""The simulated world: counts by the engine, priced by a machine, with intervals."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel import abi
from perfmodel.constants import (
    N_EVENTS,
    N_MAPPING,
    N_PRICES,
    PAGE_BYTES,
    Event,
    Mapping,
)
from perfmodel.errors import CapabilityError, InputError, Problem
from perfmodel.host import available_memory_bytes
from perfmodel.kernels import layout
from perfmodel.kernels.layout import Cell
from perfmodel.models.engine_prices import breakdown, engine_prices, nanoseconds, own_prices
from perfmodel.models.memory import fresh_memory, out_of_memory, run_one_step
from perfmodel.models.physical import physical_frames
from perfmodel.models.prices import with_model_errors
from perfmodel.models.swap_devices import (
    check_together,
    dearer,
    name_shares,
    pack_all,
    set_parameters,
    swap_rows,
)
from perfmodel.models.zswap_pool import fresh_pool, set_pool_parameters
from perfmodel.results.provenance import provenance
from perfmodel.results.result import Result, StepResult
from perfmodel.specs.catalog import load_devices, load_machine, load_policy, load_scenario
from perfmodel.specs.device import DeviceKind, SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import SIMULATED_ENTRIES, Policy
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import Step, StepAction
from perfmodel.units import format_bytes

DEFAULT_DRAWS = 400
# Where an allocation may or may not fail, or CPUs wait for one another: that depends on the draw.
RUNS_PER_SEED = 32
_LOW, _HIGH = 0.05, 0.95
_LARGEST_CLOCK = float(1 << 62)
_LARGEST_SEED = (1 << 56) - 1


class Ending(Enum):
    """How a run of the engine ended."""

    COMPLETE = "complete"
    TOO_SMALL = "too small"  # its pools did not suffice
    OUT_OF_MEMORY = "out of memory"  # in the simulated memory cgroup
    NO_FRAMES = "no frames"  # in all of the simulated memory


@attrs.frozen(eq=False)
class Runs:
    """What runs of the engine yield.

    Parameters
    ----------
    counts : int64 array, shape (runs, steps, N_COUNTS)
        `abi` takes counters, events and the rest out of it.
    elapsed : int64 array, shape (runs, steps), picoseconds
        From the clocks: with several CPUs until the last one is done.
    mapping : int64 array, shape (runs, N_MAPPING)
    """

    counts: npt.NDArray[np.int64]
    elapsed: npt.NDArray[np.int64]
    mapping: npt.NDArray[np.int64]


def clock_decides(scenario: Scenario, device: SwapDevice) -> bool:
    """Whether what happens depends on how long everything takes, so that no price is just a price.

    CPUs wait for one another and for a device with a service model; statistics that reclaim steers
    by are brought up to date by the clock, and khugepaged wakes by it.
    """
    timed = any(step.threads > 1 or step.action is StepAction.WAIT for step in scenario.steps)
    served = any(one.service is not None for one in device.all)
    return scenario.is_reclaimed or served or timed


def runs_decide(scenario: Scenario, device: SwapDevice) -> bool:
    """Whether only runs tell what happens: by the clock, or in memory that each finds otherwise."""
    return scenario.memory is not None or clock_decides(scenario, device)


def chance_decides(scenario: Scenario, policy: Policy) -> bool:
    """Whether what happens is drawn: what fails, or how memory was used before."""
    if scenario.memory is not None:
        return True
    chances = (
        max(policy.order9_failure, scenario.settings.order9_failure),
        scenario.settings.charge_failure,
    )
    return policy.swap_entry == "pmd" and any(0 < chance < 1 for chance in chances)


def check_seed_and_draws(seed: int, draws: int) -> None:
    """Raise an `InputError` for a seed or a number of draws that cannot be."""
    if type(seed) is not int or not 0 <= seed <= _LARGEST_SEED:
        raise InputError(Problem(f"must be a whole number from 0 to {_LARGEST_SEED}", key="seed"))
    if type(draws) is not int or not 20 <= draws <= 100_000:
        raise InputError(Problem("must be a whole number from 20 to 100000", key="draws"))


def _runs_at_once(runs: int) -> int:
    return min(runs, len(os.sched_getaffinity(0)))


def state_sizes(
    scenario: Scenario, policy: Policy, runs: int, devices: int = 1
) -> npt.NDArray[np.int64]:
    """Sizes of a run's state, so that all runs together leave half of the memory alone."""
    at_once = _runs_at_once(runs)
    available = available_memory_bytes()
    compact = abi.compact_bytes(scenario, scenario.processes, devices)
    if policy.swap_entry == "pte" and any(s.action is StepAction.PAGEOUT for s in scenario.steps):
        # Every range that goes out gets a PTE table.
        compact += scenario.region.count * PAGE_BYTES
    allowed = available // 2 // at_once - compact
    if allowed < compact:
        raise CapabilityError(_too_large(scenario, f"takes {format_bytes(2 * compact * at_once)}"))
    return abi.state_sizes(scenario, scenario.processes, allowed, devices)


def _too_large(scenario: Scenario, takes: str) -> str:
    return (
        f"scenario {scenario.name!r} is too large for this machine: simulating "
        f"{format_bytes(scenario.region.size_bytes)} {takes} of memory, and "
        f"{format_bytes(available_memory_bytes())} are available; choose a smaller region.size"
    )


def count_events(
    scenario: Scenario,
    machine: Machine,
    policy: Policy,
    device: DeviceKind | SwapDevice,
    seeds: range,
    prices: npt.NDArray[np.int64] | None = None,
    served_by: SwapDevice | None = None,
    *,
    at_once: int | None = None,
    device_prices: npt.NDArray[np.int64] | None = None,
) -> Runs:
    """Run the engine once for each seed.

    Parameters
    ----------
    scenario, machine, policy
    device : DeviceKind or SwapDevice
        A device only where others are swapped to beside it.
    seeds : range
    prices : int64 array, shape (seeds, N_PRICES), picoseconds, optional
        What `draw_prices` returns, a row for each run. Without them nothing takes any time.
    served_by : SwapDevice, optional
        A device whose service model says how long requests take.
    at_once : int, optional
        Most runs at the same time; as many as there are CPUs without it.
    device_prices : int64 array, shape (seeds, devices, events of devices), picoseconds, optional
        What `own_prices` returns, for several swap devices.
    """
    if prices is None:
        prices = np.zeros((len(seeds), N_PRICES), dtype=np.int64)
    kind = device.kind if isinstance(device, SwapDevice) else device
    parameters = abi.pack_parameters(scenario, policy, kind, seeds)
    parameters["device_model"] = int(served_by is not None)
    swap = None
    if isinstance(device, SwapDevice):
        check_together(scenario, device)
        set_parameters(parameters, device)
        set_pool_parameters(parameters, scenario, device)
        swap = swap_rows(scenario, device)
    elif scenario.settings.zswap_pool is not None:
        raise ValueError("zswap_pool needs the device and not its kind alone")
    sizes = state_sizes(scenario, policy, len(seeds), len(swap) if swap is not None else 1)
    translation = machine.translation
    counts = np.zeros((len(seeds), len(scenario.steps), layout.N_COUNTS), dtype=np.int64)
    mapping = np.zeros((len(seeds), N_MAPPING), dtype=np.int64)
    elapsed = np.zeros((len(seeds), len(scenario.steps)), dtype=np.int64)
    cpus = max(step.threads for step in scenario.steps)
    frames = physical_frames(scenario, parameters, sizes)

    def run(index: int) -> Ending:
        memory = fresh_memory(
            parameters[index],
            sizes,
            translation,
            prices[index],
            cpus,
            None if served_by is None else pack_all(served_by),
            frames(index),
            swap=swap,
            device_prices=None if device_prices is None else device_prices[index],
            zswap=fresh_pool(scenario, sizes),
        )
        return run_steps(memory, scenario.steps, counts[index], elapsed[index], mapping[index])

    # The first one alone, so that nothing is compiled twice; kernels run without the GIL.
    endings = {run(0)}
    if at_once == 1:
        endings |= set(map(run, range(1, len(seeds))))
    else:
        with ThreadPoolExecutor(at_once or _runs_at_once(len(seeds))) as pool:
            endings |= set(pool.map(run, range(1, len(seeds))))
    if Ending.OUT_OF_MEMORY in endings:
        raise out_of_memory(layout.LIMIT_REACHED)
    if Ending.NO_FRAMES in endings:
        raise out_of_memory(layout.NO_FRAMES)
    if Ending.TOO_SMALL in endings:
        raise CapabilityError(_too_large(scenario, "and splitting it takes more than half"))
    return Runs(counts, elapsed, mapping)


def run_steps(
    memory: layout.Memory,
    steps: Sequence[Step],
    counts: npt.NDArray[np.int64],
    elapsed: npt.NDArray[np.int64],
    mapping: npt.NDArray[np.int64],
) -> Ending:
    """One run of the engine.

    Parameters
    ----------
    memory : Memory
        As `models.memory.fresh_memory` returns it.
    steps : sequence of Step
    counts : int64 array, shape (steps, N_COUNTS)
        Receives what each step counts; zeros before.
    elapsed : int64 array, shape (steps,)
        Receives the picoseconds that each step takes.
    mapping : int64 array, shape (N_MAPPING,)
        Receives what process 0 maps in the end; zeros before.

    Returns
    -------
    Ending
        Unless it is COMPLETE, the counts are worth nothing.
    """
    from perfmodel.kernels.engine import describe_mapping

    for index, step in enumerate(steps):
        begin = memory.state[Cell.NOW]
        run_one_step(memory._replace(counts=counts[index]), step)
        elapsed[index] = memory.state[Cell.NOW] - begin
    describe_mapping(memory, mapping)
    if memory.state[Cell.OUT_OF_MEMORY]:
        limited = memory.state[Cell.OUT_OF_MEMORY] == layout.LIMIT_REACHED
        return Ending.OUT_OF_MEMORY if limited else Ending.NO_FRAMES
    return Ending.TOO_SMALL if memory.state[Cell.EXHAUSTED] else Ending.COMPLETE


def _check_clock(events: npt.NDArray[np.int64], prices: npt.NDArray[np.int64]) -> None:
    """Refuse a scenario that takes more picoseconds than 63 bits count (106 days)."""
    longest = np.max(events.sum(axis=1).astype(float) @ prices.max(axis=0).astype(float))
    if longest >= _LARGEST_CLOCK:
        message = "the scenario would take more than 50 days; are the prices in the right unit?"
        raise InputError(Problem(message, key="machine"))


@attrs.frozen(eq=False)
class Drawn:
    """One arm with all its draws.

    Parameters
    ----------
    elapsed : int64 array, shape (draws + 1, steps), picoseconds
        First the mean over the runs at the best prices, then the draws.
    by_run : int64 array, shape (runs, steps), picoseconds
    prices : int64 array, shape (draws + 1, N_PRICES), picoseconds
    runs : Runs
    own_prices : int64 array, shape (draws + 1, devices, events of devices), picoseconds, or None
        Of several swap devices, each one's own.
    """

    elapsed: npt.NDArray[np.int64]
    by_run: npt.NDArray[np.int64]
    prices: npt.NDArray[np.int64]
    runs: Runs
    own_prices: npt.NDArray[np.int64] | None = None


def draw_arm(
    scenario: Scenario,
    machine: Machine,
    device: SwapDevice,
    policy: Policy,
    *,
    seed: int,
    draws: int,
    at_once: int | None = None,
) -> Drawn:
    """Count one arm, and pay for it with all draws of prices.

    Where nothing overlaps, the time of a step is the sum of its events' prices, and the engine need
    not run again for each draw of prices. Where CPUs wait for one another, 32 draws are run, and
    stand for the others.
    """
    served = any(one.service is not None for one in device.all)
    overlaps = clock_decides(scenario, device)
    runs = min(RUNS_PER_SEED, draws + 1) if chance_decides(scenario, policy) or overlaps else 1
    seeds = range(seed * RUNS_PER_SEED, seed * RUNS_PER_SEED + runs)
    prices = engine_prices(machine, device, draws, seed, scenario.region.content)
    turn = np.arange(draws + 1) % runs
    drawn = prices[:runs] if overlaps else None
    several = device.beside is not None or scenario.settings.zswap_pool is not None
    own = own_prices(machine, device, draws, seed, scenario.region.content) if several else None
    done = count_events(
        scenario, machine, policy, device if several else device.kind, seeds, drawn,
        device if served else None, at_once=at_once,
        device_prices=own[:runs] if own is not None and overlaps else None,
    )  # fmt: skip
    events = abi.events_of(done.counts)
    _check_clock(events, prices[:, :N_EVENTS])
    if overlaps:
        return Drawn(done.elapsed[turn], done.elapsed, prices, done, own)
    elapsed = np.einsum("dse,de->ds", events[turn], prices[:, :N_EVENTS])
    by_run = events @ prices[0, :N_EVENTS]
    if own is not None:
        elapsed += dearer(done.counts[turn], prices, own).sum(axis=2)
        best = np.broadcast_to(own[0], (runs, *own[0].shape))
        by_run += dearer(done.counts, np.tile(prices[0], (runs, 1)), best).sum(axis=2)
    elapsed[0] = np.rint(by_run.mean(axis=0)).astype(np.int64)
    return Drawn(elapsed, by_run, prices, done, own)


def simulate_draws(
    scenario: Scenario,
    machine: Machine,
    device: SwapDevice,
    policy: Policy,
    *,
    entry: str,
    seed: int,
    draws: int,
    with_model_error: bool = False,
) -> tuple[npt.NDArray[np.int64], Result]:
    """One arm with all its draws; `entry` is the arm's name.

    Without the model error the draws are those of the prices, to the picosecond; with it they are
    also spread by what a fit says that constant prices miss of each step.

    Returns
    -------
    elapsed : int64 array, shape (draws + 1, steps), picoseconds
        First the mean over the runs at the best prices, then the draws.
    result : Result
        Counters, time and breakdown of the first run; intervals over all of them.
    """
    check_seed_and_draws(seed, draws)
    arm = draw_arm(scenario, machine, device, policy, seed=seed, draws=draws)
    counts, mapping, elapsed, by_run = arm.runs.counts, arm.runs.mapping, arm.elapsed, arm.by_run
    events, prices = abi.events_of(counts), arm.prices[:, :N_EVENTS]
    if with_model_error:
        elapsed = with_model_errors(machine, events[0], elapsed, seed)
    more = None
    if arm.own_prices is not None:
        more = dearer(counts[:1], arm.prices[:1], arm.own_prices[:1])[0]
    steps = []
    of_kswapd, its_waits = abi.kswapd_events_of(counts), abi.kswapd_waits_of(counts)
    for index, step in enumerate(scenario.steps):
        low, high = np.quantile(elapsed[1:, index], [_LOW, _HIGH])
        steps.append(
            StepResult(
                name=step.name,
                elapsed_ns=nanoseconds(by_run[0, index]),
                interval_ns=(nanoseconds(low), nanoseconds(high)),
                counters=abi.name_counters(
                    abi.counters_of(counts[0, index]), abi.hidden_counters(scenario)
                ),
                breakdown_ns=breakdown(
                    events[0, index] - of_kswapd[0, index],
                    abi.waits_of(counts[0, index]) - its_waits[0, index],
                    prices[0],
                    None if more is None else more[index],
                ),
                kswapd_ns={
                    part: time
                    for part, time in breakdown(
                        of_kswapd[0, index], its_waits[0, index], prices[0], None
                    ).items()
                    if time
                },
                events={
                    event.name.lower(): int(events[0, index, event])
                    for event in Event
                    if events[0, index, event]
                },
                fallbacks=abi.name_fallbacks(counts[0, index]),
                observed=abi.name_observed(counts[0, index]),
                lock_holds=abi.name_holds(counts[0, index]),
                devices=name_shares(counts[0, index], device),
            )
        )
    result = Result(
        scenario=scenario.name,
        machine=machine.name,
        device=device.label,
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
        A device that a fitted machine brings along replaces the published one of that name. Several
        at a time: ``zram-lz4:100,optane-p5800x:-2``, each with its priority.
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
    device = device if isinstance(device, SwapDevice) else load_devices(device, machine)
    policy = load_policy(entry, order9_failure=order9_failure, allowed=SIMULATED_ENTRIES)
    _, result = simulate_draws(
        scenario,
        machine,
        device,
        policy,
        entry=entry,
        seed=seed,
        draws=draws,
        with_model_error=True,
    )
    return result
