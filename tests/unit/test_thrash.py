"""The thrash study: its crossing line by hand, cells of a small grid, figure and command."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from perfmodel.errors import InputError
from perfmodel.plot.style import to_svg
from perfmodel.plot.thrash import thrash_figure
from perfmodel.report.thrash import crossing_text, thrash_lines
from perfmodel.studies import thrash as study
from perfmodel.studies.thrash import Cell, Crossing, ThrashStudy, crossing_pages, study_thrash
from tests.unit.test_cli import call, call_json

MIB = 1 << 20


def small(**more):
    options = {"pages": (8, 512), "sizes": (2.0,), "limit_bytes": 16 * MIB, "resolution": 64}
    return study_thrash("amd-zen3", **(options | more))


@pytest.fixture(scope="module")
def found() -> ThrashStudy:
    return small()


def synthetic(law, sizes=(2.0, 4.0), pages=(1, 16, 256)) -> ThrashStudy:
    """Costs of 1 under `pte`, of law(size, draw) / pages under `pmd`, for five draws."""
    cells = tuple(
        Cell(
            size,
            count,
            {
                "pmd": np.array([law(size, draw) / count for draw in range(5)]),
                "pte": np.ones(5),
            },
            {"pmd": 1.0, "pte": 1.0},
        )
        for size in sizes
        for count in pages
    )
    return ThrashStudy("m", "d", 64 * MIB, 3, ("pte",), pages, sizes, cells, {})


# The crossing line


def test_a_power_law_crosses_where_it_should():
    crossings = synthetic(lambda size, draw: 10 * size + draw).crossings("pte")
    assert [crossing.size for crossing in crossings] == [2.0, 4.0]
    for crossing in crossings:
        assert crossing.pages == pytest.approx(10 * crossing.size)
        # The nearest order statistics of four draws, the first and the last.
        assert crossing.low == pytest.approx(10 * crossing.size + 1)
        assert crossing.high == pytest.approx(10 * crossing.size + 4)


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([0.5, 0.5, 0.5], 0.0),
        ([2.0, 2.0, 2.0], np.inf),
        ([2.0, 2.0, 0.5], 8.0),
        ([2.0, 0.5, 2.0], np.inf),
        ([0.5, 4.0, 0.5], 2 ** (2 + 2 * 2 / 3)),
        # The rival is killed, pmd is killed, both are killed: there is no slope to go by.
        ([2.0, 2.0, 0.0], 8.0),
        ([np.inf, 0.5, 0.5], 2.0),
        ([np.nan, 0.5, 0.5], 2.0),
        ([2.0, 1.0, 1.0], 4.0),
    ],
)
def test_a_crossing_lies_between_the_last_loss_and_what_follows(ratios, expected):
    at = crossing_pages([1, 4, 16], np.array([ratios]).T)
    assert at == pytest.approx([expected])


def test_a_crossing_that_cannot_be_a_number_says_so():
    assert crossing_text(Crossing(2.0, np.inf, 300.0, np.inf)) == "never (from 300)"
    assert crossing_text(Crossing(2.0, 0.0, 0.0, 0.0)) == "always"
    assert Crossing(2.0, np.inf, 300.0, np.inf).to_json()["pages"] is None


# Cells


def test_who_uses_little_stays_under_the_limit_with_ptes_alone(found):
    little, all_pages = (next(c for c in found.cells if c.pages == n) for n in (8, 512))
    assert little.major_faults == {"pmd": 1 / 8, "pte": 0, "mthp-64k": 0}
    assert little.ratios("pte")[0] > 100
    assert all_pages.major_faults == {"pmd": 1 / 512, "pte": 1, "mthp-64k": 1 / 16}
    assert (all_pages.ratios("pte") < 1).all()
    assert len(all_pages.cost_ns["pmd"]) == 33


def test_the_crossing_is_enclosed_as_closely_as_asked(found):
    for rival in found.rivals:
        (crossing,) = found.crossings(rival)
        row = [cell.pages for cell in found.row(2.0)]
        below = max(pages for pages in row if pages <= crossing.pages)
        above = min(pages for pages in row if pages > crossing.pages)
        assert above - below <= 64
        assert crossing.low <= crossing.pages <= crossing.high


def test_the_same_seed_gives_the_same_study(found):
    again, other = small(), small(seed=2)
    for first, second, third in zip(found.cells, again.cells, other.cells, strict=False):
        assert first.to_json() == second.to_json()
        assert (first.cost_ns["pmd"][1:] != third.cost_ns["pmd"][1:]).any()
    assert found.crossings("pte") == again.crossings("pte")


def test_mthps_are_no_rival_where_no_fault_reads_them():
    assert small(device="samsung-pm9a3", pages=(512,)).rivals == ("pte",)


def test_an_arm_that_is_killed_is_a_result(monkeypatch):
    real = study.simulate_draws

    def killing(*arguments, entry, **more):
        if entry == "pte":
            raise study.OutOfMemoryError(study.Problem("killed"))
        return real(*arguments, entry=entry, **more)

    monkeypatch.setattr(study, "simulate_draws", killing)
    found = small(rivals=("pte",), pages=(512,))
    (cell,) = found.cells
    assert cell.killed("pte")
    assert not cell.killed("pmd")
    assert cell.to_json()["arms"]["pte"] == {"killed": True}
    assert found.crossings("pte") == [Crossing(2.0, 0.0, 0.0, 0.0)]
    text = "\n".join(thrash_lines(found))
    assert "pte x" in text
    assert "kills the program" in text
    assert "killed: out of memory" in labels(found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pages": (0,)},
        {"pages": ()},
        {"sizes": (1.0,)},
        {"rivals": ("pmd",)},
        {"rivals": ("huge",)},
        {"limit_bytes": 17 * MIB},
        {"rounds": 1},
    ],
)
def test_studies_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError):
        small(**wrong)


# Figure and command


def labels(found: ThrashStudy) -> list[str]:
    return [text.get_text() for text in thrash_figure(found).legends[0].get_texts()]


def test_the_figure_has_a_panel_for_each_rival_and_is_the_same_again(found):
    figure = thrash_figure(found)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["pmd against pte", "pmd against mthp-64k"]
    assert to_svg(figure) == to_svg(thrash_figure(found))
    assert "killed: out of memory" not in labels(found)
    never = attrs.evolve(synthetic(lambda _size, _draw: 1e9))
    assert never.crossings("pte")[0].pages == np.inf
    assert to_svg(thrash_figure(never))


OPTIONS = ("--pages", "8,512", "--sizes", "2", "--limit", "16 MiB", "--entries", "pte")


def test_the_command_prints_and_draws(capsys, tmp_path):
    document = call_json(capsys, "thrash", "amd-zen3", *OPTIONS, "--report", str(tmp_path / "r"))
    assert document["crossings"]["pte"][0]["region_over_limit"] == 2.0
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == [
        "thrash.json",
        "thrash.png",
        "thrash.svg",
    ]
    status, output, _ = call(capsys, "thrash", "amd-zen3", *OPTIONS)
    assert status == 0
    assert "pmd costs no more than pte from so many used pages" in output


@pytest.mark.parametrize(
    "wrong", [("--pages", "x"), ("--sizes", "x"), ("--limit", "x"), ("--sizes", "0.5")]
)
def test_wrong_options_are_one_line_each(capsys, wrong):
    status, output, errors = call(capsys, "thrash", "amd-zen3", *wrong)
    assert (status, output) == (2, "")
    assert len(errors.splitlines()) == 1
