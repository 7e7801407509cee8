"""Calibration as text: fits, validations, influence of numbers, agreement of two profiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from perfmodel.calibrate.agreement import Agreement
from perfmodel.calibrate.baselines import BaselineSummary
from perfmodel.calibrate.fit import Fit
from perfmodel.calibrate.intervals import BootstrapLine
from perfmodel.calibrate.judge import Validation
from perfmodel.calibrate.leave_one_out import LeftOut
from perfmodel.specs.machine import FitRecord
from perfmodel.studies.influence import Influence, advice


def fit_lines(
    fit: Fit, record: FitRecord | None = None, bootstrap: Sequence[BootstrapLine] = ()
) -> list[str]:
    """Prices with what is known of them, residuals, and why not to trust it.

    Parameters
    ----------
    fit : Fit
    record : FitRecord, optional
        As the profile has it, with profile intervals.
    bootstrap : sequence of BootstrapLine
        Spreads by the repetitions alone.
    """
    shown = {line.name: line.bootstrap_spread for line in bootstrap}
    ends = {}
    if record is not None and record.lower_ns:
        ends = dict(
            zip(
                record.parameters,
                zip(record.lower_ns, record.upper_ns, strict=True),
                strict=True,
            )
        )
    lines = [
        f"{'price':42s} {'ns':>10s} {'+-':>9s} {'90 % profile interval':>23s} {'repetitions':>11s}"
    ]
    for name, value, spread in zip(fit.names, fit.values, fit.spreads, strict=True):
        interval = f"{ends[name][0]:.1f} to {ends[name][1]:.1f}" if name in ends else ""
        alone = f"{shown[name]:.1f}" if name in shown else ""
        lines.append(f"{name:42s} {value:10.1f} {spread:9.1f} {interval:>23s} {alone:>11s}")
    lines += ["", f"{'observation':52s} predicted / measured"]
    for (scenario, entry, step), error in fit.residuals.items():
        weight = fit.weights[scenario, entry, step]
        lines.append(
            f"{scenario + ' ' + entry + ' ' + step:52s} {error:+8.1%}"
            + (f"  weight {weight:.2f}" if weight < 1 else "")
        )
    known = "from several runs" if fit.run_to_run_measured else "assumed"
    lines += [
        "",
        f"chi-square {fit.chi_square:.1f} for {fit.degrees_of_freedom:.1f} degrees of freedom; "
        f"runs drift by {fit.run_to_run:.1%} ({known}); constant prices miss {fit.model_error:.1%} "
        f"of a step (arms left out)",
        *(f"warning: {warning}" for warning in fit.warnings),
    ]
    return lines


def validation_lines(validation: Validation) -> list[str]:
    """Every step, predicted and measured, and the summary with the worst case first."""
    several = len({run.run for run in validation.runs}) > 1
    lines = [
        f"{validation.machine}: microseconds per 2 MiB, * where the fit has seen the arm, "
        f"m where a memfd goes its own way",
        f"{'scenario':26s} {'entry':10s} {'step':12s} {'predicted':>9s} {'interval':>15s} "
        f"{'measured':>9s} {'error':>7s} {'noise':>6s} inside counters",
    ]
    for run in validation.runs:
        scale = run.regions * 1000
        low, high = (bound / scale for bound in run.interval_ns)
        counters = "equal" if not run.different_counters else "; ".join(run.different_counters)
        lines.append(
            f"{run.scenario:26s} {run.entry:10s} {run.step:12s} {run.predicted_ns / scale:9.1f} "
            f"{f'{low:.1f}-{high:.1f}':>15s} {run.measured_ns / scale:9.1f} "
            f"{run.relative_error:+7.1%} {run.noise_floor:6.1%} "
            f"{'yes' if run.inside_interval else 'NO ':6s} {counters}"
            f"{'' if run.held_out else ' *'}{'' if run.stands_in else ' m'}"
        )
    summary = validation.summary()
    if summary["held_out"]:
        lines += ["", *_summary_lines(summary["groups"], several)]
    lines.append(f"counters equal: {'yes' if summary['counters_equal'] else 'NO'}")
    return lines


def _summary_lines(groups: dict[str, dict[str, Any]], several: bool) -> list[str]:
    floor = (
        "noise: one run predicts another"
        if several
        else "noise: even repetitions predict the odd ones, of one run; several runs say more"
    )
    lines = [
        f"held out; {floor}; beside: without the drift that the reference loop, or else the seen "
        "arms of the run tell",
        f"{'':68s} {'number':>6s} {'error':>14s} {'noise':>14s} {'beside':>14s} {'90 % held':>11s}",
        f"{'':68s} {'':6s} {'worst median':>14s} {'worst median':>14s} {'worst median':>14s} "
        f"{'':>5s} beside",
    ]
    for name, group in groups.items():
        if not group["count"]:
            continue

        def pair(what: str, group: dict[str, Any] = group) -> str:
            return f"{group[f'max_{what}']:6.1%} {group[f'median_{what}']:6.1%}"

        lines.append(
            f"{name:68s} {group['count']:6d} {pair('abs_error'):>14s} {pair('noise_floor'):>14s} "
            f"{pair('abs_error_beside_seen'):>14s} {group['coverage']:5.0%} "
            f"{group['coverage_beside_seen']:6.0%}"
        )
    return lines


def baseline_lines(baselines: Sequence[BaselineSummary]) -> list[str]:
    """Errors of simpler predictors beside the model's, worst case first."""
    lines = [
        f"{'predictor, fitted to what the fit has seen':44s} {'steps':>6s} "
        f"{'worst':>8s} {'median':>7s}   model: worst median"
    ]
    lines += [
        f"{line.name:44s} {line.predicted:6d} {line.max_abs_error:8.1%} "
        f"{line.median_abs_error:7.1%} {line.our_max_abs_error:14.1%} "
        f"{line.our_median_abs_error:6.1%}"
        for line in sorted(baselines, key=lambda line: -line.max_abs_error)
    ]
    return lines


def left_out_lines(rows: Sequence[LeftOut]) -> list[str]:
    """Errors at every scenario, predicted by a fit to all others."""
    lines = [f"{'scenario left out':30s} {'steps':>6s} {'worst':>7s} {'median':>7s}  worst step"]
    for scenario in dict.fromkeys(row.scenario for row in rows):
        of_it = [row for row in rows if row.scenario == scenario]
        worst = max(of_it, key=lambda row: abs(row.relative_error))
        median = float(np.median([abs(row.relative_error) for row in of_it]))
        lines.append(
            f"{scenario:30s} {len(of_it):6d} {abs(worst.relative_error):7.1%} {median:7.1%}  "
            f"{worst.entry} {worst.step} {worst.relative_error:+.1%}"
        )
    return lines


def influence_lines(found: Influence) -> list[str]:
    """Numbers in the order of their influence, and what to measure next."""
    lines = [
        f"{found.scenario} on {found.machine} with {found.device}: falling back to PTEs costs "
        f"{found.per_2mib_ns / 1000:.0f} +- {found.spread_ns / 1000:.0f} us per 2 MiB",
        "",
        f"{'number':40s} {'value':>10s} {'+-':>9s} {'how':9s} {'share':>6s} {'alone':>6s} "
        f"what helps",
    ]
    for number in found.numbers:
        spread = f"{number.spread:9.1f}" if number.spread else f"{'':9s}"
        value = f"{number.value:10.1%}" if number.value < 1 else f"{number.value:10.1f}"
        lines.append(
            f"{number.name:40s} {value} {spread} {number.how:9s} {number.share:6.1%} "
            f"{number.own:6.1%} {advice(number)}"
        )
    lines += [
        "",
        "share: of the variance, gone if the number were known, with all that goes along with it;",
        "alone: what no other number of the fit would tell",
    ]
    if found.candidates:
        lines += ["", f"{'measure next':56s} takes of the variance"]
        lines += [
            f"{f'{c.scenario} {c.entry} {c.step}':56s} {c.gain:6.1%}" for c in found.candidates
        ]
    return lines


def agreement_lines(found: Agreement) -> list[str]:
    """Prices of two profiles beside each other."""
    lines = [
        f"{found.first} beside {found.second}, ns; * where data, and not the prior, made both",
        f"{'price':42s} {'first':>18s} {'second':>18s} {'apart':>6s}",
    ]
    for price in found.prices:
        first = f"{price.first_ns:.1f} +- {price.first_spread_ns:.1f}"
        second = f"{price.second_ns:.1f} +- {price.second_spread_ns:.1f}"
        lines.append(
            f"{price.name:42s} {first:>18s} {second:>18s} {price.distance:6.2f}"
            f"{'' if price.agrees else ' NO'}{' *' if price.told else ''}"
        )
    told = found.share(told=True)
    lines += [
        "",
        f"apart: in spreads of the difference; up to 1.64 lies inside the 90 % interval: "
        f"{found.share():.0%} of all {len(found.prices)} prices"
        + (
            f", {told:.0%} of the {sum(p.told for p in found.prices)} that data tell"
            if told is not None
            else ""
        ),
    ]
    return lines
