"""``perfmodel doctor``."""

from __future__ import annotations

import sys
from typing import Annotated

import attrs
from cyclopts import Parameter

from perfmodel.cli.common import print_json, result, say
from perfmodel.errors import CapabilityError
from perfmodel.host import facts
from perfmodel.measure.capabilities import capabilities, left_over_changes, measurable
from perfmodel.measure.journal import Journal
from perfmodel.measure.system import System
from perfmodel.specs.policy import MEASURED_ENTRIES


def doctor(
    *,
    restore: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Say what this machine can measure, what is missing, and how to get it.

    Parameters
    ----------
    restore
        Put back what a killed measurement left behind.
    json
        Print one JSON document.
    """
    if restore:
        _restore()
        return
    found = [*capabilities(), left_over_changes()]
    entries = measurable(MEASURED_ENTRIES, found[:-1])
    if json:
        print_json(
            result(
                "doctor",
                {
                    "host": facts(),
                    "capabilities": [attrs.asdict(capability) for capability in found],
                    "measurable_entries": entries,
                },
            )
        )
        return
    host = facts()
    lines = [
        f"{host['cpu_name'] or host['architecture']}, {host['virtualisation']}, "
        f"Linux {host['kernel']}, {host['cpus']} CPUs, {host['memory_gib']} GiB",
        "",
    ]
    for capability in found:
        mark = "ok     " if capability.available else "MISSING"
        lines.append(f"  {mark} {capability.name:17s} {capability.detail}")
        if not capability.available:
            lines.append(f"          {'':17s} {capability.remedy}")
    lines += ["", f"can be measured here: {', '.join(entries) or 'nothing'}"]
    sys.stdout.write("\n".join(lines) + "\n")


def _restore() -> None:
    journal = Journal(System())
    if not journal.left_over():
        say("nothing to put back")
        return
    if not System().is_root():
        raise CapabilityError("putting settings back needs root; run 'doctor --restore' as root")
    journal.acquire()
    try:
        journal.restore(say)
    finally:
        journal.release()
