"""Random valid stories: a region, a policy, a swap device, and steps that may be done to them.

Everything is picked from a list of options, the simplest first, so that hypothesis can pick and
shrink, and a plain random generator can pick for long runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from hypothesis import strategies as st

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD, PMD_BYTES
from perfmodel.specs.catalog import load_device
from perfmodel.specs.device import DeviceKind, together
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import Policy
from perfmodel.specs.scenario import (
    Backing,
    DeviceSpace,
    Khugepaged,
    PageContent,
    Region,
    Scenario,
    Settings,
    SwapSpace,
    Zswap,
    ZswapLimits,
)
from perfmodel.specs.step import Racing, Step, StepAction, Workload
from perfmodel.specs.translation import Replacement, Tlb
from tests.property.helpers import Story
from tests.strategies import published_machine, tlb_arrays, with_tlbs

Pick = Callable[[Sequence[Any]], Any]

# Synchronous, asynchronous, and one that takes single pages only.
DEVICES = tuple(load_device(name) for name in ("zram-lz4", "ram-disk", "swap-file"))
BEHIND_ZSWAP = load_device("zswap-lz4")
WHOLE = (0, PAGES_PER_PMD)
MOST_PROCESSES = 4
FILL = Step("fill", StepAction.FILL)

# Accesses are one page after the other, which a touch is, too; limited stories have them.
ACTIONS = tuple(a for a in StepAction if a not in (StepAction.FILL, StepAction.ACCESS))
LIMITED_ACTIONS = (
    *(StepAction.ACCESS, StepAction.TOUCH) * 3,
    *(StepAction.PAGEOUT, StepAction.WILLNEED) * 2,
    *(StepAction.COLLAPSE, StepAction.KHUGEPAGED, StepAction.RECLAIM, StepAction.WAIT),
    *(StepAction.MINCORE, StepAction.PAGEMAP, StepAction.SMAPS),
)
LEAST_LIMIT = 8 << 20
PARTS = (
    *((0, 256), (256, 256), (0, 1), (511, 1), (16, 16), (3, 7), (0, 511), (1, 511), (64, 320)),
    *((first, length) for first in (5, 100, 333) for length in (1, 64, 179)),
)
SHIFTS = (0, 1, 16, 256, 300, 511)
PAGES_TOUCHED = (512, 512, 1, 2, 3, 16, 100)


def tell(pick: Pick, most_steps: int) -> Story:
    """One story."""
    scenario = Scenario(
        "told",
        "told",
        Region(pick((1, 1, 2, 3)) * PMD_BYTES, pick((PageContent.HALF_RANDOM, *PageContent))),
        (FILL,),
        swap=_swap_space(pick),
        settings=Settings(
            page_cluster=pick((3, 0, 1, 2, 4, 5)),
            vma_readahead=pick((True, False)),
            zswap=pick((Zswap.NEVER, Zswap.NEVER, Zswap.ON, Zswap.OFF)),
            order9_failure=pick((0.0, 0.0, 0.0, 0.5, 1.0)),
            charge_failure=pick((0.0, 0.0, 0.0, 0.5, 1.0)),
            khugepaged=_khugepaged(pick),
        ),
    )
    policy = Policy(
        "told",
        "none",
        pick(("pte", "pmd", "pmd")),
        swapin_order=pick((0, 0, 2, 3, 4, 5, 6, 7, 8)),
        lazy_page_table_deposit=pick((False, True)),
        batched_unmap=pick((False, True)),
    )
    device = pick((*(DeviceKind.ZRAM, DeviceKind.DISK) * 3, DeviceKind.SWAP_FILE))
    machine, seed = _machine(pick), pick(range(8))
    palette = Palette.choose(pick)
    for number in range(pick(range(1, most_steps + 1))):
        scenario = _with_a_step_more(pick, palette, scenario, f"s{number}")
    return Story(scenario, policy, device, machine, seed)


def tell_limited(pick: Pick, most_steps: int) -> Story:
    """One story of a region that is mostly larger than what its memory cgroup may have."""
    swap = pick(("large", "large", "large", "fragmented", "small"))
    regions = pick((6, 5, 7, 8))
    scenario = Scenario(
        "told",
        "told",
        Region(
            regions * PMD_BYTES,
            pick((PageContent.HALF_RANDOM, PageContent.HALF_RANDOM, *PageContent)),
            pick(tuple(Backing)),
        ),
        (FILL,),
        swap=SwapSpace()
        if swap == "large"
        else SwapSpace(pick((3, 4, 5, 8)))
        if swap == "small"
        else SwapSpace(pick((9, 12)), pick((0, 2, 4)), pick((1, 256, 500))),
        settings=Settings(
            page_cluster=pick((3, 0, 1, 5)),
            vma_readahead=pick((True, False)),
            zswap=pick((Zswap.NEVER, Zswap.NEVER, Zswap.NEVER, Zswap.ON, Zswap.OFF)),
            order9_failure=pick((0.0, 0.0, 0.5)),
            charge_failure=pick((0.0, 0.0, 0.5)),
            memory_limit_bytes=LEAST_LIMIT + pick((0, 4096, 1371 * 4096)),
            khugepaged=_khugepaged(pick),
        ),
    )
    policy = Policy(
        "told",
        "none",
        pick(("pte", "pmd")),
        swapin_order=pick((0, 0, 2, 4, 6, 8)),
        lazy_page_table_deposit=pick((False, False, True)),
        batched_unmap=pick((False, True)),
    )
    device = pick((*(DeviceKind.ZRAM, DeviceKind.DISK) * 3, DeviceKind.SWAP_FILE))
    machine, seed = _machine(pick), pick(range(8))
    for number in range(pick(range(1, most_steps + 1))):
        step = _limited_step(pick, f"s{number}", scenario)
        scenario = attrs.evolve(scenario, steps=(*scenario.steps, step))
    return Story(scenario, policy, device, machine, seed)


# All but what is recorded.
WORKLOADS = tuple(workload for workload in Workload if workload is not Workload.TRACE)


def _limited_step(pick: Pick, name: str, scenario: Scenario) -> Step:
    action = pick(LIMITED_ACTIONS)
    fields: dict[str, Any] = {}
    if action is StepAction.ACCESS:
        workload = pick(WORKLOADS)
        fields |= {
            "workload": workload,
            "accesses": pick((500, 1, 100, 2000, 4000)),
            "seed": pick(range(3)),
            "write": pick((False, True)) and not workload.says_what_it_writes,
        }
        if workload is Workload.ZIPF:
            fields |= {"exponent": pick((0.9, 1.2)), "scattered": pick((True, False))}
    elif action.takes_part:
        fields["first_page"], fields["page_count"] = pick((WHOLE, WHOLE, *PARTS))
    if action is StepAction.TOUCH:
        fields["pages_per_2mib"] = pick((16, 1, 2, 3, 100, 512))
        fields["write"] = pick((False, True))
    elif action is StepAction.WAIT:
        fields["milliseconds"] = pick((1000, 1, 200, 5000))
    elif action is StepAction.PAGEOUT and scenario.settings.zswap is Zswap.ON:
        fields["refuse_write"] = pick((False, True))
    return Step(name, action, **fields)


@attrs.frozen
class Palette:
    """What one story is about: few kinds of steps, which then meet each other often."""

    actions: tuple[StepAction, ...]
    parts: tuple[tuple[int, int], ...]
    shifts: tuple[int, ...]

    @staticmethod
    def choose(pick: Pick) -> Palette:
        return Palette(
            (
                *(StepAction.TOUCH, StepAction.PAGEOUT) * 2,
                # What it changes shows only in what comes after it.
                pick((StepAction.TOUCH, StepAction.WAIT, StepAction.CLEAR_SOFT_DIRTY)),
                *(pick((StepAction.RECLAIM, *ACTIONS)) for _ in range(2)),
                *(pick((StepAction.FORK, *ACTIONS)) for _ in range(3)),
            ),
            (*(WHOLE,) * 4, pick((WHOLE, *PARTS)), pick((WHOLE, *PARTS))),
            (0, 0, pick(SHIFTS)),
        )


def _khugepaged(pick: Pick) -> Khugepaged | None:
    """Mostly so slow that a wait ends before all is done, and hard to please."""
    if not pick((False, True, True)):
        return None
    return Khugepaged(
        scan_sleep_millisecs=pick((100, 1000, 3000)),
        pages_to_scan=pick((4096, 1, 512, 513, 514, 1026, 1027)),
        max_ptes_swap=pick((64, 0, 511)),
        max_ptes_none=pick((511, 0, 100)),
        max_ptes_shared=pick((256, 0, 511)),
    )


def _swap_space(pick: Pick) -> SwapSpace:
    """A large device, one with little room in any cluster, or hardly any device at all."""
    kind = pick(("large", "large", "large", "fragmented", "small"))
    if kind == "large":
        return SwapSpace()
    clusters = pick(range(1, 5 if kind == "small" else 13))
    neighbour_slots = pick((0, 1, 3, 256, 500, 511, 512) if kind == "small" else (1, 256, 500, 511))
    free_clusters = pick(range(min(2, clusters) + 1)) if neighbour_slots else 0
    return SwapSpace(clusters, free_clusters, neighbour_slots)


def _machine(pick: Pick) -> Machine:
    """A published machine whose TLBs are so small that they overflow in a test."""

    def level(number: int, sets: Sequence[int], ways: Sequence[int]) -> tuple[Tlb, ...]:
        shared = pick((False, True))
        sizes = [(pick(sets), pick(ways)) for _ in range(1 if shared else 2)]
        replacement = pick((Replacement.LRU, Replacement.LRU, Replacement.TREE_PLRU))
        arrays = tlb_arrays(number, shared, sizes)
        return tuple(attrs.evolve(array, replacement=replacement) for array in arrays)

    tlbs = (*level(1, (1, 2, 3), (1, 2, 4)), *level(2, (1, 5, 9, 64), (1, 4)))
    return with_tlbs(published_machine, tlbs)


def _with_a_step_more(pick: Pick, palette: Palette, scenario: Scenario, name: str) -> Scenario:
    """The scenario as it is if the step that comes to mind cannot follow on it."""
    step = _any_step(pick, palette, scenario, name)
    for weaker in ({}, {"write": False}):
        try:
            return attrs.evolve(scenario, steps=(*scenario.steps, attrs.evolve(step, **weaker)))
        except ValueError:
            continue
    return scenario


def _any_step(pick: Pick, palette: Palette, scenario: Scenario, name: str) -> Step:
    living = list(range(scenario.processes))
    for step in scenario.steps:
        if step.action is StepAction.EXIT:
            living.remove(step.process)
    action = pick(palette.actions)
    if action is StepAction.FORK and scenario.processes == MOST_PROCESSES:
        action = StepAction.TOUCH
    fields: dict[str, Any] = {}
    if not action.of_the_system:
        fields["process"] = pick(living)
    if action.takes_part:
        fields["first_page"], fields["page_count"] = pick(palette.parts)
    if action is StepAction.TOUCH:
        fields["pages_per_2mib"] = pick(PAGES_TOUCHED)
        fields["write"] = pick((False, True))
        fields["racing"] = pick((Racing.NONE, Racing.NONE, Racing.NONE, Racing.UNMAP))
    elif action is StepAction.PROTECT:
        fields["writable"] = pick((False, True))
    elif action in (StepAction.REMAP, StepAction.MOVE):
        fields["shift_pages"] = pick(palette.shifts)
    elif action is StepAction.WAIT:
        fields["milliseconds"] = pick((200, 1, 1000, 5000))
    elif action is StepAction.PAGEOUT and scenario.settings.zswap is Zswap.ON:
        fields["refuse_write"] = pick((False, True))
    return Step(name, action, **fields)


def on_several_devices(pick: Pick, story: Story) -> Story:
    """The same on two or three devices, mostly so small that they fill up."""
    number = pick((2, 2, 3))
    devices = together(
        [DEVICES[pick((0, 1, 0, 1, 2))] for _ in range(number)],
        [pick((100, 100, 5, 0, None)) for _ in range(number)],
    )
    spaces = []
    for _ in range(number):
        clusters = pick((2, 1, 3, 4, 8, 40))
        neighbour_slots = pick((0, 0, 1, 500, 511, 512))
        free_clusters = pick(range(min(2, clusters) + 1)) if neighbour_slots else 0
        spaces.append(DeviceSpace(clusters, free_clusters, neighbour_slots))
    steps = tuple(s for s in story.scenario.steps if s.action is not StepAction.SWAPOFF)
    scenario = attrs.evolve(story.scenario, steps=steps, swap=SwapSpace(devices=tuple(spaces)))
    return attrs.evolve(story, scenario=scenario, device=devices)


def in_front_of_a_device(pick: Pick, story: Story) -> Story:
    """The same with zswap on, whose pool mostly fills up."""
    limits = ZswapLimits(
        size_bytes=5 * PAGE_BYTES * pick((100, 20, 273, 280, 300, 560, 1000)),
        accept_threshold_percent=pick((90, 50, 0, 100)),
        writeback=pick((True, True, True, False)),
    )
    settings = attrs.evolve(story.scenario.settings, zswap=Zswap.ON, zswap_pool=limits)
    scenario = attrs.evolve(story.scenario, settings=settings)
    return attrs.evolve(story, scenario=scenario, device=BEHIND_ZSWAP)


@st.composite
def stories_with_a_zswap_pool(draw: st.DrawFn, most_steps: int = 8) -> Story:
    def pick(options: Sequence[Any]) -> Any:
        return draw(st.sampled_from(options))

    told = tell_limited if draw(st.booleans()) else tell
    return in_front_of_a_device(pick, told(pick, most_steps))


@st.composite
def stories_on_several_devices(draw: st.DrawFn, most_steps: int = 8) -> Story:
    def pick(options: Sequence[Any]) -> Any:
        return draw(st.sampled_from(options))

    told = tell_limited if draw(st.booleans()) else tell
    return on_several_devices(pick, told(pick, most_steps))


@st.composite
def limited_stories(draw: st.DrawFn, most_steps: int = 5) -> Story:
    return tell_limited(lambda options: draw(st.sampled_from(options)), most_steps)


@st.composite
def stories(draw: st.DrawFn, most_steps: int = 10) -> Story:
    return tell(lambda options: draw(st.sampled_from(options)), most_steps)
