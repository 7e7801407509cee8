"""Fails unless the demo left its figures: every arm, the fallback's cost, and what was measured."""

import json
import math
import os
import sys
from pathlib import Path

ENTRIES = ("pte", "mthp-16k", "mthp-64k", "mthp-256k", "mthp-1024k", "pmd")
STEPS = ["fill", "pageout", "touch", "touch-again"]


def check_arm(name: str, arm: dict) -> None:
    """One arm has every step with time, interval and counters."""
    assert [step["name"] for step in arm["steps"]] == STEPS, f"{name}: steps"
    for step in arm["steps"]:
        assert step["elapsed_ns"] > 0, f"{name} {step['name']}: no time"
        low, high = step["interval_ns"]
        assert 0 <= low <= high, f"{name} {step['name']}: no interval"
        assert step["counters"], f"{name} {step['name']}: no counters"


document = json.loads(Path(sys.argv[1]).read_text())
page = Path(sys.argv[2]).read_text()
for entry in ENTRIES:
    check_arm(entry, document["arms"][entry])
fallback = document["fallback"]
assert math.isfinite(fallback["per_2mib_ns"])
assert fallback["ratio"] > 0
assert fallback["interval_ns"][0] <= fallback["per_2mib_ns"] <= fallback["interval_ns"][1]
assert page.count("<figure") >= 2, "the report lacks its figures"

measured = document.get("measured", {})
if os.geteuid() == 0 and Path("/sys/class/zram-control/hot_add").exists():
    missing = [entry for entry in (*ENTRIES[:-1], "shmem-pmd") if entry not in measured]
    assert not missing, f"not measured: {missing}"
for entry, arm in measured.items():
    check_arm(f"measured {entry}", arm)
print(f"demo: {len(document['arms'])} arms predicted, {len(measured)} measured")
