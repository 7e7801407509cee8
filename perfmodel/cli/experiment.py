"""``perfmodel experiment``."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from perfmodel.cli.common import (
    OutFolder,
    print_json,
    progress_bar,
    result,
    say_if_compiling,
    write_report,
)


def experiment(
    *names: str,
    seed: int = 1,
    json: Annotated[bool, Parameter(negative=())] = False,
    report: OutFolder = None,
) -> None:
    """Published swap experiments, scaled down in the model: ratios, errors, and why.

    Parameters
    ----------
    names
        Names or paths of experiments; all without one.
    seed
        The same seed gives the same result.
    json
        Print one JSON document.
    report
        Folder for experiments.png, experiments.svg and experiments.json.
    """
    say_if_compiling()
    from perfmodel.studies.experiments import compare_experiments

    with progress_bar("simulating") as progress:
        found = compare_experiments(names, seed=seed, progress=progress)
    told = {"experiments": [compared.to_json() for compared in found]}
    document = result("experiment", told)
    if json:
        print_json(document)
    else:
        from perfmodel.report.experiments import experiment_lines

        sys.stdout.write("\n".join(experiment_lines(found)) + "\n")
    if report is not None:
        from perfmodel.plot.experiments import experiment_figure

        write_report(
            experiment_figure({one.experiment.name: one.ratios for one in found}),
            document,
            report,
            "experiments",
        )
