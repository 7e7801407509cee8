"""What a live kernel cannot be made to do, and how much a scenario takes of the machine."""

from __future__ import annotations

import shutil

from perfmodel.host import available_memory_bytes
from perfmodel.measure.observe import has_soft_dirty
from perfmodel.measure.settings import ALLOW_ZSWAP, zswap_allowed
from perfmodel.measure.swapdevice import device_bytes, folder_for
from perfmodel.specs.device import DeviceKind, SwapDevice
from perfmodel.specs.scenario import Scenario, Zswap
from perfmodel.specs.step import Racing, StepAction
from perfmodel.units import format_bytes

_AIR_BYTES = 512 << 20
# Python and the compiler in it, of which every process has a copy by the first step.
_PROCESS_BYTES = 160 << 20
_MODEL_ONLY = frozenset(
    {StepAction.SPLIT_FOLIOS, StepAction.MEMORY_FAILURE, StepAction.ZSWAP_WRITEBACK}
)


def refusals(scenario: Scenario) -> list[str]:
    """Why a scenario cannot be measured on any machine, or not without the user's leave."""
    found = []
    for step in scenario.steps:
        where = f"step {step.name!r} of scenario {scenario.name!r}"
        if step.action in _MODEL_ONLY:
            found.append(f"{where}: only the model can do {step.action.value}; simulate it")
        if step.action is StepAction.CLEAR_SOFT_DIRTY and not has_soft_dirty():
            found.append(
                f"{where}: this kernel has no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY); simulate it"
            )
        if step.refuse_write:
            found.append(f"{where}: only the model can refuse a write; simulate it")
        if step.racing is not Racing.NONE:
            found.append(f"{where}: only the model can have a race come out as asked; simulate it")
    settings = scenario.settings
    found += [
        f"settings.{name} of {scenario.name!r}: only the model can bring that about; simulate it"
        for name in ("order9_failure", "charge_failure")
        if getattr(settings, name)
    ]
    if scenario.memory is not None:
        found.append(
            f"memory of {scenario.name!r}: only the model's memory can be short; simulate it"
        )
    actions = {step.action for step in scenario.steps}
    if settings.khugepaged and {StepAction.WAIT, StepAction.KHUGEPAGED} <= actions:
        found.append(
            f"settings.khugepaged of {scenario.name!r}: khugepaged has either a pace of its "
            "own on a live kernel, or passes by a step; simulate it"
        )
    if settings.zswap_pool is not None:
        found.append(
            f"settings.zswap_pool of {scenario.name!r}: only the model's pool has a size by the "
            "scenario; simulate it"
        )
    if settings.zswap is not Zswap.NEVER and not zswap_allowed():
        found.append(
            f"settings.zswap of {scenario.name!r} is {settings.zswap.value!r}: once zswap has been "
            "on, this kernel swaps single pages in until it is started again, whatever is measured "
            f"next; set {ALLOW_ZSWAP}=1 to allow it"
        )
    return found


def needs_cgroup(scenario: Scenario, device: SwapDevice) -> bool:
    """Whether the measured memory must stand in a memory cgroup of its own."""
    reclaims = any(step.action is StepAction.RECLAIM for step in scenario.steps)
    asynchronous = any(not one.kind.synchronous for one in device.all)
    return reclaims or scenario.is_limited or asynchronous


def memory_needed(scenario: Scenario, device: SwapDevice) -> int:
    """Memory that one run takes at most: the region, its copies, and some air.

    One copy is on the swap device, and every process that is forked can write to all of its own.
    """
    forked = scenario.processes - 1
    needed = (3 + forked) * scenario.region.size_bytes + forked * _PROCESS_BYTES + _AIR_BYTES
    for one, space in zip(device.all, scenario.spaces(len(device.all)), strict=True):
        if one.kind is DeviceKind.RAM_DISK or scenario.swap.neighbour_slots:
            needed += device_bytes(space.clusters)
    return needed


def refusals_of_several(scenario: Scenario, device: SwapDevice) -> list[str]:
    """Why a scenario cannot be measured on several swap devices, if there are several."""
    if device.beside is None:
        return []
    found = []
    if any(step.action is StepAction.SWAPOFF for step in scenario.steps):
        found.append(f"a swapoff step of {scenario.name!r}: known for a single swap device only")
    if any(space.neighbour_slots for space in scenario.spaces(len(device.all))):
        found.append(
            f"neighbour_slots of {scenario.name!r}: on several devices only the model knows a "
            "neighbour; simulate it"
        )
    automatic = [one.priority for one in device.all if one.priority is not None]
    automatic = [priority for priority in automatic if priority < 0]
    if automatic != sorted(set(automatic), reverse=True):
        found.append(
            "priorities below 0 are the kernel's own choice, each lower than the last; name such "
            "devices in falling order, or leave their priority out"
        )
    return found


def too_large(scenario: Scenario, device: SwapDevice) -> list[str]:
    """What a scenario takes and this machine does not have."""
    found = []
    needed, available = memory_needed(scenario, device), available_memory_bytes()
    if needed > available:
        found.append(
            f"scenario {scenario.name!r} is too large for this machine: a run takes "
            f"{format_bytes(needed)} of memory and {format_bytes(available)} are available; "
            "choose a smaller region.size"
        )
    on_disk = (DeviceKind.DISK, DeviceKind.SWAP_FILE)
    spaces = zip(device.all, scenario.spaces(len(device.all)), strict=True)
    sizes = [device_bytes(space.clusters) for one, space in spaces if one.kind in on_disk]
    if sizes:
        folder = folder_for(DeviceKind.DISK)
        needed = sum(sizes) + _AIR_BYTES
        room = shutil.disk_usage(folder).free if folder.is_dir() else 0
        if needed > room:
            found.append(
                f"scenario {scenario.name!r} takes {format_bytes(needed)} in {folder}, which has "
                f"{format_bytes(room)}; set PERFMODEL_DISK_DIR to another folder on a disk"
            )
    return found
