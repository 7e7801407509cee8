"""What a computer says about its processor."""

from pathlib import Path

import pytest

from perfmodel.host import Processor, processor
from perfmodel.specs.catalog import default_machine

AMD = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC 7763 64-Core Processor
flags\t\t: fpu vme hypervisor lahf_lm

processor\t: 1
vendor_id\t: other
"""
ARM = """processor\t: 0
BogoMIPS\t: 2000.00
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd4f
CPU revision\t: 1

"""


def cpuinfo(folder: Path, text: str) -> Processor:
    path = folder / "cpuinfo"
    path.write_text(text)
    return processor(path)


def test_x86(tmp_path: Path) -> None:
    name = "AMD EPYC 7763 64-Core Processor"
    assert cpuinfo(tmp_path, AMD) == Processor("AuthenticAMD", 25, 1, name, guest=True)


def test_arm64_and_its_machine(tmp_path: Path) -> None:
    found = cpuinfo(tmp_path, ARM)
    assert found == Processor("0x41", 8, 0xD4F)
    machine, matches = default_machine(found.vendor, found.family, found.model, fitted=False)
    assert matches
    assert machine.name == "arm-neoverse-v2"


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "CPU part\t: 0x\n", "CPU part\t: part\n", "model\t: -1\n", "model\t: \u00b2\n"],
)
def test_what_says_nothing(tmp_path: Path, text: str) -> None:
    assert cpuinfo(tmp_path, text) == Processor()


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert processor(tmp_path / "none") == Processor()
