"""What codecs take by content, out of round trips that differ in content alone.

Everything but the content is the same in the arms of one run, so that their differences are what
zram does to a page. A folio of zeros never gets to zram: the kernel scans it on its way out and
clears it on its way in. What that takes is added again, from the machine's own prices, so that the
time of a codec begins where the request does.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from perfmodel.constants import PAGES_PER_PMD
from perfmodel.errors import InputError, Problem
from perfmodel.measure.run import LOCATION_QUANTILE
from perfmodel.results.result import Result
from perfmodel.results.store import measured_scenario
from perfmodel.specs.machine import Machine
from perfmodel.specs.scenario import PageContent

ENTRY = "pte"
_OUT, _IN = "pageout", "touch"


@attrs.frozen
class CodecTime:
    """Time of one page of one content.

    Parameters
    ----------
    compress_ns, decompress_ns : float
        Mean over the runs.
    compress_spread_ns, decompress_spread_ns : float
        Standard deviation of a single run, and what the prices that are added leave open.
    """

    compress_ns: float
    decompress_ns: float
    compress_spread_ns: float
    decompress_spread_ns: float


def _page_ns(result: Result, step: str) -> float:
    times = next(found.repetitions_ns for found in result.steps if found.name == step)
    return float(np.quantile(times, LOCATION_QUANTILE)) / (result.regions * PAGES_PER_PMD)


def _arms(run: Sequence[Result]) -> dict[PageContent, Result]:
    arms = {
        measured_scenario(result).region.content: result for result in run if result.entry == ENTRY
    }
    if PageContent.ZERO not in arms:
        message = f"has no round trip with pages of zeros and entry {ENTRY}, which all others need"
        raise InputError(Problem(message, key="evidence"))
    return arms


def codec_times(runs: Sequence[Sequence[Result]], machine: Machine) -> dict[PageContent, CodecTime]:
    """Codec times by content, from runs of one algorithm on one machine.

    Parameters
    ----------
    runs : list of list of Result
        Results of each run, with an arm for each content; the one with zeros is what the others are
        compared with.
    machine : Machine
        The profile of the machine that was measured: says what a page of zeros takes.
    """
    device = next(iter(machine.devices.values()), None)
    request = device.read_request_ns.value if device is not None else 0.0
    added = {
        _OUT: (machine.kernel.zero_scan_page_ns.value, machine.kernel.zero_scan_page_ns.spread),
        _IN: (machine.kernel.clear_page_ns.value - request, machine.kernel.clear_page_ns.spread),
    }
    found: dict[PageContent, dict[str, list[float]]] = {}
    for run in runs:
        arms = _arms(run)
        zero = arms.pop(PageContent.ZERO)
        for content, result in arms.items():
            times = found.setdefault(content, {_OUT: [], _IN: []})
            for step, kept in times.items():
                kept.append(_page_ns(result, step) - _page_ns(zero, step) + added[step][0])

    def mean(times: list[float]) -> float:
        return float(np.mean(times))

    def spread(times: list[float], step: str) -> float:
        between = float(np.std(times, ddof=1)) if len(times) > 1 else 0.1 * mean(times)
        return float(np.hypot(between, added[step][1]))

    return {
        content: CodecTime(
            compress_ns=mean(times[_OUT]),
            decompress_ns=mean(times[_IN]),
            compress_spread_ns=spread(times[_OUT], _OUT),
            decompress_spread_ns=spread(times[_IN], _IN),
        )
        for content, times in found.items()
    }
