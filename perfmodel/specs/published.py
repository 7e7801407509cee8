"""Published latencies to compare predictions with, and the parts that they were measured on."""

from __future__ import annotations

from typing import Any

import attrs

from perfmodel.specs.quantity import Quantity, quantity, text, tuple_of


@attrs.frozen(kw_only=True)
class Part:
    """What a measured part has that may differ from the catalog's machine of the same core."""

    clock_ghz: Quantity = quantity("GHz", "clock of the core and of the counts", minimum=0.1)
    l1_cycles: Quantity = quantity("1", "load-to-use latency of the L1", minimum=1)
    l2_cycles: Quantity = quantity("1", "load-to-use latency of the L2", minimum=1)
    l3_cycles: Quantity = quantity("1", "load-to-use latency of the L3", minimum=1)
    l3_bytes: Quantity = quantity("byte", "L3 that one core can use", minimum=65536, whole=True)
    stlb_hit_cycles: Quantity = quantity("1", "extra latency of an STLB hit over an L1 hit")
    dram_ns: Quantity = quantity("ns", "latency of DRAM, translation not included")


def _increasing(_: object, attribute: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
    if not value or value[0] < 1 or list(value) != sorted(set(value)):
        raise ValueError(f"{attribute.name} must be positive and increase")


def _positive(_: object, attribute: attrs.Attribute[Any], value: tuple[float, ...]) -> None:
    if not value or min(value) <= 0:
        raise ValueError(f"{attribute.name} must be a list of positive numbers")


@attrs.frozen(kw_only=True)
class PublishedCpu:
    """One CPU's measured latencies, in clocks, by the sizes of `PublishedLatencies`."""

    name: str = attrs.field(validator=text)
    machine: str = attrs.field(validator=text)
    part: Part = attrs.field(validator=attrs.validators.instance_of(Part))
    random_clocks: tuple[float, ...] = attrs.field(validator=_positive)
    random_minus_local_clocks: tuple[float, ...] = attrs.field(validator=_positive)


@attrs.frozen(kw_only=True)
class PublishedLatencies:
    """Latency against buffer size for some CPUs.

    Parameters
    ----------
    left_out : tuple of str
        Published CPUs that are not here, and why.
    sizes_kib, difference_sizes_kib : tuple of int
        Buffer sizes of `random_clocks` and of `random_minus_local_clocks`.
    cpus : tuple of PublishedCpu
    """

    left_out: tuple[str, ...] = attrs.field(validator=tuple_of(str))
    sizes_kib: tuple[int, ...] = attrs.field(validator=_increasing)
    difference_sizes_kib: tuple[int, ...] = attrs.field(validator=_increasing)
    cpus: tuple[PublishedCpu, ...] = attrs.field(
        validator=[tuple_of(PublishedCpu), attrs.validators.min_len(1)]
    )

    def __attrs_post_init__(self) -> None:
        for cpu in self.cpus:
            if len(cpu.random_clocks) != len(self.sizes_kib):
                raise ValueError(f"{cpu.name}: random_clocks must have one number for each size")
            if len(cpu.random_minus_local_clocks) != len(self.difference_sizes_kib):
                raise ValueError(
                    f"{cpu.name}: random_minus_local_clocks must have one number for each size"
                )
