"""Several swap devices of one run, as the engine takes them; what each costs, and what it did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from perfmodel.constants import DEVICE_EVENTS, N_SHARES, Share
from perfmodel.errors import InputError, Problem
from perfmodel.kernels import layout
from perfmodel.kernels.device_layout import PARAMETERS, Device
from perfmodel.kernels.layout import SwapCell
from perfmodel.models.device_packing import plain_device
from perfmodel.models.devices import pack
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import StepAction


def plain_swap(record: np.void, sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The one swap device that a run's parameters and sizes speak of; shape (1, SWAP_COLUMNS)."""
    rows = np.zeros((1, layout.SWAP_COLUMNS), dtype=np.int64)
    row = rows[0]
    _, clusters, neighbour, free, *_ = (int(size) for size in sizes)
    row[SwapCell.END_CLUSTER] = clusters + 1
    row[SwapCell.NEIGHBOUR_SLOTS], row[SwapCell.FREE_CLUSTERS] = neighbour, free
    for cell in (SwapCell.SYNCHRONOUS, SwapCell.BLOCK_DEVICE, SwapCell.DEVICE_MODEL):
        row[cell] = record[cell.name.lower()]
    return rows


def swap_rows(scenario: Scenario, device: SwapDevice) -> npt.NDArray[np.int64]:
    """Each swap device as the scenario finds it; shape (devices, SWAP_COLUMNS)."""
    devices = device.all
    rows = np.zeros((len(devices), layout.SWAP_COLUMNS), dtype=np.int64)
    first = 0
    for row, one, space in zip(rows, devices, scenario.spaces(len(devices)), strict=True):
        row[SwapCell.FIRST_CLUSTER] = first
        first += 1 + space.clusters
        row[SwapCell.END_CLUSTER] = first
        row[SwapCell.NEIGHBOUR_SLOTS] = space.neighbour_slots
        row[SwapCell.FREE_CLUSTERS] = space.free_clusters
        row[SwapCell.PRIORITY] = one.priority or 0
        row[SwapCell.SYNCHRONOUS] = one.kind.synchronous
        row[SwapCell.BLOCK_DEVICE] = one.kind.block_device
        row[SwapCell.DEVICE_MODEL] = one.service is not None
    return rows


def set_parameters(records: npt.NDArray[np.void], device: SwapDevice) -> None:
    """What all swap devices have in common: all are synchronous, or one has a service model."""
    records["synchronous"] = all(one.kind.synchronous for one in device.all)
    records["device_model"] = any(one.service is not None for one in device.all)


def pack_all(device: SwapDevice) -> list[Device | None]:
    """The service model of each swap device that has one, at rest."""
    return [pack(one) if one.service is not None else None for one in device.all]


def stack(devices: Sequence[Device | None]) -> Device:
    """Service models with a row for each swap device; those without one get a plain row."""
    plain = plain_device(1.0)
    filled = [plain if device is None else device for device in devices]
    parameters = np.zeros(len(filled), dtype=PARAMETERS)
    state = np.zeros((len(filled), max(one.state.size for one in filled)), dtype=np.int64)
    for number, one in enumerate(filled):
        parameters[number] = one.parameters
        state[number, : one.state.size] = one.state
    # Whoever takes a row of each takes one device.
    return Device(cast(Any, parameters), state)


def shares_of(counts: npt.NDArray[np.int64], devices: int) -> npt.NDArray[np.int64]:
    """Each swap device's part of all counts; shape (..., devices, N_SHARES)."""
    shares = counts[..., layout.SHARES : layout.SHARES + devices * N_SHARES]
    return shares.reshape(*counts.shape[:-1], devices, N_SHARES)


def dearer(
    counts: npt.NDArray[np.int64],
    prices: npt.NDArray[np.int64],
    own_prices: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Picoseconds that other devices take beyond the first one's prices.

    Parameters
    ----------
    counts : int64 array, shape (runs, steps, N_COUNTS)
    prices : int64 array, shape (runs, N_PRICES), picoseconds
        With the first device's.
    own_prices : int64 array, shape (runs, devices, events of devices), picoseconds

    Returns
    -------
    int64 array, shape (runs, steps, events of devices)
    """
    events = len(DEVICE_EVENTS)
    shares = shares_of(counts, own_prices.shape[1])[..., :events]
    more = own_prices - prices[:, None, list(DEVICE_EVENTS)]
    total: npt.NDArray[np.int64] = np.einsum("rsde,rde->rse", shares, more)
    return total


def name_shares(counts: npt.NDArray[np.int64], device: SwapDevice) -> tuple[dict[str, Any], ...]:
    """What each swap device did in a step, and how full it was then; nothing for a single one."""
    if device.beside is None:
        return ()
    named = []
    for one, share in zip(device.all, shares_of(counts, len(device.all)), strict=True):
        named.append(
            {
                "device": one.name,
                "priority": one.priority,
                "pswpout": int(share[Share.COMPRESS_PAGE]),
                "pswpin": int(share[Share.DECOMPRESS_PAGE]),
                "write_requests": int(share[Share.WRITE_REQUEST]),
                "read_requests": int(share[Share.READ_REQUEST]),
                "used_slots": int(share[Share.USED_SLOTS]),
            }
        )
    return tuple(named)


def check_together(scenario: Scenario, device: SwapDevice) -> None:
    """Raise an `InputError` for a scenario that several swap devices cannot run."""
    scenario.spaces(len(device.all))
    if device.beside is None:
        return
    for step in scenario.steps:
        if step.action is StepAction.SWAPOFF:
            message = f"step {step.name!r}: swapoff is known for a single swap device only"
            raise InputError(Problem(message, file=scenario.name, key="device"))
