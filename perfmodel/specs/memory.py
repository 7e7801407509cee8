"""Physical memory: how much there is, and what other programs have made of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from perfmodel.specs.quantity import whole_number

_UNIT = 4 << 20  # bytes of the largest free block


class Defrag(StrEnum):
    """/sys/kernel/mm/transparent_hugepage/defrag: who compacts when a THP is asked for."""

    ALWAYS = "always"
    DEFER = "defer"
    DEFER_MADVISE = "defer+madvise"
    MADVISE = "madvise"
    NEVER = "never"


def _share(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"{attribute.name} must be a share from 0 to 1")


def _defrag(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Defrag):
        raise ValueError(f"{attribute.name} must be one of {', '.join(Defrag)}")


def _whole_units(_: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if type(value) is not int or not 4 * _UNIT <= value <= 1 << 42 or value % _UNIT:
        raise ValueError(f"{attribute.name} must be a multiple of 4 MiB, from 16 MiB to 4 TiB")


@attrs.frozen
class PhysicalMemory:
    """One zone of page frames, and other programs' pages in it.

    They come in runs of single pages, from 1 page to twice `2**largest_run_order`, each order of
    magnitude as often as the others. A run is taken page by page and given back at once, but for
    single pages that outlive it.

    Parameters
    ----------
    size_bytes : int
    used_share : float
        Share of the frames that other programs hold.
    unmovable_share : float
        Chance that a run is unmovable: the kernel's own, or pinned.
    age_rounds : int
        How often `turnover_share` of what is held has been given back and taken anew.
    turnover_share : float
    largest_run_order : int
    remnant_share : float
        Chance of each page to outlive its run.
    defrag : Defrag
    extfrag_threshold : int
        vm.extfrag_threshold: up to this fragmentation index a failure is put down to a lack of
        memory, and nothing is compacted.
    kswapd : bool
        Whether memory is reclaimed when it runs short: by kswapd below the low watermark, by who
        needs it below the minimum. Without it the run ends there.
    kswapd_cpu : int
        CPU of the program that kswapd shares, half and half; -1 for one of its own.
    min_free_kbytes : int
        vm.min_free_kbytes if somebody has written to it; 0 for what the kernel computes.
    watermark_scale_factor : int
        vm.watermark_scale_factor: the distance of the watermarks in ten-thousandths of memory.
    """

    size_bytes: int = attrs.field(validator=_whole_units)
    used_share: float = attrs.field(validator=_share)
    unmovable_share: float = attrs.field(default=0.1, validator=_share)
    age_rounds: int = whole_number(0, 100_000, default=0)
    turnover_share: float = attrs.field(default=0.125, validator=_share)
    largest_run_order: int = whole_number(0, 9, default=9)
    remnant_share: float = attrs.field(default=0.05, validator=[_share, attrs.validators.le(0.9)])
    defrag: Defrag = attrs.field(default=Defrag.MADVISE, validator=_defrag)
    extfrag_threshold: int = whole_number(0, 1000, default=500)
    kswapd: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    kswapd_cpu: int = whole_number(-1, 63, default=-1)
    min_free_kbytes: int = whole_number(0, 1 << 32, default=0)
    watermark_scale_factor: int = whole_number(1, 3000, default=10)

    def __attrs_post_init__(self) -> None:
        if self.min_free_kbytes << 10 > self.size_bytes // 2:
            raise ValueError("min_free_kbytes must not be more than half of size")
