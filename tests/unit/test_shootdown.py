"""Shootdown: the algebra by hand."""

import numpy as np
import pytest

from perfmodel.models.shootdown import shootdown_cost
from tests.hardware import shootdown


def test_shootdown_of_a_range_by_ipi():
    cost = shootdown_cost(shootdown(), [1, 2, 5], 10, batched=True)
    assert cost.initiator_ns.tolist() == [1000, 1000 + 600, 1000 + 600 + 3 * 80]
    assert cost.responder_ns.tolist() == [0, 1500, 1500]
    assert cost.total_ns.tolist() == [1000, 1600 + 1500, 1840 + 4 * 1500]


def test_shootdown_beyond_the_ceiling_flushes_everything():
    at, beyond = (shootdown_cost(shootdown(), 1, pages, batched=True) for pages in (33, 34))
    assert (at.initiator_ns, beyond.initiator_ns) == (3300, 200)


def test_shootdown_page_by_page_pays_for_every_page():
    pages = np.array([0, 1, 512])
    single = shootdown_cost(shootdown(), 2, pages)
    assert single.initiator_ns.tolist() == [0, 700, 512 * 700]
    assert shootdown_cost(shootdown(), 2, pages, batched=True).initiator_ns.tolist() == [
        0,
        700,
        800,
    ]
    assert shootdown_cost(shootdown(), 2, 512, entries=1).initiator_ns == 700


def test_broadcast_shootdown_interrupts_nobody():
    cost = shootdown_cost(shootdown(broadcast=True), [1, 64], 512, batched=True)
    assert cost.initiator_ns.tolist() == [200, 300]
    assert cost.responder_ns.tolist() == [0, 0]


def test_shootdown_needs_a_cpu():
    with pytest.raises(ValueError, match="cpus"):
        shootdown_cost(shootdown(), 0, 1)
