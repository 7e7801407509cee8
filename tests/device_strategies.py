"""Strategies of block devices and of what was published of them."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

from perfmodel.specs.published_devices import (
    Measure,
    PublishedDevice,
    PublishedDevices,
    PublishedLoad,
    PublishedValue,
    Use,
)
from perfmodel.specs.quantity import Quantity
from perfmodel.specs.service import BlockLayer, GarbageCollection, Latency, Service
from tests.base_strategies import names, priced, quantities, texts


def _whole(unit: str, minimum: int, maximum: int) -> st.SearchStrategy[Quantity]:
    return quantities(unit, minimum=minimum, maximum=maximum, whole=True)


@st.composite
def latencies(draw: st.DrawFn) -> Latency:
    first, *rest = sorted(draw(st.lists(st.floats(1, 1e5), min_size=4, max_size=4)))
    rising = [draw(st.sampled_from([0.0, first])), *rest]
    spread = draw(quantities(maximum=10))
    times = [attrs.evolve(spread, value=value) for value in rising]
    return Latency(
        **dict(zip(("least_ns", "median_ns", "p99_ns", "p99_999_ns"), times, strict=True))
    )


garbage_collections = st.builds(
    GarbageCollection,
    begins_at_fill=quantities("1", maximum=1.0),
    slowdown_when_full=quantities("1", minimum=1.0, maximum=9.0),
)
_rates = quantities("byte/s", minimum=1e8, maximum=1e10)
services = priced(
    Service,
    queues=_whole("1", 1, 4),
    queue_depth=_whole("1", 1, 99),
    command_bytes=_whole("byte", 4096, 1 << 21),
    channels=_whole("1", 1, 4),
    units_per_channel=_whole("1", 1, 4),
    piece_bytes=_whole("byte", 512, 1 << 14),
    channel_bytes_per_s=_rates,
    read=latencies(),
    write=latencies(),
    read_link_bytes_per_s=_rates,
    write_link_bytes_per_s=_rates,
    buffer_bytes=_whole("byte", 0, 1 << 20),
    write_bytes_per_s=_rates,
    stall_share=quantities("1", maximum=1.0),
    garbage_collection=st.none() | garbage_collections,
)
block_layers = priced(
    BlockLayer,
    name=names,
    segments=_whole("1", 1, 128),
    driver_bytes=_whole("byte", 4096, 1 << 23),
    request_bytes=_whole("byte", 4096, 1 << 22),
)


published_values = st.builds(
    PublishedValue,
    measure=st.sampled_from(Measure),
    value=st.floats(0.5, 1e6),
    use=st.sampled_from(Use),
)
published_loads = st.builds(
    PublishedLoad,
    queue_depth=st.integers(1, 64),
    block_bytes=st.sampled_from([512, 4096, 1 << 17]),
    read_share=st.floats(0, 1, allow_subnormal=False),
    think_us=st.floats(0, 9, allow_subnormal=False),
    source=texts,
    values=st.lists(published_values, min_size=1, max_size=2).map(tuple),
)
published_devices = st.builds(
    PublishedDevice,
    device=names,
    loads=st.lists(published_loads, min_size=1, max_size=2).map(tuple),
)

FOR_CLASS: dict[type, st.SearchStrategy[Any]] = {
    Latency: latencies(),
    GarbageCollection: garbage_collections,
    Service: services,
    BlockLayer: block_layers,
    PublishedValue: published_values,
    PublishedLoad: published_loads,
    PublishedDevice: published_devices,
    PublishedDevices: st.builds(
        PublishedDevices,
        left_out=st.lists(texts, max_size=2).map(tuple),
        devices=st.lists(published_devices, min_size=1, max_size=2).map(tuple),
    ),
}
