"""One run of compaction as docs/buddy.md has it, in plain Python."""

from __future__ import annotations

from tests.oracles.buddy import (
    BLOCK,
    BLOCK_ORDER,
    CLUSTER_MAX,
    COSTLY_ORDER,
    MAX_DEFER_SHIFT,
    MAX_ORDER,
    ORDERS,
    Zone,
)


class Compaction:
    """One run of the two scanners."""

    def __init__(self, zone: Zone, order: int, movable: bool, sync: bool) -> None:
        self.zone, self.order, self.movable, self.sync = zone, order, movable, sync
        self.isolated: list[list[int]] = [[] for _ in ORDERS]
        self.moving: list[int] = []
        self.to_move = 0
        self.finish = False
        self.per_cpu: list[tuple[int, int]] = []  # freed, but not merged yet

    def drain(self) -> None:
        for frame, order in self.per_cpu:
            self.zone.put(frame, order)
        self.per_cpu = []

    def free_isolated(self) -> int:
        return sum(len(blocks) << order for order, blocks in enumerate(self.isolated))

    def run(self) -> str:
        zone = self.zone
        suits = zone.suits(self.order)
        if suits != "continue":
            return suits
        restarting = (
            self.order >= zone.order_failed
            and zone.defer_shift == MAX_DEFER_SHIFT
            and zone.considered >= 1 << MAX_DEFER_SHIFT
        )
        if restarting:
            zone.reset_skip_hints()
        self.migrate, self.free = zone.cached_migrate[self.sync], zone.cached_free
        if not 0 <= self.free < zone.frames:
            self.free = zone.cached_free = zone.frames - BLOCK
        if not 0 <= self.migrate < zone.frames:
            self.migrate = 0
            zone.cached_migrate = [0, 0]
        self.whole = self.migrate <= zone.init_migrate
        result = self.scan()
        self.drain()
        self.release_isolated()
        return result

    def scan(self) -> str:
        zone = self.zone
        follow = not self.sync and zone.cached_migrate[0] == zone.cached_migrate[1]
        last: int | None = None
        while not (result := self.finished()):
            self.finish = last is not None and last == self.migrate & -BLOCK
            isolated = True
            while True:
                self.isolate_source()
                if not self.to_move:
                    isolated = False
                    if follow:
                        zone.cached_migrate[1] = zone.cached_migrate[0]
                    break
                follow = False
                last = (self.migrate - 1) & -BLOCK
                error = self.migrate_all()
                if error == "no memory" and not self.met():
                    return "contended"
                rescan = error and self.migrate % BLOCK and not self.finish
                if not rescan:
                    break
                self.finish = True
                if self.order == BLOCK_ORDER:
                    last = None
            if isolated and zone.captured is not None:
                return "success"
            if last is not None and last < self.migrate >> self.order << self.order:
                self.drain()
                last = None
        return result

    def met(self) -> bool:
        return self.free // BLOCK <= self.migrate // BLOCK

    def finished(self) -> str:
        zone = self.zone
        if self.met():
            zone.cached_migrate = [0, 0]
            zone.cached_free = zone.frames - BLOCK
            zone.flush = True
            return "complete" if self.whole else "partial_skipped"
        if self.migrate % BLOCK:
            return ""
        for order in range(self.order, MAX_ORDER + 1):
            other = zone.lists[not self.movable, order] and zone.claims(order, self.movable)
            if zone.lists[self.movable, order] or other:
                return "success"
        return ""

    def update_cached(self, frame: int) -> None:
        end = (frame & -BLOCK) + BLOCK
        for mode in range(self.sync + 1):
            self.zone.cached_migrate[mode] = max(self.zone.cached_migrate[mode], end)

    def is_source(self, start: int) -> bool:
        if self.zone.persistent(start):
            return False
        return self.sync or self.zone.movable[start // BLOCK] == self.movable

    def isolate_source(self) -> None:
        low = self.migrate
        end = (low & -BLOCK) + BLOCK
        while end <= self.free:
            start = end - BLOCK
            if low % BLOCK == 0 and self.zone.skip[start // BLOCK]:
                pass
            elif not self.is_source(start):
                self.update_cached(end)
            else:
                self.isolate_block(low, end)
                return
            self.migrate = low = end
            end += BLOCK

    def isolate_block(self, low: int, end: int) -> None:
        zone, size = self.zone, 1 << self.order
        block = low // BLOCK if low % BLOCK == 0 else -1  # whose hint this pass may set
        hinted = False
        scanned = 0
        boundary = low // size * size + size
        while low < end:
            if not self.sync and low >= boundary:
                if self.moving:
                    break
                boundary = low // size * size + size
            scanned += 1
            if low in zone.free:
                pages = 1 << zone.free[low]
                scanned += pages - 1
                low += pages
                continue
            failed = True
            if low in zone.held:
                order, _, movable = zone.held[low]
                pages = 1 << order
                if order >= min(self.order, BLOCK_ORDER):
                    scanned += pages - 1
                    low += pages - 1
                elif movable:
                    failed = False
                    if block >= 0 and not hinted:
                        zone.skip[block] = hinted = True
                    self.moving.insert(0, low)
                    self.to_move += pages
                    scanned += pages - 1
                    low += pages - 1
                    if self.to_move >= CLUSTER_MAX and not self.finish:
                        low += 1
                        break
            if failed and not self.sync:
                self.moving, self.to_move = [], 0
                if low < boundary:
                    low = boundary - 1
                    boundary += size
            low += 1
        low = min(low, end)
        if low == end and (not self.moving or self.finish):
            if block >= 0 and not hinted:
                zone.skip[block] = True
            self.update_cached(low)
        zone.counts["compact_migrate_scanned"] += scanned
        zone.counts["compact_isolated"] += self.to_move
        self.migrate = low

    def migrate_all(self) -> str:
        """Find each block a place, then move all; what finds none stays."""
        zone = self.zone
        error = ""
        moved = []
        for source in self.moving:
            order = zone.held[source][0]
            target = self.find_target(order)
            if target < 0:
                zone.counts["pgmigrate_fail"] += 1 << order
                if order == 0:
                    error = "no memory"
                    break
                error = "failed"
                continue
            moved.append((source, target))
        for source, target in moved:
            order, owner, movable = zone.held.pop(source)
            zone.give(target, order, owner, movable)
            zone.counts["pgmigrate_success"] += 1 << order
        for source, target in moved:
            order = zone.held[target][0]
            if order > COSTLY_ORDER:
                zone.put(source, order)
            else:
                self.per_cpu.append((source, order))
        self.moving, self.to_move = [], 0
        return error

    def find_target(self, order: int) -> int:
        for attempt in range(2):
            for current in range(order, MAX_ORDER + 1):
                if not self.isolated[current]:
                    continue
                frame = self.isolated[current].pop(0)
                while current > order:
                    current -= 1
                    self.isolated[current].insert(0, frame + (1 << current))
                self.to_move -= 1 << order
                return frame
            if attempt == 0:
                self.isolate_targets()
        return -1

    def isolate_targets(self) -> None:
        zone = self.zone
        start = self.free & -BLOCK
        at = self.free
        lowest = (self.migrate & -BLOCK) + BLOCK
        stride = 1 if self.sync else CLUSTER_MAX
        while start >= lowest:
            large = zone.free.get(start, -1) >= self.order
            block = start // BLOCK
            if not large and zone.movable[block] and not zone.skip[block]:
                at, found = self.isolate_free(at, start + BLOCK, stride)
                if at == start + BLOCK:
                    zone.skip[block] = True
                    zone.cached_free = min(zone.cached_free, start - BLOCK)
                if self.free_isolated() >= self.to_move:
                    if at >= start + BLOCK:
                        at = start - BLOCK
                    break
                if at < start + BLOCK:
                    break
                stride = 1 if found else min(CLUSTER_MAX, stride * 2)
            start -= BLOCK
            at = start
        self.free = at

    def isolate_free(self, at: int, end: int, stride: int) -> tuple[int, int]:
        zone = self.zone
        scanned = found = 0
        while at < end:
            scanned += 1
            if at in zone.held and zone.held[at][0] > 0:
                pages = 1 << zone.held[at][0]
                if at + pages <= end:
                    at += pages - 1
                    scanned += pages - 1
            elif at in zone.free:
                order = zone.free[at]
                if not zone.above(zone.minimum + (1 << order), 0):
                    break
                self.isolate_one(at, order)
                scanned += (1 << order) - 1
                found += 1 << order
                if self.to_move <= self.free_isolated():
                    at += 1 << order
                    break
                at += (1 << order) - 1
            at += stride
        zone.counts["compact_free_scanned"] += scanned
        zone.counts["compact_isolated"] += found
        return min(at, end), found

    def isolate_one(self, frame: int, order: int) -> None:
        zone = self.zone
        zone.remove(frame, order, zone.movable[frame // BLOCK])
        if order >= BLOCK_ORDER - 1:
            for start in range(frame & -BLOCK, frame + (1 << order), BLOCK):
                if not zone.movable[start // BLOCK]:
                    zone.move_block(start, True)
        self.isolated[order].append(frame)

    def release_isolated(self) -> None:
        blocks = [(frame, order) for order in ORDERS for frame in self.isolated[order]]
        for frame, order in blocks:
            self.zone.put(frame, order)
        if blocks:
            highest = max(frame for frame, _ in blocks) & -BLOCK
            self.zone.cached_free = max(self.zone.cached_free, highest)
