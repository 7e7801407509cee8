"""What every caller does with a swapped-out 2 MiB range, by running it in the model."""

from __future__ import annotations

from functools import cache

import attrs

from perfmodel.abi import PRICES
from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD, PMD_BYTES, Event
from perfmodel.models.simulated import simulate
from perfmodel.results.result import Json, Result, StepResult
from perfmodel.specs.callers import CALLERS, SHOWN_STEP, Caller, RangeClass
from perfmodel.specs.catalog import load_device, load_machine
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine

# Counts depend on the machine in what its TLBs miss alone, and that is not shown.
_MACHINE = "amd-zen3"
_FEWEST_DRAWS = 20
_HARDWARE = ("cpu.", "translation.")
_KERNEL_EVENTS = {
    event.name.lower() for event in Event if not PRICES[event][0].startswith(_HARDWARE)
}
_PAGE_TABLE_LOCKS = ("pmd", "pte_table")
_LOOKS = ("classify_slot", "lookup_slot", "report_page", "visit_pte")


@attrs.frozen
class Behaviour:
    """What one caller does with one range of one class.

    Parameters
    ----------
    caller, says : str
    kind : str
        The class, as `RangeClass` names it.
    asks_the_rule : bool
        Whether it looked at slot words to learn the class.
    handling : str
        ``whole``, ``split``, ``entry by entry``, ``slot by slot`` (without a split), or
        ``not touched``.
    fallbacks : dict of str to int
        Why a whole-PMD attempt ended in PTE entries.
    state : str
        What the page tables of process 0 hold afterwards.
    events : dict of str to int
        What cost time, without what the hardware does.
    longest_holds : dict of str to int
        Longest hold of each lock, in entries or slot words.
    observed : dict of str to int
        What mincore, pagemap or smaps has read.
    """

    caller: str
    says: str
    kind: str
    asks_the_rule: bool
    handling: str
    fallbacks: dict[str, int]
    state: str
    events: dict[str, int]
    longest_holds: dict[str, int]
    observed: dict[str, int]

    def to_json(self) -> Json:
        """As `--json` prints it."""
        return attrs.asdict(self)


def _handling(step: StepResult, holds: dict[str, int]) -> str:
    if any(step.fallbacks.values()) or step.counters.get("thp_split_pmd"):
        return "split"
    looked = any(step.events.get(name) for name in _LOOKS)
    if not looked and not any(holds.get(lock) for lock in _PAGE_TABLE_LOCKS):
        return "not touched"
    if holds.get("pte_table") or step.events.get("visit_pte"):
        return "entry by entry"
    return "slot by slot" if step.events.get("lookup_slot", 0) >= PAGES_PER_PMD else "whole"


def _state(result: Result) -> str:
    """The mapping at the end in words."""
    mapping = {name: value or 0 for name, value in result.mapping.items()}
    counts = {
        "PMD mapping": mapping["pmd_mapped_bytes"] // PMD_BYTES,
        "PMD swap entry": mapping["pmd_swap_entries"],
        "PTE mapping": mapping["pte_mapped_bytes"] // PAGE_BYTES,
        "PTE swap entry": mapping["pte_swap_entries"],
    }
    said = [_plural(name, count) for name, count in counts.items() if count]
    return ", ".join([*said, _plural("table", mapping["page_table_bytes"] // PAGE_BYTES)])


def _plural(name: str, count: int) -> str:
    if count != 1:
        name = f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
    return f"{count} {name}"


def behaviour(caller: Caller, kind: RangeClass, machine: Machine, device: SwapDevice) -> Behaviour:
    """Run one caller's scenario for one class and say what was counted."""
    result = simulate(
        caller.scenario(kind), machine, device=device, entry=kind.entry, draws=_FEWEST_DRAWS
    )
    step = result.step(SHOWN_STEP)
    holds = {lock: hold["longest"] for lock, hold in step.lock_holds.items() if hold["count"]}
    return Behaviour(
        caller=caller.name,
        says=caller.says,
        kind=str(kind),
        asks_the_rule=step.events.get("classify_slot", 0) > 0,
        handling=_handling(step, holds),
        fallbacks={reason: count for reason, count in step.fallbacks.items() if count},
        state=_state(result),
        events={
            name: count for name, count in step.events.items() if count and name in _KERNEL_EVENTS
        },
        longest_holds=holds,
        observed=dict(step.observed),
    )


@cache
def behaviours() -> tuple[Behaviour, ...]:
    """All callers with all classes that they can meet."""
    machine = load_machine(_MACHINE)
    return tuple(
        behaviour(caller, kind, machine, load_device(caller.device))
        for caller in CALLERS
        for kind in caller.classes
    )
