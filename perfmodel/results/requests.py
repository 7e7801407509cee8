"""Measured requests to block devices: latencies by queue depth and size, never edited."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs
import numpy as np

from perfmodel.results.chase import positive_times
from perfmodel.results.store import EvidenceFormat
from perfmodel.specs.quantity import text, tuple_of


class Operation(StrEnum):
    """What a request does."""

    READ = "read"
    WRITE = "write"


@attrs.frozen(kw_only=True)
class RequestPoint:
    """Requests of one size and direction with so many under way.

    Parameters
    ----------
    device : str
    operation : Operation
    request_bytes, depth : int
    latencies_ns : tuple of float
        From a request's submission until it was seen to be complete, in the order of completion.
    requests : tuple of int
        How many of them each round has.
    rounds_ns : tuple of float
        From the first submission to the last completion of each round.
    reference_ns : tuple of float
        Time of the reference loop beside each round.
    """

    device: str = attrs.field(validator=text)
    operation: Operation = attrs.field(validator=attrs.validators.instance_of(Operation))
    request_bytes: int = attrs.field(validator=attrs.validators.ge(1))
    depth: int = attrs.field(validator=attrs.validators.ge(1))
    latencies_ns: tuple[float, ...] = attrs.field(validator=positive_times)
    requests: tuple[int, ...] = attrs.field(validator=tuple_of(int))
    rounds_ns: tuple[float, ...] = attrs.field(validator=positive_times)
    reference_ns: tuple[float, ...] = attrs.field(validator=positive_times)

    def __attrs_post_init__(self) -> None:
        if min(self.requests, default=0) < 1 or sum(self.requests) != len(self.latencies_ns):
            raise ValueError("requests must be positive, and as many in all as latencies_ns")
        if not len(self.requests) == len(self.rounds_ns) == len(self.reference_ns):
            raise ValueError("requests, rounds_ns and reference_ns must have the same length")

    def ns(self, quantile: float = 0.25) -> float:
        """A quantile of the latencies."""
        return float(np.quantile(self.latencies_ns, quantile))

    def bytes_per_second(self) -> float:
        """The 75 % quantile of the rounds' throughput: neighbours only slow it."""
        moved = np.array(self.requests) * self.request_bytes
        return float(np.quantile(moved / (np.array(self.rounds_ns) / 1e9), 0.75))


@attrs.frozen(kw_only=True)
class RequestsMeasurement:
    """One run.

    Parameters
    ----------
    host : dict
        `perfmodel.host.facts`.
    started : str
    points : tuple of RequestPoint
    overhead_ns : float
        What the measuring loop itself takes for each request; part of all latencies.
    skipped : tuple of str
        Devices that could not be measured, and why.
    """

    host: dict[str, Any] = attrs.field(validator=attrs.validators.instance_of(dict))
    started: str = attrs.field(validator=text)
    points: tuple[RequestPoint, ...] = attrs.field(validator=tuple_of(RequestPoint))
    overhead_ns: float
    skipped: tuple[str, ...] = attrs.field(default=(), validator=tuple_of(str))


_FILES = EvidenceFormat("perfmodel-requests", 1, RequestsMeasurement)
save_requests = _FILES.save
load_requests = _FILES.load
