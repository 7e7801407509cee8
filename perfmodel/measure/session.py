"""Sets the machine up for measuring, keeps the worker, and puts everything back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import attrs

from perfmodel.abi import hidden_counters
from perfmodel.errors import CapabilityError
from perfmodel.measure import cgroup, linux
from perfmodel.measure.capabilities import require
from perfmodel.measure.helper import Helper
from perfmodel.measure.journal import Journal
from perfmodel.measure.limits import needs_cgroup
from perfmodel.measure.settings import KernelSettings
from perfmodel.measure.swapdevice import LiveSwapDevice
from perfmodel.measure.system import System, write_setting
from perfmodel.specs.catalog import find_trace
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.policy import SHMEM_ENTRY
from perfmodel.specs.scenario import Backing, Scenario
from perfmodel.specs.step import Step, StepAction
from perfmodel.traces.generator import accesses_of

# One repetition moves at most the region a few times; a machine that needs longer is not well.
_SECONDS_PER_REPETITION = 60
_SECONDS_PER_GIB = 120
_STEPS_PER_ROUND_TRIP = 4
_TRIES = 3

Repetition = dict[str, Any]


class LiveSession:
    """A machine that is set up for measuring, as a context.

    Everything that is changed is written to the journal before, and put back at the end: after
    success, an error, Ctrl-C or SIGTERM. What a killed run left behind is put back at the start.

    Parameters
    ----------
    scenarios : list of Scenario
        All that will be run; the largest decides the size of the swap device.
    device : SwapDevice
    entries : list of str
    report : callable
        Gets a line for each thing worth telling.
    """

    def __init__(
        self,
        scenarios: list[Scenario],
        device: SwapDevice,
        entries: list[str],
        *,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._system = System()
        self._journal = Journal(self._system)
        self._scenarios = scenarios
        self._device = device
        self._entries = entries
        self._report = report
        self._settings = KernelSettings(self._system, self._journal, scenarios, entries)
        spaces = [scenario.spaces(len(device.all)) for scenario in scenarios]
        self._swaps = [
            LiveSwapDevice(
                self._system,
                self._journal,
                one,
                max(own[number].clusters for own in spaces),
                max(scenario.region.size_bytes for scenario in scenarios),
                number,
            )
            for number, one in enumerate(device.all)
        ]
        self._cgroup: Path | None = None
        self._worker: Helper | None = None
        self._neighbour: Helper | None = None
        self._old_handler: Any = None
        self._unseen = ExitStack()

    def __enter__(self) -> Self:
        put_back_left_over(self._journal, self._report)
        require(self._entries, self._scenarios, self._device, self._system)
        self._journal.acquire()
        try:
            if threading.current_thread() is threading.main_thread():
                self._old_handler = signal.signal(signal.SIGTERM, _interrupt)
            self._set_up()
        except OSError as error:  # a kernel file that root itself may not use, as in a container
            self._tear_down()
            raise CapabilityError(f"{error.filename}: {error.strerror}") from None
        except BaseException:
            self._tear_down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tear_down()

    def _set_up(self) -> None:
        for swap in self._swaps:
            swap.make()
        self._settings.prepare()
        if any(_needs_khugepaged(scenario) for scenario in self._scenarios):
            self._unseen.enter_context(linux.out_of_khugepaged_sight())
        self._worker = Helper("perfmodel.measure.worker", "measuring process")
        if any(needs_cgroup(scenario, self._device) for scenario in self._scenarios):
            self._cgroup = cgroup.folder_for(self._system)
            self._journal.note_cgroup(self._cgroup)
            cgroup.make(self._cgroup).enter(self._worker.pid)
            if any(scenario.is_limited for scenario in self._scenarios):
                # The worker makes it, and removes it, for every repetition.
                self._journal.note_cgroup(cgroup.limited_beside(self._cgroup))

    def _tear_down(self) -> None:
        """Put everything back; a second Ctrl-C does not stop it half-way."""
        main_thread = threading.current_thread() is threading.main_thread()
        if main_thread:
            old_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with ExitStack() as always:
            # Called in reverse order, each of them whatever the others come to.
            if main_thread:
                always.callback(signal.signal, signal.SIGINT, old_interrupt)
                always.callback(signal.signal, signal.SIGTERM, self._old_handler or signal.SIG_DFL)
            always.callback(self._unseen.close)
            always.callback(self._journal.release)
            always.callback(self._journal.restore)
            for helper in (self._neighbour, self._worker):
                if helper is not None:
                    always.callback(helper.end)
            self._neighbour = self._worker = None

    def run(self, scenario: Scenario, entry: str) -> Repetition:
        """One repetition of a scenario under an entry, as `worker.run_repetition` returns it.

        Raises
        ------
        CapabilityError
            If the memory could not be mapped by THPs, or the kernel refused a step.
        """
        assert self._worker is not None, "use the session as a context"
        size = scenario.region.size_bytes
        accesses = sum(
            accesses_of(step, scenario.region.pages)
            for step in scenario.steps
            if step.action is StepAction.ACCESS
        )
        round_trips = len(scenario.steps) + accesses / scenario.region.pages
        rounds = max(1, round_trips / _STEPS_PER_ROUND_TRIP)
        seconds = sum(s.milliseconds for s in scenario.steps if s.action is StepAction.WAIT) / 1000
        seconds += _SECONDS_PER_REPETITION + _SECONDS_PER_GIB * size / (1 << 30) * rounds
        for _ in range(_TRIES):
            self._refresh(scenario, entry)
            reply = self._worker.ask(self._request(scenario, entry), seconds)
            if scenario.region.backing is not Backing.THP or _has_thps(scenario, reply):
                return reply
            # Nothing to put back: compaction moves pages once, and the repetition is not counted.
            write_setting(self._system.path("/proc/sys/vm/compact_memory"), "1")
        raise CapabilityError(
            f"only {reply['thp_bytes'] >> 20} of {size >> 20} MiB got THPs, even after compaction: "
            "too little memory is free, or the THP defrag setting forbids it; set it to 'madvise'"
        )

    def _refresh(self, scenario: Scenario, entry: str) -> None:
        """Bring settings and swap device to where the scenario begins."""
        if self._neighbour is not None:
            self._neighbour.end()
            self._neighbour = None
        self._settings.adopt(scenario, None)
        self._refresh_devices(scenario)
        for left in reversed(range(_TRIES if scenario.swap.neighbour_slots else 0)):
            try:
                self._occupy(scenario)
                break
            except CapabilityError:
                # A page of some other program may have come to our device meanwhile.
                if not left:
                    raise
                self._refresh_devices(scenario)
        self._settings.adopt(scenario, entry)

    def _refresh_devices(self, scenario: Scenario) -> None:
        """Swap to all devices, in order, as if none had ever been used."""
        for swap in self._swaps:
            swap.switch_off()
        spaces = scenario.spaces(len(self._swaps))
        for swap, space in zip(self._swaps, spaces, strict=True):
            swap.switch_on(space.clusters)

    def _occupy(self, scenario: Scenario) -> None:
        """Have a neighbour take the slots that the scenario says."""
        self._neighbour = Helper("perfmodel.measure.neighbour", "neighbour on the swap device")
        try:
            wanted = attrs.asdict(scenario.swap) | {"block": self._swaps[0].block}
            self._neighbour.ask(wanted, _SECONDS_PER_REPETITION)
        except CapabilityError:
            self._neighbour.end()
            self._neighbour = None
            raise

    def _several(self) -> list[dict[str, str]]:
        """Paths of several swap devices, and what to wait for; nothing for a single one."""
        if len(self._swaps) == 1:
            return []
        return [{"path": str(swap.path), "block": swap.block} for swap in self._swaps]

    def _request(self, scenario: Scenario, entry: str) -> dict[str, Any]:
        return {
            "size_bytes": scenario.region.size_bytes,
            "content": scenario.region.content.value,
            "memfd": entry == SHMEM_ENTRY,
            "huge": scenario.region.backing is not Backing.BASE,
            "limit": scenario.settings.memory_limit_bytes or 0,
            "steps": _requested_steps(scenario.steps),
            "device": str(self._swaps[0].path),
            "block": self._swaps[0].block,
            "swaps": self._several(),
            "cgroup": str(self._cgroup) if self._cgroup else "",
            "hidden": sorted(hidden_counters(scenario)),
            "scan_sleep": _scan_sleep(scenario),
        }


def _needs_khugepaged(scenario: Scenario) -> bool:
    return scenario.settings.khugepaged is not None or any(
        step.action is StepAction.KHUGEPAGED for step in scenario.steps
    )


def _scan_sleep(scenario: Scenario) -> int:
    """Milliseconds between khugepaged's passes, 0 to let it pause."""
    khugepaged = scenario.settings.khugepaged
    return 0 if khugepaged is None else khugepaged.scan_sleep_millisecs


def _requested_steps(steps: tuple[Step, ...]) -> list[dict[str, Any]]:
    """What the worker must know of each step; a fork is told which process it makes."""
    requested = []
    forks = 0
    for step in steps:
        forks += step.action is StepAction.FORK
        requested.append(
            {
                "name": step.name,
                "action": step.action.value,
                "of_the_system": step.action.of_the_system,
                "process": step.process,
                "child": forks,
                "pages": step.pages() if step.action is StepAction.TOUCH else [],
                "first_page": step.first_page,
                "page_count": step.page_count,
                "write": step.write,
                "writable": step.writable,
                "shift_pages": step.shift_pages,
                "milliseconds": step.milliseconds,
                "access": _requested_access(step),
            }
        )
    return requested


_OF_AN_ACCESS = (
    *("accesses", "rounds", "exponent", "scattered", "seed"),
    *("stride", "window", "phase_accesses"),
)


def _requested_access(step: Step) -> dict[str, Any]:
    if step.action is not StepAction.ACCESS:
        return {}
    named = {"workload": step.workload.value, "mix": step.mix.value, "trace": ""}
    if step.trace:
        named["trace"] = str(find_trace(step.trace).absolute())
    return named | {name: getattr(step, name) for name in _OF_AN_ACCESS}


def _has_thps(scenario: Scenario, reply: Repetition) -> bool:
    """Whether all of the region was filled with THPs; under a limit some may be gone by then."""
    if scenario.is_limited:
        counted = reply["steps"][0]["counters"]["thp_fault_alloc"]
        return bool(counted == scenario.region.count)
    return bool(reply["thp_bytes"] == scenario.region.size_bytes)


def put_back_left_over(
    journal: Journal | None = None, report: Callable[[str], None] = lambda _: None
) -> None:
    """Undo what a killed run left behind, if there is anything and we may.

    Raises
    ------
    CapabilityError
        If that run is still alive.
    """
    journal = Journal(System()) if journal is None else journal
    if not journal.system.is_root() or not journal.left_over():
        return
    journal.acquire()
    try:
        undone = journal.restore()
    finally:
        journal.release()
    report(f"put back {undone} changes that a killed run had left")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
