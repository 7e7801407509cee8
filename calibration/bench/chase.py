"""Dependent loads over 4 KiB and 2 MiB pages as a pyperf program: no root.

python calibration/bench/chase.py --hook perfmodel -o chase.json
"""

import pyperf

from perfmodel.measure.chase import time_loads
from perfmodel.specs.translation import PageSize

PAGES = (16, 64, 512, 2048, 8192, 65536)


def main() -> None:
    """Time one load of each working set."""
    runner = pyperf.Runner(processes=3, values=5, warmups=1)
    for page_size in (PageSize.SIZE_4K, PageSize.SIZE_2M):
        for pages in PAGES:
            runner.bench_time_func(
                f"chase-{page_size}-{pages}",
                lambda loops, pages=pages, size=page_size: time_loads(pages, size, loops),
                inner_loops=pages,
            )


if __name__ == "__main__":
    main()
