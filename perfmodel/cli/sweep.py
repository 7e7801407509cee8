"""``perfmodel sweep``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import Parameter

from perfmodel.cli.common import (
    OutFolder,
    print_json,
    progress_bar,
    result,
    say,
    say_if_compiling,
    write_report,
)
from perfmodel.errors import CapabilityError, InputError, Problem


def sweep(
    study: str,
    *,
    out: OutFolder = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
    report: OutFolder = None,
) -> None:
    """Calculate all what-ifs of a study: grids and samples over any field, break-even, sensitivity.

    Parameters
    ----------
    study
        Name or path of a study; 'perfmodel show' lists them.
    out
        Folder for all numbers: parts as they come, dataset.nc in the end.
    jobs
        So many threads; one for each CPU without it.
    scheduler
        Address of a running Dask scheduler, such as tcp://127.0.0.1:8786, instead of threads.
    resume
        Go on with what is in --out, after a kill or an interruption.
    json
        Print one JSON document.
    report
        Folder for a figure as PNG and SVG, and the numbers as JSON.
    """
    problems = []
    if resume and out is None:
        problems.append(Problem("needs --out, the folder to go on with", key="--resume"))
    if jobs is not None and not 1 <= jobs <= 1024:
        problems.append(Problem("must be from 1 to 1024", key="--jobs"))
    if jobs is not None and scheduler is not None:
        problems.append(Problem("choose one of --jobs and --scheduler", key="--jobs"))
    if problems:
        raise InputError(problems)
    from perfmodel.studies.plan import make_plan

    plan = make_plan(study)
    say_if_compiling()
    from perfmodel.studies.findings import find
    from perfmodel.studies.sweep import sweep_plan

    with _executor(scheduler) as executor, progress_bar("cells") as progress:
        try:
            swept = sweep_plan(
                plan, executor=executor, jobs=jobs, out=out, resume=resume, progress=progress
            )
        except BaseException:
            if out is not None and out.is_dir():
                say(f"what is done is kept in {out}; --resume goes on with it")
            raise
    findings = find(swept)
    if out is not None:
        say(f"all numbers are in {out / 'dataset.nc'}")
    document = result("sweep", swept.to_json() | findings.to_json())
    if json:
        print_json(document)
    else:
        from perfmodel.report.sweep import sweep_lines

        sys.stdout.write("\n".join(sweep_lines(swept, findings)) + "\n")
    if report is not None:
        from perfmodel.plot.sweep import study_figure

        write_report(study_figure(swept, findings), document, report, plan.study.name)


@contextmanager
def _executor(address: str | None) -> Iterator[Executor | None]:
    """Workers of a Dask cluster; nothing without an address."""
    if address is None:
        yield None
        return
    try:
        import distributed
    except ImportError:
        message = "--scheduler needs Dask; install it with: pip install 'perfmodel[cluster]'"
        raise CapabilityError(message) from None
    library: Any = distributed
    try:
        client = library.Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        message = f"no scheduler answers at {address[:80]!r}: {error}"
        raise CapabilityError(message) from None
    try:
        if not client.nthreads():
            say("the scheduler has no workers yet; waiting for one")
        yield client.get_executor()
    finally:
        client.close()
