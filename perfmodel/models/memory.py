"""One run of the engine that is driven step by step, and whose whole state can be looked at."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel import abi
from perfmodel.constants import (
    DEVICE_EVENTS,
    N_MAPPING,
    N_PRICES,
    PAGES_PER_PMD,
    Event,
    Mapping,
)
from perfmodel.errors import CapabilityError, OutOfMemoryError, Problem
from perfmodel.kernels import layout
from perfmodel.kernels.buddy import Frames
from perfmodel.kernels.device_layout import Device
from perfmodel.kernels.layout import Cell, SwapCell
from perfmodel.kernels.zswap import ZswapState
from perfmodel.models.physical import no_frames, physical_frames
from perfmodel.models.snapshot import Snapshot
from perfmodel.models.swap_devices import (
    check_together,
    plain_swap,
    set_parameters,
    stack,
    swap_rows,
)
from perfmodel.models.translation_packing import pack_tlbs
from perfmodel.models.zswap_pool import fresh_pool, no_pool, set_pool_parameters
from perfmodel.specs.device import DeviceKind, SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import Policy
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import Step, StepAction
from perfmodel.specs.translation import Translation
from perfmodel.traces.accesses import BLOCK
from perfmodel.traces.generator import AccessTrace, accesses_of, trace_of

_POOL_BYTES = 1 << 30
# More than any device takes at a time.
_MOST_WRITTEN = 1 << 16


@attrs.frozen
class StepCounts:
    """What one step counted; what is 0 is absent."""

    counters: dict[str, int]
    events: dict[str, int]
    fallbacks: dict[str, int]
    observed: dict[str, int]
    holds: dict[str, tuple[int, int, int]]


def fresh_memory(
    record: np.void,
    sizes: npt.NDArray[np.int64],
    translation: Translation,
    prices: npt.NDArray[np.int64] | None = None,
    cpus: int = 1,
    device: Device | list[Device | None] | None = None,
    frames: Frames | None = None,
    timeline: npt.NDArray[np.int64] | None = None,
    *,
    swap: npt.NDArray[np.int64] | None = None,
    device_prices: npt.NDArray[np.int64] | None = None,
    zswap: ZswapState | None = None,
) -> layout.Memory:
    """A run's memory before its first step.

    Parameters
    ----------
    record : structured scalar
        One of those that `abi.pack_parameters` returns.
    sizes : int64 array
        As `abi.state_sizes` returns them.
    translation : Translation
        Its TLBs, which begin empty.
    prices : int64 array, shape (N_PRICES,), picoseconds, optional
        Without them nothing takes any time.
    cpus : int
        The most that run at the same time.
    device : Device, or a list with one for each swap device, optional
        At rest; without it requests take no time but their prices.
    frames : Frames, optional
        Page frames as `physical_frames` returns them; without them memory is never short.
    timeline : int64 array, shape (1 + rows, TIMELINE_COLUMNS), optional
        Receives what happens when, as `models.timeline` prepares it.
    swap : int64 array, shape (swap devices, SWAP_COLUMNS), optional
        As `models.swap_devices.swap_rows` returns it; without it the one that `sizes` and `record`
        speak of.
    device_prices : int64 array, shape (swap devices, events of devices), picoseconds, optional
        Each device's own; without it those in `prices`.
    zswap : ZswapState, optional
        A pool with a limit, as `models.zswap_pool.fresh_pool` returns it.
    """
    from perfmodel.kernels.engine import prepare

    regions, clusters, _, _, processes, folios, rows = (int(size) for size in sizes)
    if swap is None:
        swap = plain_swap(record, sizes)
    if prices is None:
        prices = np.zeros(N_PRICES, dtype=np.int64)
    if device_prices is None:
        device_prices = np.tile(prices[list(DEVICE_EVENTS)], (len(swap), 1))
    swap = swap.copy()
    swap[:, SwapCell.PRICES : SwapCell.PRICES + len(DEVICE_EVENTS)] = device_prices
    if not isinstance(device, list):
        device = [device] * len(swap)
    if timeline is None:
        timeline = fresh_timeline(0)
    tlb_arrays, tlb_paths, tlb = pack_tlbs(translation, cpus)
    # All zeros come from the kernel's zero page: what a run never writes is never real memory.
    memory = layout.Memory(
        parameters=record,
        pmds=np.zeros(processes * (regions + 1), dtype=layout.PMD),
        folios=np.zeros(folios, dtype=layout.FOLIO),
        clusters=np.zeros(clusters + 1, dtype=layout.CLUSTER),
        frames=no_frames() if frames is None else frames,
        swap=swap,
        device=stack(device),
        zswap=no_pool() if zswap is None else zswap,
        done=np.zeros(folios, dtype=np.int64),
        written=np.zeros(_MOST_WRITTEN, dtype=np.int64),
        links=np.zeros(folios, dtype=layout.LINK),
        shadows=np.zeros((clusters + 1) * PAGES_PER_PMD, dtype=np.int64),
        cluster_shadows=np.zeros(clusters + 1, dtype=np.int64),
        rows=np.zeros((rows, PAGES_PER_PMD), dtype=np.int64),
        state=np.zeros(layout.STATE_CELLS, dtype=np.int64),
        prices=np.ascontiguousarray(prices),
        counts=np.zeros(layout.N_COUNTS, dtype=np.int64),
        locks=np.zeros((layout.LOCK_SETS, layout.LOCK_COLUMNS), dtype=np.int64),
        trace=np.zeros((1, 1), dtype=np.int64),
        tlb_arrays=tlb_arrays,
        tlb_paths=tlb_paths,
        tlb=tlb,
        timeline=timeline,
    )
    prepare(memory, regions)
    return memory


@lru_cache(maxsize=64)
def _block(trace: AccessTrace, first: int, count: int) -> npt.NDArray[np.int64]:
    """Accesses of a trace; the last 4 million are kept, as many runs go over the same ones."""
    return trace.words(first, count)


def fresh_timeline(rows: int, only_range: int = -1) -> npt.NDArray[np.int64]:
    """Room for so much of what happens, for one 2 MiB range or (-1) for all."""
    timeline = np.zeros((1 + rows, layout.TIMELINE_COLUMNS), dtype=np.int64)
    timeline[0, layout.NEXT_ROW] = 1
    timeline[0, layout.ONLY_RANGE] = only_range
    return timeline


def run_one_step(memory: layout.Memory, step: Step) -> None:
    """Let the engine do one step."""
    from perfmodel.kernels.engine import run_step

    record = abi.pack_steps([step])[0]
    if step.action is not StepAction.ACCESS:
        run_step(memory, record)
        return
    regions = int(memory.state[Cell.REGIONS])
    cpus = min(step.threads, regions)
    traces = []
    for cpu in range(cpus):
        share = (cpu + 1) * regions // cpus - cpu * regions // cpus
        own = attrs.evolve(step, seed=step.seed + cpu)
        traces.append(trace_of(own, share * PAGES_PER_PMD))
    record["accesses"] = accesses_of(step, regions * PAGES_PER_PMD)
    blocks = np.zeros((cpus, BLOCK), dtype=np.int64)
    memory = memory._replace(trace=blocks)
    while (cpu := int(run_step(memory, record))) >= 0:
        # It runs now, so its cells stand in place.
        first, total = (int(memory.state[cell]) for cell in (Cell.POSITION, Cell.TOTAL))
        count = min(BLOCK, total - first)
        trace = traces[cpu]
        if isinstance(trace, AccessTrace):
            blocks[cpu, :count] = _block(trace, first, count)
        else:
            trace.fill_words(first, blocks[cpu, :count])
        memory.state[Cell.READY] = first + count


def out_of_memory(why: int) -> OutOfMemoryError:
    """What a scenario ends with whose memory cgroup, or machine, has nothing left."""
    if why == layout.NO_FRAMES:
        return OutOfMemoryError(
            Problem(
                "the kernel would kill the process: no page frame is free. Choose a larger size, "
                "or a smaller used_share",
                key="memory.size",
            )
        )
    return OutOfMemoryError(
        Problem(
            "the kernel would kill the process: nothing can be reclaimed in its memory cgroup. "
            "Choose a larger memory_limit, or smaller folios",
            key="settings.memory_limit",
        )
    )


class SimulatedMemory:
    """The state of one simulated run.

    Parameters
    ----------
    scenario : Scenario
        Its region, swap space and settings; the steps are those that `step` is called with.
    policy : Policy
    device : DeviceKind or SwapDevice
        Of a device, or of several, only kinds and priorities matter here.
    machine : Machine
        Only its TLBs matter here.
    seed : int
    processes : int
        How many there may be, forked ones included.
    cpus : int
        The most that run at the same time. Nothing takes any time here: they take turns.
    """

    def __init__(
        self,
        scenario: Scenario,
        policy: Policy,
        device: DeviceKind | SwapDevice,
        machine: Machine,
        *,
        seed: int = 1,
        processes: int = layout.MOST_PROCESSES,
        cpus: int = 1,
    ) -> None:
        swap, devices = None, 1
        kind = device.kind if isinstance(device, SwapDevice) else device
        if isinstance(device, SwapDevice):
            check_together(scenario, device)
            devices = len(device.all)
            swap = swap_rows(scenario, device)
        sizes = abi.state_sizes(scenario, processes, _POOL_BYTES, devices)
        parameters = abi.pack_parameters(scenario, policy, kind, range(seed, seed + 1))
        if isinstance(device, SwapDevice):
            set_parameters(parameters, device)
            parameters["device_model"] = 0
            set_pool_parameters(parameters, scenario, device)
            assert swap is not None
            swap[:, SwapCell.DEVICE_MODEL] = 0
        self._lazy = policy.lazy_page_table_deposit
        frames = None
        if scenario.memory is not None:
            frames = physical_frames(scenario, parameters, sizes)(0)
        self._memory = fresh_memory(
            parameters[0], sizes, machine.translation, cpus=cpus, frames=frames, swap=swap,
            zswap=fresh_pool(scenario, sizes),
        )  # fmt: skip

    def step(self, step: Step) -> StepCounts:
        """Do one step and return what it counted."""
        m = self._memory
        m.counts[:] = 0
        run_one_step(m, step)
        if m.state[Cell.OUT_OF_MEMORY]:
            raise out_of_memory(int(m.state[Cell.OUT_OF_MEMORY]))
        if m.state[Cell.EXHAUSTED]:
            raise CapabilityError("the memory of this run is too small for what it splits")
        counters = abi.name_counters(abi.counters_of(m.counts))
        return StepCounts(
            counters={name: count for name, count in counters.items() if count},
            events={event.name: int(m.counts[event]) for event in Event if m.counts[event]},
            fallbacks=abi.name_fallbacks(m.counts),
            observed=abi.name_observed(m.counts),
            holds={
                name: (hold["count"], hold["total"], hold["longest"])
                for name, hold in abi.name_holds(m.counts).items()
            },
        )

    def mapping(self) -> dict[str, int]:
        """What process 0 maps how."""
        from perfmodel.kernels.engine import describe_mapping

        mapping = np.zeros(N_MAPPING, dtype=np.int64)
        describe_mapping(self._memory, mapping)
        return {kind.name.lower(): int(mapping[kind]) for kind in Mapping}

    def snapshot(self) -> dict[str, Any]:
        """The whole state, in plain Python; `docs/mechanism.md` says what it consists of.

        Folios are numbered in the order in which processes, ranges and entries, then slots, lead
        to them.
        """
        return Snapshot(self._memory).take()
