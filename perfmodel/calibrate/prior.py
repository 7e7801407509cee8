"""What is taken for a machine's prices before anything is measured."""

from __future__ import annotations

from pathlib import Path

from perfmodel.abi import PRICES, event_quantities
from perfmodel.calibrate.fit import free_events
from perfmodel.models.prices import price_name
from perfmodel.specs.catalog import load_device, load_machine, load_problem
from perfmodel.specs.machine import Machine
from perfmodel.specs.problem import FitProblem
from perfmodel.specs.quantity import Quantity


def prior(
    machine: Machine | str | Path, problem: FitProblem | str | Path = "swap-round-trips"
) -> dict[str, Quantity]:
    """Prices that a fit may change, as they are before it has seen any data.

    Parameters
    ----------
    machine : Machine, or name or path of one
        Of a fitted profile the machine that its fit started from counts.
    problem : FitProblem, or name or path of one
        Which prices are free, and which have a prior of their own.

    Returns
    -------
    dict of str to Quantity
        By name as in a fit's parameters, such as ``kernel.fault_ns``; in nanoseconds, each with its
        spread and source.

    Raises
    ------
    InputError
        If a name or file is wrong, or a profile's own base machine is not installed.

    Examples
    --------
    >>> import perfmodel as pm
    >>> before = pm.prior("intel-emerald-rapids-guest")["kernel.fault_ns"]
    >>> before.value, before.spread, before.source
    """
    machine = machine if isinstance(machine, Machine) else load_machine(machine)
    problem = problem if isinstance(problem, FitProblem) else load_problem(problem)
    base = machine if machine.fit is None else load_machine(machine.fit.base)
    device = load_device(problem.device)
    quantities = event_quantities(base, device)
    return {
        price_name(event, device): problem.limits_of(PRICES[event][0]).prior or quantities[event]
        for event in free_events(problem)
    }
