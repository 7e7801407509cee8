"""Calibrates: measures the arms of the fit on this machine and fits a profile to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perfmodel.calibrate.profile import fit_arms
from perfmodel.measure.run import Progress, measure_arms
from perfmodel.results.result import Result
from perfmodel.results.store import save_measurements
from perfmodel.specs.catalog import load_device, load_scenario

DEFAULT_REPETITIONS = 40
QUICK_REPETITIONS = 8


def record(
    file: Path,
    *,
    repetitions: int,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda _done, _total: None,
) -> list[Result]:
    """Measure every arm of the fit side by side and save all repetitions.

    Parameters
    ----------
    file : Path
        New file for the measurements.
    repetitions : int
        Counted repetitions of each arm.
    report, progress : callable
        See `perfmodel.measure.run.measure_arms`.
    """
    arms = [(load_scenario(name), entry) for name, entry in fit_arms()]
    results = measure_arms(
        arms, load_device("zram-lz4"), repetitions=repetitions, report=report, progress=progress
    )
    save_measurements(results, file)
    return results
