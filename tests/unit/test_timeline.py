"""Timelines agree with the results of the same run, and are what trace viewers open."""

import gzip
import itertools
import json
from collections import defaultdict

import pytest

import perfmodel as pm
from perfmodel.constants import Happening
from perfmodel.errors import InputError
from perfmodel.kernels import layout
from perfmodel.models.timeline import record_timeline
from perfmodel.report.timeline import CPUS, DEVICE, LOCKS, SCENARIO, to_trace_events
from perfmodel.specs.scenario import Backing, PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction, Workload

from .test_cli import call

MIB = 1 << 20
MACHINE = "amd-zen3"


def story(*steps: Step, size: int = 4 * MIB, **settings) -> Scenario:
    return Scenario(
        name="story",
        description="something happens",
        region=Region(size, PageContent.HALF_RANDOM, settings.pop("backing", Backing.THP)),
        steps=(Step("fill", StepAction.FILL), *steps),
        settings=Settings(**settings),
    )


ROUND_TRIP = story(Step("pageout", StepAction.PAGEOUT), Step("touch", StepAction.TOUCH))
CALLS = story(
    Step("pageout", StepAction.PAGEOUT),
    Step("fork", StepAction.FORK),
    Step("guard", StepAction.PROTECT, process=1, page_count=256),
    Step("write", StepAction.TOUCH, write=True),
    Step("collapse", StepAction.COLLAPSE),
)
TOGETHER = story(
    Step("access", StepAction.ACCESS, workload=Workload.UNIFORM, write=True, threads=3,
         accesses=6000),
    size=16 * MIB, memory_limit_bytes=8 * MIB, backing=Backing.BASE,
)  # fmt: skip
RUNS = {
    "round trip, pte": (ROUND_TRIP, "zram-lz4", "pte"),
    "round trip, pmd": (ROUND_TRIP, "zram-lz4", "pmd"),
    "calls": (CALLS, "zram-lz4", "pmd"),
    "busy device": (ROUND_TRIP, "optane-p4800x", "pte"),
    "several CPUs under a limit": (TOGETHER, "zram-lz4", "pte"),
    "several CPUs on a busy device": (TOGETHER, "samsung-pm9a3", "pte"),
}


@pytest.fixture(params=RUNS, scope="module")
def run(request):
    scenario, device, entry = RUNS[request.param]
    arguments = {"device": device, "entry": entry}
    timeline = record_timeline(scenario, MACHINE, **arguments)
    return scenario, timeline, pm.simulate(scenario, MACHINE, draws=20, **arguments)


def test_all_of_the_breakdown_is_in_the_timeline(run):
    _, timeline, result = run
    assert timeline.complete
    for moments, step in zip(timeline.steps, result.steps, strict=True):
        exact = timeline.breakdown_ps(step.name)
        told = {part: round(time * 1000) for part, time in step.breakdown_ns.items()}
        assert exact == told
        assert moments.end_ps - moments.begin_ps == round(step.elapsed_ns * 1000)


def test_faults_requests_and_holds_are_all_there(run):
    _, timeline, result = run
    kinds = timeline.rows[:, layout.ROW_KIND]
    faults = timeline.rows[kinds == Happening.FAULT]
    assert len(faults) == sum(step.counters["pgfault"] for step in result.steps)
    majors = sum(step.counters["pgmajfault"] for step in result.steps)
    assert faults[:, layout.ROW_WHAT].sum() == majors
    holds = timeline.rows[kinds == Happening.HOLD]
    counted = [hold for step in result.steps for hold in step.lock_holds.values()]
    assert len(holds) == sum(hold["count"] for hold in counted)
    assert holds[:, layout.ROW_COUNT].sum() == sum(hold["total"] for hold in counted)
    fallbacks = sum(sum(step.fallbacks.values()) for step in result.steps)
    assert (kinds == Happening.FALLBACK).sum() == fallbacks
    requests = timeline.rows[kinds == Happening.REQUEST]
    assert (len(requests) > 0) == (result.device in ("optane-p4800x", "samsung-pm9a3"))


def test_the_document_keeps_to_the_format(run):
    scenario, timeline, _ = run
    document = json.loads(json.dumps(to_trace_events(timeline, scenario.region.count)))
    events = document["traceEvents"]
    phases = {event["ph"] for event in events}
    assert phases <= {"X", "b", "e", "i", "M"}
    slices, pairs = defaultdict(list), defaultdict(list)
    for event in events:
        assert type(event["name"]) is str
        assert type(event["pid"]) is int
        assert type(event["tid"]) is int
        if event["ph"] == "M":
            assert event["args"]
            continue
        assert event["cat"]
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            slices[event["pid"], event["tid"]].append(event)
        elif event["ph"] in "be":
            pairs[event["pid"], event["cat"], event["id"]].append(event)
        else:
            assert event["s"] == "t"
    assert {process for process, _ in slices} == {SCENARIO, CPUS}
    assert {process for process, *_ in pairs} <= {LOCKS, DEVICE}
    for begin, end in pairs.values():
        assert (begin["ph"], end["ph"], begin["name"]) == ("b", "e", end["name"])
        assert begin["ts"] <= end["ts"]
    for thread in slices.values():
        # Each begins when or after the one before does, and lies within it or behind it.
        assert all(one["ts"] <= next_one["ts"] for one, next_one in itertools.pairwise(thread))
        open_until = []
        for event in thread:
            end = round((event["ts"] + event["dur"]) * 1000)
            while open_until and open_until[-1] <= round(event["ts"] * 1000):
                open_until.pop()
            assert not open_until or end <= open_until[-1]
            if event["dur"] > 0:
                open_until.append(end)


def test_one_range_alone():
    whole = record_timeline(ROUND_TRIP, MACHINE)
    part = record_timeline(ROUND_TRIP, MACHINE, only_range=1)
    assert set(whole.rows[:, layout.ROW_RANGE].tolist()) == {0, 1}
    assert set(part.rows[:, layout.ROW_RANGE].tolist()) == {1}
    assert (part.rows == whole.rows[whole.rows[:, layout.ROW_RANGE] == 1]).all()
    assert part.steps == whole.steps
    with pytest.raises(InputError, match="from 0 to 1"):
        record_timeline(ROUND_TRIP, MACHINE, only_range=2)


def test_what_does_not_fit_is_lost_and_said():
    whole = record_timeline(ROUND_TRIP, MACHINE)
    some = record_timeline(ROUND_TRIP, MACHINE, rows=100)
    assert (len(some.rows), some.complete) == (100, False)
    assert (some.rows == whole.rows[:100]).all()
    assert some.steps == whole.steps
    assert record_timeline(ROUND_TRIP, MACHINE, rows=len(whole.rows) + 1).complete


@pytest.mark.parametrize("name", ["timeline.json", "timeline.json.gz"])
def test_the_command_writes_it(capsys, tmp_path, name):
    file = tmp_path / name
    arguments = ["--machine", MACHINE, "--entry", "pmd", "--timeline", str(file), "--json"]
    status, output, errors = call(capsys, "simulate", "fallback-slot-freed", *arguments)
    assert status == 0, errors
    assert json.loads(output)["steps"]
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    document = json.loads(text)
    assert document["otherData"]["complete"] is True
    names = {event["name"] for event in document["traceEvents"]}
    assert {"touch", "fault", "fell back to PTEs: slot freed"} <= names
    assert "ui.perfetto.dev" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--timeline", "x.txt"], "must end in .json or .json.gz"),
        (["--timeline", "/no/such/folder/x.json"], "is no folder"),
        (["--timeline-range", "1"], "needs --timeline FILE"),
    ],
)
def test_bad_files_are_refused_before_anything_runs(capsys, arguments, message):
    status, output, errors = call(capsys, "simulate", "thp-roundtrip", *arguments)
    assert (status, output) == (2, "")
    assert message in errors
    assert len(errors.splitlines()) == 1
