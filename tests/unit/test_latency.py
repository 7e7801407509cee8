"""Latency against working set: by hand, against published matrices, and how it is measured."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import pytest

from perfmodel.constants import CACHE_LINES_PER_PAGE
from perfmodel.errors import CapabilityError, InputError
from perfmodel.kernels import chase as kernels
from perfmodel.measure import chase as probe
from perfmodel.results.chase import ChaseMeasurement, ChasePoint, load_chase, save_chase
from perfmodel.specs.catalog import load_machine, load_published_latencies
from perfmodel.specs.translation import PageSize
from perfmodel.studies import chase as study
from perfmodel.studies.latency import (
    Order,
    WorkingSet,
    draw_translation,
    every_stride,
    one_line_per_page,
    predict_chase,
)
from perfmodel.studies.published_latency import compare_published, part_translation
from tests.hardware import plain_hardware, specified
from tests.unit.test_cli import call, call_json

KIB, MIB = 1 << 10, 1 << 20
L1, L2, L3, DRAM, STLB = 2.0, 7.001, 30.011, 100.101, 3.5  # nanoseconds of `plain_hardware`
PLAIN = specified(plain_hardware())
# 4 MiB of one level, so that it does not matter which of two caches has an entry of a page table.
FLAT = specified(plain_hardware(caches=((4096, 16),)))


# The study, by hand


@pytest.mark.parametrize(
    ("hardware", "working_set", "page_size", "expected"),
    [
        (PLAIN, every_stride(16 * KIB), "4k", L1),
        # 64 pages just fit the L1 TLB; 256 KiB go round 32 KiB without ever hitting there.
        (PLAIN, every_stride(256 * KIB), "4k", L2),
        # Twice the L1 TLB, in every set; two lines in each set of the L1.
        (PLAIN, one_line_per_page(128), "4k", STLB + L1),
        (PLAIN, one_line_per_page(128), "2m", L1),
        # Twice the STLB: a walk that reads the PTE, since four PMD entries stay in their cache.
        (FLAT, one_line_per_page(2048), "4k", STLB + L1 + L1),
        (PLAIN, every_stride(8 * MIB), "2m", DRAM),
    ],
)
def test_a_chase_costs_what_its_places_cost(hardware, working_set, page_size, expected):
    found = predict_chase(hardware, working_set, page_size=page_size, accesses=1 << 14)
    assert found.ns == pytest.approx(expected, abs=1e-9)
    assert found.standard_error_ns == pytest.approx(0, abs=1e-9)
    assert found.size_bytes == working_set.size_bytes


def test_a_guest_pays_for_host_pages_only_where_their_cache_does_not_reach():
    own, small, large = (
        predict_chase(FLAT, one_line_per_page(2048), host_page_size=host, accesses=1 << 14)
        for host in (None, "4k", "2m")
    )
    # Five host pages of 2 MiB stand in the nested cache; of 2048 small ones it has 16.
    assert large.ns == pytest.approx(own.ns)
    assert small.ns > own.ns + L1


def test_drawn_places_hit_in_proportion_to_every_cache():
    found = predict_chase(
        PLAIN, every_stride(8 * MIB), page_size="2m", order=Order.DRAWN, accesses=1 << 17
    )
    shares = np.array([1 / 256, 1 / 16 - 1 / 256, 1 / 4 - 1 / 16, 3 / 4])
    expected = float(shares @ [L1, L2, L3, DRAM])
    assert found.ns == pytest.approx(expected, abs=5 * found.standard_error_ns + 0.2)
    assert 0 < found.standard_error_ns < 0.5


@pytest.mark.parametrize("order", [Order.PAGE_LOCAL, Order.PAGE_LOCAL_DRAWN])
def test_a_page_local_chase_walks_once_a_page(order):
    found = predict_chase(PLAIN, every_stride(64 * MIB), order=order, accesses=1 << 16)
    most = 1 / CACHE_LINES_PER_PAGE
    # Of 16384 drawn pages the STLB has 1024.
    expected = most if order is Order.PAGE_LOCAL else most * (1 - 1 / 16)
    assert found.walks_per_access == pytest.approx(expected, rel=0.02)
    assert found.walks_per_access <= most


def test_a_part_of_a_long_cycle_is_as_good_as_all_of_it():
    working_set = every_stride(64 * MIB)
    part, whole = (
        predict_chase(PLAIN, working_set, accesses=accesses) for accesses in (1 << 14, 1 << 20)
    )
    assert part.ns == pytest.approx(whole.ns, abs=5 * part.standard_error_ns)


def test_the_same_seed_gives_the_same_chase():
    first, again, other = (
        predict_chase(PLAIN, every_stride(4 * MIB), accesses=5000, order="drawn", seed=seed)
        for seed in (3, 3, 4)
    )
    assert first == again != other


def test_one_line_a_page_spreads_over_the_sets_of_caches():
    lines = one_line_per_page(4096).lines(np.arange(4096))
    assert (lines // CACHE_LINES_PER_PAGE).tolist() == list(range(4096))
    for sets in (64, 512, 2048):
        for first in range(0, 4096, sets):
            assert len(set((lines[first : first + sets] % sets).tolist())) == sets


def test_scattered_pages_keep_their_lines_and_are_all_different():
    working_set = every_stride(MIB)
    scattered = attrs.evolve(working_set, scatter=8)
    places = np.arange(working_set.places)
    lines = scattered.lines(places)
    assert (lines % CACHE_LINES_PER_PAGE == places % CACHE_LINES_PER_PAGE).all()
    pages = lines.reshape(256, 64) // CACHE_LINES_PER_PAGE
    assert (pages == pages[:, :1]).all()
    assert len(set(pages[:, 0].tolist())) == 256
    assert 0 <= lines.min() < lines.max() < 8 * 256 * CACHE_LINES_PER_PAGE
    # 512 KiB just fit the L2 where they are contiguous; where they are not, some sets overflow.
    fits = every_stride(512 * KIB, 64)
    own, apart = (
        predict_chase(PLAIN, attrs.evolve(fits, scatter=scatter), page_size="2m").ns
        for scatter in (1, 8)
    )
    assert own == pytest.approx(L2)
    assert L2 + 1 < apart < L3


def test_working_sets_that_cannot_be_are_refused():
    for wrong in (
        lambda: every_stride(32),
        lambda: every_stride(KIB, 100),
        lambda: WorkingSet(0),
        lambda: WorkingSet(1 << 40),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_drawn_hardware_has_the_spreads_of_its_numbers():
    machine = load_machine("intel-sapphire-rapids")
    translation = machine.translation
    generator = np.random.default_rng(1)
    drawn = [draw_translation(translation, generator) for _ in range(300)]
    dram = [one.dram_ns.value for one in drawn]
    assert np.mean(dram) == pytest.approx(translation.dram_ns.value, rel=0.05)
    assert np.std(dram) == pytest.approx(translation.dram_ns.spread, rel=0.2)
    assert len({one.tlbs[0].entries.value for one in drawn}) > 5
    # What is known exactly is in every draw.
    assert {one.tlbs[1].entries.value for one in drawn} == {32}
    assert draw_translation(PLAIN, generator) == PLAIN


def test_a_curve_is_its_machine_and_its_bounds_are_drawn_machines():
    machine = load_machine("amd-zen3")
    pages = (16, 128, 1024)
    curve = study.predict_curve(machine, pages, "4k", draws=6)
    for at, count in enumerate(pages):
        alone = predict_chase(machine.translation, one_line_per_page(count), accesses=1 << 11)
        assert curve.ns[at] == alone.ns
        assert 0 < curve.lows[at] < curve.highs[at]
    bare = study.predict_curve(machine, pages, "4k", draws=0)
    assert bare.ns == bare.lows == bare.highs == curve.ns


def test_neighbours_take_the_last_cache_and_nothing_else():
    lost = study.Assumption(neighbours=True)
    assert [cache.name for cache in lost.applied_to(PLAIN).caches] == ["L1", "L2"]
    assert study.BARE_METAL.applied_to(PLAIN) is PLAIN
    machine = attrs.evolve(load_machine("amd-zen3"), translation=PLAIN)
    own, alone = (
        study.predict_curve(machine, (16, 16384), "2m", each, draws=0).ns
        for each in (study.BARE_METAL, lost)
    )
    assert own == pytest.approx((L1, L3))
    assert alone == pytest.approx((L1, DRAM))


# Published matrices


def test_every_published_cpu_has_a_machine_and_what_is_left_out_is_said():
    published = load_published_latencies()
    assert [cpu.machine for cpu in published.cpus] == ["intel-skylake-sp", "amd-zen3", "amd-zen4"]
    said = " ".join(published.left_out)
    assert all(name in said for name in ("Haswell", "Rocket Lake", "Alder Lake"))
    for cpu in published.cpus:
        own = load_machine(cpu.machine).translation
        part = part_translation(own, cpu.part)
        # The part's own numbers stand in the file; all else is the catalog's.
        assert (part.tlbs, part.walk, part.shootdown) == (own.tlbs, own.walk, own.shootdown)
        assert part.caches[0].latency_ns.value == pytest.approx(
            cpu.part.l1_cycles.value / cpu.part.clock_ghz.value
        )
        assert [cache.size_bytes for cache in part.caches[:2]] == [
            cache.size_bytes for cache in own.caches[:2]
        ]
        for quantity in attrs.asdict(cpu.part, recurse=False).values():
            assert quantity.source


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("random_clocks = [4, 14, 19,", "random_clocks = [14, 19,", "one number for each size"),
        ("random_clocks = [4, 14, 19,", "random_clocks = [-4, 14, 19,", "positive"),
        ("sizes_kib = [16, 256,", "sizes_kib = [256, 16,", "increase"),
        ('unit = "GHz"', 'unit = "furlong"', "unit 'furlong' does not fit"),
        ('machine = "amd-zen3"\n', "", "machine: is missing"),
    ],
)
def test_a_damaged_data_file_is_refused(tmp_path, old, new, said):
    text = (
        Path(__file__).parents[2] / "calibration" / "published" / "latency_matrices.toml"
    ).read_text()
    assert old in text
    path = tmp_path / "matrices.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=said) as refused:
        load_published_latencies(path)
    assert str(path) in str(refused.value)


@pytest.fixture(scope="module")
def comparisons():
    return {found.machine: found for found in compare_published(accesses=1 << 14)}


@pytest.mark.parametrize(
    ("machine", "edges_kib", "median", "worst", "away", "difference"),
    [
        ("intel-skylake-sp", (1024, 2048, 8192, 16384), 0.035, 0.43, 0.125, 8.5),
        ("amd-zen3", (512, 1024, 32768, 65536), 0.085, 0.45, 0.11, 9),
        ("amd-zen4", (1024, 2048, 32768, 65536), 0.095, 0.40, 0.11, 16),
    ],
)
def test_errors_of_published_latencies_stay_in_their_bands(
    comparisons, machine, edges_kib, median, worst, away, difference
):
    found = comparisons[machine]
    assert found.median_abs_error <= median
    assert abs(found.worst.relative_error) <= worst
    # All large errors are where the buffer is one or two times as large as a cache.
    others = [cell for cell in found.cells if cell.size_bytes // KIB not in edges_kib]
    assert len(others) == 9
    assert max(abs(cell.relative_error) for cell in others) <= away
    assert found.worst_difference_clocks <= difference
    assert max(cell.standard_error for cell in found.cells) < 1
    # There the truth lies between two trials with scattered pages, under LRU and without its cliff.
    # Only in the L2 of Skylake-X are pages as good as contiguous.
    edges = [cell for cell in found.cells if cell.size_bytes // KIB in edges_kib]
    if machine == "intel-skylake-sp":
        edges = edges[2:]
    assert all(cell.drawn < cell.published < cell.scattered for cell in edges)
    # Walks cost more the larger the buffer is, as published.
    predicted = [cell.predicted for cell in found.differences]
    assert predicted == sorted(predicted)


# The probe


@pytest.mark.parametrize("pages", [16, 64, 200, 4096])
def test_the_chain_visits_every_page_once_a_round(pages):
    words = np.zeros(pages * CACHE_LINES_PER_PAGE * 8, dtype=np.uint64)
    places = probe.first_words(pages)
    cycle = np.random.default_rng(1).permutation(pages).astype(np.uint64)
    kernels.link(words, places, cycle)
    place = places[0]
    seen = []
    for _ in range(pages // kernels.UNROLLED):
        end = kernels.chase(words, place, 1)
        for _ in range(kernels.UNROLLED):
            seen.append(int(place) * 8 // 4096)
            place = words[place]
        assert end == place  # one block of the kernel is as many steps
    assert place == places[0]
    assert sorted(seen) == list(range(pages))
    assert kernels.chase.py_func(words, places[0], 3) == kernels.chase(words, places[0], 3)
    linked = words.copy()
    words[:] = 0
    kernels.link.py_func(words, places, cycle)
    assert (words == linked).all()
    assert len(kernels.chase.signatures) == len(kernels.link.signatures) == 1


def test_the_chain_uses_the_lines_that_are_predicted():
    words = probe.first_words(4096).astype(np.int64)
    assert (words // 8 == one_line_per_page(4096).lines(np.arange(4096))).all()


def test_the_probe_keeps_every_repetition_and_its_file_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "_huge_bytes", lambda _address, _size: 0)
    found = probe.measure_chase((16, 64), seconds=0.5)
    assert [point.pages for point in found.of("4k")] == [16, 64]
    assert found.of("2m") == []
    assert "THPs" in found.skipped[0]
    for point in found.points:
        assert point.loads % point.pages == 0
        assert len(point.repetitions_ns) == len(point.reference_ns) >= 4
        assert point.ns(0) <= point.ns() <= point.ns(0.5)
    path = tmp_path / "host" / "chase.json"
    save_chase(found, path)
    assert load_chase(path) == found
    with pytest.raises(InputError, match="never overwritten"):
        save_chase(found, path)


def test_the_probe_says_what_it_cannot_do(monkeypatch):
    for wrong in ((), (12,), (1 << 21,)):
        with pytest.raises(ValueError, match="pages"):
            probe.measure_chase(wrong)
    monkeypatch.setattr(probe, "available_memory_bytes", lambda: 100 * MIB)
    with pytest.raises(CapabilityError, match=r"takes .* of memory and .* are available"):
        probe.measure_chase((16,))


# The command


def measured(guest=True):
    points = tuple(
        ChasePoint(
            pages=pages,
            page_size=size,
            loads=100,
            repetitions_ns=(300.0, 200.0, 900.0),
            reference_ns=(5.0, 5.0, 5.0),
        )
        for size in PageSize
        for pages in (16, 128)
        if size in ("4k", "2m")
    )
    host = {"virtualisation": "guest" if guest else "bare metal", "kernel": "6.18"}
    return ChaseMeasurement(host=host, started="2026-01-01T00:00:00+00:00", points=points)


def test_latency_predicts_both_page_sizes(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("perfmodel.studies.latency.DEFAULT_SIZES", (16 * KIB, MIB, 16 * MIB))
    document = call_json(capsys, "latency", "intel-skylake-sp")
    assert document["machine"] == "intel-skylake-sp"
    small, large = (document["page_sizes"][size] for size in ("4k", "2m"))
    assert [point["size_bytes"] for point in small] == [16 * KIB, MIB, 16 * MIB]
    assert small[0]["ns"] == large[0]["ns"] == pytest.approx(1.2)
    # Beyond the L1 TLB, and of 4096 pages the STLB has 1536.
    assert small[1]["translation_ns"] == pytest.approx(2.7 * (1 - 64 / 256), rel=0.02)
    assert large[2]["translation_ns"] == 0
    assert small[2]["walks_per_access"] == pytest.approx(1 - 1536 / 4096, rel=0.02)
    figure = tmp_path / "latency.svg"
    status, output, _ = call(capsys, "latency", "intel-skylake-sp", "--out", str(figure))
    assert status == 0
    assert "16 MiB" in output
    assert figure.read_bytes().startswith(b"<?xml")


def test_latency_prints_published_errors_worst_first(capsys, monkeypatch, comparisons):
    monkeypatch.setattr(
        "perfmodel.studies.published_latency.compare_published",
        lambda machine, **_: [comparisons[machine]],
    )
    document = call_json(capsys, "latency", "amd-zen4", "--published")
    (cpu,) = document["cpus"]
    assert cpu["cpu"] == "Threadripper 7995WX (Zen 4)"
    errors = [abs(cell["relative_error"]) for cell in cpu["cells"]]
    assert cpu["max_abs_error"] == max(errors)
    assert cpu["median_abs_error"] == pytest.approx(np.median(errors))
    assert document["left_out"] == list(load_published_latencies().left_out)
    status, output, _ = call(capsys, "latency", "amd-zen4", "--published")
    assert status == 0
    rows = [line.split() for line in output.splitlines() if "%" in line and "iB" in line][1:]
    shown = [abs(float(row[4].rstrip("%"))) for row in rows]
    assert len(shown) == 13
    assert shown == sorted(shown, reverse=True)


@pytest.mark.parametrize(("guest", "curves"), [(True, 6), (False, 4)])
def test_latency_judges_a_prediction_by_evidence(capsys, tmp_path, guest, curves):
    path, figure = tmp_path / "chase.json", tmp_path / "chase.png"
    save_chase(measured(guest), path)
    arguments = ["latency", "amd-zen3", "--evidence", str(path), "--draws", "2"]
    document = call_json(capsys, *arguments)
    assert [point["measured_ns"] for point in document["measured"]] == pytest.approx([2.2] * 4)
    assert len(document["predicted"]) == curves
    for curve in document["predicted"]:
        for point, error in zip(curve["points"], curve["relative_errors"], strict=True):
            assert error == pytest.approx(point["predicted_ns"] / 2.2 - 1)
    status, output, _ = call(capsys, *arguments, "--out", str(figure))
    assert status == 0
    assert all(len(line) <= 100 for line in output.splitlines()[1:])
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pdp11"], "machine: 'pdp11' is neither"),
        (["--published", "--measured"], "choose one of --published, --measured and --evidence"),
        (["amd-zen2", "--published"], "machine: nothing was published for 'amd-zen2'; there is"),
        (["--out", "figure.jpg"], "--out: 'figure.jpg' must end in .png or .svg"),
        (["--out", "no/such/figure.png"], "no/such: --out: is no folder"),
        (["--save-evidence", "new.json"], "--save-evidence: needs --measured"),
        (["--measured", "--seconds", "0"], "--seconds: must be from 1 to 600"),
        (["--measured", "--save-evidence", __file__], "exists already; measurements are never"),
        (["--seed", "-1"], "--seed: must not be negative"),
        (["--draws", "-1"], "--draws: must be from 0"),
        (["--evidence", "no-such.json"], "no-such.json: cannot be read"),
    ],
)
def test_wrong_input_gets_one_clear_line(capsys, arguments, said):
    status, output, errors = call(capsys, "latency", *arguments)
    assert (status, output) == (2, "")
    lines = [line for line in errors.splitlines() if "no profile for this processor" not in line]
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "x"}, "is no file of perfmodel-chase"),
        ({"version": 9}, "version: must be 1"),
        ({"measurement": {}}, "measurement.points: is missing"),
    ],
)
def test_evidence_of_another_kind_is_refused(tmp_path, change, said):
    path = tmp_path / "chase.json"
    save_chase(measured(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=said):
        load_chase(path)
    path.write_text(path.read_text()[:40])
    with pytest.raises(InputError, match="not valid JSON"):
        load_chase(path)
