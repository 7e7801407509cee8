"""``perfmodel calibrate``."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from perfmodel.calibrate import run as running
from perfmodel.calibrate.profile import build_profile, write_profile
from perfmodel.cli.common import OutFile, print_json, progress_bar, say, say_if_compiling
from perfmodel.errors import CapabilityError, InputError, Problem
from perfmodel.report.calibration import fit_lines
from perfmodel.results.result import Result
from perfmodel.results.shootdown import load_shootdowns
from perfmodel.results.stability import complaints
from perfmodel.specs.catalog import load_plan, user_profiles

_DEFAULT_PLAN = "calibration"


def calibrate(
    *,
    out: OutFile = None,
    quick: Annotated[bool, Parameter(negative=())] = False,
    repetitions: int | None = None,
    evidence: list[Path] | None = None,
    shootdown: list[Path] | None = None,
    save_evidence: OutFile = None,
    resume: Path | None = None,
    plan: str = _DEFAULT_PLAN,
    measure_only: Annotated[bool, Parameter(negative=())] = False,
    list_only: Annotated[bool, Parameter(name="--list", negative=())] = False,
) -> None:
    """Measure this machine and fit a profile to it, which is then used by default.

    The fit sees pte, mthp-16k and mthp-1024k; every other entry is left for validation. A run that
    is interrupted, or killed, goes on with --resume.

    Parameters
    ----------
    out
        File of the profile; without it, it goes to the user's own profiles.
    quick
        Fewer repetitions, wider intervals; under 5 minutes.
    repetitions
        Counted repetitions of each arm.
    evidence
        Fit to these files of earlier measurements and measure nothing; may be repeated.
    shootdown
        Take the shootdown from these files of 'perfmodel shootdown --measured'; may be repeated.
    save_evidence
        New file for this run's measurements; without it, it stands beside the profile.
    resume
        Go on with the run of this file; name the plan again if it was a path.
    plan
        Name or path of the plan that says what is measured.
    measure_only
        Measure, and fit nothing.
    list_only
        Say what this machine can measure of the plan, and what not and why; measure nothing.
    """
    if list_only:
        _list(plan, quick)
        return
    _check(resume, evidence, save_evidence, repetitions)
    path = user_profiles() / "this-machine.toml" if out is None else out
    files = evidence or []
    if not measure_only:
        say_if_compiling()
    for given in shootdown or []:
        load_shootdowns(given)  # not only after half an hour of measuring
    if not files:
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        file = save_evidence or path.with_name(f"{path.stem}-evidence-{stamp}.json")
        file = running.evidence_file(resume) if resume else file
        results = _measure(file, resume, plan, quick, repetitions)
        if results:
            say(f"measurements written to {file}")
        for line in complaints(results):
            say(line)
        if measure_only:
            return
        if not results:
            raise CapabilityError("no swap was measured, so there is nothing to fit")
        files = [file]
    profile, fit = build_profile(files, name=path.stem, shootdowns=shootdown or [])
    write_profile(profile, path)
    sys.stdout.write("\n".join([profile.description, "", *fit_lines(fit, profile.fit)]) + "\n")
    say(f"profile written to {path}")


def _check(
    resume: Path | None,
    evidence: list[Path] | None,
    save_evidence: Path | None,
    repetitions: int | None,
) -> None:
    problems = []
    if resume is not None and not resume.name:
        problems.append(Problem("is no file name", key="--resume"))
    if resume and (evidence or save_evidence or repetitions):
        message = "goes on with what the run began with; leave the other options out"
        problems.append(Problem(message, key="--resume"))
    if repetitions is not None and not 3 <= repetitions <= 1000:
        problems.append(Problem("must be from 3 to 1000", key="--repetitions"))
    if problems:
        raise InputError(problems)


def _measure(
    file: Path, resume: Path | None, plan: str, quick: bool, repetitions: int | None
) -> list[Result]:
    unfinished = running.run_file(file)
    try:
        with progress_bar("measuring") as progress:
            if resume is not None:
                again = None if plan == _DEFAULT_PLAN else load_plan(plan)
                return running.resume(file, plan=again, report=say, progress=progress)
            return running.start(
                load_plan(plan),
                file,
                quick=quick,
                repetitions=repetitions,
                report=say,
                progress=progress,
            )
    finally:
        if unfinished.exists():
            say(f"the run has not ended; go on with --resume {unfinished}")


def _list(name: str, quick: bool) -> None:
    plan = load_plan(name)
    found = running.possible(plan, quick=quick)
    print_json(
        {
            "plan": plan.name,
            "arms": [attrs.asdict(arm) for arm in found.arms],
            "programs": [program.program.value for program in found.programs],
            "missing": list(found.missing),
        }
    )
