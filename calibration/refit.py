"""Makes anew, on purpose, what stands on the committed evidence of one machine.

    python calibration/refit.py [PROFILE] [--evidence FILE ...] [--shootdown FILE ...]

In this order, because each stands on the one before: the profile, from the files that it was fitted
to or from those named; the codec times of the zram presets, which take the price of a page of zeros
from the profile; the table of these in docs/zram.md; and the gates. Look at the difference before
committing it.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from perfmodel.calibrate.contents import CodecTime, codec_times
from perfmodel.calibrate.gates import make_gates, write_gates
from perfmodel.calibrate.judge import judge
from perfmodel.calibrate.profile import build_profile, write_profile
from perfmodel.report.calibration import fit_lines
from perfmodel.results.store import load_measurements
from perfmodel.specs.catalog import load_device, load_machine
from perfmodel.specs.machine import Machine
from perfmodel.specs.scenario import PageContent

ROOT = Path(__file__).parents[1]
PRESETS = ("zram-lz4", "zram-lzo-rle", "zram-lzo")


def refit(path: Path, measured: Path, files: list[Path], shootdowns: list[Path]) -> Machine:
    """Write the profile, and say what the fit says."""
    if not files or not shootdowns:
        fit = load_machine(path).fit
        assert fit is not None
        files = files or [measured / evidence.file for evidence in fit.evidence]
        shootdowns = shootdowns or [measured / e.file for e in fit.shootdown_evidence]
    profile, fitted = build_profile(files, name=path.stem, shootdowns=shootdowns)
    write_profile(profile, path)
    print("\n".join(fit_lines(fitted, profile.fit)))
    return profile


def update_preset(name: str, measured: Path, profile: Machine) -> dict[PageContent, CodecTime]:
    """Write the codec times of one preset."""
    algorithm = load_device(name).algorithm
    files = sorted(measured.glob(f"*-content-{algorithm}-[0-9].json"))
    times = codec_times([load_measurements(file) for file in files], profile)
    path = ROOT / "perfmodel" / "devices" / f"{name}.toml"
    text = path.read_text()
    for content, time in times.items():
        # zram takes a page of zeros for a same-filled one.
        tables = (content, PageContent.ZERO) if content is PageContent.SAME_FILLED else (content,)
        for table in tables:
            for key, value, spread in (
                ("compress_page_ns", time.compress_ns, time.compress_spread_ns),
                ("decompress_page_ns", time.decompress_ns, time.decompress_spread_ns),
            ):
                pattern = (
                    rf"(\[codec\.{table.value}\]\n(?:[a-z_]+ = .*\n)*?{key} = \{{ value = )"
                    rf"[0-9.]+(, unit = \"ns\", spread = )[0-9.]+"
                )
                text, count = re.subn(pattern, rf"\g<1>{value:.0f}\g<2>{spread:.0f}", text, count=1)
                assert count == 1, f"{path}: no {key} of {table.value}"
    path.write_text(text)
    return times


def update_table(times: list[dict[PageContent, CodecTime]]) -> None:
    """Write the same times into the table of docs/zram.md."""
    path = ROOT / "docs" / "zram.md"
    text = path.read_text()
    for content in times[0]:
        row = re.search(rf"^\| {content.value} \|.* 0 \|$|^\| {content.value} \|.*$", text, re.M)
        assert row is not None, content
        cells = row[0].split(" | ")
        for place, of_preset in enumerate(times):
            time = of_preset[content]
            cells[1 + 3 * place] = f"{time.compress_ns:.0f} +- {time.compress_spread_ns:.0f}"
            cells[2 + 3 * place] = f"{time.decompress_ns:.0f} +- {time.decompress_spread_ns:.0f}"
        text = text[: row.start()] + " | ".join(cells) + text[row.end() :]
    path.write_text(text)


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", nargs="?", default="intel-emerald-rapids-guest")
    parser.add_argument("--evidence", type=Path, action="append", default=[])
    parser.add_argument("--shootdown", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    path = ROOT / "calibration" / "profiles" / f"{arguments.profile}.toml"
    measured = ROOT / "calibration" / "measured" / arguments.profile
    profile = refit(path, measured, arguments.evidence, arguments.shootdown)
    update_table([update_preset(name, measured, profile) for name in PRESETS])
    files = sorted(
        [*measured.glob("*-validation-[0-9].json"), *measured.glob("*[0-9]-held-out-[0-9].json")]
    )
    validation = judge(load_machine(path), [load_measurements(file) for file in files])
    gates = ROOT / "calibration" / "gates" / f"{arguments.profile}.toml"
    write_gates(make_gates(validation, files), gates)


if __name__ == "__main__":
    main()
