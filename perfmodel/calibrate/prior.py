"""What is taken for a machine's prices before anything is measured."""

from __future__ import annotations

from pathlib import Path

from perfmodel.abi import PRICES, event_quantities
from perfmodel.calibrate.fit import OVERHEADS, free_events
from perfmodel.models.prices import price_name
from perfmodel.specs.catalog import load_device, load_machine, load_problem
from perfmodel.specs.machine import Machine
from perfmodel.specs.problem import FitProblem
from perfmodel.specs.quantity import Quantity

_DEFAULT_PROBLEM = "calibration"


def prior(
    machine: Machine | str | Path, problem: FitProblem | str | Path | None = None
) -> dict[str, Quantity]:
    """Prices that a fit may change, as they are before it has seen any data.

    Those of a device stand there for every device of the problem.

    Parameters
    ----------
    machine : Machine, or name or path of one
        Of a fitted profile the machine that its fit started from counts.
    problem : FitProblem, or name or path of one, optional
        Which prices are free, and which have a prior of their own. By default the one that a
        profile was fitted by, and else `calibration`.

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
    if problem is None:
        problem = _DEFAULT_PROBLEM if machine.fit is None else machine.fit.problem
    problem = problem if isinstance(problem, FitProblem) else load_problem(problem)
    base = machine if machine.fit is None else load_machine(machine.fit.base)
    devices = [load_device(name) for name in problem.devices()]
    found = {}
    for event in free_events(problem):
        given = problem.limits_of(PRICES[event][0]).prior
        for device in devices:
            found[price_name(event, device)] = given or event_quantities(base, device)[event]
    return found | {f"{OVERHEADS}.{name}": problem.overheads[name] for name in problem.overheads}
