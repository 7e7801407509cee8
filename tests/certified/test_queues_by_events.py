"""The same queues in SimPy, event for event: the kernels return its times to the picosecond."""

from __future__ import annotations

import numpy as np
import pytest
import simpy

from perfmodel.kernels.device_layout import ONE, RATE_SHIFT, Placement
from perfmodel.kernels.random import uniform_32
from perfmodel.models.device_packing import build_device, knot_fields, plain_device
from perfmodel.models.devices import Workload, run_closed, run_open

SERVICE_NS = 10_000
SERVICE = SERVICE_NS * 1000
REQUESTS = 3000


def in_simpy(arrivals, serve):
    """When each request is complete that arrives at one of these times."""
    environment = simpy.Environment()
    ends = [0] * len(arrivals)

    def request(index):
        yield environment.timeout(int(arrivals[index]))
        yield from serve(environment, index)
        ends[index] = environment.now

    for index in range(len(arrivals)):
        environment.process(request(index))
    environment.run()
    return ends


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("rho", [0.3, 0.95])
def test_m_d_c(servers, rho):
    load = Workload(requests=REQUESTS, seed=7)
    rate = rho * servers / (SERVICE_NS * 1e-9)
    begins, ends, _ = run_open(plain_device(SERVICE_NS, servers=servers), rate, load)
    pools = {}

    def serve(environment, _):
        pool = pools.setdefault(0, simpy.Resource(environment, servers))
        with pool.request() as turn:
            yield turn
            yield environment.timeout(SERVICE)

    assert in_simpy(begins, serve) == ends.tolist()


@pytest.mark.parametrize("depth", [1, 4, 16])
@pytest.mark.parametrize("think_ns", [0, 3_333])
def test_closed_loop(depth, think_ns):
    servers = 4
    load = Workload(requests=REQUESTS, think_ns=think_ns, seed=9)
    begins, ends, _ = run_closed(plain_device(SERVICE_NS, servers=servers), depth, load)
    environment = simpy.Environment()
    pool = simpy.Resource(environment, servers)
    found = []

    def submitter():
        while True:
            begin = environment.now
            with pool.request() as turn:
                yield turn
                yield environment.timeout(SERVICE)
            found.append((begin, environment.now))
            yield environment.timeout(think_ns * 1000)

    for _ in range(depth):
        environment.process(submitter())
    environment.run(until=int(ends.max()) + 1)
    expected = sorted(zip(begins.tolist(), ends.tolist(), strict=True))
    assert sorted(found)[: len(expected) - depth] == expected[: len(expected) - depth]


@pytest.mark.parametrize("gap_ns", [1600, 2000, 4000])
def test_a_shared_link_works_on_the_older_request_first(gap_ns):
    """Units of their own queues, then one link that an older request takes from a younger one."""
    units, least, most, transfer = 5, 1_000_000, 9_000_000, 700_001
    fields = {
        "queues": 1,
        "queue_depth": 5000,
        "command_bytes": 1 << 20,
        "command_segments": 128,
        "units": units,
        "channels": 1,
        "stripe_bytes": 1 << 20,
        **knot_fields("read", [least, *[most] * 5]),
        **knot_fields("write", [0] * 6),
        "read_link_rate": -(-(transfer << RATE_SHIFT) // 4096),
    }
    load = Workload(requests=REQUESTS, seed=11)
    begins, ends, _ = run_open(build_device(fields), 1e9 / gap_ns, load)
    length = 4096 * fields["read_link_rate"] >> RATE_SHIFT
    resources = {}

    def serve(environment, index):
        if not resources:
            resources["units"] = [simpy.Resource(environment) for _ in range(units)]
            resources["link"] = simpy.PreemptiveResource(environment)
        unit, chance = divmod(int(uniform_32(11, 0, index)) * units, ONE)
        time = least + (chance * fields["read_slope_0"] >> 24) if chance < ONE // 2 else most
        with resources["units"][unit].request() as turn:
            yield turn
            yield environment.timeout(time)
        left = length
        while left:
            with resources["link"].request(priority=index) as turn:
                yield turn
                begin = environment.now
                try:
                    yield environment.timeout(left)
                    left = 0
                except simpy.Interrupt:
                    left -= environment.now - begin

    assert in_simpy(begins, serve) == ends.tolist()


def test_placement_is_what_it_says():
    # Two free servers and two requests at a time: never a wait, unless chance puts both on one.
    def waits(placement):
        device = plain_device(SERVICE_NS, servers=2, placement=placement)
        begins, ends, _ = run_closed(device, 2, Workload(requests=1000, seed=2))
        return np.count_nonzero(ends - begins > SERVICE)

    assert waits(Placement.FREE) == 0
    assert 100 < waits(Placement.ADDRESS) < 900
