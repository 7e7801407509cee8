"""What pyperf does not record: THP, swap and readahead settings, and what the kernel counted.

An entry point of the group ``pyperf.hook``: give any pyperf program ``--hook perfmodel``. The
set-up goes into the metadata of every run, so that runs of different set-ups can be told apart, and
`merge` refuses to throw them together.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from perfmodel.constants import LIVE_COUNTER_NAMES
from perfmodel.errors import InputError, Problem
from perfmodel.measure.setup import require_same, setup
from perfmodel.measure.system import System

if TYPE_CHECKING:
    import pyperf

_SETUP, _MOVED, _STEAL = "perfmodel_setup_", "perfmodel_moved_", "perfmodel_steal_ticks"
_MUCH = 0.10


class SetupHook:
    """Records the set-up, and what the kernel's counters moved by while the benchmark ran.

    Parameters
    ----------
    system : System, optional
        Another machine than this one, for tests.
    """

    def __init__(self, system: System | None = None) -> None:
        self._system = System() if system is None else system
        self._setup = setup(self._system)
        self._before: dict[str, int] = {}
        self._moved: dict[str, int] = {}
        self._steal = self._steal_before = 0

    def _counted(self) -> dict[str, int]:
        """All of /proc/vmstat, and the statistics of each size of folio."""
        found = self._system.vmstat()
        folder = self._system.thp.relative_to(self._system.root)
        for name in LIVE_COUNTER_NAMES:
            text = self._system.read(f"{folder}/{name}") if "/" in name else None
            if text is not None and text.isdecimal():
                found[name] = int(text)
        return found

    def __enter__(self) -> None:
        self._steal_before = self._system.steal_ticks()
        self._before = self._counted()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name, after in self._counted().items():
            # What the kernel did not have before cannot have moved.
            moved = after - self._before.get(name, after)
            self._moved[name] = self._moved.get(name, 0) + moved
        self._steal += self._system.steal_ticks() - self._steal_before

    def teardown(self, metadata: dict[str, Any]) -> None:
        """Add it all to a run's metadata."""
        metadata |= {_SETUP + name: value for name, value in self._setup.items()}
        metadata |= {_MOVED + name: moved for name, moved in self._moved.items() if moved}
        metadata[_STEAL] = self._steal


def setups(benchmarks: Iterable[pyperf.Benchmark]) -> list[dict[str, str]]:
    """The set-ups that the runs of some benchmarks had, each once.

    Raises
    ------
    InputError
        If a run says none.
    """
    found: list[dict[str, str]] = []
    for benchmark in benchmarks:
        for run in benchmark.get_runs():
            metadata = run.get_metadata()
            had = {
                name.removeprefix(_SETUP): str(value)
                for name, value in metadata.items()
                if name.startswith(_SETUP)
            }
            if not had:
                message = "does not say its set-up; run it with --hook perfmodel"
                raise InputError(Problem(message, key=benchmark.get_name()))
            if had not in found:
                found.append(had)
    return found


def merge(files: list[Path]) -> pyperf.BenchmarkSuite:
    """All runs of some files of pyperf, as one suite.

    Raises
    ------
    InputError
        If not all runs had the same set-up; says what differs.
    """
    import pyperf

    suites = [pyperf.BenchmarkSuite.load(str(file)) for file in files]
    named = {
        f"{file} ({number})" if number else str(file): had
        for file, suite in zip(files, suites, strict=True)
        for number, had in enumerate(setups(suite))
    }
    require_same(named, key="set-up")
    first, *others = suites
    for suite in others:
        first.add_runs(suite)
    return first


def complaints(benchmark: pyperf.Benchmark) -> list[str]:
    """Why a benchmark's values are not to be trusted blindly, in words."""
    name, lines = benchmark.get_name(), []
    values = benchmark.get_values()
    runs = [run.get_metadata() for run in benchmark.get_runs()]
    mean = benchmark.mean()
    if len(values) > 1 and benchmark.stdev() / mean >= _MUCH:
        lines.append(
            f"{name} is unstable: the standard deviation is {benchmark.stdev() / mean:.0%} of the "
            "mean; take more values, or a low quantile"
        )
    stolen = sum(metadata.get(_STEAL, 0) > 0 for metadata in runs)
    if stolen > _MUCH * len(runs):
        lines.append(
            f"{name} is unstable: the hypervisor gave CPU time to others in {stolen} of "
            f"{len(runs)} runs; measure when the host is quieter"
        )
    governor = {str(metadata.get(_SETUP + "frequency_governor", "")) for metadata in runs}
    if governor - {"performance", "unknown", ""}:
        lines.append(
            f"{name} may be unstable: the CPU's clock follows its load (governor "
            f"{', '.join(sorted(governor))}); choose the governor performance"
        )
    return lines
