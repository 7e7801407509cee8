"""Prices of events, and draws from what is uncertain about them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfmodel.abi import PRICES, delay_quantities, event_quantities, picoseconds
from perfmodel.constants import N_EVENTS, Event
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.scenario import PageContent


def price_name(event: Event, device: SwapDevice) -> str:
    """Full name of an event's price, as a fit's parameter list has it."""
    name = PRICES[event][0]
    return name.replace("device.", f"devices.{device.name}.", 1)


# Events that came later are drawn apart.
_DRAWN_FIRST = Event.SCAN_FOLIO + 1


def draw_prices(
    machine: Machine,
    device: SwapDevice,
    draws: int,
    seed: int,
    content: PageContent = PageContent.HALF_RANDOM,
) -> npt.NDArray[np.int64]:
    """Prices of all events and delays, best values first, then `draws` draws.

    Every price is drawn from a normal distribution with its spread, cut off at zero. The prices of
    a fit are drawn together, from its covariance. What separate runs have in common multiplies
    all prices of a draw.

    Parameters
    ----------
    machine, device : Machine, SwapDevice
    draws : int
        Number of draws.
    seed : int
        Seed of a Philox generator; the same seed gives the same draws for every arm.
    content : PageContent
        What the pages hold, for those prices that depend on it.

    Returns
    -------
    int64 array, shape (draws + 1, N_PRICES), picoseconds
    """
    quantities = event_quantities(machine, device, content)
    best = np.array([quantity.value for quantity in quantities])
    spread = np.array([quantity.spread for quantity in quantities])
    standard, common = _standard_draws(machine, device, draws, seed)
    drawn = np.clip(best + spread * standard, 0.0, None) * common
    delays = delay_quantities(machine)
    best_delays = np.array([quantity.value for quantity in delays])
    # From a stream of their own, so that the events' draws do not depend on how many there are.
    generator = np.random.Generator(np.random.Philox(seed).jumped())
    standard = generator.standard_normal((draws, len(delays)))
    spreads = np.array([quantity.spread for quantity in delays])
    drawn_delays = np.clip(best_delays + spreads * standard, 0.0, None)
    return picoseconds(
        np.vstack([np.hstack([best, best_delays]), np.hstack([drawn, drawn_delays])])
    )


def _standard_draws(
    machine: Machine, device: SwapDevice, draws: int, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Standard normal draws of all events' prices, and what all prices of a draw have in common."""
    generator = np.random.Generator(np.random.Philox(seed))
    standard = generator.standard_normal((draws, _DRAWN_FIRST))
    common = generator.standard_normal((draws, 1))
    # From a stream of their own, so that the others' draws stay what they were without them.
    later = np.random.Generator(np.random.Philox(seed).jumped(2))
    standard = np.hstack([standard, later.standard_normal((draws, N_EVENTS - _DRAWN_FIRST))])
    if machine.fit is None:
        return standard, np.ones((draws, 1))
    names = [price_name(event, device) for event in Event]
    # Column order of the fit's parameters; those of other devices take no part.
    rows = [index for index, name in enumerate(machine.fit.parameters) if name in names]
    columns = [names.index(machine.fit.parameters[index]) for index in rows]
    size = len(machine.fit.parameters)
    correlation = np.array(machine.fit.correlation).reshape(size, size)
    values, vectors = np.linalg.eigh(correlation[np.ix_(rows, rows)])
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    standard[:, columns] = standard[:, columns] @ root.T
    return standard, np.clip(1.0 + machine.fit.run_to_run.value * common, 0.1, None)


def common_factors(
    machine: Machine, device: SwapDevice, draws: int, seed: int
) -> npt.NDArray[np.float64]:
    """What multiplies all prices of events in each row of `draw_prices`; shape (draws + 1,)."""
    _, common = _standard_draws(machine, device, draws, seed)
    return np.concatenate([[1.0], common[:, 0]])
