"""The device's kernels against queueing theory: what is known in closed form, within 1 %.

Run lengths are such that the standard error of each mean is below a third of a per cent; seeds are
fixed. An open queue forgets slowly near saturation: its mean wait over n arrivals has a relative
error of about sqrt(2 (1 + rho) / (n (1 - rho)^2)) and worse, which is why loads stop at 0.8.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from perfmodel.kernels.device_layout import Cell, Placement
from perfmodel.models.device_packing import plain_device
from perfmodel.models.devices import Workload, run_closed, run_open

SERVICE_NS = 10_000.0
WITHIN = 0.01


def open_queue(rho, requests, *, servers=1, seed=1, **device):
    """Mean time in the system, in service times, and what the device counted."""
    packed = plain_device(SERVICE_NS, servers=servers, **device)
    rate = rho * servers / (SERVICE_NS * 1e-9)
    begins, ends, _ = run_open(packed, rate, Workload(requests=requests, seed=seed))
    assert (ends >= begins).all()
    return float((ends - begins).mean()) / 1000 / SERVICE_NS, packed, begins, ends


def erlang_c(servers, load):
    """Probability of waiting in M/M/c with so many Erlang."""
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last)


@pytest.mark.parametrize(
    ("rho", "requests"), [(0.2, 2_000_000), (0.5, 8_000_000), (0.8, 30_000_000)]
)
def test_m_m_1(rho, requests):
    found, *_ = open_queue(rho, requests, exponential=True)
    assert found == pytest.approx(1 / (1 - rho), rel=WITHIN)


@pytest.mark.parametrize(
    ("rho", "requests"), [(0.2, 2_000_000), (0.5, 4_000_000), (0.8, 20_000_000)]
)
def test_m_d_1(rho, requests):
    found, *_ = open_queue(rho, requests)
    assert found == pytest.approx(1 + rho / (2 * (1 - rho)), rel=WITHIN)
    # What waits is the smaller part: it alone is within 1 %, too.
    assert found - 1 == pytest.approx(rho / (2 * (1 - rho)), rel=WITHIN)


@pytest.mark.parametrize(
    ("servers", "rho", "requests"),
    [(2, 0.7, 10_000_000), (4, 0.8, 20_000_000), (16, 0.9, 10_000_000)],
)
def test_m_m_c(servers, rho, requests):
    found, *_ = open_queue(rho, requests, servers=servers, exponential=True)
    expected = 1 + erlang_c(servers, servers * rho) / (servers * (1 - rho))
    assert found == pytest.approx(expected, rel=WITHIN)


def test_random_units_are_that_many_queues_of_their_own():
    # A Poisson process that is split at random is Poisson: eight M/M/1.
    found, *_ = open_queue(
        0.6, 10_000_000, servers=8, exponential=True, placement=Placement.ADDRESS
    )
    assert found == pytest.approx(1 / (1 - 0.6), rel=WITHIN)


def mean_value_analysis(customers, stations, demand, think):
    """Throughput and residence of a closed network of alike FCFS stations and a delay."""
    waiting = 0.0  # at each station
    for population in range(1, customers + 1):
        residence = demand * (1 + waiting)
        throughput = population / (think + stations * residence)
        waiting = throughput * residence
    return throughput, stations * residence


@pytest.mark.parametrize("customers", [1, 2, 8, 32])
@pytest.mark.parametrize(("stations", "think_ns"), [(1, 0.0), (4, 0.0), (16, 25_000.0)])
def test_closed_networks_are_those_of_exact_mean_value_analysis(customers, stations, think_ns):
    packed = plain_device(
        SERVICE_NS, servers=stations, exponential=True, placement=Placement.ADDRESS
    )
    load = Workload(requests=2_000_000, think_ns=think_ns, seed=3)
    begins, ends, _ = run_closed(packed, customers, load)
    # A request visits one of the stations, each with the same probability.
    expected, residence = mean_value_analysis(customers, stations, SERVICE_NS / stations, think_ns)
    rate = (len(begins) - 1) / (begins[-1] - begins[0]) * 1000
    assert rate == pytest.approx(expected, rel=WITHIN)
    assert float((ends - begins).mean()) / 1000 == pytest.approx(residence, rel=WITHIN)


def test_a_delay_before_the_stations_is_a_station_without_a_queue():
    packed = plain_device(
        SERVICE_NS, servers=4, exponential=True, placement=Placement.ADDRESS, delay_ns=40_000
    )
    begins, ends, _ = run_closed(packed, 16, Workload(requests=2_000_000, seed=5))
    expected, residence = mean_value_analysis(16, 4, SERVICE_NS / 4, 40_000)
    assert float((ends - begins).mean()) / 1000 == pytest.approx(residence + 40_000, rel=WITHIN)
    assert (len(begins) - 1) / (begins[-1] - begins[0]) * 1000 == pytest.approx(
        expected, rel=WITHIN
    )


def test_little_and_utilisation():
    found, packed, begins, ends = open_queue(0.7, 2_000_000, exponential=True)
    horizon = int(ends.max())
    # Little: the time average of how many are in the system is rate x mean time there, exactly.
    marks = np.concatenate([begins, ends])
    steps = np.concatenate([np.ones_like(begins), -np.ones_like(ends)])
    order = np.argsort(marks, kind="stable")
    levels = np.cumsum(steps[order])[:-1]
    area = int((levels * np.diff(marks[order])).sum())
    assert area == int((ends - begins).sum())
    # Utilisation: busy time over elapsed time is rate x service time; both within 1 % of the load.
    busy = int(packed.state[Cell.UNIT_BUSY])
    assert busy / horizon == pytest.approx(0.7, rel=WITHIN)
    assert busy / len(begins) / 1000 == pytest.approx(SERVICE_NS, rel=WITHIN)
    assert found == pytest.approx(1 / 0.3, rel=0.03)
