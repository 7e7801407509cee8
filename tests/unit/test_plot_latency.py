"""Figures of latency: they draw the numbers that they are given, and their texts can be read."""

from __future__ import annotations

import attrs
import pytest

from perfmodel.plot.latency import (
    chase_by_pages,
    chase_figure,
    latency_by_size,
    matrix_by_size,
    matrix_figure,
)
from perfmodel.plot.style import MEASURED, PREDICTED, new_figure, save_figure, to_svg
from perfmodel.results.chase import ChaseMeasurement, ChasePoint
from perfmodel.specs.translation import PageSize
from perfmodel.studies.chase import GUEST, Curve
from perfmodel.studies.latency import Latency
from perfmodel.studies.published_latency import Cell, CpuComparison

PAGES = tuple(1 << power for power in range(4, 17))
SIZES = (PageSize.SIZE_4K, PageSize.SIZE_2M)
CURVES = [
    Curve(
        page_size=size,
        assumption=assumption,
        pages=PAGES,
        ns=tuple(factor * (1 + pages**0.4) for pages in PAGES),
        lows=tuple(factor * 0.8 * (1 + pages**0.4) for pages in PAGES),
        highs=tuple(factor * 1.3 * (1 + pages**0.4) for pages in PAGES),
    )
    for size in SIZES
    for factor, assumption in enumerate(GUEST, 1)
]
POINTS = tuple(
    ChasePoint(
        pages=pages,
        page_size=size,
        loads=10,
        repetitions_ns=tuple(10 * (1 + pages**0.45) * (1 + step / 50) for step in range(11)),
        reference_ns=(1.0,),
    )
    for size in SIZES
    for pages in PAGES
)
MEASUREMENT = ChaseMeasurement(host={}, started="2026-01-01", points=POINTS)
COMPARISONS = [
    CpuComparison(
        cpu=f"A processor with a name of this length {number}",
        machine="m",
        cells=tuple(
            Cell(1 << power, number + 2.0**power / 1e4, power * 3.0, power * 4.0, power * 2.0, 0.0)
            for power in range(14, 30)
        ),
        differences=(),
    )
    for number in range(3)
]


def line(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def test_the_chase_draws_every_prediction_and_every_point():
    _, (ax,) = new_figure()
    mine, points = CURVES[:3], MEASUREMENT.of("4k")
    assert chase_by_pages(mine, points[::-1], ax) is ax
    for curve in mine:
        drawn = line(ax, f"predicted: {curve.assumption.label}")
        assert list(drawn.get_xdata()) == list(PAGES)
        assert list(drawn.get_ydata()) == list(curve.ns)
        assert drawn.get_color() == PREDICTED
    band = ax.collections[0].get_paths()[0].vertices
    for pages, low, high in zip(PAGES, mine[0].lows, mine[0].highs, strict=True):
        at = [y for x, y in band if x == pytest.approx(pages)]
        assert [min(at), max(at)] == pytest.approx([low, high])
    ((dots, _, (bars,)),) = ax.containers
    assert list(dots.get_ydata()) == pytest.approx([point.ns() for point in points])
    assert dots.get_color() == MEASURED
    for bar, point in zip(bars.get_segments(), points, strict=True):
        assert bar[:, 1] == pytest.approx([point.ns(0.0), point.ns(0.5)])
    low, high = ax.get_ylim()
    assert low <= min(mine[0].lows)
    assert high >= max(*mine[2].ns, points[-1].ns(0.5))


def test_a_prediction_without_draws_or_measurement_has_no_band_and_no_points():
    curve = attrs.evolve(CURVES[0], lows=CURVES[0].ns, highs=CURVES[0].ns)
    _, (ax,) = new_figure()
    chase_by_pages([curve], [], ax)
    assert (len(ax.collections), len(ax.containers), len(ax.lines)) == (0, 0, 1)


def test_panels_share_a_scale_that_holds_all_data():
    larger = [attrs.evolve(curve, highs=(9999.0,) * len(PAGES)) for curve in CURVES[3:]]
    left, right = chase_figure([*CURVES[:3], *larger], MEASUREMENT).axes
    assert left.get_ylim() == right.get_ylim()
    assert right.get_ylim()[1] >= 9999
    assert [left.get_title(), right.get_title()] == ["4 KiB pages", "2 MiB pages"]


def test_matrices_are_drawn_as_published_and_predicted():
    _, (ax,) = new_figure()
    comparison = COMPARISONS[1]
    assert matrix_by_size(comparison, ax) is ax
    for name in ("published", "predicted"):
        wanted = [[cell.size_bytes, getattr(cell, name)] for cell in comparison.cells]
        assert line(ax, name).get_xydata().tolist() == wanted
    band = ax.collections[0].get_paths()[0].vertices
    for cell in comparison.cells:
        at = [y for x, y in band if x == cell.size_bytes]
        assert [min(at), max(at)] == [cell.drawn, cell.scattered]


def test_predicted_sizes_have_a_line_for_each_page_size():
    rows = {
        size: [Latency(1 << power, factor * power, 0, 0, 0) for power in range(14, 30)]
        for factor, size in enumerate(SIZES, 1)
    }
    _, (ax,) = new_figure()
    assert latency_by_size(rows, ax) is ax
    for size, row in rows.items():
        assert list(line(ax, f"{size} pages").get_ydata()) == [latency.ns for latency in row]
    assert [label.get_text() for label in ax.get_xticklabels()][:4] == ["16K", "64K", "256K", "1M"]


@pytest.mark.parametrize(
    "figure",
    [chase_figure(CURVES, MEASUREMENT), matrix_figure(COMPARISONS)],
    ids=["chase", "matrix"],
)
def test_texts_do_not_overlap_and_stay_inside(figure):
    figure.draw_without_rendering()
    texts = [ax.title for ax in figure.axes]
    for ax in figure.axes:
        low, high = ax.get_xlim()
        texts += [label for label in ax.get_xticklabels() if low <= label.get_position()[0] <= high]
        texts.append(ax.xaxis.label)
    bottom, top = figure.axes[0].get_ylim()
    texts += [
        label
        for label in figure.axes[0].get_yticklabels()
        if bottom <= label.get_position()[1] <= top
    ]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    boxes = [text.get_window_extent() for text in texts if text.get_visible() and text.get_text()]
    assert len(boxes) > 15
    for index, box in enumerate(boxes):
        assert box.x0 >= figure.bbox.x0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:index])


def test_a_figure_is_written_as_its_name_says(tmp_path):
    for name, begin in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        save_figure(chase_figure(CURVES, MEASUREMENT), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begin)
    assert (tmp_path / "a.svg").read_bytes() == to_svg(chase_figure(CURVES, MEASUREMENT))
