"""Requests to block devices by size and queue depth as a pyperf program: root.

python calibration/bench/device_requests.py --hook perfmodel -o requests.json
"""

import numpy as np
import pyperf

from perfmodel.measure.requests_probe import DEPTHS, DEVICES, SIZES, time_requests
from perfmodel.results.requests import Operation


def main() -> None:
    """Take the 25 % quantile of the latencies as the value of each case."""
    runner = pyperf.Runner(processes=2, values=3, warmups=0, loops=1)
    for device in DEVICES:
        for operation in Operation:
            for size in SIZES:
                for depth in DEPTHS:
                    runner.bench_time_func(
                        f"{device}-{operation}-{size}-depth-{depth}",
                        lambda _loops, case=(device, operation, size, depth): (
                            float(np.quantile(time_requests(*case), 0.25)) / 1e9
                        ),
                    )


if __name__ == "__main__":
    main()
