"""The whole state in plain numbers, so that two implementations can be compared."""

from __future__ import annotations

from typing import Any

from tests.oracles.mechanism.memory import HUGE, Entry, Folio, Process, Range
from tests.oracles.mechanism.slots import FREE, FULL, Devices
from tests.oracles.mechanism.world import World


def take(world: World) -> dict[str, Any]:
    names = canonical_names(world)
    processes = world.living()
    return (
        {
            "processes": {process.number: of_process(process, names) for process in processes},
            "folios": [of_folio(folio) for folio in names],
            "slots": {
                number: (
                    slot.count,
                    -1 if slot.folio is None else names[slot.folio],
                    slot.zero,
                    slot.zswap,
                    slot.neighbour,
                )
                for number, slot in sorted(world.device.slots.items())
            },
            "clusters": of_clusters(world.device),
            "slot_readahead": world.slot_memory,
        }
        | of_zswap(world)
        | of_pressure(world, names)
        | of_frames(world, names)
    )


def of_zswap(world: World) -> dict[str, Any]:
    """Slots that zswap's pool has pages of, coldest first, and the pages that it takes."""
    return {} if world.pool is None else {"zswap": (world.pool.lru, world.pool.pool.pages)}


def of_frames(world: World, names: dict[Folio, int]) -> dict[str, Any]:
    """Where folios lie, and how much is free in blocks of each order."""
    zone = world.zone
    if zone is None:
        return {}
    return {
        "frames": [zone.frame_of[world.owners[folio]] for folio in names],
        "free_blocks": zone.free_counts(),
    }


def of_pressure(world: World, names: dict[Folio, int]) -> dict[str, Any]:
    """What there is of LRU lists and of the memory cgroup; nothing without a limit."""
    pressure = world.pressure
    if pressure is None:
        return {}
    lists = {"inactive": pressure.inactive, "active": pressure.active, "batch": pressure.batch}
    return {
        "lru": {name: [names[folio] for folio in folios] for name, folios in lists.items()},
        "lru_flags": [(folio.active, folio.referenced, folio.workingset) for folio in names],
        "charged": (pressure.usage, pressure.stock),
        "nonresident_age": pressure.age,
        "anon_cost": pressure.cost,
        "activated": (pressure.activated, pressure.snapshot),
        "statistics": (pressure.old.inactive, pressure.old.active, pressure.old.activated),
        "shadows": {
            number: (slot.shadow.age, slot.shadow.workingset)
            for number, slot in world.device.slots.items()
            if slot.shadow is not None
        },
        "young": [
            [entry.young for entry in memory.table or [memory.pmd] if entry.kind == "P"]
            for process in world.living()
            for memory in process.ranges
        ],
    }


def canonical_names(world: World) -> dict[Folio, int]:
    """Folios by their first appearance in page tables, then in the swap cache."""
    found: list[Folio | None] = []
    for process in world.living():
        for memory in process.ranges:
            entries = [memory.pmd] if memory.table is None else memory.table
            found += [entry.folio for entry in entries]
    found += [slot.folio for _, slot in sorted(world.device.slots.items())]
    living = dict.fromkeys(folio for folio in found if folio is not None)
    return {folio: name for name, folio in enumerate(living)}


def of_folio(folio: Folio) -> tuple[int, int, int, int, bool, bool, bool, bool]:
    return (
        folio.order,
        folio.first,
        folio.mapcount,
        folio.slot,
        folio.dirty,
        folio.lazyfree,
        folio.readahead,
        folio.partially_mapped,
    )


def of_process(process: Process, names: dict[Folio, int]) -> dict[str, Any]:
    return {
        "shift": process.shift,
        "armed": process.armed,
        "tracked": process.tracked,
        "readahead": (process.address, process.window, process.hits),
        "ranges": [of_range(memory, names) for memory in process.ranges],
    }


def of_range(memory: Range, names: dict[Folio, int]) -> dict[str, Any]:
    pmd = memory.pmd
    value = pmd.slot if pmd.folio is None else names[pmd.folio]
    flags = flags_of(pmd)
    entries = None
    if memory.table is not None:
        entries = [of_entry(entry, names) for entry in memory.table]
    return {
        "state": memory.state,
        "value": value,
        "flags": flags if pmd.kind in ("P", "S") else None,
        "entries": entries,
        "protection": "".join(memory.protection),
    }


def of_entry(entry: Entry, names: dict[Folio, int]) -> tuple[Any, ...]:
    value: int | tuple[int, int] = entry.slot
    if entry.folio is not None:
        value = (names[entry.folio], entry.page)
    return (entry.kind, value, *flags_of(entry))


def flags_of(entry: Entry) -> tuple[bool, bool, bool, bool, bool]:
    return (entry.writable, entry.dirty, entry.exclusive, entry.uffd_wp, entry.soft_dirty)


def of_clusters(all_devices: Devices) -> dict[str, Any]:
    devices = all_devices.devices
    numbers = {
        place: [cluster.number for device in devices for cluster in device.lists[place]]
        for place in devices[0].lists
    }
    several = {"line": [devices.index(device) for device in all_devices.line]}
    return (several if len(devices) > 1 else {}) | {
        "free": numbers[FREE],
        "nonfull": [numbers["nonfull", order] for order in range(HUGE + 1)],
        "frag": [numbers["frag", order] for order in range(HUGE + 1)],
        "full": numbers[FULL],
        "next": list(all_devices.next),
    }
