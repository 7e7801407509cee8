"""Every kind of document as a section of the page: checked, drawn and tabled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from matplotlib.figure import Figure

from perfmodel.calibrate.judge import ValidationRun, summarise
from perfmodel.errors import InputError, Problem
from perfmodel.report.comparison import comparison_section
from perfmodel.report.notes import step_notes
from perfmodel.report.parts import (
    Cell,
    Picture,
    Section,
    Table,
    heading,
    number,
    picture,
    provenance_rows,
    table,
)
from perfmodel.report.plain_sections import PLAIN, nested_tables, plain_section
from perfmodel.report.reading import made, shaped, without
from perfmodel.report.study_sections import sweep_section, thrash_section
from perfmodel.results.documents import Document
from perfmodel.results.result import Result
from perfmodel.results.store import load_measurements
from perfmodel.specs import io
from perfmodel.specs.policy import MEASURED_ENTRIES, SIMULATED_ENTRIES, check_entry
from perfmodel.specs.scenario import Scenario
from perfmodel.studies.compare import Comparison, Fallback

_MOST_PROBLEMS = 3
# What follows from the rest of a validated step, and what a document need not say.
_DERIVED = ("relative_error", "inside_interval", "counters_equal", "error_beside_seen")
_UNSAID = {"run": 1, "stands_in": True, "comes_back": False}


def section(document: Document) -> Section:
    """What a document says, for the page.

    Raises
    ------
    InputError
        If it does not hold what a document of its kind does, with file and key.
    """
    try:
        return _MAKERS[document.kind](document)
    except InputError as error:
        raise _few(error, str(document.source)) from None
    except Exception as error:  # whatever a file contains, no traceback
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        message = f"does not fit together as a result of {document.kind!r} ({reason})"
        raise document.problem(message) from None


def _few(error: InputError, file: str) -> InputError:
    """The first problems of a file, each with its name; one damage may show in many places."""
    first = [
        problem if problem.file else Problem(problem.message, file=file, key=problem.key)
        for problem in error.problems[:_MOST_PROBLEMS]
    ]
    if more := len(error.problems) - len(first):
        first.append(Problem(f"and {more} more like these", file=file))
    return InputError(first)


def _check_result(document: Document, result: Result, key: str = "") -> None:
    before = f"{key}." if key else ""
    check_entry(result.entry, (*SIMULATED_ENTRIES, *MEASURED_ENTRIES), key=f"{before}entry")
    if result.regions < 1:
        raise document.problem("must be at least 1", f"{before}regions")
    if not result.steps:
        raise document.problem("must not be empty", f"{before}steps")


def _step_table(result: Result) -> Table:
    scale = result.regions * 1000
    parts = list(dict.fromkeys(part for step in result.steps for part in step.breakdown_ns))
    columns: dict[str, Callable[[Any], Any]] = {
        "step": lambda step: step.name,
        "us per 2 MiB": lambda step: number(step.elapsed_ns / scale),
        "from": lambda step: number(step.interval_ns[0] / scale),
        "to": lambda step: number(step.interval_ns[1] / scale),
    }

    def part_of(name: str) -> Callable[[Any], Any]:
        return lambda step: number(step.breakdown_ns.get(name, 0.0) / scale)

    used = [part for part in parts if any(step.breakdown_ns.get(part) for step in result.steps)]
    columns |= {heading(part): part_of(part) for part in used}
    return table("Time of each step", columns, result.steps, note="All in us per 2 MiB.")


def _counter_table(result: Result) -> Table:
    moved = [
        name
        for name in {n: None for step in result.steps for n in step.counters}
        if any(step.counters.get(name) for step in result.steps)
    ]

    def of_step(step: Any) -> Callable[[Any], Any]:
        return lambda name: number(step.counters.get(name))

    columns: dict[str, Callable[[Any], Any]] = {"counter": lambda name: name}
    columns |= {step.name: of_step(step) for step in result.steps}
    note = f"Changes over the whole region ({result.regions} times 2 MiB)."
    return table("The kernel's counters", columns, moved, note=note)


def _result(document: Document) -> Section:
    fields = {field.name: field.type for field in attrs.fields(Result)}
    known = {key: value for key, value in document.table.items() if key in fields}
    result = io.structure(Result, known, str(document.source))
    _check_result(document, result)
    from perfmodel.plot.steps import step_figure

    world = str(result.provenance.get("world", ""))
    drawn = picture(
        step_figure(result),
        "Time of each step with its interval"
        + ("; ticks are the repetitions." if world == "measured" else ", and where it goes."),
        f"Bars of the {world} time of each step of {result.scenario}.",
    )
    return Section(
        title=f"{result.scenario}, entry {result.entry}, {world}",
        facts={"scenario": result.scenario, "machine": result.machine, "device": result.device}
        | {
            heading(name): "unknown" if value is None else f"{value:,}"
            for name, value in result.mapping.items()
        },
        pictures=(drawn,),
        tables=(_step_table(result), _counter_table(result)),
        notes=tuple(f"{step.name}: {line}" for step in result.steps for line in step_notes(step)),
        provenance=provenance_rows({world: {result.entry: result.provenance}}),
        command=document.command,
        source=str(document.source),
    )


def _measurements(document: Document) -> Section:
    results = load_measurements(document.source)
    flat = [(result, step) for result in results for step in result.steps]
    columns: dict[str, Callable[[Any], Any]] = {
        "scenario": lambda pair: pair[0].scenario,
        "entry": lambda pair: pair[0].entry,
        "device": lambda pair: pair[0].device,
        "step": lambda pair: pair[1].name,
        "us per 2 MiB": lambda pair: number(pair[0].per_2mib_us(pair[1].name)),
        "5 %": lambda pair: number(pair[1].interval_ns[0] / pair[0].regions / 1000),
        "75 %": lambda pair: number(pair[1].interval_ns[1] / pair[0].regions / 1000),
        "repetitions": lambda pair: len(pair[1].repetitions_ns),
    }
    return Section(
        title=f"Measurements: {len(results)} runs",
        tables=(table("Times", columns, flat, note="25 % quantile of all repetitions."),),
        provenance=provenance_rows(
            {"measured": {f"{at + 1}": result.provenance for at, result in enumerate(results[:1])}}
        ),
        command=document.command,
        source=str(document.source),
    )


def _compare(document: Document) -> Section:
    # The measured fallback follows from the arms.
    shape = shaped(
        document,
        scenario=Scenario,
        arms=dict[str, Result],
        fallback=Fallback,
        **({"measured": dict[str, Result]} if "measured" in document.table else {}),
    )
    measured: dict[str, Result] = getattr(shape, "measured", {})
    comparison = Comparison(shape.scenario, shape.arms, shape.fallback, measured)
    steps = [step.name for step in comparison.scenario.steps]
    for group, results in (("arms", comparison.arms), ("measured", comparison.measured)):
        for entry, result in results.items():
            key = f"{group}.{entry}"
            _check_result(document, result, key)
            if result.entry != entry:
                raise document.problem(f"must be {entry[:40]!r}", f"{key}.entry")
            if [step.name for step in result.steps] != steps:
                raise document.problem("must be the steps of the scenario", f"{key}.steps")
            if group == "arms" and not isinstance(result.provenance.get("kernel"), str):
                raise document.problem("must be a text", f"{key}.provenance.kernel")
    if not comparison.arms:
        raise document.problem("must not be empty", "arms")
    if not set(comparison.fallback.steps) <= set(steps):
        raise document.problem("must be steps of the scenario", "fallback.steps")
    return comparison_section(comparison, document.command, str(document.source))


def _validate(document: Document) -> Section:
    runs = without(document.table["runs"], *_DERIVED)
    if isinstance(runs, list):
        runs = [{**_UNSAID, **run} if isinstance(run, Mapping) else run for run in runs]
    shape = shaped(
        attrs.evolve(document, table=document.table | {"runs": runs}),
        machine=str,
        runs=tuple[ValidationRun, ...],
    )
    for at, run in enumerate(shape.runs):
        for name in ("regions", "measured_ns", "predicted_ns"):
            if getattr(run, name) <= 0:
                raise document.problem("must be positive", f"runs[{at}].{name}")
    summary = summarise([run for run in shape.runs if run.held_out])
    equal = all(not run.different_counters for run in shape.runs)
    said = [f"Counters equal: {'yes' if equal else 'NO'}."]
    if summary["count"]:
        said.insert(
            0,
            f"{summary['count']} steps that no fit has seen: median error "
            f"{summary['median_abs_error']:.1%}, worst {summary['max_abs_error']:.1%}; the 90 % "
            f"interval held for {summary['coverage']:.0%}.",
        )
    pictures: tuple[Picture, ...] = ()
    if shape.runs:
        from perfmodel.plot.calibration import validation_figure

        pictures = (
            picture(
                validation_figure(shape.machine, shape.runs),
                "Predicted against measured time of each step; on the line both are the same.",
                "Scatter plot of predicted over measured times, both logarithmic.",
            ),
        )

    def us(value: float, run: ValidationRun) -> Cell:
        return number(value / run.regions / 1000)

    columns: dict[str, Callable[[Any], Any]] = {
        "run": lambda run: run.run,
        "scenario": lambda run: run.scenario,
        "device": lambda run: run.device,
        "entry": lambda run: run.entry,
        "step": lambda run: run.step,
        "predicted": lambda run: us(run.predicted_ns, run),
        "from": lambda run: us(run.interval_ns[0], run),
        "to": lambda run: us(run.interval_ns[1], run),
        "measured": lambda run: us(run.measured_ns, run),
        "error": lambda run: number(run.relative_error, "+.1%"),
        "noise": lambda run: number(run.noise_floor, ".1%"),
        "inside": lambda run: run.inside_interval,
        "held out": lambda run: run.held_out,
        "counters": lambda run: "; ".join(run.different_counters) or "equal",
    }
    others = {
        key: value for key, value in document.table.items() if key in ("baselines", "leave_one_out")
    }
    return made(
        document,
        f"How right the predictions of {shape.machine} are",
        sentences=tuple(said),
        pictures=pictures,
        tables=(
            table("Steps", columns, shape.runs, note="Times in us per 2 MiB."),
            *nested_tables(document, others, ""),
        ),
    )


def _device(document: Document) -> Section:
    from perfmodel.models.devices import LoadPoint
    from perfmodel.plot.devices import device_figure
    from perfmodel.studies.published_devices import ComparedValue, DeviceComparison

    published = document.table["published"]
    if isinstance(published, Mapping):
        published = {name: without(rows, "relative_error") for name, rows in published.items()}
    shape = shaped(
        attrs.evolve(document, table=document.table | {"published": published}),
        devices=dict[str, tuple[LoadPoint, ...]],
        published=dict[str, tuple[ComparedValue, ...]],
    )
    for name, points in shape.devices.items():
        if not points or any(point.iops <= 0 or point.all.mean_ns <= 0 for point in points):
            raise document.problem("must be points with rate and latency", f"devices.{name}")
    comparisons = [DeviceComparison(name, rows) for name, rows in shape.published.items()]
    drawn = picture(
        device_figure(shape.devices, comparisons),
        "Latency against queue depth and rate, and the model beside what was published.",
        "Line charts of device latency.",
    )
    points = [point for row in shape.devices.values() for point in row]
    values = [(found.device, value) for found in comparisons for value in found.values]
    columns: dict[str, Callable[[Any], Any]] = {
        "device": lambda point: point.device,
        "queue depth": lambda point: point.queue_depth,
        "IOPS": lambda point: number(point.iops),
        "mean [us]": lambda point: number(point.all.mean_ns / 1e3),
        "median [us]": lambda point: number(point.all.median_ns / 1e3),
        "p99 [us]": lambda point: number(point.all.p99_ns / 1e3),
        "p99.999 [us]": lambda point: number(point.all.p99_999_ns / 1e3),
        "CPU per request [ns]": lambda point: number(point.cpu_ns_per_request),
    }
    against: dict[str, Callable[[Any], Any]] = {
        "device": lambda pair: pair[0],
        "measure": lambda pair: pair[1].measure.value,
        "queue depth": lambda pair: pair[1].queue_depth,
        "block [B]": lambda pair: pair[1].block_bytes,
        "use": lambda pair: pair[1].use.value,
        "published": lambda pair: number(pair[1].published),
        "simulated": lambda pair: number(pair[1].simulated),
        "error": lambda pair: number(pair[1].relative_error, "+.1%"),
        "source": lambda pair: pair[1].source,
    }
    return made(
        document,
        f"Block devices under load: {', '.join(shape.devices)}",
        pictures=(drawn,),
        tables=(
            table("Latency and rate", columns, points),
            table("Beside what was published", against, values),
        ),
    )


def _experiment(document: Document) -> Section:
    from perfmodel.plot.experiments import experiment_figure
    from perfmodel.specs.experiment import PublishedRatio
    from perfmodel.studies.experiments import ComparedRatio

    shape = shaped(document, experiments=tuple[dict[str, Any], ...])
    found: dict[str, list[ComparedRatio]] = {}
    facts = {}
    for at, told in enumerate(shape.experiments):
        key = f"experiments[{at}]"
        name, ratios = told.get("name"), told.get("ratios")
        if not isinstance(name, str) or not isinstance(ratios, list):
            raise document.problem("must have a name and a list of ratios", key)
        facts[name] = f"{told.get('title', '')} ({told.get('source', '')})"
        for place, ratio in enumerate(ratios):
            if not isinstance(ratio, Mapping):
                raise document.problem("must be a table", f"{key}.ratios[{place}]")
            where = attrs.evolve(document, table=dict(ratio))
            numbers = shaped(where, simulated=float, interval=tuple[float, float])
            known = {field.name: ratio.get(field.name) for field in attrs.fields(PublishedRatio)}
            file = f"{document.source}: {key}.ratios[{place}]"
            found.setdefault(name, []).append(
                ComparedRatio(
                    published=io.structure(PublishedRatio, known, file),
                    simulated=numbers.simulated,
                    interval=numbers.interval,
                )
            )
    rows = [(name, ratio) for name, ratios in found.items() for ratio in ratios]
    columns: dict[str, Callable[[Any], Any]] = {
        "experiment": lambda row: row[0],
        "ratio": lambda row: row[1].label,
        "measure": lambda row: row[1].published.measure.value,
        "published": lambda row: number(row[1].published.value),
        "simulated": lambda row: number(row[1].simulated),
        "from": lambda row: number(row[1].interval[0]),
        "to": lambda row: number(row[1].interval[1]),
        "error": lambda row: number(row[1].relative_error, "+.0%"),
        "note": lambda row: row[1].published.note,
    }
    figure: Figure = experiment_figure(found)
    return made(
        document,
        "Published swap experiments beside the model",
        facts=facts,
        pictures=(
            picture(
                figure,
                "Ratios of two arms: published, and simulated with the 90 % interval.",
                "A row for each published ratio.",
            ),
        ),
        tables=(table("Ratios", columns, rows),),
        notes=tuple(
            f"{told['name']}: {told['missed']}" for told in shape.experiments if told.get("missed")
        ),
    )


_MAKERS: dict[str, Callable[[Document], Section]] = {
    "simulate": _result,
    "measure": _result,
    "measurements": _measurements,
    "compare": _compare,
    "validate": _validate,
    "device": _device,
    "experiment": _experiment,
    "thrash": thrash_section,
    "sweep": sweep_section,
    "sweep-folder": sweep_section,
    **dict.fromkeys(PLAIN, plain_section),
}
