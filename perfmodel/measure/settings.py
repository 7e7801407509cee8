"""Kernel settings: those that hold for a whole session, and those that each scenario brings."""

from __future__ import annotations

import os

import attrs

from perfmodel.constants import PMD_ORDER, hugepage_directory
from perfmodel.errors import CapabilityError
from perfmodel.measure.journal import Journal
from perfmodel.measure.system import System, chosen, write_setting
from perfmodel.measure.undo import setting_path
from perfmodel.specs.policy import MTHP_ENTRIES, SHMEM_ENTRY, mthp_order
from perfmodel.specs.scenario import Backing, Khugepaged, Scenario, Zswap
from perfmodel.specs.step import StepAction

_KHUGEPAGED_PAUSE_MS = 3_600_000
_SCAN_SLEEP = "khugepaged/scan_sleep_millisecs"
# More than any machine has, so that one call of khugepaged goes through all of it.
_KHUGEPAGED_PAGES = 1 << 30
ALLOW_ZSWAP = "PERFMODEL_ALLOW_ZSWAP"


def _scans(scenario: Scenario) -> bool:
    return any(step.action is StepAction.KHUGEPAGED for step in scenario.steps)


def _daemon(scenario: Scenario) -> dict[str, str]:
    """What a scenario sets of khugepaged, but for its pause; the kernel's defaults if nothing."""
    wanted = attrs.asdict(scenario.settings.khugepaged or Khugepaged())
    del wanted["scan_sleep_millisecs"]
    if _scans(scenario):
        wanted["pages_to_scan"] = _KHUGEPAGED_PAGES
    return {name: str(value) for name, value in wanted.items()}


class KernelSettings:
    """Sets what scenarios ask for; what stood there before is in the journal.

    Parameters
    ----------
    system : System
    journal : Journal
    scenarios : list of Scenario
    entries : list of str
    """

    def __init__(
        self, system: System, journal: Journal, scenarios: list[Scenario], entries: list[str]
    ) -> None:
        self._system = system
        self._journal = journal
        self._scenarios = scenarios
        self._entries = entries
        self._now: dict[str, str] = {}

    def prepare(self) -> None:
        """Write down all that will be changed, and set what stays for the session."""
        huge = hugepage_directory(PMD_ORDER)
        self._change(f"{huge}/enabled", "madvise")
        if SHMEM_ENTRY in self._entries:
            by_size = self._system.has_size(PMD_ORDER, "shmem_enabled")
            self._change(f"{huge}/shmem_enabled" if by_size else "shmem_enabled", "advise")
        # khugepaged would collapse what a swap-in has left in pieces while we still look at it.
        self._change(_SCAN_SLEEP, str(_KHUGEPAGED_PAUSE_MS))
        first = self._scenarios[0].settings
        if any(s.settings.khugepaged is not None for s in self._scenarios):
            for name, value in _daemon(self._scenarios[0]).items():
                self._change(f"khugepaged/{name}", value)
        elif any(_scans(scenario) for scenario in self._scenarios):
            self._change("khugepaged/pages_to_scan", str(_KHUGEPAGED_PAGES))
        self._change("page-cluster", str(first.page_cluster))
        self._change("vma_ra_enabled", "true" if first.vma_readahead else "false")
        if any(scenario.settings.zswap is not Zswap.NEVER for scenario in self._scenarios):
            self._change("zswap", "N")
        for entry in MTHP_ENTRIES:
            if self._system.has_size(mthp_order(entry)):
                self._change(self._mthp(entry), "never")

    def adopt(self, scenario: Scenario, entry: str | None) -> None:
        """Set what one scenario asks for, and let swap-in use an entry's folios, or none at all."""
        wanted = scenario.settings
        self._set("page-cluster", str(wanted.page_cluster))
        self._set("vma_ra_enabled", "true" if wanted.vma_readahead else "false")
        if wanted.zswap is not Zswap.NEVER:
            # Once on is what counts, until the machine starts again.
            self._set("zswap", "Y")
        if "zswap" in self._now and wanted.zswap is not Zswap.ON:
            self._set("zswap", "N")
        if "khugepaged/max_ptes_none" in self._now:
            # The first wait of the repetition before has set it going.
            write_setting(setting_path(self._system, _SCAN_SLEEP), str(_KHUGEPAGED_PAUSE_MS))
            for name, value in _daemon(scenario).items():
                self._set(f"khugepaged/{name}", value)
        mthp_only = scenario.region.backing is Backing.MTHP
        self._set(f"{hugepage_directory(PMD_ORDER)}/enabled", "never" if mthp_only else "madvise")
        for other in MTHP_ENTRIES:
            if self._system.has_size(mthp_order(other)):
                self._set(self._mthp(other), "madvise" if other == entry else "never")

    @staticmethod
    def _mthp(entry: str) -> str:
        return f"{hugepage_directory(mthp_order(entry))}/enabled"

    def _change(self, name: str, value: str) -> None:
        path = setting_path(self._system, name)
        try:
            previous = chosen(path.read_text())
        except OSError as error:
            raise CapabilityError(f"{path}: {error.strerror}") from None
        self._journal.change_setting(name, value, previous)
        self._now[name] = value

    def _set(self, name: str, value: str) -> None:
        if self._now.get(name) != value:
            write_setting(setting_path(self._system, name), value)
            self._now[name] = value


def zswap_allowed() -> bool:
    """Whether the user lets us switch zswap on, which changes this kernel until it starts again."""
    return os.environ.get(ALLOW_ZSWAP) == "1"
