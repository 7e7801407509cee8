"""zswap's pool of one run: its arrays, and how large its pages are once they are compressed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGES_PER_PMD
from perfmodel.errors import InputError, Problem
from perfmodel.kernels.zswap import N_LIMITS, ZswapState
from perfmodel.models.zsmalloc import SizeClasses
from perfmodel.models.zswap import fresh_zswap
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.scenario import PageContent, Scenario

# A folio that is still taken may need as many pages more, in zspages of the most pages.
_SLACK_PAGES = 8 * PAGES_PER_PMD


def no_pool() -> ZswapState:
    """State that nobody looks at."""
    return fresh_zswap(SizeClasses(), 1, np.zeros(N_LIMITS, dtype=np.int64))


def stored_bytes(scenario: Scenario, device: SwapDevice) -> tuple[int, int]:
    """Bytes that a page of the region is compressed to, and page 511 of each 2 MiB.

    Raises
    ------
    InputError
        If the device does not say what zswap in front of it makes of a page.
    """
    content = scenario.region.content
    if device.zswap is None or not device.zswap.codec:
        message = (
            f"{device.label} has no zswap whose sizes are known; name one that has, such as "
            "zswap-lz4"
        )
        raise InputError(Problem(message, file=scenario.name, key="settings.zswap_pool"))
    sizes = {
        name: max(1, round(cost.compressed_bytes.value))
        for name, cost in device.zswap.codec.items()
    }
    if content is PageContent.ONE_NON_ZERO:
        return sizes[PageContent.ZERO], sizes[PageContent.HALF_RANDOM]
    return sizes[content], sizes[content]


def set_pool_parameters(
    records: npt.NDArray[np.void], scenario: Scenario, device: SwapDevice
) -> None:
    """How large stored pages are, for a scenario whose pool has a limit."""
    if scenario.settings.zswap_pool is not None:
        records["zswap_bytes"], records["zswap_bytes_last"] = stored_bytes(scenario, device)


def fresh_pool(scenario: Scenario, sizes: npt.NDArray[np.int64]) -> ZswapState:
    """An empty pool with room for all that its limit allows; `sizes` are `abi.state_sizes`'."""
    limits = scenario.settings.zswap_pool
    if limits is None:
        return no_pool()
    classes, slots = SizeClasses(), (int(sizes[1]) + 1) * PAGES_PER_PMD
    zspages = min(slots, limits.most_pages + _SLACK_PAGES) + PAGES_PER_PMD
    cells = np.array(
        [limits.most_pages, limits.accept_pages, limits.writeback, 1, 1], dtype=np.int64
    )
    return fresh_zswap(classes, slots, cells, zspages=4 * zspages)
