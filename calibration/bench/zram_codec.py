"""Time of zram's codec by content as a pyperf program: root and zram.

python calibration/bench/zram_codec.py --hook perfmodel -o codec.json
"""

import pyperf

from perfmodel.constants import PAGE_BYTES
from perfmodel.measure.content import make_content
from perfmodel.measure.zram_probe import ZramProbe, time_contents
from perfmodel.specs.catalog import load_device

CONTENTS = ("zero", "same-filled", "compressible", "half-random", "random")
PAGES = 4096
REQUEST_PAGES = 256


def time_content(loops: int, content: str, action: str) -> float:
    """Seconds for so many pages of a content, written, read or freed."""
    pages = make_content(content).view("uint8").reshape(-1, PAGE_BYTES)[:REQUEST_PAGES]
    with ZramProbe(load_device("zram-lz4"), PAGES) as probe:
        (timing,) = time_contents(probe, {content: pages}, loops)
    return sum(getattr(timing, f"{action}_ns")) / 1e9


def main() -> None:
    """Time a page of each content."""
    runner = pyperf.Runner(processes=3, values=3, warmups=0, loops=5)
    for content in CONTENTS:
        for action in ("write", "read", "discard"):
            runner.bench_time_func(
                f"{content}-{action}",
                lambda loops, content=content, action=action: time_content(loops, content, action),
            )


if __name__ == "__main__":
    main()
