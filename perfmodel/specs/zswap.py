"""zswap in front of a swap device: its compressor, its limits and what they cost."""

from __future__ import annotations

import attrs

from perfmodel.specs.codec import Codec, check_codec
from perfmodel.specs.quantity import Quantity, quantity, text, whole_number


@attrs.frozen
class ZswapPool:
    """What zswap keeps compressed in memory before it writes to the device behind it.

    Parameters
    ----------
    compressor : str
        As /sys/module/zswap/parameters/compressor names it.
    store_page_ns, load_page_ns : Quantity
        A half-random page: codec, allocator and tree entry. They take the place of the kernel's
        own prices.
    codec : dict
        Costs by content, see `specs.codec`.
    max_pool_percent : int
        Part of the memory that the pool may take (the kernel's default is 20).
    accept_threshold_percent : int
        Part of that limit that the pool must shrink to before it takes pages again (90).
    """

    compressor: str = attrs.field(validator=text)
    store_page_ns: Quantity = quantity("ns", "compress one 4 KiB page and store it")
    load_page_ns: Quantity = quantity("ns", "find one 4 KiB page and decompress it")
    codec: Codec = attrs.field(factory=dict, validator=check_codec)
    max_pool_percent: int = whole_number(1, 100, default=20)
    accept_threshold_percent: int = whole_number(0, 100, default=90)
