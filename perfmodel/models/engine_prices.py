"""What runs of the engine are priced with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfmodel import abi
from perfmodel.constants import DEVICE_EVENTS, PICOSECONDS_PER_NANOSECOND, Event, Wait
from perfmodel.models.prices import draw_prices
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.scenario import PageContent

_SERVED_EVENTS = [
    Event.READ_REQUEST,
    Event.WRITE_REQUEST,
    Event.DECOMPRESS_PAGE,
    Event.COMPRESS_PAGE,
]


def best_prices(
    machine: Machine, device: SwapDevice, seed: int, content: PageContent
) -> npt.NDArray[np.int64]:
    """What a run at the machine's best numbers is priced with; shape (N_PRICES,), picoseconds."""
    best: npt.NDArray[np.int64] = engine_prices(machine, device, 0, seed, content)[0]
    return best


def engine_prices(
    machine: Machine, device: SwapDevice, draws: int, seed: int, content: PageContent
) -> npt.NDArray[np.int64]:
    """What `draw_prices` returns, without what a device's service model knows better."""
    prices = draw_prices(machine, device, draws, seed, content)
    if device.service is not None:
        # The service model knows what they take.
        prices[:, _SERVED_EVENTS] = 0
    return prices


def own_prices(
    machine: Machine, device: SwapDevice, draws: int, seed: int, content: PageContent
) -> npt.NDArray[np.int64]:
    """What each swap device takes for its events; shape (draws + 1, devices, events of devices).

    Draws of different devices go together: where one is dear for its spread, all are.
    """
    rows = [
        engine_prices(machine, one, draws, seed, content)[:, list(DEVICE_EVENTS)]
        for one in device.all
    ]
    return np.stack(rows, axis=1)


def nanoseconds(picoseconds: float | np.integer | np.floating) -> float:
    """Picoseconds as results say them."""
    return round(float(picoseconds) / PICOSECONDS_PER_NANOSECOND, 3)


def breakdown(
    events: npt.NDArray[np.int64],
    waits: npt.NDArray[np.int64],
    prices: npt.NDArray[np.int64],
    more: npt.NDArray[np.int64] | None,
) -> dict[str, float]:
    """Where a step's time went; `more` is what other swap devices take beyond the first."""
    parts = dict.fromkeys(abi.BREAKDOWN_PARTS, 0)
    for wait in Wait:
        parts[abi.WAIT_PARTS[wait]] += int(waits[wait])
    for event in Event:
        parts[abi.PRICES[event][1]] += int(events[event]) * int(prices[event])
    if more is not None:
        for event, picoseconds in zip(DEVICE_EVENTS, more, strict=True):
            parts[abi.PRICES[event][1]] += int(picoseconds)
    return {part: nanoseconds(total) for part, total in parts.items()}
