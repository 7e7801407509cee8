"""Figures and texts of calibration: every row is there, and nothing is drawn over."""

import attrs
import numpy as np
import pytest

from perfmodel.calibrate.baselines import BaselineSummary
from perfmodel.calibrate.fit import fit
from perfmodel.calibrate.intervals import bootstrap_lines
from perfmodel.calibrate.judge import ALL_STEPS, Validation, ValidationRun
from perfmodel.calibrate.leave_one_out import LeftOut
from perfmodel.plot.calibration import errors_by_size, predicted_by_measured, validation_figure
from perfmodel.plot.style import new_figure, save_figure
from perfmodel.report.calibration import (
    baseline_lines,
    fit_lines,
    left_out_lines,
    validation_lines,
)
from perfmodel.specs.catalog import load_machine
from tests.certified.fit_helpers import BASE, DEVICE, PROBLEM, template


def invented(run: int = 0, **changes: object) -> ValidationRun:
    plain = ValidationRun(
        run=run, scenario="s", device="zram-lz4", entry="mthp-64k", step="touch", regions=32,
        predicted_ns=32e6, interval_ns=(28e6, 36e6), measured_ns=30e6, noise_floor=0.05,
        held_out=True, stands_in=True, comes_back=True, different_counters=(),
    )  # fmt: skip
    return attrs.evolve(plain, **changes)


RUNS = (
    invented(),
    invented(1, measured_ns=33e6),
    invented(step="touch-2", entry="shmem-pmd", measured_ns=60e6),
    invented(step="fill", held_out=False, stands_in=False, different_counters=("pswpin 3/4",)),
)


def test_every_step_is_a_point_at_the_mean_of_its_runs() -> None:
    _, axes = new_figure()
    predicted_by_measured(RUNS, axes[0])
    points = list(axes[0].containers)
    assert len(points) == 3
    x, y = points[0].lines[0].get_data()
    assert float(x[0]) == pytest.approx(np.sqrt(30e6 * 33e6) / 32 / 1000)
    assert float(y[0]) == pytest.approx(1000.0)
    assert axes[0].get_xscale() == axes[0].get_yscale() == "log"
    low, high = axes[0].get_xlim()
    assert low < min(x[0], y[0]) < max(x[0], y[0]) < high
    markers = {container.lines[0].get_marker() for container in points}
    assert markers == {"o", "D"}


def test_errors_stand_beside_the_noise() -> None:
    _, axes = new_figure()
    errors_by_size(RUNS[:3], axes[0])
    error, noise = axes[0].get_lines()
    assert error.get_ydata()[0] == pytest.approx(100 * abs(32 / 60 - 1))
    assert list(noise.get_ydata()) == pytest.approx([5.0] * 3)


def test_the_figure_is_written(tmp_path) -> None:
    figure = validation_figure("m", [*RUNS, invented(step=ALL_STEPS)])
    save_figure(figure, tmp_path / "v.png")
    assert (tmp_path / "v.png").stat().st_size > 10_000
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["touch", "fill"]
    assert "seen by the fit" in labels
    assert all(label != ALL_STEPS for label in labels)


def test_validation_lines_say_worst_before_median() -> None:
    arms = (invented(step=ALL_STEPS, comes_back=False),)
    text = "\n".join(validation_lines(Validation("m", RUNS, arms)))
    assert "pswpin 3/4 * m" in text
    assert "counters equal: NO" in text
    assert text.index("worst") < text.index("median")
    assert "one run predicts another" in text
    alone = "\n".join(validation_lines(Validation("m", RUNS[:1], arms)))
    assert "several runs say more" in alone
    none = "\n".join(validation_lines(Validation("m", RUNS[3:], ())))
    assert "held out;" not in none


def test_baselines_and_left_out_scenarios_come_worst_first() -> None:
    lines = baseline_lines(
        [
            BaselineSummary("good", 10, 0, 0.1, 0.02, 0.05, 0.01),
            BaselineSummary("bad", 10, 0, 0.9, 0.02, 0.05, 0.01),
        ]
    )
    assert lines[1].startswith("bad")
    rows = [
        LeftOut("a", "pte", "touch", 90.0, 100.0, True),
        LeftOut("a", "pte", "fill", 120.0, 100.0, True),
        LeftOut("b", "pte", "fill", 101.0, 100.0, True),
    ]
    text = left_out_lines(rows)
    assert text[1].split()[:4] == ["a", "2", "20.0%", "15.0%"]
    assert "fill +20.0%" in text[1]


def test_fit_lines_say_intervals_weights_and_warnings() -> None:
    observations = template()
    outcome = fit(observations, PROBLEM, BASE, DEVICE)
    key = observations.members[0].key
    outcome = attrs.evolve(outcome, warnings=("so it is",), weights=outcome.weights | {key: 0.4})
    profile = load_machine("intel-emerald-rapids-guest")
    assert profile.fit is not None
    text = "\n".join(fit_lines(outcome, profile.fit))
    assert "warning: so it is" in text
    assert "weight 0.40" in text
    assert " to " in next(line for line in text.splitlines() if "compress_page_ns" in line)
    assert "assumed" in text
    drawn = np.vstack([outcome.values, outcome.values * 1.1])

    class Closely:
        pass

    closely = Closely()
    closely.fit = outcome  # type: ignore[attr-defined]
    lines = bootstrap_lines(closely, drawn)  # type: ignore[arg-type]
    assert lines[0].bootstrap_spread == pytest.approx(outcome.values[0] * 0.1 / np.sqrt(2))
    assert f"{lines[0].bootstrap_spread:.1f}" in "\n".join(fit_lines(outcome, None, lines))
