"""Measures a plan on this machine: arms in short turns, device after device, and the programs.

Every repetition is on disk as soon as it is there, so that a run which is interrupted, or killed,
goes on where it stood.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from perfmodel.calibrate import programs
from perfmodel.errors import CapabilityError, InputError, Problem
from perfmodel.measure.capabilities import require
from perfmodel.measure.run import Progress, summarise
from perfmodel.measure.session import LiveSession, Repetition, put_back_left_over
from perfmodel.measure.setup import require_same, setup
from perfmodel.measure.system import System
from perfmodel.results.provenance import spec_digest
from perfmodel.results.result import Result
from perfmodel.results.store import save_measurements
from perfmodel.results.unfinished import (
    Head,
    PlannedArm,
    RunFile,
    Unfinished,
    load_unfinished,
)
from perfmodel.specs.catalog import load_device, load_plan, load_scenario
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.plan import Plan, PlanProgram
from perfmodel.specs.scenario import Scenario

Report = Callable[[str], None]
SUFFIX = ".unfinished"
_LEAST_REPETITIONS = 3
_SECONDS_PER_MINUTE = 60


@attrs.frozen
class Possible:
    """What of a plan this machine can measure.

    Parameters
    ----------
    arms : tuple of PlannedArm
    programs : tuple of PlanProgram
    missing : tuple of str
        What it cannot, why, and how to get it; a line each.
    """

    arms: tuple[PlannedArm, ...]
    programs: tuple[PlanProgram, ...]
    missing: tuple[str, ...]


def possible(plan: Plan, *, quick: bool = False, system: System | None = None) -> Possible:
    """Look what this machine can measure, without changing anything."""
    arms: list[PlannedArm] = []
    why: dict[str, list[str]] = {}
    for wanted in plan.arms:
        scenario, device = load_scenario(wanted.scenario), load_device(wanted.device)
        for entry in wanted.entries:
            try:
                require([entry], [scenario], device, system)
            except CapabilityError as error:
                for line in error.missing:
                    where = f"{wanted.scenario} with {entry} on {wanted.device}"
                    why.setdefault(line, []).append(where)
            else:
                arms.append(PlannedArm(scenario=scenario.name, entry=entry, device=device.name))
    chosen = []
    for program in plan.programs:
        seconds = program.quick_seconds if quick else program.seconds
        lacks = programs.missing(program.program, system)
        for line in lacks:
            why.setdefault(line, []).append(program.program.value)
        if seconds and not lacks:
            chosen.append(attrs.evolve(program, seconds=seconds))
    lines = [f"not measured: {_some(where)}: {line}" for line, where in why.items()]
    return Possible(tuple(arms), tuple(chosen), tuple(lines))


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def plan_digest(plan: Plan) -> str:
    """Digest of a plan and of all that it measures."""
    scenarios = [load_scenario(name) for name in dict.fromkeys(a.scenario for a in plan.arms)]
    return spec_digest(attrs.make_class("_All", ["plan", "scenarios"])(plan, scenarios))


def run_file(file: Path) -> Path:
    """Where a run for this file of evidence stands until it has ended."""
    return file if file.suffix == SUFFIX else file.with_name(file.name + SUFFIX)


def evidence_file(file: Path) -> Path:
    """The file of evidence that a run will become."""
    return file.with_name(file.name.removesuffix(SUFFIX))


def program_file(file: Path, program: PlanProgram) -> Path:
    """Where the evidence of a program stands, beside that of the arms."""
    return file.with_name(f"{file.stem}-{program.program.value}{file.suffix}")


@attrs.define
class _Run:
    plan: Plan
    file: Path
    writer: RunFile
    state: Unfinished
    found: Possible
    raw: list[list[tuple[int, Repetition]]]
    failed: dict[int, str]
    report: Report
    progress: Progress
    deadline: float
    cleared: bool = False

    def wanted(self) -> int:
        """Repetitions of each arm; fewer once time is over."""
        if time.monotonic() < self.deadline:
            return self.state.head.repetitions
        if not self.cleared:
            self.cleared = True
            self.report("time is over: all arms end with the repetitions that they have")
        done = [len(kept) for arm, kept in enumerate(self.raw) if arm not in self.failed]
        # No arm stays without a location, and none is ahead of the others.
        return min(max([_LEAST_REPETITIONS, *done]), self.state.head.repetitions)

    def pending(self, device: str) -> list[int]:
        wanted = self.wanted()
        return [
            number
            for number, arm in enumerate(self.state.head.arms)
            if arm.device == device and number not in self.failed and len(self.raw[number]) < wanted
        ]

    def advance(self) -> None:
        wanted = self.state.head.repetitions
        live = [kept for arm, kept in enumerate(self.raw) if arm not in self.failed]
        self.progress(sum(map(len, live)), wanted * len(live))


def start(
    plan: Plan,
    file: Path,
    *,
    quick: bool = False,
    repetitions: int | None = None,
    report: Report = lambda _: None,
    progress: Progress = lambda _done, _total: None,
) -> list[Result]:
    """Measure a plan and save all repetitions.

    Parameters
    ----------
    plan : Plan
    file : Path
        New file for the evidence of the arms; that of each program stands beside it.
    quick : bool
    repetitions : int, optional
        Counted repetitions of each arm instead of the plan's.
    report, progress : callable
        Get a line worth telling, and (repetitions done, in all).

    Raises
    ------
    CapabilityError
        If this machine can measure nothing of it.
    """
    if file.exists():
        message = "exists already; measurements are never overwritten, choose another name"
        raise InputError(Problem(message, file=str(file)))
    # What a killed run has left is not the machine's set-up.
    put_back_left_over(report=report)
    found = possible(plan, quick=quick)
    for line in found.missing:
        report(line)
    if not found.arms and not found.programs:
        raise CapabilityError("this machine can measure nothing of this plan")
    # What stands beside a run that has not ended is its own, and the run is refused as a whole.
    for program in () if run_file(file).exists() else found.programs:
        if (beside := program_file(file, program)).exists():
            message = "exists already; measurements are never overwritten, choose another name"
            raise InputError(Problem(message, file=str(beside)))
    head = Head(
        plan=plan.name,
        sha256=plan_digest(plan),
        repetitions=repetitions or (plan.quick_repetitions if quick else plan.repetitions),
        quick=quick,
        setup=setup(),
        missing=found.missing,
        arms=found.arms,
        programs=tuple(program.program.value for program in found.programs),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    with RunFile(run_file(file)).begin(head) as writer:
        state = Unfinished(head, tuple(() for _ in head.arms), {}, frozenset(), 0)
        return _go(_begun(plan, file, writer, state, found, report, progress))


def resume(
    file: Path,
    *,
    plan: Plan | None = None,
    report: Report = lambda _: None,
    progress: Progress = lambda _done, _total: None,
) -> list[Result]:
    """Go on with a run that was interrupted or killed.

    Parameters
    ----------
    file : Path
        The run's own file, or that of the evidence it is to become.
    plan : Plan, optional
        Instead of the installed one of the run's name.

    Raises
    ------
    InputError
        If the plan has changed meanwhile, or the machine's set-up.
    """
    path, file = run_file(file), evidence_file(file)
    state = load_unfinished(path)
    plan = load_plan(state.head.plan) if plan is None else plan
    if plan_digest(plan) != state.head.sha256:
        message = f"plan {plan.name} or one of its scenarios has changed since; start anew"
        raise InputError(Problem(message, file=str(path), key="sha256"))
    put_back_left_over(report=report)
    require_same({str(path): state.head.setup, "this machine now": setup()}, key="setup")
    found = possible(plan, quick=state.head.quick)
    if found.arms != state.head.arms:
        lines = [line for line in found.missing if line not in state.head.missing]
        raise CapabilityError(["this machine cannot measure what the run began with", *lines])
    with RunFile(path).go_on(state.complete_bytes) as writer:
        return _go(_begun(plan, file, writer, state, found, report, progress))


def _begun(
    plan: Plan,
    file: Path,
    writer: RunFile,
    state: Unfinished,
    found: Possible,
    report: Report,
    progress: Progress,
) -> _Run:
    minutes = plan.quick_minutes if state.head.quick else plan.minutes
    raw: list[list[tuple[int, Repetition]]] = [
        [(session, attrs.asdict(repetition)) for session, repetition in kept]
        for kept in state.repetitions
    ]
    return _Run(
        plan=plan,
        file=file,
        writer=writer,
        state=state,
        found=found,
        raw=raw,
        failed=dict(state.failed),
        report=report,
        progress=progress,
        deadline=time.monotonic() + minutes * _SECONDS_PER_MINUTE,
    )


def _go(run: _Run) -> list[Result]:
    for program in run.found.programs:
        name = program.program.value
        if name not in run.state.programs:
            run.report(f"measuring {name}, about {program.seconds} seconds")
            # What a kill has left of it is not whole, or was not taken note of.
            program_file(run.file, program).unlink(missing_ok=True)
            programs.record(program, program_file(run.file, program), report=run.report)
            run.writer.append({"program": name})
    devices = list(dict.fromkeys(arm.device for arm in run.state.head.arms))
    session = run.state.sessions
    run.advance()
    while any(run.pending(device) for device in devices):
        for device in devices:
            if run.pending(device):
                _measure_block(run, load_device(device), session)
                session += 1
    results = [
        _result(arm, kept, run.state.head.started)
        for number, (arm, kept) in enumerate(zip(run.state.head.arms, run.raw, strict=True))
        if number not in run.failed
    ]
    failures = [f"not measured: {reason}" for reason in run.failed.values()]
    if run.state.head.arms:
        head = run.state.head
        save_measurements(results, run.file, setup=head.setup, missing=[*head.missing, *failures])
    run.writer.path.unlink()
    return results


def _measure_block(run: _Run, device: SwapDevice, number: int) -> None:
    """Some turns round the arms of one device in a session of their own.

    A session that begins anew takes other memory, so that no single place decides what a run says.
    """
    arms = run.state.head.arms
    pending = run.pending(device.name)
    scenarios = {arm: load_scenario(arms[arm].scenario) for arm in pending}
    entries = list(dict.fromkeys(arms[arm].entry for arm in pending))
    active = 0
    try:
        with LiveSession(list(scenarios.values()), device, entries, report=run.report) as session:
            for active in pending:
                session.run(scenarios[active], arms[active].entry)  # warms up, is not counted
            for _ in range(run.plan.turns):
                for active in run.pending(device.name):
                    reply = session.run(scenarios[active], arms[active].entry)
                    _keep(run, active, number, reply)
    except CapabilityError as error:
        if not _is_refusal(error, scenarios[active]):
            raise
        where = f"{arms[active].scenario} with {arms[active].entry} on {device.name}"
        run.failed[active] = f"{where}: {'; '.join(error.missing)}"
        run.writer.append({"arm": active, "failed": run.failed[active]})
        run.report(f"not measured: {run.failed[active]}")


def _is_refusal(error: CapabilityError, scenario: Scenario) -> bool:
    """Whether it is a step that the kernel refuses, and nothing else is the matter."""
    steps = {f"the kernel refused step {step.name!r}" for step in scenario.steps}
    return any(line.startswith(tuple(steps)) for line in error.missing)


def _keep(run: _Run, arm: int, session: int, reply: Repetition) -> None:
    run.raw[arm].append((session, reply))
    if len(run.raw[arm]) > 1:
        # Counters that have not moved stand in an arm's first line.
        steps = [
            step | {"counters": {name: count for name, count in step["counters"].items() if count}}
            for step in reply["steps"]
        ]
        reply = reply | {"steps": steps}
    run.writer.append({"arm": arm, "session": session, "repetition": reply})
    run.advance()


def _result(arm: PlannedArm, kept: list[tuple[int, Repetition]], started: str) -> Result:
    scenario, device = load_scenario(arm.scenario), load_device(arm.device)
    raw = [repetition for _, repetition in kept]
    sessions = [session for session, _ in kept]
    result = summarise(scenario, arm.entry, device, raw, started)
    # How many repetitions, one after the other, each session has.
    lengths = [sessions.count(session) for session in dict.fromkeys(sessions)]
    return attrs.evolve(
        result, provenance=result.provenance | {"warm_ups": 1, "session_repetitions": lengths}
    )
