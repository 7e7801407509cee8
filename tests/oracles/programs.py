"""Accesses of a key-value store, a graph search and a heap, from docs/traces.md, one by one."""

from __future__ import annotations

from collections.abc import Iterator

from tests.oracles.murmur import uniform
from tests.oracles.workloads import SCALE, scatter, zipf_rank

Access = tuple[int, bool]
RECORDS_PER_PAGE = 4
# Per cent of updates, inserts, scans and read-modify-writes; the rest are reads.
MIXES = {
    "a": (50, 0, 0, 0),
    "b": (5, 0, 0, 0),
    "c": (0, 0, 0, 0),
    "d": (0, 5, 0, 0),
    "e": (0, 5, 95, 0),
    "f": (0, 0, 0, 50),
}


def store(pages: int, seed: int, mix: str, exponent: float) -> Iterator[Access]:
    """Operations on records of 1 KiB."""
    index = max(1, pages // 65)
    capacity = (pages - index) * RECORDS_PER_PAGE
    loaded = max(1, capacity - capacity // 8)
    updates, inserts, scans, modifies = MIXES[mix]
    count, turn = loaded, 0
    while True:
        percent = uniform(seed, 16, turn) * 100 // 2**32
        fine = uniform(seed, 17, turn) // 2 * 2**31 + uniform(seed, 18, turn) // 2
        rank = zipf_rank(loaded, exponent, fine / SCALE)
        record = count - 1 - rank if mix == "d" else scatter(rank, loaded, seed)
        inserted = percent < inserts
        length = 1
        if inserted:
            record = min(count, capacity - 1)
        elif scans:
            length = 1 + uniform(seed, 19, turn) * 100 // 2**32
        yield uniform(seed, 20, record) * index // 2**32, inserted
        last = min(record + length, max(count, record + 1)) - 1
        for page in range(record // RECORDS_PER_PAGE, last // RECORDS_PER_PAGE + 1):
            if not inserted and percent < modifies:
                yield index + page, False
                yield index + page, True
            else:
                yield index + page, inserted or percent < updates
        if inserted:
            count = min(count + 1, capacity)
        turn += 1


def search(pages: int, seed: int, degree: int = 16) -> Iterator[Access]:
    """Breadth-first searches over offsets, edges, parents and the queue, of 8 bytes each."""
    vertices = pages * 4096 // ((degree + 3) * 8)

    def at(word: int) -> int:
        return word * 8 // 4096

    def edge(number: int) -> int:
        both = (uniform(seed, 25, number) // 2) * (uniform(seed, 26, number) // 2)
        rank = both // 2**30 * vertices // 2**32
        return scatter(rank, vertices, seed)

    searches = 0
    while True:
        reached: set[int] = set()
        queue: list[int] = []
        head = 0
        while len(queue) < vertices or head < len(queue):
            if head == len(queue):
                root = uniform(seed, 24, searches) * vertices // 2**32
                while root in reached:
                    root = (root + 1) % vertices
                searches += 1
                reached.add(root)
                queue.append(root)
            vertex = queue[head]
            yield at(vertices * (degree + 2) + head), False
            head += 1
            yield at(vertex), False
            for number in range(vertex * degree, (vertex + 1) * degree):
                yield at(vertices + number), False
                target = edge(number)
                parent = at(vertices * (degree + 1) + target)
                yield parent, False
                if target not in reached:
                    reached.add(target)
                    yield parent, True
                    yield at(vertices * (degree + 2) + len(queue)), True
                    queue.append(target)


def heap(pages: int, seed: int, uses: int = 32) -> Iterator[Access]:
    """Objects of 16 pages that come and go; what was freed last is taken first."""
    size = min(16, pages)
    free = list(range(pages // size))[::-1]
    places = len(free)
    live: list[int] = []
    turn = used = 0
    while True:
        if uniform(seed, 32, turn) * places // 2**32 >= len(live):
            live.append(free.pop())
            for page in range(size):
                yield live[-1] * size + page, True
        else:
            victim = uniform(seed, 33, turn) * len(live) // 2**32
            live[victim], live[-1] = live[-1], live[victim]
            free.append(live.pop())
        turn += 1
        for _ in range(uses if live else 0):
            number = uniform(seed, 34, used) * len(live) * size // 2**32
            place = live[number // size] * size + number % size
            yield place, uniform(seed, 35, used) < 2**30
            used += 1


def without_recent(accesses: list[Access], recent: int) -> list[Access]:
    """Accesses that an LRU list of so many pages does not absorb; first writes are kept."""
    pages: list[list[int | bool]] = []
    kept = []
    for page, write in accesses:
        known = [each for each in pages if each[0] == page]
        written = bool(known[0][1]) if known else False
        if not known or (write and not written):
            kept.append((page, write))
        pages = [[page, written or write], *(each for each in pages if each[0] != page)][:recent]
    return kept


def reuse_distances(pages: list[int]) -> list[int]:
    """Different other pages since the last access to each one's page; -1 at the first."""
    found = []
    for index, page in enumerate(pages):
        before = [other for other in range(index) if pages[other] == page]
        found.append(len(set(pages[before[-1] + 1 : index])) if before else -1)
    return found
