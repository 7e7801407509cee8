"""What other programs did to memory before: runs of pages that come and go, drawn by a seed."""

import numpy as np

from perfmodel.kernels._jit import inner_kernel, kernel
from perfmodel.kernels.buddy import MOVABLE, UNMOVABLE, allocate_block, release_block
from perfmodel.kernels.random import uniform_32

# Streams of the generator.
_LENGTH = np.int64(7001)
_REST = np.int64(7002)
_TYPE = np.int64(7003)
_VICTIM = np.int64(7004)
_REMNANT = np.int64(7005)


@inner_kernel
def _start_run(f, member, fresh, free, pages, kind):
    """One page after the other for a new run; returns its first owner and the next free ones."""
    head = np.int64(-1)
    while pages > 0:
        owner = free
        if owner < 0:
            owner = fresh
        if allocate_block(f, np.int64(0), owner, kind) < 0:
            break
        if owner == fresh:
            fresh += 1
        else:
            free = np.int64(member[owner])
        member[owner] = head
        head = owner
        pages -= 1
    return head, fresh, free, pages


@kernel
def age(f, member, runs):
    """Fill a zone that `prepare` made, then replace part of it round by round.

    Parameters
    ----------
    f : Frames
        Owners from 0 to `used` - 1 are taken; the parameters say how much and how often.
    member : int32 array, shape (used,)
        Working space: the next page of a run, or the next owner that holds nothing.
    runs : int32 array, shape (used,)
        Working space: the first owner of each run.

    Returns
    -------
    int
        Pages held in the end; fewer than `used` where the minimum watermark forbade more.

    Notes
    -----
    Allocates: no. Mutates: all but the parameters.
    """
    seed = f.parameters["seed"]
    used = f.parameters["used"]
    held = np.int64(0)
    count = np.int64(0)  # runs
    fresh = np.int64(0)
    free = np.int64(-1)
    started = np.int64(0)
    ended = np.int64(0)
    pages_ended = np.int64(0)
    for replaced in range(f.parameters["rounds"] + 1):
        if replaced:
            while count and held > used - f.parameters["turnover"]:
                victim = uniform_32(seed, _VICTIM, ended) % count
                ended += 1
                owner = np.int64(runs[victim])
                count -= 1
                runs[victim] = runs[count]
                while owner >= 0:
                    after = np.int64(member[owner])
                    drawn = uniform_32(seed, _REMNANT, pages_ended)
                    pages_ended += 1
                    if drawn < f.parameters["remnant_threshold"]:
                        # It outlives its run, as a run of its own.
                        member[owner] = -1
                        runs[count] = owner
                        count += 1
                    else:
                        release_block(f, owner)
                        member[owner] = free
                        free = owner
                        held -= 1
                    owner = after
        while held < used:
            least = 1 << (uniform_32(seed, _LENGTH, started) % (f.parameters["largest_run"] + 1))
            pages = min(least + uniform_32(seed, _REST, started) % least, used - held)
            drawn = uniform_32(seed, _TYPE, started)
            kind = UNMOVABLE if drawn < f.parameters["unmovable_threshold"] else MOVABLE
            started += 1
            head, fresh, free, missing = _start_run(f, member, fresh, free, pages, kind)
            held += pages - missing
            if head >= 0:
                runs[count] = head
                count += 1
            if missing:
                break
    return held
