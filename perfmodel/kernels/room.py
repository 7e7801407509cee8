"""Allocations where memory is short: who wakes kswapd, and who reclaims (docs/kswapd.md)."""

import numpy as np

from perfmodel.constants import Counter, Event
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.buddy import MOVABLE, above, allocate_block
from perfmodel.kernels.buddy import Cell as Zone
from perfmodel.kernels.clock import charge
from perfmodel.kernels.compaction import Effort, compact_for
from perfmodel.kernels.frames import find_frames, has_frames, spare_owner
from perfmodel.kernels.kswapd import (
    catch_up,
    goes_on,
    has_kswapd,
    has_slots,
    is_fine,
    may_compact,
    measure,
    shrink_part,
    wake,
)
from perfmodel.kernels.layout import (
    ACTIVE,
    COUNTERS,
    INACTIVE,
    KSWAPD,
    NO_FRAMES,
    Cell,
    Kswapd,
)
from perfmodel.kernels.lru import pages_on
from perfmodel.kernels.pressure import FIRST_PRIORITY, RECLAIM_BATCH, charge_memory
from perfmodel.kernels.scanners import COSTLY_ORDER

_MOST_IN_VAIN = 16


@inner_kernel
def _reclaim_directly(m, order):
    """Reclaim by the CPU that needs memory; whether that came to anything."""
    state = m.state
    force = False
    while True:
        m.counts[COUNTERS + Counter.ALLOCSTALL_MOVABLE] += 1
        state[KSWAPD + Kswapd.SPARED] = 0
        total = np.int64(0)
        for step in range(FIRST_PRIORITY + 1):
            priority = np.int64(FIRST_PRIORITY - step)
            if order > COSTLY_ORDER and (
                is_fine(m, m.frames.parameters["minimum"], order)
                or may_compact(m, m.frames.parameters["high"], order)
            ):
                state[KSWAPD + Kswapd.SNAPSHOT] = state[Cell.FLUSHED_ACTIVATED]
                return True
            total += _shrink_directly(m, priority, order, force)
            if total >= RECLAIM_BATCH:
                break
        state[KSWAPD + Kswapd.SNAPSHOT] = state[Cell.FLUSHED_ACTIVATED]
        if total > 0 or state[KSWAPD + Kswapd.SPARED] == 0 or force:
            return total > 0
        force = True


@inner_kernel
def _shrink_directly(m, priority, order, force):
    """One priority of it: pages freed."""
    total = np.int64(0)
    again = True
    while again:
        # kswapd may be in the middle of its own.
        deactivate = m.state[KSWAPD + Kswapd.DEACTIVATE]
        before = m.state[KSWAPD + Kswapd.FREED]
        inactive, active = measure(m, priority, force)
        freed = np.int64(0)
        while inactive > 0:
            part, _ = shrink_part(
                m,
                inactive,
                active,
                np.int64(Counter.PGSCAN_DIRECT.value),
                np.int64(Counter.PGSTEAL_DIRECT.value),
            )
            inactive -= min(inactive, RECLAIM_BATCH)
            active -= min(active, RECLAIM_BATCH)
            freed += part
            # At the first priority whoever needs memory looks at all of its share.
            if freed >= RECLAIM_BATCH and priority < FIRST_PRIORITY:
                break
        m.state[KSWAPD + Kswapd.DEACTIVATE] = deactivate
        m.state[KSWAPD + Kswapd.FREED] = before
        total += freed
        again = goes_on(m, priority, order, freed)
    return total


@inner_kernel
def _make_room(m):
    f = m.frames
    if above(f, f.parameters["low"], np.int64(0)):
        return
    wake(m, np.int64(0))
    in_vain = 0
    while not above(f, f.parameters["minimum"], np.int64(0)) and m.state[Cell.EXHAUSTED] == 0:
        catch_up(m)
        if above(f, f.parameters["minimum"], np.int64(0)):
            return
        in_vain = 0 if _reclaim_directly(m, np.int64(0)) else in_vain + 1
        if above(f, f.parameters["minimum"], np.int64(0)):
            return
        reachable = f.state[Zone.FREE_PAGES]
        if has_slots(m):
            reachable += pages_on(m, np.int64(INACTIVE)) + pages_on(m, np.int64(ACTIVE))
        if in_vain > _MOST_IN_VAIN or reachable <= f.parameters["minimum"]:
            if m.state[Cell.EXHAUSTED] == 0:
                # The kernel kills the process now; the run ends here.
                m.state[Cell.OUT_OF_MEMORY] = NO_FRAMES
                m.state[Cell.EXHAUSTED] = 1
            return
        wake(m, np.int64(0))


@inline_kernel
def charge_page(m):
    """Charge a page of memory to the cgroup, once there is a page frame for it.

    Where that takes reclaim, anything present may be swapped out by it.
    """
    if has_kswapd(m):
        _make_room(m)
    charge_memory(m, np.int64(1))


@inner_kernel
def _find_block(m, order, effort, who):
    f = m.frames
    owner = spare_owner(m, who)
    wakes = m.parameters["wakes_kswapd"] == 1 and effort == Effort.LIGHT
    short = not above(f, f.parameters["low"], order)
    if wakes and short:
        wake(m, order)
    frame = allocate_block(f, order, owner, MOVABLE)
    if wakes and not short and frame < 0:
        wake(m, order)
    if effort == Effort.LIGHT:
        return frame >= 0
    for attempt in range(1 + effort):
        if frame < 0 and attempt == Effort.FULL:
            catch_up(m)
            _reclaim_directly(m, order)
            frame = allocate_block(f, order, owner, MOVABLE)
        if frame >= 0:
            return True
        state = f.state
        scanned = state[Zone.COMPACT_MIGRATE_SCANNED] + state[Zone.COMPACT_FREE_SCANNED]
        migrated = state[Zone.PGMIGRATE_SUCCESS]
        sync = np.int64(1) if attempt == Effort.FULL else np.int64(0)
        frame = compact_for(f, order, owner, MOVABLE, sync)
        scanned = state[Zone.COMPACT_MIGRATE_SCANNED] + state[Zone.COMPACT_FREE_SCANNED] - scanned
        charge(m, Event.COMPACT_SCAN_PAGE, scanned)
        charge(m, Event.MIGRATE_PAGE, state[Zone.PGMIGRATE_SUCCESS] - migrated)
    return frame >= 0


@inline_kernel
def find_room(m, order, effort, who):
    """`find_frames`, with reclaim where memory is short."""
    if has_frames(m) and has_kswapd(m):
        return _find_block(m, np.int64(order), np.int64(effort), np.int64(who))
    return find_frames(m, order, effort, who)
