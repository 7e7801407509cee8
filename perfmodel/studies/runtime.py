"""Our own prediction of runtime beside the published models', on runtimes that were measured.

Nobody counts STLB hits, STLB misses and walk cycles here: all three come from the translation
simulator, which runs each program's own accesses on the machine's own hardware. So do the times
that we predict. docs/runtime.md says what each model may see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError, Problem
from perfmodel.models.runtime import (
    BASE_LAYOUT,
    HUGE_LAYOUT,
    OWN_MODEL,
    RUNTIME_MODELS,
    RuntimeSamples,
    layout_errors,
    relative_errors,
)
from perfmodel.models.translation import Mapping, TranslationSimulation, mapping_kind
from perfmodel.results.runtime import RuntimeMeasurement
from perfmodel.specs.machine import Machine
from perfmodel.specs.translation import PageSize, Translation
from perfmodel.studies.runtime_workloads import Program, Workload, layouts

Floats = npt.NDArray[np.float64]
# Accesses of a program that are under way at once where none waits for another: assumed, about as
# many lines as the L1 of a server core can wait for.
DEFAULT_OVERLAP = 12
SCALED_MODEL = f"{OWN_MODEL}, scaled"
LINE_MODEL = f"{OWN_MODEL}, line"
CONSTANT_MODEL = "constant"
REPEATED = "measured again"
REPEATED_SCALED = f"{REPEATED}, scaled"
# A hit in the STLB costs seven cycles in the published models; the machine file has it in ns.
_STLB_CYCLES = 7.0
_EVERY_SAMPLE = 1 << 20
SEES = {
    CONSTANT_MODEL: "4k, and says it of every layout",
    "basu": "4k",
    "pham": "4k",
    "alam": "2m",
    "gandhi": "4k and 2m",
    "yaniv": "4k and 2m",
    "linear": "all layouts but the predicted one",
    "mosmodel": "all layouts but the predicted one",
    OWN_MODEL: "no runtime at all",
    SCALED_MODEL: "4k",
    LINE_MODEL: "4k and 2m",
    REPEATED: "the same layouts in a second run",
    REPEATED_SCALED: "the same layouts in a second run, and 4k",
}


@attrs.frozen(eq=False)
class ProgramRuntimes:
    """One program under all of its layouts: measured, and what the simulator says.

    Parameters
    ----------
    workload : Workload
    footprint_bytes : int
    samples : RuntimeSamples
        Measured runtimes, simulated metrics.
    predicted_cycles : float array, shape (layouts,), cycles
        Our own prediction, which has seen none of the runtimes.
    clock_ghz : float
        Cycles of a nanosecond.
    """

    workload: Workload
    footprint_bytes: int
    clock_ghz: float
    samples: RuntimeSamples
    predicted_cycles: Floats

    @property
    def label(self) -> str:
        """Its name and size."""
        return f"{self.workload} {self.footprint_bytes >> 20} MiB"

    @property
    def mixed(self) -> npt.NDArray[np.intp]:
        """Rows of the layouts that are neither all 4 KiB nor all 2 MiB pages."""
        names = self.samples.layout
        ends = (BASE_LAYOUT, HUGE_LAYOUT)
        return np.array([row for row, name in enumerate(names) if name not in ends], dtype=np.intp)

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel runtime --json`` prints it."""
        samples = self.samples
        return {
            "workload": self.workload.value,
            "footprint_bytes": self.footprint_bytes,
            "clock_ghz": self.clock_ghz,
            "layouts": [
                {
                    "layout": name,
                    "measured_cycles": float(samples.runtime_cycles[row]),
                    "predicted_cycles": float(self.predicted_cycles[row]),
                    "stlb_hits": float(samples.stlb_hits[row]),
                    "stlb_misses": float(samples.stlb_misses[row]),
                    "walk_cycles": float(samples.walk_cycles[row]),
                }
                for row, name in enumerate(samples.layout)
            ],
        }


@attrs.frozen(eq=False)
class ModelRow:
    """How far one model is off at the mixed layouts of all programs.

    Parameters
    ----------
    model : str
    errors : float array
        Relative errors, program after program; each from a fit that has not seen the layout.
    labels : tuple of str
        Program and layout of each.
    workloads : tuple of Workload
        The program of each.
    """

    model: str
    errors: Floats
    labels: tuple[str, ...]
    workloads: tuple[Workload, ...]

    @property
    def median(self) -> float:
        """Median size of an error."""
        return float(np.median(np.abs(self.errors)))

    @property
    def worst(self) -> float:
        """Largest size of an error."""
        return float(np.abs(self.errors).max())

    @property
    def worst_label(self) -> str:
        """Where it is."""
        return self.labels[int(np.abs(self.errors).argmax())]

    def of(self, workload: Workload) -> Floats:
        """Sizes of the errors of one workload, over its footprints and layouts."""
        return np.abs(self.errors[[each is workload for each in self.workloads]])

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel runtime --json`` prints it."""
        return {
            "model": self.model,
            "sees": SEES[self.model],
            "layouts": int(self.errors.size),
            "median_abs_error": self.median,
            "max_abs_error": self.worst,
            "worst": self.worst_label,
        }


@attrs.frozen(eq=False)
class Judgement:
    """All models on the same programs.

    Parameters
    ----------
    rows : tuple of ModelRow
    left_out : dict
        Programs that some model cannot be fitted to, and why.
    """

    rows: tuple[ModelRow, ...]
    left_out: dict[str, str]


def clock_ghz(translation: Translation) -> float:
    """Cycles of a nanosecond, as the machine file's time of an STLB hit implies."""
    return _STLB_CYCLES / translation.stlb_hit_ns.value


def simulate_layout(
    program: Program,
    huge: npt.NDArray[np.bool_],
    translation: Translation,
    *,
    host_page_size: PageSize | str | None = None,
    overlap: int = DEFAULT_OVERLAP,
) -> tuple[float, float, float, float]:
    """STLB hits, STLB misses, walk nanoseconds and elapsed nanoseconds of one run of a program.

    The program runs twice and the second time counts, as in a measurement that repeats it.
    """
    kinds = np.where(huge, mapping_kind("2m"), mapping_kind("4k")).astype(np.uint8)
    simulation = TranslationSimulation(
        translation,
        Mapping(kinds),
        overlap=1 if program.workload.dependent else overlap,
        host_page_size=host_page_size,
    )
    trace, stores = program.lines(), np.zeros(1, dtype=np.bool_)
    if program.workload.stores:
        trace, stores = np.repeat(trace, 2), np.tile([False, True], trace.size)
    simulation.run(trace, stores, line_numbers=True)
    counts = simulation.run(trace, stores, line_numbers=True)
    second = [tlb.name for tlb in translation.tlbs if tlb.level == 2]
    return (
        float(sum(counts.tlb_hits[name] for name in second)),
        float(sum(counts.walks.values())),
        counts.walk_ps / 1000,
        counts.elapsed_ps / 1000,
    )


def compare_programs(
    measured: RuntimeMeasurement,
    machine: Machine,
    *,
    host_page_size: PageSize | str | None = None,
    overlap: int = DEFAULT_OVERLAP,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[ProgramRuntimes]:
    """Measured runtimes of every program beside what the simulator says of it.

    Programs of which 4k or 2m was not measured are left out: the published models need both.

    Raises
    ------
    InputError
        The measurement has a workload or layout that nobody knows, or no program of both.
    """
    ghz = clock_ghz(machine.translation)
    programs: dict[tuple[Workload, int], dict[str, float]] = {}
    for each in measured.times:
        workload = _workload(each.workload)
        own = programs.setdefault((workload, each.footprint_bytes), {})
        own[each.layout] = each.ns()
    whole = {
        key: runtimes
        for key, runtimes in programs.items()
        if {BASE_LAYOUT, HUGE_LAYOUT} <= set(runtimes) and len(runtimes) > 2
    }
    if not whole:
        message = f"has no program with {BASE_LAYOUT}, {HUGE_LAYOUT} and a layout between them"
        raise InputError(Problem(message, key="times"))
    jobs = [
        (_program(workload, footprint, measured), layout)
        for (workload, footprint), runtimes in whole.items()
        for layout in runtimes
    ]
    masks = {(program.footprint_bytes, layout): _mask(program, layout) for program, layout in jobs}
    done = 0

    def run(job: tuple[Program, str]) -> tuple[float, float, float, float]:
        nonlocal done
        program, layout = job
        found = simulate_layout(
            program,
            masks[program.footprint_bytes, layout],
            machine.translation,
            host_page_size=host_page_size,
            overlap=overlap,
        )
        done += 1
        progress(done, len(jobs))
        return found

    first = [run(job) for job in jobs[:1]]  # compiles alone what the others then share
    with ThreadPoolExecutor(max_workers=threads) as pool:
        simulated = iter([*first, *pool.map(run, jobs[1:])])
    result = []
    for (workload, footprint), runtimes in whole.items():
        table = np.array([next(simulated) for _ in runtimes])
        result.append(
            ProgramRuntimes(
                workload,
                footprint,
                ghz,
                RuntimeSamples(
                    layout=tuple(runtimes),
                    stlb_hits=table[:, 0],
                    stlb_misses=table[:, 1],
                    walk_cycles=table[:, 2] * ghz,
                    runtime_cycles=np.array(list(runtimes.values())) * ghz,
                ),
                table[:, 3] * ghz,
            )
        )
    return result


def _workload(name: str) -> Workload:
    if name not in list(Workload):
        message = f"{name[:40]!r} is no workload; known: {', '.join(Workload)}"
        raise InputError(Problem(message, key="workload"))
    return Workload(name)


def _program(workload: Workload, footprint: int, measured: RuntimeMeasurement) -> Program:
    try:
        return Program(workload, footprint, measured.accesses, measured.seed)
    except ValueError as error:
        raise InputError(Problem(str(error.args[0]), key="footprint_bytes, accesses")) from None


def _mask(program: Program, layout: str) -> npt.NDArray[np.bool_]:
    known = layouts(program.regions)
    if layout not in known:
        message = f"{layout[:40]!r} is no layout of {program.regions} regions of 2 MiB"
        raise InputError(Problem(message, key="layout"))
    return known[layout]


def _errors_of(model: str, program: ProgramRuntimes) -> Floats:
    """Relative errors at all layouts, each from a fit that has not seen it."""
    samples = program.samples
    if model in RUNTIME_MODELS:
        return layout_errors(RUNTIME_MODELS[model], samples, folds=_EVERY_SAMPLE).held_out
    base = samples.layout.index(BASE_LAYOUT)
    own = program.predicted_cycles
    if model == LINE_MODEL:
        return relative_errors(_line(samples, own), samples)
    if model == CONSTANT_MODEL:
        own = np.ones_like(own)
    if model != OWN_MODEL:
        own = own * (samples.runtime_cycles[base] / own[base])
    return relative_errors(own, samples)


def _line(samples: RuntimeSamples, own: Floats) -> Floats:
    """Our predictions, moved by the line that makes them true at 4k and 2m."""
    base, huge = (samples.layout.index(name) for name in (BASE_LAYOUT, HUGE_LAYOUT))
    if own[base] == own[huge]:
        message = f"is the same for {BASE_LAYOUT} and {HUGE_LAYOUT}; no line goes through both"
        raise InputError(Problem(message, key="predicted"))
    runtimes = samples.runtime_cycles
    slope = (runtimes[base] - runtimes[huge]) / (own[base] - own[huge])
    moved: Floats = runtimes[base] + slope * (own - own[base])
    return moved


def judge_models(
    programs: Sequence[ProgramRuntimes], again: Sequence[RuntimeMeasurement] = ()
) -> Judgement:
    """Every model's errors at the mixed layouts, and how well a second run repeats the first.

    All models are judged by the same programs: those that every one of them can be fitted to.

    Parameters
    ----------
    programs : sequence of ProgramRuntimes
    again : sequence of RuntimeMeasurement
        Further runs of the same programs: what they are off from the first is no model's fault.
    """
    models = (CONSTANT_MODEL, *RUNTIME_MODELS, OWN_MODEL, SCALED_MODEL, LINE_MODEL)
    judged: list[tuple[ProgramRuntimes, dict[str, Floats]]] = []
    left_out: dict[str, str] = {}
    for program in programs:
        errors: dict[str, Floats] = {}
        refused = []
        for model in models:
            try:
                errors[model] = _errors_of(model, program)[program.mixed]
            except InputError as error:
                refused.append((model, str(error)))
        if refused:
            names = ", ".join(model for model, _ in refused)
            left_out[program.label] = f"{names} cannot be fitted; {refused[0][1]}"
        else:
            judged.append((program, errors))
    labels = tuple(
        f"{program.label} {program.samples.layout[row]}"
        for program, _ in judged
        for row in program.mixed
    )
    workloads = tuple(program.workload for program, _ in judged for _ in program.mixed)
    rows = [
        ModelRow(model, np.concatenate([found[model] for _, found in judged]), labels, workloads)
        for model in models
        if judged
    ]
    for model in (REPEATED, REPEATED_SCALED) if again and judged else ():
        noise = _noise(model, [program for program, _ in judged], again)
        rows += [noise] if noise.errors.size else []
    return Judgement(tuple(rows), left_out)


def _noise(
    model: str, programs: Sequence[ProgramRuntimes], again: Sequence[RuntimeMeasurement]
) -> ModelRow:
    """Further runs as predictions of the first one, as they are or made true at 4k."""
    errors, labels, workloads = [], [], []
    for run in again:
        found = {(t.workload, t.footprint_bytes, t.layout): t.ns() for t in run.times}
        for program in programs:
            samples = program.samples
            key = (program.workload.value, program.footprint_bytes)
            base = found.get((*key, BASE_LAYOUT))
            for row in program.mixed:
                own = found.get((*key, samples.layout[row]))
                if own is None or base is None:
                    continue
                scale = program.clock_ghz
                if model == REPEATED_SCALED:
                    scale = samples.runtime_cycles[samples.layout.index(BASE_LAYOUT)] / base
                errors.append(float(own * scale / samples.runtime_cycles[row] - 1))
                labels.append(f"{program.label} {samples.layout[row]}")
                workloads.append(program.workload)
    return ModelRow(model, np.array(errors), tuple(labels), tuple(workloads))
