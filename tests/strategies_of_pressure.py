"""Hypothesis strategies for memory under a limit and the accesses to it."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

from perfmodel.constants import PAGE_BYTES
from perfmodel.specs.scenario import Backing, DeviceSpace, Region, Settings, ZswapLimits
from perfmodel.specs.step import KeyValueMix, Step, StepAction, Workload

_LEAST_LIMIT_PAGES = 2048


def with_any_backing(regions: st.SearchStrategy[Region]) -> st.SearchStrategy[Region]:
    return st.builds(attrs.evolve, regions, backing=st.sampled_from(Backing))


def with_any_limit(settings: st.SearchStrategy[Settings]) -> st.SearchStrategy[Settings]:
    limits = st.integers(_LEAST_LIMIT_PAGES, 1 << 30).map(lambda pages: pages * PAGE_BYTES)
    return st.builds(attrs.evolve, settings, memory_limit_bytes=st.none() | limits)


@st.composite
def device_spaces(draw: st.DrawFn) -> DeviceSpace:
    clusters = draw(st.integers(1, 12))
    neighbour = draw(st.sampled_from([0, 1, 512]) | st.integers(0, 512))
    return DeviceSpace(clusters, draw(st.integers(0, clusters)) if neighbour else 0, neighbour)


zswap_limits = st.builds(
    ZswapLimits,
    st.integers(PAGE_BYTES, 1 << 40),
    st.integers(0, 100),
    st.integers(0, 100),
    st.booleans(),
)
FOR_CLASS: dict[type, st.SearchStrategy[Any]] = {
    DeviceSpace: device_spaces(),
    ZswapLimits: zswap_limits,
}


@st.composite
def access_steps(draw: st.DrawFn, name: str = "access") -> Step:
    """An access step, which the engine does not know yet."""
    workload = draw(st.sampled_from(Workload))
    more: dict[str, Any] = {}
    if workload in (Workload.ZIPF, Workload.KEY_VALUE):
        more["exponent"] = draw(st.sampled_from([1.0, 0.5]) | st.floats(0.01, 10))
    if workload is Workload.ZIPF:
        more["scattered"] = draw(st.booleans())
    elif workload is Workload.KEY_VALUE:
        more["mix"] = draw(st.sampled_from(KeyValueMix))
    elif workload is Workload.STRIDED:
        more["stride"] = draw(st.integers(1, 1 << 31))
    elif workload is Workload.PHASES:
        more["window"] = draw(st.floats(0.001, 1))
        more["phase_accesses"] = draw(st.integers(1, 1 << 40))
    elif workload is Workload.TRACE:
        more["trace"] = draw(st.sampled_from(["sqlite", "a/b.trace"]))
    return Step(
        name,
        StepAction.ACCESS,
        workload=workload,
        accesses=draw(st.sampled_from([0, 1]) | st.integers(0, 1 << 40)),
        rounds=draw(st.integers(1, 1 << 20)),
        seed=draw(st.integers(0, (1 << 56) - 1)),
        write=draw(st.booleans()) and not workload.says_what_it_writes,
        **more,
    )
