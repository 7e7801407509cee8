"""Gates of accuracy: committed evidence, and the band in which predictions of it have to stay.

They hold the model to what it has said, not the live kernel to a time: a change of the model that
moves a prediction out of its band fails a test, and has to move the band on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tomli_w

from perfmodel.calibrate.judge import Validation
from perfmodel.errors import InputError, Problem
from perfmodel.specs.gate import Gate, Gates
from perfmodel.specs.io import to_table

# A prediction may move by this before anybody has to say why; a tenth of what runs drift apart.
_PLAY = 0.01
_PAIR_PLAY = 0.005


def _rounded(number: float, digits: int = 4) -> float:
    return float(f"{number:.{digits}g}")


def make_gates(validation: Validation, evidence: Sequence[Path]) -> Gates:
    """Gates around what the model says now.

    The band of a step goes from its error as it is now to none at all, and a hundredth further at
    both ends: a better prediction is always let through.
    """
    summary = validation.summary()
    gates = []
    for key, error, measured in _errors(validation):
        scenario, device, entry, step = key
        gates.append(
            Gate(
                scenario=scenario,
                device=device,
                entry=entry,
                step=step,
                measured_ns=_rounded(measured, 6),
                lower=round(min(error, 0.0) - _PLAY, 4),
                upper=round(max(error, 0.0) + _PLAY, 4),
            )
        )
    pairs = summary["groups"]["scenario and entry pairs, all steps together"]
    if not gates or summary["median_abs_error"] is None:
        raise InputError(Problem("has nothing that the fit has not seen", key="evidence"))
    return Gates(
        machine=validation.machine,
        evidence=tuple(path.name for path in evidence),
        most_median_abs_error=round(summary["median_abs_error"] + _PAIR_PLAY, 4),
        most_pair_error=round(pairs["max_abs_error"] + _PAIR_PLAY, 4),
        least_coverage=round(max(summary["coverage"] - 0.03, 0.0), 4),
        gates=tuple(gates),
    )


def _errors(validation: Validation) -> list[tuple[tuple[str, str, str, str], float, float]]:
    """Of every held-out step its error and its time per 2 MiB, over all runs."""
    rows: dict[tuple[str, str, str, str], list[tuple[float, float]]] = {}
    for run in validation.held_out():
        rows.setdefault(run.key, []).append(
            (run.predicted_ns / run.regions, run.measured_ns / run.regions)
        )
    found = []
    for key, times in rows.items():
        predicted, measured = np.exp(np.log(np.array(times)).mean(axis=0))
        found.append((key, float(predicted / measured - 1), float(measured)))
    return found


def broken(gates: Gates, validation: Validation) -> list[str]:
    """What the model says now that lies outside its band, in words; an empty list if nothing does.

    A step that has no gate, and a gate that no step belongs to, count as broken.
    """
    found = []
    known = {gate.key: gate for gate in gates.gates}
    for key, error, measured in _errors(validation):
        name = " ".join(key)
        gate = known.pop(key, None)
        if gate is None:
            found.append(f"{name} has no gate")
        elif abs(measured / gate.measured_ns - 1) > 1e-4:
            found.append(f"{name}: {measured:.6g} ns were measured, not {gate.measured_ns:.6g}")
        elif not gate.lower <= error <= gate.upper:
            found.append(
                f"{name}: error {error:+.1%} is outside of {gate.lower:+.1%} to {gate.upper:+.1%}"
            )
    found += [f"{' '.join(key)} was not predicted" for key in known]
    summary = validation.summary()
    pairs = summary["groups"]["scenario and entry pairs, all steps together"]
    for what, value, most in (
        ("median error", summary["median_abs_error"], gates.most_median_abs_error),
        ("worst error of a pair", pairs["max_abs_error"], gates.most_pair_error),
    ):
        if value is None or value > most:
            found.append(f"{what}: {value} is more than {most}")
    if summary["coverage"] is None or summary["coverage"] < gates.least_coverage:
        found.append(f"coverage: {summary['coverage']} is less than {gates.least_coverage}")
    return found


def write_gates(gates: Gates, path: Path) -> None:
    """Write gates as TOML; what stood there before is replaced."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps(to_table(gates)), encoding="utf-8")
    except OSError as error:
        raise InputError(Problem(f"cannot be written: {error.strerror}", file=str(path))) from None
