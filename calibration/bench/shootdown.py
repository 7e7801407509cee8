"""Flushes with a second thread as a pyperf program: two CPUs, no root.

python calibration/bench/shootdown.py --hook perfmodel -o shootdown.json
"""

import pyperf

from perfmodel.measure.shootdown import time_changes
from perfmodel.results.shootdown import Change, Remote

CASES = ((Change.DROP, 1), (Change.NOTHING, 1), (Change.PROTECT, 1), (Change.PROTECT, 512))


def main() -> None:
    """Time one change of each kind beside each state of the other CPU."""
    runner = pyperf.Runner(processes=3, values=5, warmups=1)
    for change, pages in CASES:
        for remote in Remote:
            runner.bench_time_func(
                f"{change}-{pages}-{remote}",
                lambda loops, c=change, p=pages, r=remote: time_changes(c, p, r, loops),
                inner_loops=25,
            )


if __name__ == "__main__":
    main()
