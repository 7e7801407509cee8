"""``perfmodel calibrate``."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perfmodel.calibrate.profile import build_profile, write_profile
from perfmodel.calibrate.run import DEFAULT_REPETITIONS, QUICK_REPETITIONS, record
from perfmodel.cli.common import progress_bar, say, say_if_compiling
from perfmodel.report.calibration import fit_lines
from perfmodel.specs.catalog import user_profiles


def calibrate(
    *,
    out: Path | None = None,
    quick: Annotated[bool, Parameter(negative=())] = False,
    repetitions: int | None = None,
    evidence: list[Path] | None = None,
    shootdown: list[Path] | None = None,
    save_evidence: Path | None = None,
) -> None:
    """Measure this machine and fit a profile to it, which is then used by default.

    The fit sees pte, mthp-16k and mthp-1024k; every other entry is left for validation.

    Parameters
    ----------
    out
        File of the profile; without it, it goes to the user's own profiles.
    quick
        Fewer repetitions, wider intervals.
    repetitions
        Counted repetitions of each arm.
    evidence
        Fit to these files of earlier measurements and measure nothing; may be repeated.
    shootdown
        Take the shootdown from these files of 'perfmodel shootdown --measured'; may be repeated.
    save_evidence
        New file for this run's measurements; without it, it stands beside the profile.
    """
    path = user_profiles() / "this-machine.toml" if out is None else out
    files = evidence or []
    say_if_compiling()
    if not files:
        count = repetitions or (QUICK_REPETITIONS if quick else DEFAULT_REPETITIONS)
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        file = save_evidence or path.with_name(f"{path.stem}-evidence-{stamp}.json")
        with progress_bar("calibrating") as progress:
            record(file, repetitions=count, report=say, progress=progress)
        say(f"measurements written to {file}")
        files = [file]
    profile, fit = build_profile(files, name=path.stem, shootdowns=shootdown or [])
    write_profile(profile, path)
    sys.stdout.write("\n".join([profile.description, "", *fit_lines(fit, profile.fit)]) + "\n")
    say(f"profile written to {path}")
