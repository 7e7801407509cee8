"""Reclaim for want of page frames: kswapd, and whoever finds nothing above the minimum.

docs/kswapd.md. kswapd is a generator: it is asked to go on, and stops at the end of each turn.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.oracles.buddy import COSTLY_ORDER, MAX_DEFER_SHIFT, fragmentation_index
from tests.oracles.compaction import Compaction
from tests.oracles.mechanism.pressure import PRIORITIES, RECLAIM_AT_LEAST, SCAN_AT_MOST, Pressure
from tests.oracles.mechanism.world import OutOfMemoryError, World

MILLISECOND = 10**9  # picoseconds
DOZE = 100 * MILLISECOND
HIGHEST_PRIORITY = PRIORITIES[0]
MOST_FAILURES = 16
LIGHT, NO_RETRY, FULL = 0, 1, 2
NEVER = 1 << 62


class GlobalReclaim:
    """kswapd of the one zone, and direct reclaim."""

    def __init__(self, world: World, pressure: Pressure) -> None:
        assert world.zone is not None, "there is a zone to run short"
        self.world, self.pressure, self.zone = world, pressure, world.zone
        self.snapshot = 0
        self.skipped = False
        self.wanted = 0  # order
        self.failures = 0
        self.works = self.dozes = self.woken = False
        self.rested_at = 0
        # When it goes on, and which slots are next on its CPU.
        self.clock = NEVER
        self.next_slots = [-1] * 10
        self.life = self.live()

    # The zone

    def has_block(self, order: int) -> bool:
        return any(self.zone.free_counts()[order:])

    def is_fine(self, mark: int, order: int) -> bool:
        return self.zone.above(mark, order) and (not order or self.has_block(order))

    def balanced(self, order: int) -> bool:
        return self.is_fine(self.zone.high, order)

    def may_compact(self, mark: int, order: int) -> bool:
        """Whether compaction would have room, and something to gain."""
        zone = self.zone
        mark += 2 << order
        if order > COSTLY_ORDER:
            mark += zone.low - zone.minimum
        if not zone.above(mark, 0):
            return False
        index = fragmentation_index(zone.free_counts(), order)
        return order <= COSTLY_ORDER or not 0 <= index <= zone.threshold

    # Waking, and going on

    def wake(self, order: int) -> None:
        self.wanted = max(self.wanted, order)
        if self.dozes and self.clock <= self.world.clock:
            self.turn()
        if self.works:
            return
        if self.failures >= MOST_FAILURES or self.balanced(order):
            # Nothing to reclaim for, but perhaps something to compact for.
            if order:
                now, self.world.clock = self.world.clock, max(self.world.clock, self.rested_at)
                self.compact(order)
                self.rested_at, self.world.clock = self.world.clock, now
            return
        self.clock = max(self.world.clock, self.rested_at)
        self.woken = self.dozes
        self.works, self.dozes = True, False

    def keep_up(self) -> None:
        """Let kswapd do what it has begun by now."""
        while self.clock <= self.world.clock:
            self.turn()

    def turn(self) -> None:
        world, device = self.world, self.world.device
        begin = self.clock
        now, world.clock = world.clock, begin
        slots, device.next = device.next, self.next_slots
        batch, self.pressure.batch = self.pressure.batch, []
        # Nothing has been charged in advance by its CPU.
        stock, self.pressure.stock = self.pressure.stock, 0
        self.pressure.flush_in_time()
        when = next(self.life)
        self.clock = world.clock if when < 0 else when
        if world.rules.kswapd_cpu == 0:
            # Both have it half of the time.
            took = world.clock - begin
            now += took
            self.clock += took if self.clock < NEVER else 0
        world.clock, self.next_slots, device.next = now, device.next, slots
        assert not self.pressure.batch, "kswapd makes no folios"
        assert not self.pressure.stock, "kswapd frees no tables"
        self.pressure.stock = stock
        self.pressure.batch = batch

    def live(self) -> Iterator[int]:
        """When it wants to go on, each time; negative for at once."""
        while True:
            had, self.wanted = self.wanted, 0
            done = yield from self.balance(had)
            if done >= had:
                had = done = self.wanted
            if self.may_sleep(done):
                yield from self.sleep(had, done)
            else:
                self.world.counter("kswapd_high_wmark_hit_quickly")

    def sleep(self, had: int, done: int) -> Iterator[int]:
        """A short sleep, and if nobody ends it a long one."""
        self.zone.reset_skip_hints()
        if had:
            self.compact(had)
        self.works, self.dozes, self.woken = False, True, False
        self.rested_at = self.world.clock
        yield self.world.clock + DOZE
        self.dozes = False
        if self.woken:
            self.wanted = max(self.wanted, done)
            self.world.counter("kswapd_low_wmark_hit_quickly")
        elif self.may_sleep(done):
            self.rested_at = self.world.clock
            yield NEVER
        else:
            self.works = True
            self.world.counter("kswapd_high_wmark_hit_quickly")

    def may_sleep(self, order: int) -> bool:
        return self.failures >= MOST_FAILURES or self.balanced(order)

    def compact(self, order: int) -> None:
        """kcompactd, on the CPU of whom it is woken by."""
        zone = self.zone
        if zone.suits(order) != "continue":
            return
        self.world.counter("compact_daemon_wake")
        if zone.deferred(order):
            return
        before = zone.counts.copy()
        result = Compaction(zone, order, False, True).run()
        if result == "success":
            zone.order_failed = max(zone.order_failed, order + 1)
        elif result in ("complete", "partial_skipped"):
            zone.considered = 0
            zone.defer_shift = min(zone.defer_shift + 1, MAX_DEFER_SHIFT)
            zone.order_failed = min(zone.order_failed, order)
        self.world.pay_for_compaction(before)

    # Reclaim

    def balance(self, order: int) -> Iterator[int]:
        """Until there is enough; the order that it has ended with."""
        self.world.counter("pageoutrun")
        total = 0
        target = max(self.zone.high, RECLAIM_AT_LEAST)
        priority = HIGHEST_PRIORITY
        while priority >= 1:
            if self.balanced(order):
                break
            if self.pressure.inactive_is_low():
                self.pressure.shrink_active(SCAN_AT_MOST)
            reclaimed = scanned = 0
            for freed, looked in self.shrink_node(priority, order, target, "kswapd"):
                reclaimed += freed
                scanned += looked
                yield -1
            total += reclaimed
            if order and total >= 2 << order:
                order = 0
            if max(scanned, reclaimed) < target or not reclaimed:
                priority -= 1
        else:
            if not total:
                self.failures += 1
        self.snapshot = self.pressure.old.activated
        return order

    def direct(self, order: int) -> bool:
        """Reclaim by who needs the page; whether it came to anything."""
        for force in (False, True):
            self.world.counter("allocstall_movable")
            total, self.skipped = 0, False
            for priority in PRIORITIES:
                if order > COSTLY_ORDER and (
                    self.is_fine(self.zone.minimum, order)
                    or self.may_compact(self.zone.high, order)
                ):
                    self.snapshot = self.pressure.old.activated
                    return True
                parts = self.shrink_node(priority, order, RECLAIM_AT_LEAST, "direct", force=force)
                total += sum(freed for freed, _ in parts)
                if total >= RECLAIM_AT_LEAST:
                    break
            self.snapshot = self.pressure.old.activated
            if total or not self.skipped:
                break
        return total > 0

    def shrink_node(
        self, priority: int, order: int, target: int, who: str, *, force: bool = False
    ) -> Iterator[tuple[int, int]]:
        """Pages freed and looked at, part by part."""
        world, pressure = self.world, self.pressure
        while True:
            low = pressure.inactive_is_low()
            deactivate = force or low or pressure.old.activated != self.snapshot
            inactive, active = self.scan_counts(priority, deactivate)
            # At the first priority whoever needs a page looks at all of its share.
            whole = who == "direct" and priority == HIGHEST_PRIORITY
            local = 0
            while inactive:
                part = min(inactive, SCAN_AT_MOST)
                inactive -= part
                before = world.now.counters["pgscan_anon"]
                freed = pressure.shrink_inactive(part)
                looked = world.now.counters["pgscan_anon"] - before
                world.counter(f"pgscan_{who}", looked)
                world.counter(f"pgsteal_{who}", freed)
                local += freed
                if active:
                    part = min(active, SCAN_AT_MOST)
                    active -= part
                    if deactivate:
                        pressure.shrink_active(part)
                    else:
                        self.skipped = True
                yield freed, looked
                if local >= target and not whole:
                    break
            if pressure.inactive_is_low():
                pressure.shrink_active(SCAN_AT_MOST)
            pressure.shrink_split_queue(priority)
            if local:
                self.failures = 0
            if not self.goes_on(priority, order, local):
                return

    def scan_counts(self, priority: int, deactivate: bool) -> tuple[int, int]:
        """Pages of both lists to look at."""
        pressure = self.pressure
        if not self.world.device.has_room:
            return 0, 0
        sizes = pressure.inactive.pages, pressure.active.pages
        # There are no file pages; if little else is free, all is asked of anonymous memory.
        short = self.zone.free_pages() <= self.zone.high
        if short and not deactivate and sizes[0] >> priority:
            return sizes[0] >> priority, sizes[1] >> priority
        return pressure.scan_count(sizes[0], priority), pressure.scan_count(sizes[1], priority)

    def goes_on(self, priority: int, order: int, reclaimed: int) -> bool:
        """Whether a large block takes more of the same."""
        if not order or not (order > COSTLY_ORDER or priority < HIGHEST_PRIORITY - 2):
            return False
        if not reclaimed or self.is_fine(self.zone.minimum, order):
            return False
        if self.may_compact(self.zone.minimum, order):
            return False
        return self.world.device.has_room and self.pressure.inactive.pages > 2 << order

    # Allocations

    def room_for_page(self) -> None:
        """A page may be taken afterwards; or nobody has any."""
        zone = self.zone
        if zone.above(zone.low, 0):
            return
        self.wake(0)
        in_vain = 0
        while not zone.above(zone.minimum, 0):
            self.keep_up()
            if zone.above(zone.minimum, 0):
                return
            in_vain = 0 if self.direct(0) else in_vain + 1
            if zone.above(zone.minimum, 0):
                return
            lists = self.pressure.inactive.pages + self.pressure.active.pages
            reclaimable = lists if self.world.device.has_room else 0
            if in_vain > MOST_FAILURES or zone.free_pages() + reclaimable <= zone.minimum:
                raise OutOfMemoryError
            self.wake(0)

    def find_block(self, order: int, owner: int, effort: int, *, wakes: bool) -> int:
        """First frame of a block for a large folio, or -1."""
        zone = self.zone
        wakes = wakes and effort == LIGHT
        short = not zone.above(zone.low, order)
        if wakes and short:
            self.wake(order)
        frame = zone.allocate(order, owner, True)
        if wakes and not short and frame < 0:
            self.wake(order)
        if effort == LIGHT:
            return frame
        for attempt in range(1 + effort):
            if frame >= 0:
                break
            if attempt == FULL:
                self.keep_up()
                self.direct(order)
                frame = zone.allocate(order, owner, True)
                if frame >= 0:
                    break
            before = zone.counts.copy()
            frame = zone.compact(order, owner, True, attempt == FULL)
            self.world.pay_for_compaction(before)
        return frame
