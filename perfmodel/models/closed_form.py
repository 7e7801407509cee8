"""The closed form: what a scenario is expected to cost, as algebra over its event counts.

Where nothing overlaps, counts do not depend on prices, and the time of a step is the sum of its
events times their prices. So one run of the engine answers all questions about prices, as a product
of a matrix of prices and a row of counts; and where each 2 MiB range meets one of several fates
with known probabilities, the expected counts are the mixture of the counts of these fates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel import abi
from perfmodel.constants import (
    COUNTER_NAMES,
    N_EVENTS,
    N_HOLDS,
    N_PRICES,
    Delay,
    Event,
    Hold,
    Lock,
)
from perfmodel.kernels.layout import COUNTERS, HOLDS
from perfmodel.models.simulated import count_events
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import Policy
from perfmodel.specs.scenario import Scenario

# Whole numbers from one run, expected ones from a mixture.
Numbers = npt.NDArray[Any]


class NotClosed(ValueError):  # noqa: N818 - nothing has gone wrong, the engine can do it
    """What is asked for is no algebra over the counts of a few runs."""


@attrs.frozen(eq=False)
class Counted:
    """What a scenario counts in one arm, whatever it is paid for.

    Parameters
    ----------
    counts : array, shape (steps, N_COUNTS)
        Whole numbers from one run; expected ones from a mixture.
    mapping : array, shape (N_MAPPING,)
    """

    counts: Numbers
    mapping: Numbers

    def time(self, steps: Sequence[int]) -> Numbers:
        """What the steps pay for: a coefficient for each price; shape (N_PRICES,)."""
        coefficients = np.zeros(N_PRICES, dtype=self.counts.dtype)
        coefficients[:N_EVENTS] = self.events(steps).sum(axis=0)
        return coefficients

    def events(self, steps: Sequence[int]) -> Numbers:
        """Events of the steps; shape (len(steps), N_EVENTS)."""
        found: Numbers = abi.events_of(self.counts[list(steps)])
        return found

    def held(self, steps: Sequence[int], lock: Lock) -> Numbers:
        """The same for the time that locks of one kind are held in the steps."""
        holds = self._holds(steps, lock)
        return self._hold(holds[:, Hold.COUNT].sum(), holds[:, Hold.TOTAL].sum(), lock)

    def longest_hold(self, steps: Sequence[int], lock: Lock) -> Numbers:
        """The same for the longest single hold of such a lock."""
        holds = self._holds(steps, lock)
        longest = holds[:, Hold.LONGEST].max()
        return self._hold(int(holds[:, Hold.COUNT].any()), longest, lock)

    def _holds(self, steps: Sequence[int], lock: Lock) -> Numbers:
        base = HOLDS + lock * N_HOLDS
        return self.counts[list(steps), base : base + N_HOLDS]

    def _hold(self, count: float, length: float, lock: Lock) -> Numbers:
        coefficients = np.zeros(N_PRICES, dtype=self.counts.dtype)
        coefficients[N_EVENTS + Delay.TAKE_LOCK] = count
        coefficients[N_EVENTS + Delay.HOLD_PTE_TABLE + lock] = length
        return coefficients


def mixture(parts: Sequence[tuple[float, Counted]]) -> Counted:
    """Expected counts where each 2 MiB range meets one of several fates.

    Parameters
    ----------
    parts : sequence of (probability, Counted)
        The probabilities sum up to 1. Ranges must not get into each other's way. The longest hold
        of a lock is that of the longest fate that is possible.

    Returns
    -------
    Counted
        One that is certain as it is.
    """
    possible = [(share, counted) for share, counted in parts if share > 0]
    if len(possible) == 1:
        return possible[0][1]
    steps = {len(counted.counts) for _, counted in possible}
    if len(steps) > 1:
        raise ValueError("scenarios of a mixture must have equally many steps")
    counts = np.sum([share * counted.counts for share, counted in possible], axis=0)
    mapping = np.sum([share * counted.mapping for share, counted in possible], axis=0)
    for lock in Lock:
        column = HOLDS + lock * N_HOLDS + Hold.LONGEST
        longest = np.max([counted.counts[:, column] for _, counted in possible], axis=0)
        counts[:, column] = longest
    return Counted(counts, mapping)


class Counter:
    """Counts scenarios by the engine, each different one once.

    Counts depend on the scenario, the policy, how the device is asked for pages, and the TLBs; not
    on any price.
    """

    def __init__(self) -> None:
        self._known: dict[object, Counted] = {}
        self.runs = 0

    def count(
        self, scenario: Scenario, machine: Machine, device: SwapDevice, policy: Policy
    ) -> Counted:
        """One arm, in which nothing is left to chance."""
        fates = (scenario.region, scenario.steps, scenario.swap, scenario.settings)
        choices = attrs.evolve(policy, name="-", description="")
        key = (fates, choices, device.kind, machine.translation)
        if key not in self._known:
            runs = count_events(scenario, machine, policy, device.kind, range(1, 2), at_once=1)
            self._known[key] = Counted(runs.counts[0], runs.mapping[0])
            self.runs += 1
        return self._known[key]

    def expect(
        self, scenario: Scenario, machine: Machine, device: SwapDevice, policy: Policy
    ) -> Counted:
        """One arm in which the page or the charge for a whole swap-in may fail.

        Raises
        ------
        NotClosed
            If a range may try twice, so that its second try depends on how the first one went.
        """
        settings = scenario.settings
        no_page = max(policy.order9_failure, settings.order9_failure)
        refused = settings.charge_failure
        certain = attrs.evolve(policy, order9_failure=0.0)
        if policy.swap_entry != "pmd":
            # Nobody asks, so that the probabilities need not be told apart.
            no_page = refused = 0.0

        def fate(page: float, charge: float) -> Counted:
            own = attrs.evolve(settings, order9_failure=page, charge_failure=charge)
            return self.count(attrs.evolve(scenario, settings=own), machine, device, certain)

        if no_page in (0, 1) and refused in (0, 1):
            return fate(no_page, refused)
        whole = fate(0.0, 0.0)
        tries = whole.counts[:, Event.SWAPIN_LARGE_FOLIO].sum()
        if tries > scenario.region.count:
            raise NotClosed("a 2 MiB range is swapped in whole more than once")
        parts = [((1 - no_page) * (1 - refused), whole)]
        # In the order in which the kernel asks.
        if no_page > 0:
            parts.append((no_page, fate(1.0, 0.0)))
        if refused > 0:
            parts.append(((1 - no_page) * refused, fate(0.0, 1.0)))
        return mixture(parts)


def counters(counted: Counted, steps: Sequence[int], name: str) -> float:
    """Expected change of a kernel counter in some steps."""
    return float(counted.counts[list(steps), COUNTERS + COUNTER_NAMES.index(name)].sum())


def elapsed(counted: Counted, prices: npt.NDArray[np.int64]) -> Numbers:
    """Picoseconds of every step for every row of prices; shape (rows, steps).

    Exact whole numbers for counts of one run.
    """
    result: Numbers = prices[:, :N_EVENTS] @ abi.events_of(counted.counts).T
    return result
