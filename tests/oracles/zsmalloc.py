"""zsmalloc and zswap in plain Python, from what the kernel's documentation and source say.

Lists are Python lists with their head first; nothing is fast, and nothing comes from the package.
"""

from __future__ import annotations

PAGE = 4096
HANDLE = 8


def class_table(chain: int) -> list[tuple[int, int, int]]:
    """(first, last, pages, objects) groups written out: largest stored size of each class, and it.

    For every size of an object with its handle from 32 to 4096 in steps of 16, the number of pages
    is tried out; neighbours with the same pages and objects are one class of the largest size.
    """
    rows: list[tuple[int, int, int]] = []
    for size in range(32, PAGE + 1, 16):
        wastes = []
        for pages in range(1, chain + 1):
            used = (pages * PAGE // size) * size
            wastes.append(pages * PAGE - used)
        pages = wastes.index(min(wastes)) + 1
        if size in (32, 64, 128, 256, 512, 1024, 2048, 4096):
            pages = 1
        objects = pages * PAGE // size
        if rows and rows[-1][1:] == (pages, objects):
            rows.pop()
        rows.append((size, pages, objects))
    return rows


def huge_threshold(table: list[tuple[int, int, int]]) -> int:
    """Compressed size from which on zram stores a page as it is.

    One more byte than what fits with its handle below the largest class that shares pages.
    """
    sharing = max(size for size, pages, objects in table if pages > 1 and objects > 1)
    return sharing - HANDLE + 1


class Zspage:
    def __init__(self, number: int, pages: int, objects: int) -> None:
        self.number = number
        self.pages = pages
        self.slots: list[int | None] = [None] * objects
        self.free = list(range(objects))

    @property
    def used(self) -> int:
        return sum(slot is not None for slot in self.slots)

    @property
    def group(self) -> str:
        if self.used == 0:
            return "0"
        if self.used == len(self.slots):
            return "full"
        return str(self.used * 100 // len(self.slots) // 10 + 1)


NEARLY_FULL_FIRST = [str(group) for group in range(10, 0, -1)]


class Pool:
    def __init__(self, chain: int = 8) -> None:
        self.table = class_table(chain)
        self.lists: dict[int, dict[str, list[Zspage]]] = {
            index: {name: [] for name in ["0", *NEARLY_FULL_FIRST, "full"]}
            for index in range(len(self.table))
        }
        self.place: dict[int, tuple[int, Zspage, int, int]] = {}
        self.made = 0

    @property
    def pages(self) -> int:
        return sum(
            zspage.pages
            for groups in self.lists.values()
            for zspages in groups.values()
            for zspage in zspages
        )

    @property
    def stored_bytes(self) -> int:
        return sum(size for *_, size in self.place.values())

    def class_of(self, size: int) -> int:
        wanted = min(size + HANDLE, PAGE)
        return next(i for i, (largest, _, _) in enumerate(self.table) if wanted <= largest)

    def _settle(self, index: int, zspage: Zspage, was: str) -> None:
        if zspage.group != was:
            self.lists[index][was].remove(zspage)
            self.lists[index][zspage.group].insert(0, zspage)

    def _put(self, zspage: Zspage, slot: int) -> int:
        place = zspage.free.pop(0)
        zspage.slots[place] = slot
        return place

    def store(self, slot: int, size: int) -> None:
        index = self.class_of(size)
        groups = self.lists[index]
        found = next((groups[g][0] for g in [*NEARLY_FULL_FIRST, "0"] if groups[g]), None)
        old = self.place.pop(slot, None)
        if found is None:
            _, pages, objects = self.table[index]
            found = Zspage(self.made, pages, objects)
            self.made += 1
            place = self._put(found, slot)
            groups[found.group].insert(0, found)
        else:
            was = found.group
            place = self._put(found, slot)
            self._settle(index, found, was)
        if old is not None:
            self._release(*old[:3])
        self.place[slot] = (index, found, place, size)

    def _release(self, index: int, zspage: Zspage, place: int) -> None:
        was = zspage.group
        zspage.slots[place] = None
        zspage.free.insert(0, place)
        self._settle(index, zspage, was)
        if zspage.used == 0:
            self.lists[index]["0"].remove(zspage)

    def drop(self, slot: int) -> None:
        if slot in self.place:
            self._release(*self.place.pop(slot)[:3])

    def _pull(self, index: int, names: list[str]) -> Zspage | None:
        for name in names:
            if self.lists[index][name]:
                return self.lists[index][name].pop(0)
        return None

    def compact(self) -> int:
        before = self.pages
        for index in reversed(range(len(self.table))):
            target = None
            objects = self.table[index][2]
            while self._unused(index, target) >= objects:
                target = target or self._pull(index, NEARLY_FULL_FIRST)
                source = target and self._pull(index, NEARLY_FULL_FIRST[::-1])
                if not source:
                    break
                for place, slot in enumerate(list(source.slots)):
                    if slot is None:
                        continue
                    source.slots[place] = None
                    source.free.insert(0, place)
                    self.place[slot] = (index, target, self._put(target, slot), self.place[slot][3])
                    if target.used == objects or source.used == 0:
                        break
                if source.used:
                    self.lists[index][source.group].insert(0, source)
                if target.used == objects:
                    self.lists[index]["full"].insert(0, target)
                    target = None
            if target is not None:
                self.lists[index][target.group].insert(0, target)
        return before - self.pages

    def _unused(self, index: int, isolated: Zspage | None) -> int:
        zspages = [z for group in self.lists[index].values() for z in group]
        zspages += [isolated] if isolated else []
        return sum(len(zspage.slots) - zspage.used for zspage in zspages)


class Zswap:
    def __init__(
        self,
        max_pages: int,
        accept_pages: int,
        *,
        writeback: bool = True,
        keeps_incompressible: bool = True,
        scan: int = 1,
    ) -> None:
        self.pool = Pool()
        self.max_pages = max_pages
        self.accept_pages = accept_pages
        self.writeback = writeback
        self.keeps_incompressible = keeps_incompressible
        self.scan = scan
        self.lru: list[int] = []
        self.marked: set[int] = set()
        self.full = False
        self.queued = False
        self.counts = dict.fromkeys(
            (
                "zswpout",
                "zswpin",
                "zswpwb",
                "pool_limit_hit",
                "reject_compress_poor",
                "reject_compress_fail",
                "written_back_pages",
            ),
            0,
        )

    def counters(self) -> dict[str, int]:
        raw = sum(size == PAGE for *_, size in self.pool.place.values())
        return self.counts | {
            "stored_pages": len(self.lru),
            "stored_incompressible_pages": raw,
        }

    def free(self, slot: int) -> None:
        if slot in self.lru:
            self.lru.remove(slot)
            self.marked.discard(slot)
            self.pool.drop(slot)

    def load(self, slot: int) -> bool:
        if slot not in self.lru:
            return False
        self.counts["zswpin"] += 1
        self.free(slot)
        return True

    def store(self, first: int, sizes: list[int]) -> bool:
        done = self._store(first, sizes)
        if done:
            self.counts["zswpout"] += len(sizes)
        else:
            self.queued = self.queued or self.full
            for slot in range(first, first + len(sizes)):
                self.free(slot)
        return done

    def _store(self, first: int, sizes: list[int]) -> bool:
        if self.pool.pages >= self.max_pages:
            self.counts["pool_limit_hit"] += 1
            self.full = True
        elif self.pool.pages <= self.accept_pages:
            self.full = False
        if self.full:
            return False
        for slot, size in enumerate(sizes, first):
            if size >= PAGE and not self.keeps_incompressible:
                self.counts["reject_compress_poor"] += 1
                return False
            if size >= PAGE and not self.writeback:
                self.counts["reject_compress_fail"] += 1
                return False
            if slot in self.lru:
                self.lru.remove(slot)
            self.pool.store(slot, min(size, PAGE))
            self.lru.append(slot)
            self.marked.add(slot)
        return True

    def shrink(self) -> list[int]:
        self.queued = False
        written: list[int] = []
        failures = 0
        while self.writeback and self.lru and failures < 16:
            count = len(written)
            self._look(written)
            failures += len(written) == count
            if self.pool.pages <= self.accept_pages:
                break
        return written

    def _look(self, written: list[int]) -> None:
        """A walk over at most `scan` entries; it starts anew behind each that is written back."""
        left = self.scan
        position = 0
        while left and position < len(self.lru):
            left -= 1
            slot = self.lru[position]
            if slot in self.marked:
                self.marked.remove(slot)
                self.lru.append(self.lru.pop(position))
                # What stood behind it stands at the same position now; the last has none behind.
                if position == len(self.lru) - 1:
                    return
            else:
                self.free(slot)
                self.counts["zswpwb"] += 1
                self.counts["written_back_pages"] += 1
                written.append(slot)
                position = 0
