"""The page allocator of docs/buddy.md in plain Python: lists are lists, and nothing is fast."""

from __future__ import annotations

from collections import Counter

MAX_ORDER = 10
BLOCK_ORDER = 9
BLOCK = 1 << BLOCK_ORDER
LARGEST = 1 << MAX_ORDER
COSTLY_ORDER = 3
CLUSTER_MAX = 32
MAX_DEFER_SHIFT = 6
ORDERS = range(MAX_ORDER + 1)


def fragmentation_index(counts: list[int], order: int) -> int:
    """/sys/kernel/debug/extfrag/extfrag_index in thousandths; -1000 where a block is free."""
    if not sum(counts):
        return 0
    if any(counts[order:]):
        return -1000
    pages = sum(count << each for each, count in enumerate(counts))
    return 1000 - (1000 + pages * 1000 // (1 << order)) // sum(counts)


def unusable_index(counts: list[int], order: int) -> int:
    """/sys/kernel/debug/extfrag/unusable_index in thousandths."""
    pages = sum(count << each for each, count in enumerate(counts))
    if not pages:
        return 1000
    usable = sum(count << each for each, count in enumerate(counts) if each >= order)
    return (pages - usable) * 1000 // pages


class Zone:
    """One zone, all of it free and movable in the beginning."""

    def __init__(
        self, frames: int, minimum: int, low: int, threshold: int = 500, high: int = 0
    ) -> None:
        self.frames, self.minimum, self.low, self.threshold = frames, minimum, low, threshold
        self.high = high
        # The first of a list is its head. True is movable.
        self.lists: dict[tuple[bool, int], list[int]] = {
            (movable, order): [] for movable in (True, False) for order in ORDERS
        }
        self.lists[True, MAX_ORDER] = list(range(0, frames, LARGEST))
        self.free = dict.fromkeys(self.lists[True, MAX_ORDER], MAX_ORDER)
        self.held: dict[int, tuple[int, int, bool]] = {}  # order, owner, movable
        self.frame_of: dict[int, int] = {}
        self.movable = [True] * (frames // BLOCK)
        self.skip = [False] * (frames // BLOCK)
        self.counts: Counter[str] = Counter()
        self.cached_migrate = [0, 0]
        self.cached_free = frames - BLOCK
        self.init_migrate = 0
        self.flush = False
        self.considered = self.defer_shift = self.order_failed = 0
        self.capture: tuple[int, bool] | None = None
        self.captured: int | None = None

    # Lists

    def free_pages(self) -> int:
        return sum(1 << order for order in self.free.values())

    def free_counts(self) -> list[int]:
        return [len(self.lists[True, order]) + len(self.lists[False, order]) for order in ORDERS]

    def add(self, frame: int, order: int, movable: bool, tail: bool = False) -> None:
        blocks = self.lists[movable, order]
        blocks.insert(len(blocks) if tail else 0, frame)
        self.free[frame] = order

    def remove(self, frame: int, order: int, movable: bool) -> None:
        self.lists[movable, order].remove(frame)
        del self.free[frame]

    def expand(self, frame: int, wanted: int, order: int, movable: bool) -> None:
        while order > wanted:
            order -= 1
            self.add(frame + (1 << order), order, movable)

    def set_type(self, frame: int, order: int, movable: bool) -> None:
        for block in range(frame // BLOCK, (frame + (1 << order)) // BLOCK):
            self.movable[block] = movable

    def move_block(self, start: int, movable: bool) -> None:
        """The free blocks of one pageblock to the tails of the other type's lists."""
        for frame in range(start, start + BLOCK):
            if frame in self.free:
                order = self.free[frame]
                self.remove(frame, order, not movable)
                self.add(frame, order, movable, tail=True)
        self.movable[start // BLOCK] = movable

    # Allocation

    def smallest(self, order: int, movable: bool) -> int:
        for current in range(order, MAX_ORDER + 1):
            if self.lists[movable, current]:
                frame = self.lists[movable, current][0]
                self.remove(frame, current, movable)
                self.expand(frame, order, current, movable)
                return frame
        return -1

    def claim(self, order: int, movable: bool) -> int:
        for current in range(MAX_ORDER, order - 1, -1):
            if not self.claims(current, movable):
                break
            if not self.lists[not movable, current]:
                continue
            frame = self.lists[not movable, current][0]
            if current >= BLOCK_ORDER:
                self.remove(frame, current, not movable)
                self.set_type(frame, current, movable)
                self.expand(frame, order, current, movable)
                self.counts["claimed"] += 1
                return frame
            start = frame & -BLOCK
            inside = range(start, start + BLOCK)
            free = sum(1 << self.free[page] for page in inside if page in self.free)
            moving = sum(
                1 << self.held[page][0]
                for page in inside
                if page in self.held and self.held[page][2]
            )
            alike = moving if movable else BLOCK - free - moving
            if free + alike >= BLOCK // 2:
                self.move_block(start, movable)
                self.counts["claimed"] += 1
                return self.smallest(order, movable)
        return -1

    @staticmethod
    def claims(order: int, movable: bool) -> bool:
        return order >= BLOCK_ORDER // 2 or not movable

    def steal(self, order: int, movable: bool) -> int:
        frame = self.smallest(order, not movable)
        if frame >= 0:
            self.counts["stolen"] += 1
        return frame

    def above(self, mark: int, order: int) -> bool:
        return self.free_pages() - ((1 << order) - 1) > mark

    def take(self, order: int, movable: bool) -> int:
        if not self.above(self.minimum, order):
            return -1
        for way in (self.smallest, self.claim, self.steal):
            frame = way(order, movable)
            if frame >= 0:
                return frame
        return -1

    def give(self, frame: int, order: int, owner: int, movable: bool) -> int:
        if frame >= 0:
            self.held[frame] = order, owner, movable
            self.frame_of[owner] = frame
        return frame

    def allocate(self, order: int, owner: int, movable: bool) -> int:
        return self.give(self.take(order, movable), order, owner, movable)

    # Freeing

    def release(self, owner: int) -> None:
        frame = self.frame_of.pop(owner)
        order, _, _ = self.held.pop(frame)
        self.put(frame, order)

    def put(self, frame: int, order: int) -> None:
        """The two halves of a block of the largest order one by one: their types may differ."""
        piece = min(order, BLOCK_ORDER)
        for start in range(frame, frame + (1 << order), 1 << piece):
            self.put_one(start, piece, self.movable[start // BLOCK])

    def put_one(self, frame: int, order: int, movable: bool) -> None:
        while order < MAX_ORDER:
            if self.capture is not None and order == self.capture[0]:
                wants_movable = self.capture[1]
                if order >= BLOCK_ORDER or wants_movable or not movable:
                    self.captured, self.capture = frame, None
                    return
            buddy = frame ^ 1 << order
            if self.free.get(buddy) != order:
                break
            buddy_movable = movable if order < BLOCK_ORDER else self.movable[buddy // BLOCK]
            self.remove(buddy, order, buddy_movable)
            if buddy_movable != movable:
                self.set_type(buddy, order, movable)
            frame &= buddy
            order += 1
        # The pair's own buddy is free: this one's buddy may soon be, and then they merge twice.
        pair = frame & ~(1 << order)
        likely = order < MAX_ORDER - 1 and self.free.get(pair ^ 2 << order) == order + 1
        self.add(frame, order, movable, tail=likely)

    # Direct compaction

    def deferred(self, order: int) -> bool:
        if order < self.order_failed:
            return False
        self.considered = min(self.considered + 1, 1 << self.defer_shift)
        return self.considered < 1 << self.defer_shift

    def compact(self, order: int, owner: int, movable: bool, sync: bool) -> int:
        """One direct compaction and the allocation after it."""
        from tests.oracles.compaction import Compaction  # which needs this module

        if self.deferred(order):
            result = "deferred"
        else:
            self.capture, self.captured = (order, movable), None
            result = Compaction(self, order, movable, sync).run()
            self.capture = None
            if self.captured is not None:
                result = "success"
            if result == "success":
                self.order_failed = max(self.order_failed, order + 1)
            elif sync and result in ("complete", "partial_skipped"):
                self.considered = 0
                self.defer_shift = min(self.defer_shift + 1, MAX_DEFER_SHIFT)
                self.order_failed = min(self.order_failed, order)
        self.counts[result] += 1
        if result in ("skipped", "deferred"):
            return -1
        self.counts["compact_stall"] += 1
        if self.captured is not None:
            frame, self.captured = self.captured, None
        else:
            frame = self.take(order, movable)
        self.counts["compact_success" if frame >= 0 else "compact_fail"] += 1
        if frame >= 0:
            self.flush = False
            self.considered = self.defer_shift = 0
            self.order_failed = max(self.order_failed, order + 1)
        return self.give(frame, order, owner, movable)

    def try_hard(self, order: int, owner: int, movable: bool, effort: int) -> int:
        """What an allocation does: 0 lists only, 1 async twice, 2 async twice and sync."""
        frame = self.allocate(order, owner, movable)
        for sync in (False, False, True)[: (0, 2, 3)[effort]]:
            if frame >= 0:
                break
            frame = self.compact(order, owner, movable, sync)
        return frame

    def suits(self, order: int) -> str:
        """Whether a zone is worth compacting."""
        counts = self.free_counts()
        if self.above(self.minimum, order) and any(counts[order:]):
            return "success"
        mark = self.minimum + (2 << order)
        if order > COSTLY_ORDER:
            mark += self.low - self.minimum
        if not self.above(mark, 0):
            return "skipped"
        if order > COSTLY_ORDER and 0 <= fragmentation_index(counts, order) <= self.threshold:
            return "skipped"
        return "continue"

    # Skip hints

    def holder(self, frame: int) -> int:
        """Head of the held block that a frame is part of, or -1."""
        for order in ORDERS:
            head = frame >> order << order
            if head in self.held and frame < head + (1 << self.held[head][0]):
                return head
        return -1

    def persistent(self, start: int) -> bool:
        head = self.holder(start)
        return head >= 0 and self.held[head][0] >= BLOCK_ORDER

    def reset_block(self, frame: int, source: bool, target: bool) -> bool:
        start = frame & -BLOCK
        if self.persistent(start):
            return False
        if source and target and not self.skip[start // BLOCK]:
            return True
        if not source and target and not self.movable[start // BLOCK]:
            return False
        for page in range(start, start + BLOCK, 1 << COSTLY_ORDER):
            head = self.holder(page)
            if (source and head >= 0 and self.held[head][2]) or (target and page in self.free):
                self.skip[start // BLOCK] = False
                return True
        return False

    def reset_skip_hints(self) -> None:
        if not self.flush:
            return
        self.flush = False
        migrate, free = 0, self.frames - 1
        lowest, highest = free, migrate
        source = target = False
        while migrate < free:
            if self.reset_block(migrate, True, source) and migrate < lowest:
                source, lowest, self.init_migrate = True, migrate, migrate
                self.cached_migrate = [migrate, migrate]
            if self.reset_block(free, target, True) and free > highest:
                target, highest, self.cached_free = True, free, free
            migrate += BLOCK
            free -= BLOCK
        if lowest >= highest:
            self.cached_migrate = [migrate, migrate]
            self.cached_free = free
