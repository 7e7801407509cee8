"""Prices of events, and draws from what is uncertain about them."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.abi import PRICES, delay_quantities, event_quantities, picoseconds
from perfmodel.constants import N_EVENTS, Event
from perfmodel.errors import InputError, Problem, nearest
from perfmodel.specs.catalog import load_device, load_machine
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.quantity import Quantity
from perfmodel.specs.scenario import PageContent


def price_name(event: Event, device: SwapDevice) -> str:
    """Full name of an event's price, as a fit's parameter list has it."""
    name = PRICES[event][0]
    return name.replace("device.", f"devices.{device.name}.", 1)


def prices(
    machine: Machine | str | Path,
    device: SwapDevice | str | Path = "zram-lz4",
    content: PageContent | str = PageContent.HALF_RANDOM,
) -> dict[str, Quantity]:
    """The price of every event on a machine with a swap device, as a simulation pays it.

    Parameters
    ----------
    machine, device : spec, or the name or path of one
    content : PageContent or str
        What the pages hold, for those prices that depend on it.

    Returns
    -------
    dict of str to Quantity
        By name, such as ``kernel.fault_ns`` or ``devices.zram-lz4.decompress_page_ns``; in
        nanoseconds, each with its spread, source and how it is known.

    Raises
    ------
    InputError
        If a name, file or content is wrong.

    Examples
    --------
    >>> import perfmodel as pm
    >>> pm.prices("amd-zen3")["kernel.fault_ns"].source
    """
    machine = machine if isinstance(machine, Machine) else load_machine(machine)
    device = device if isinstance(device, SwapDevice) else load_device(device, machine)
    if content not in list(PageContent):
        known = ", ".join(PageContent)
        hint = nearest(content, PageContent)
        message = f"{str(content)[:40]!r} is none of {known}{hint}"
        raise InputError(Problem(message, key="content"))
    quantities = event_quantities(machine, device, PageContent(content))
    return {price_name(event, device): quantities[event] for event in Event}


# Events that came later are drawn apart.
_DRAWN_FIRST = Event.SCAN_FOLIO + 1


@attrs.frozen(eq=False)
class Draws:
    """What is drawn, in nanoseconds, best values first.

    Parameters
    ----------
    events : float array, shape (draws + 1, N_EVENTS)
        Prices, without what separate runs have in common.
    delays : float array, shape (draws + 1, delays)
    common : float array, shape (draws + 1,)
        What separate runs have in common: a factor for all prices of events.
    """

    events: npt.NDArray[np.float64]
    delays: npt.NDArray[np.float64]
    common: npt.NDArray[np.float64]


def draw(
    machine: Machine,
    device: SwapDevice,
    draws: int,
    seed: int,
    content: PageContent = PageContent.HALF_RANDOM,
) -> Draws:
    """Draws of all prices and delays, as `draw_prices` puts them together."""
    quantities = event_quantities(machine, device, content)
    best = np.array([quantity.value for quantity in quantities])
    spread = np.array([quantity.spread for quantity in quantities])
    generator = np.random.Generator(np.random.Philox(seed))
    standard = generator.standard_normal((draws, _DRAWN_FIRST))
    drift = generator.standard_normal((draws, 1))
    # From a stream of their own, so that the others' draws stay what they were without them.
    later = np.random.Generator(np.random.Philox(seed).jumped(2))
    standard = np.hstack([standard, later.standard_normal((draws, N_EVENTS - _DRAWN_FIRST))])
    common = np.ones(draws + 1)
    if machine.fit is not None:
        names = [price_name(event, device) for event in Event]
        # Column order of the fit's parameters; those of other devices take no part.
        rows = [index for index, name in enumerate(machine.fit.parameters) if name in names]
        columns = [names.index(machine.fit.parameters[index]) for index in rows]
        size = len(machine.fit.parameters)
        correlation = np.array(machine.fit.correlation).reshape(size, size)
        values, vectors = np.linalg.eigh(correlation[np.ix_(rows, rows)])
        root = vectors * np.sqrt(np.clip(values, 0.0, None))
        standard[:, columns] = standard[:, columns] @ root.T
        common[1:] = np.clip(1.0 + machine.fit.run_to_run.value * drift[:, 0], 0.1, None)
    drawn = np.clip(best + spread * standard, 0.0, None)
    delays = delay_quantities(machine)
    best_delays = np.array([quantity.value for quantity in delays])
    # From a stream of their own, so that the events' draws do not depend on how many there are.
    generator = np.random.Generator(np.random.Philox(seed).jumped())
    standard = generator.standard_normal((draws, len(delays)))
    spreads = np.array([quantity.spread for quantity in delays])
    drawn_delays = np.clip(best_delays + spreads * standard, 0.0, None)
    return Draws(np.vstack([best, drawn]), np.vstack([best_delays, drawn_delays]), common)


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
    drawn = draw(machine, device, draws, seed, content)
    return picoseconds(np.hstack([drawn.events * drawn.common[:, None], drawn.delays]))


# How many waves the misses of all steps are put together from.
_WAVES = 64
# Steps whose numbers of events differ by so much (Euclidean, natural logarithms) still have a
# correlation of exp(-1/2) between what they miss: an assumption. If ten kinds of events all differ
# by 10 %, it is 0.9; if all are twice as many, 0.01.
_REACH = 0.7
_WAVE_SEED = 0x6D697373
_KEPT_DRAWS = 4096


@cache
def _waves() -> npt.NDArray[np.float64]:
    """Wave vectors: a row for each kind of event; further kinds get further rows."""
    generator = np.random.Generator(np.random.Philox(_WAVE_SEED))
    return generator.standard_normal((N_EVENTS, _WAVES)) / _REACH


def _amplitudes(draws: int, seed: int) -> npt.NDArray[np.float64]:
    generator = np.random.Generator(np.random.Philox([seed, _WAVE_SEED]))
    return generator.standard_normal((draws, 2 * _WAVES))


_kept_amplitudes = lru_cache(maxsize=4)(_amplitudes)


def draw_model_errors(
    machine: Machine, events: npt.NDArray[Any], draws: int, seed: int
) -> npt.NDArray[np.float64]:
    """Factors on a step's time for what a sum of constant prices misses of it.

    Only a fit says how much that is. Steps with the same events miss the same, in whatever arm, and
    steps with nearly the same events nearly the same: what is missed is a smooth random function of
    the logarithms of the numbers of events, put together from waves (random Fourier features of a
    Gaussian process). So a study along an axis of counts does not jump from cell to cell.

    Parameters
    ----------
    machine : Machine
    events : array, shape (N_EVENTS,)
        Events of the step; expected ones, too.
    draws, seed : int

    Returns
    -------
    float array, shape (draws + 1,)
        The first is 1.
    """
    factors = np.ones(draws + 1)
    if machine.fit is not None and machine.fit.model_error.value > 0:
        phase = (np.log1p(np.asarray(events, dtype=float))[:, None] * _waves()).sum(axis=0)
        wave = np.concatenate([np.cos(phase), np.sin(phase)]) / math.sqrt(_WAVES)
        amplitudes = (_kept_amplitudes if draws <= _KEPT_DRAWS else _amplitudes)(draws, seed)
        missed = machine.fit.model_error.value * (amplitudes * wave).sum(axis=1)
        # Rounded, so that the last bit of a cosine is the same on all processors.
        factors[1:] = np.round(np.clip(1.0 + missed, 0.1, None), 12)
    return factors


def with_model_errors(
    machine: Machine,
    events: npt.NDArray[Any],
    elapsed: npt.NDArray[np.int64],
    seed: int,
) -> npt.NDArray[np.int64]:
    """Times of steps, spread by what a fit says that constant prices miss of each.

    Parameters
    ----------
    machine : Machine
    events : array, shape (steps, N_EVENTS)
    elapsed : int64 array, shape (draws + 1, steps), picoseconds
        The first row, at the best prices, stays as it is.
    seed : int
    """
    if machine.fit is None:
        return elapsed
    draws = len(elapsed) - 1
    factors = [draw_model_errors(machine, row, draws, seed) for row in events]
    return np.rint(elapsed * np.transpose(factors)).astype(np.int64)


def common_factors(
    machine: Machine, device: SwapDevice, draws: int, seed: int
) -> npt.NDArray[np.float64]:
    """What multiplies all prices of events in each row of `draw_prices`; shape (draws + 1,)."""
    return draw(machine, device, draws, seed).common
