"""Page frames behind folios, where a scenario says how much memory there is (docs/buddy.md)."""

import numpy as np

from perfmodel.constants import Event
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.buddy import HELD_MOVABLE, MOVABLE, allocate_block, release_block
from perfmodel.kernels.buddy import Cell as Zone
from perfmodel.kernels.clock import charge
from perfmodel.kernels.compaction import allocate_trying
from perfmodel.kernels.layout import NO_FRAMES, Cell

# Who may have found frames at a time, and the owners that stand for them before all folios.
FOR_FAULT = 0
FOR_COLLAPSE = 1
SPARE_OWNERS = 2


@inline_kernel
def has_frames(m):
    """Whether memory is finite."""
    return m.parameters["frames"] > 0


@inline_kernel
def spare_owner(m, who):
    """Owner of what has been found for a folio that is still to be made."""
    return m.parameters["first_owner"] + who


@inline_kernel
def _owner(m, folio):
    return m.parameters["first_owner"] + SPARE_OWNERS + folio


@inner_kernel
def _try(m, order, effort, who):
    state = m.frames.state
    scanned = state[Zone.COMPACT_MIGRATE_SCANNED] + state[Zone.COMPACT_FREE_SCANNED]
    migrated = state[Zone.PGMIGRATE_SUCCESS]
    frame = allocate_trying(m.frames, order, spare_owner(m, who), np.int64(1), effort)
    scanned = state[Zone.COMPACT_MIGRATE_SCANNED] + state[Zone.COMPACT_FREE_SCANNED] - scanned
    charge(m, Event.COMPACT_SCAN_PAGE, scanned)
    charge(m, Event.MIGRATE_PAGE, state[Zone.PGMIGRATE_SUCCESS] - migrated)
    return frame >= 0


@inline_kernel
def find_frames(m, order, effort, who):
    """Whether there is a block for a large folio; it is kept for `own_frames` of the same `who`."""
    return not has_frames(m) or _try(m, np.int64(order), effort, np.int64(who))


@inner_kernel
def _give_back(m, who):
    release_block(m.frames, spare_owner(m, who))


@inline_kernel
def give_back_frames(m, who):
    """What was found is not wanted after all."""
    if has_frames(m):
        _give_back(m, np.int64(who))


@inner_kernel
def _own(m, folio, order, who):
    f = m.frames
    owner = _owner(m, folio)
    if order > 0:
        frame = np.int64(f.frame_of[spare_owner(m, who)]) - 1
        f.frame_of[spare_owner(m, who)] = 0
        f.frame_of[owner] = frame + 1
        f.link[frame] = owner
    elif allocate_block(f, order, owner, MOVABLE) < 0:
        # Nobody is there to reclaim: the kernel would kill now.
        m.state[Cell.OUT_OF_MEMORY] = NO_FRAMES
        m.state[Cell.EXHAUSTED] = 1


@inline_kernel
def own_frames(m, folio, who):
    """A new folio gets what was found for it; a page of 4 KiB finds its own."""
    if has_frames(m):
        _own(m, np.int64(folio), np.int64(m.folios[folio]["order"]), np.int64(who))


@inner_kernel
def _hand_over(m, folio, piece, part):
    f = m.frames
    frame = np.int64(f.frame_of[_owner(m, folio)]) - 1 + part
    f.kind[frame] = HELD_MOVABLE
    f.link[frame] = _owner(m, piece)
    f.frame_of[_owner(m, piece)] = frame + 1


@inline_kernel
def hand_frame_over(m, folio, piece, part):
    """A piece of a folio that is split keeps its page frame."""
    if has_frames(m):
        _hand_over(m, folio, piece, part)


@inline_kernel
def forget_frames(m, folio):
    """All pieces of a folio have their frames: it has none any more."""
    if has_frames(m):
        m.frames.frame_of[_owner(m, folio)] = 0


@inner_kernel
def _release(m, folio):
    if m.frames.frame_of[_owner(m, folio)] > 0:
        release_block(m.frames, _owner(m, folio))


@inline_kernel
def release_frames(m, folio):
    """A folio dies, and its page frames are free."""
    if has_frames(m):
        _release(m, np.int64(folio))


@inline_kernel
def fault_effort(m):
    """How hard a fault tries for a large folio."""
    return m.parameters["fault_effort"]
