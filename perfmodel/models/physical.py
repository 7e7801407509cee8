"""Page frames for runs of the engine, as other programs have left them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES
from perfmodel.kernels.buddy import PARAMETERS, Frames
from perfmodel.kernels.frames import SPARE_OWNERS
from perfmodel.models.fragmentation import aged_frames, effort, wakes_kswapd
from perfmodel.specs.scenario import Backing, Scenario

_FOLIOS = 5  # of the sizes that `abi.state_sizes` returns


def no_frames() -> Frames:
    """What stands for memory that is never short."""
    record = np.zeros(1, dtype=PARAMETERS)[0]
    words, bytes_, numbers = (np.zeros(1, dtype=kind) for kind in (np.int64, np.int8, np.int32))
    return Frames(record, words, bytes_, numbers, numbers.copy(), bytes_.copy(), numbers.copy())


def physical_frames(
    scenario: Scenario, parameters: npt.NDArray[np.void], sizes: npt.NDArray[np.int64]
) -> Callable[[int], Frames | None]:
    """Have runs ask the page allocator, if the scenario says how much memory there is.

    Parameters
    ----------
    scenario : Scenario
    parameters : records that `abi.pack_parameters` returns
        Receive what the engine needs to know.
    sizes : int64 array
        As `abi.state_sizes` returns them.

    Returns
    -------
    callable
        The frames of a run by its index, aged by its seed; None if memory is never short.
    """
    memory = scenario.memory
    if memory is None:
        return lambda index: None
    pages = memory.size_bytes // PAGE_BYTES
    madvised = scenario.region.backing is not Backing.BASE
    parameters["frames"] = pages
    parameters["first_owner"] = int(memory.used_share * pages)
    parameters["fault_effort"] = int(effort(memory.defrag, madvised=madvised))
    parameters["kswapd"] = int(memory.kswapd)
    parameters["kswapd_cpu"] = memory.kswapd_cpu
    parameters["wakes_kswapd"] = int(wakes_kswapd(memory.defrag, madvised=madvised))
    owners = SPARE_OWNERS + int(sizes[_FOLIOS])
    return lambda index: aged_frames(memory, seed=int(parameters["seed"][index]), owners=owners)
