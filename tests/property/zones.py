"""The oracle's page frames, from those of the engine."""

from __future__ import annotations

import numpy as np

from perfmodel.kernels import buddy
from perfmodel.kernels.buddy import Frames
from tests.oracles.buddy import Zone
from tests.property.test_buddy import free_lists, held_blocks


def zone_of(f: Frames) -> Zone:
    """A zone in which nothing has been compacted yet."""
    names = ("frames", "minimum", "low", "extfrag_threshold", "high")
    zone = Zone(*(int(f.parameters[name]) for name in names))
    zone.lists = free_lists(f)
    zone.free = {frame: order for (_, order), list_ in zone.lists.items() for frame in list_}
    zone.held = held_blocks(f)
    zone.frame_of = {owner: frame for frame, (_, owner, _) in zone.held.items()}
    zone.movable = ((f.block & buddy.IS_UNMOVABLE) == 0).tolist()
    zone.skip = np.zeros(f.block.size, dtype=bool).tolist()
    return zone
