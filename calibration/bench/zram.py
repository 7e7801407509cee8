"""Records what zram does on this machine: root, no swap in use, nothing else running.

python calibration/bench/zram.py probe lz4 FILE      requests of each content, classes, ageing
python calibration/bench/zram.py contents lz4 FILE   the round trip with each content
python calibration/bench/zram.py held-out lz4 FILE   and with other entries
"""

import sys
from pathlib import Path

import attrs

from perfmodel.measure.run import measure_arms
from perfmodel.measure.zram_probe import measure_zram
from perfmodel.results.store import save_measurements
from perfmodel.results.zram import save_zram
from perfmodel.specs.catalog import load_device, load_scenario

SCENARIOS = (
    "thp-zero-roundtrip",
    "thp-same-filled-roundtrip",
    "thp-compressible-roundtrip",
    "thp-roundtrip",
    "thp-random-roundtrip",
)
REPETITIONS = 40
ENTRIES = {"contents": ("pte",), "held-out": ("mthp-64k", "shmem-pmd")}


def main() -> None:
    """Do what the command line says."""
    what, algorithm, file = sys.argv[1:4]
    if what == "probe":
        save_zram(measure_zram(algorithm, report=print), Path(file))
        return
    device = attrs.evolve(load_device("zram-lz4"), name=f"zram-{algorithm}", algorithm=algorithm)
    arms = [(load_scenario(name), entry) for name in SCENARIOS for entry in ENTRIES[what]]
    save_measurements(measure_arms(arms, device, repetitions=REPETITIONS, report=print), Path(file))


if __name__ == "__main__":
    main()
