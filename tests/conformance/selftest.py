"""What the tests of the kernel's pmd_swap selftest share: its fixture and its check of the data.

The model has no bytes. Data is identical if behind each page of the region there is a page of a
folio, or a slot, that holds this very page, and behind no other.
"""

from __future__ import annotations

import attrs

from perfmodel.constants import PMD_BYTES
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings, Zswap
from perfmodel.specs.step import Step, StepAction
from tests.conformance.worlds import MIB_2, Run, cached_slots, places, run, states

FILL = Step("fill", StepAction.FILL)
PAGEOUT = Step("pageout", StepAction.PAGEOUT)
LOOK = Step("look", StepAction.PAGEMAP)
# The selftest writes to memory.reclaim until the swap cache has let go of the folio.
EVICT = Step("evict", StepAction.RECLAIM)
HALF = 256


def step(name: str, action: str, **said: int) -> Step:
    """A step by its name and the word for its action."""
    return Step(name, StepAction(action), **said)


@attrs.frozen
class World:
    """A kind of swap device and a state of zswap, under one implementation of the mechanism."""

    kind: DeviceKind
    zswap: Zswap
    implementation: str

    @property
    def restores(self) -> bool:
        """Whether the PMD mapping comes back: zswap has no way to give back 2 MiB at once."""
        return self.zswap is not Zswap.ON

    @property
    def folio_stays(self) -> bool:
        """Whether the folio is in the swap cache after the page-out: its write may be under way."""
        return self.restores and not self.kind.synchronous

    def swapped_out(self, *later: Step, evict: bool = True) -> Run:
        """The selftest's fixture, and then the steps of one test."""
        scenario = Scenario(
            name="pmd-swap-selftest",
            description="one THP that is swapped out behind a PMD swap entry",
            region=Region(PMD_BYTES, PageContent.RANDOM),
            steps=(FILL, PAGEOUT, LOOK, *([EVICT] if evict else []), *later),
            settings=Settings(zswap=self.zswap),
        )
        done = run(scenario, self.kind, implementation=self.implementation)
        # It has to be a THP, and then swapped out as one.
        assert states(done.after["fill"]) == ["PMD_MAPPED"]
        counters = done.did["pageout"].counters
        assert counters["thp_swpout_pmd"] == 1
        assert "thp_swpout_fallback" not in counters
        assert counters["pswpout" if self.restores else "zswpout"] == 512
        assert done.did["look"].observed == {"pagemap_swapped_pages": 512}
        assert states(done.after["look"]) == ["PMD_SWAP"]
        assert len(cached_slots(done.after["look"])) == 512 * self.folio_stays
        if evict:
            assert states(done.after["evict"]) == ["PMD_SWAP"]
            assert not cached_slots(done.after["evict"])
        return done

    def comes_back(self, *, small: bool | None = None, shared: bool = False) -> dict[str, int]:
        """Counters of reading all pages in order, from an empty swap cache.

        Parameters
        ----------
        small : bool, optional
            Whether the entry was split before; zswap has it split now.
        shared : bool
            Whether another process has the slots, too, so that even zram reads ahead.
        """
        entry_splits = not self.restores if small is None else False
        if not (entry_splits or small):
            return {"pgfault": 1, "pgmajfault": 1, "pswpin": 512, f"{MIB_2}/swpin": 1}
        counters = {"pgfault": 512, "pswpin" if self.restores else "zswpin": 512}
        if entry_splits:
            counters |= {"thp_split_pmd": 1, f"{MIB_2}/swpin_fallback": 1}
        if self.kind.synchronous and not shared:
            return counters | {"pgmajfault": 512}
        # Windows of 8 pages: 0 .. 4 of the one around page 0, 63 whole ones, and 3 pages: 65 faults
        # that read; the other 447 pages are read ahead, and hit.
        return counters | {"pgmajfault": 65, "swap_ra": 447, "swap_ra_hit": 447}

    def refused_by_zswap(self) -> dict[str, int]:
        """Reasons of the fallbacks where 2 MiB are wanted back at once."""
        return {} if self.restores else {"zswap": 1}

    def assert_restored(self, done: Run, after: str, process: int = 0) -> None:
        """The range is mapped by a PMD again; with zswap on it is not looked at, but PTEs do it."""
        wanted = "PMD_MAPPED" if self.restores else "PTE_TABLE"
        assert states(done.after[after], process) == [wanted]


def homes(done: Run) -> list[int]:
    """The slot that each page of the region was swapped out to."""
    found = places(done.after["look"], 0, 1)
    assert {kind for kind, *_ in found} == {"slot"}
    return [slot for _, slot, _ in found]


def assert_data(done: Run, after: str, process: int = 0, first: int = 0, count: int = 512) -> None:
    """Each of these pages of the region is backed by what holds it, and by nothing else."""
    snapshot = done.after[after]
    home = homes(done)
    backed = places(snapshot, process, 1)[first : first + count]
    assert len(set(backed)) == count
    for page, (kind, where, offset) in enumerate(backed, start=first):
        assert kind in ("slot", "folio"), page
        if kind == "slot":
            assert where == home[page]
            assert snapshot["slots"][where][0] > 0, "nobody counts this slot"
        else:
            assert snapshot["folios"][where][1] + offset == page
    # What the swap cache has of a page is that page, too.
    page_of = {slot: page for page, slot in enumerate(home)}
    for slot, folio in cached_slots(snapshot).items():
        _, first_of_folio, _, first_slot, *_ = snapshot["folios"][folio]
        assert first_of_folio + slot - first_slot == page_of[slot]


def folios_of(done: Run, after: str, process: int) -> set[int]:
    """Folios that a process maps."""
    return {where for kind, where, _ in places(done.after[after], process, 1) if kind == "folio"}
