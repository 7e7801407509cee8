"""A block device from its definition in docs/devices.md: slow, and nothing is ever forgotten.

Every server keeps the whole list of stretches in which it was busy. What is asked of it next gets
the time in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import log

from tests.oracles.murmur import uniform

ONE = 1 << 32
EDGES = [0, ONE // 2, *(ONE * share // 10**5 for share in (99_000, 99_900, 99_990, 99_999))]
KNOTS = ("least", "median", "p99", "p99_9", "p99_99", "p99_999")
REMEMBERED = 64


class Server:
    """Works on the older command first; a younger one gets the time that is left."""

    def __init__(self) -> None:
        self.busy: list[tuple[int, int]] = []
        self.worked = 0

    def work(self, now: int, ready: int, amount: int) -> int:
        """When an amount of work is done that is ready at some time."""
        if amount == 0:
            return ready
        self.worked += amount
        ahead = [stretch for stretch in self.busy if stretch[1] > now]
        if len(ahead) >= REMEMBERED:
            # The model's own limit: it gives up the first gap.
            first, second = ahead[:2]
            self.busy = [stretch for stretch in self.busy if stretch[1] <= now]
            self.busy += [(first[0], second[1]), *ahead[2:]]
        done = ready
        left = amount
        for begin, end in self.busy:
            if end < done:
                continue
            if begin > done and begin - done >= left:
                break
            if begin > done:
                left -= begin - done
            done = end
        done += left
        inside = [stretch for stretch in self.busy if stretch[1] >= ready and stretch[0] < done]
        kept = [stretch for stretch in self.busy if stretch not in inside]
        begins = min([ready, *(begin for begin, _ in inside)])
        self.busy = sorted([*kept, (begins, done)])
        return done


class OracleDevice:
    """A device whose numbers carry the names of the kernels' record."""

    def __init__(self, parameters: Mapping[str, int]) -> None:
        self.p = dict(parameters)
        self.front, self.read_link, self.write_link = Server(), Server(), Server()
        self.channels = [Server() for _ in range(self.p["channels"])]
        self.unit_free = [0] * self.p["units"]
        self.in_flight: list[list[int]] = [[] for _ in range(self.p["queues"])]
        self.drained = 0
        self.bytes = [0, 0]
        self.commands = 0
        self.most_in_flight = 0

    def time_of(self, kind: str, draw: int) -> int:
        """Service time at a quantile."""
        if self.p["distribution"] == 1:
            return self.exponential(self.p[f"{kind}_median"], draw)
        knots = [self.p[f"{kind}_{name}"] for name in KNOTS]
        part = max(index for index, edge in enumerate(EDGES) if edge <= draw)
        if part == len(KNOTS) - 1:
            return knots[-1]
        slope = (knots[part + 1] - knots[part]) * 2**24 // (EDGES[part + 1] - EDGES[part])
        return knots[part] + (draw - EDGES[part]) * slope // 2**24

    @staticmethod
    def exponential(mean: int, draw: int) -> int:
        """Minus mean x ln, from a table of 1024 logarithms."""
        table = [round(log(1 + index / 1024) * 2**24) for index in range(1025)]
        share = Fraction(draw + 1, ONE)
        if share == 1:
            return 0
        doublings = 0
        while share < 1:
            share *= 2
            doublings += 1
        index, rest = divmod(int((share - 1) * 2**31), 2**21)
        between = (table[index + 1] - table[index]) * rest // 2**21
        return mean * (doublings * table[1024] - table[index] - between) // 2**24

    def submit(
        self, now: int, queue: int, write: int, byte_count: int, segments: int, draw: int
    ) -> int:
        """When a request is complete."""
        most = min(self.p["command_bytes"], self.p["command_segments"] * -(-byte_count // segments))
        sizes = [min(most, byte_count - begin) for begin in range(0, byte_count, most)]
        at, ends = now, []
        for number, size in enumerate(sizes):
            at = self.enter(queue, at + self.p["submit"])
            chance = uniform(draw, 0, number) if number else draw
            ends.append(self.command(now, at, write, size, chance))
            self.in_flight[queue].append(ends[-1])
            self.commands += 1
        self.bytes[write] += byte_count
        return max(ends) + self.p["notify"] + self.p["complete"]

    def enter(self, queue: int, at: int) -> int:
        """When there is a place: fewer older commands than the depth end later than that."""
        older = sorted(self.in_flight[queue], reverse=True)
        depth = self.p["queue_depth"]
        at = max(at, older[depth - 1]) if len(older) >= depth else at
        in_flight = 1 + sum(end > at for end in older)
        self.most_in_flight = max(self.most_in_flight, in_flight)
        return at

    def command(self, now: int, at: int, write: int, size: int, draw: int) -> int:
        kind = "write" if write else "read"
        at = self.front.work(now, at, self.p[f"front_{kind}"])
        at += self.p[f"controller_{kind}"]
        if not write:
            return self.media(now, at, kind, size, draw)
        at = self.write_link.work(now, at, size * self.p["write_link_rate"] >> 16)
        if not self.p["buffer"]:
            return self.media(now, at, kind, size, draw)
        drain = max(size * self.p["drain_rate"] >> 16, self.p["drain_command"])
        self.drained = max(self.drained, at) + drain
        return max(at, self.drained - self.p["buffer"]) + self.time_of("write", draw)

    def media(self, now: int, ready: int, kind: str, size: int, draw: int) -> int:
        first, chance = divmod(draw * self.p["units"], ONE)
        ends = []
        for piece, begin in enumerate(range(0, size, self.p["stripe_bytes"])):
            part = min(self.p["stripe_bytes"], size - begin)
            unit = (first + piece) % self.p["units"]
            if self.p["placement"] == 1:
                unit = self.unit_free.index(min(self.unit_free))
            if piece:
                chance = uniform(draw, 1, piece)
            channel = self.channels[unit % self.p["channels"]]
            transfer = part * self.p["channel_rate"] >> 16
            time = self.time_of(kind, chance)
            if kind == "write":
                done = channel.work(now, ready, transfer)
                done = self.unit_free[unit] = max(done, self.unit_free[unit]) + time
            else:
                time += self.stall(ready, draw, piece)
                done = self.unit_free[unit] = max(ready, self.unit_free[unit]) + time
                done = channel.work(now, done, transfer)
                done = self.read_link.work(now, done, part * self.p["read_link_rate"] >> 16)
            ends.append(done)
        return max(ends)

    def stall(self, at: int, draw: int, piece: int) -> int:
        if not self.p["stall_threshold"] or self.drained <= at:
            return 0
        chance = uniform(draw, 2, piece)
        if chance >= self.p["stall_threshold"]:
            return 0
        return self.p["stall"] * (chance >> 12) // ((self.p["stall_threshold"] >> 12) + 1)


def closed_loop(
    device: OracleDevice,
    plan: Mapping[str, int],
    queue_depth: int,
    requests: int,
) -> tuple[list[int], list[int], list[int]]:
    """Submitters that wait for their request, pause, and submit the next one."""
    ready = [0] * queue_depth
    begins, ends, writes = [], [], []
    for index in range(requests):
        now = min(ready)
        ready.remove(now)
        write, end = _planned(device, plan, index, now)
        begins.append(now)
        ends.append(end)
        writes.append(write)
        ready.append(end + plan["pause"])
    return begins, ends, writes


def open_loop(
    device: OracleDevice, plan: Mapping[str, int], requests: int
) -> tuple[list[int], list[int], list[int]]:
    """A Poisson process."""
    now, begins, ends, writes = 0, [], [], []
    for index in range(requests):
        now += device.exponential(plan["pause"], uniform(plan["seed"], 2, index))
        write, end = _planned(device, plan, index, now)
        begins.append(now)
        ends.append(end)
        writes.append(write)
    return begins, ends, writes


def _planned(
    device: OracleDevice, plan: Mapping[str, int], index: int, now: int
) -> tuple[int, int]:
    write = int(
        plan["write_threshold"] > 0 and uniform(plan["seed"], 1, index) < plan["write_threshold"]
    )
    draw = uniform(plan["seed"], 0, index)
    return write, device.submit(now, 0, write, plan["byte_count"], plan["segments"], draw)
