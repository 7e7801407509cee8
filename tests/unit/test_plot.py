from __future__ import annotations

import attrs
import pytest
from matplotlib.colors import to_hex

from perfmodel.abi import BREAKDOWN_PARTS
from perfmodel.plot.figures import (
    breakdown_by_entry,
    breakdown_figure,
    cost_by_swapin_size,
    swapin_kib,
)
from perfmodel.plot.style import MEASURED, PARTS, PREDICTED, new_figure, to_svg
from perfmodel.studies.compare import compare

SIZES_KIB = {
    "pte": 4,
    "mthp-16k": 16,
    "mthp-64k": 64,
    "mthp-256k": 256,
    "mthp-1024k": 1024,
    "pmd": 2048,
}


@pytest.fixture(scope="module")
def comparison():
    return compare("thp-roundtrip", "amd-zen3", draws=40)


def scaled(result, factor, **changes):
    """The result with all its times multiplied."""
    steps = [
        attrs.evolve(
            step,
            elapsed_ns=step.elapsed_ns * factor,
            interval_ns=tuple(sorted(bound * factor for bound in step.interval_ns)),
            breakdown_ns={part: time * factor for part, time in step.breakdown_ns.items()},
        )
        for step in result.steps
    ]
    return attrs.evolve(result, steps=tuple(steps), **changes)


def with_measured(comparison):
    measured = {"pte": scaled(comparison.arms["pte"], 1.3)}
    measured["shmem-pmd"] = scaled(comparison.arms["pmd"], 1.2, entry="shmem-pmd")
    return attrs.evolve(comparison, measured=measured)


def summed_us(result, steps=("touch", "touch-again")):
    return sum(result.per_2mib_us(name) for name in steps)


def line(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def test_every_part_of_the_breakdown_has_a_name_and_its_own_colour():
    assert set(PARTS) == set(BREAKDOWN_PARTS)
    assert len({colour for _, colour in PARTS.values()}) == len(PARTS)


@pytest.mark.parametrize(("entry", "kib"), [*SIZES_KIB.items(), ("shmem-pmd", 2048)])
def test_swapin_size(entry, kib):
    assert swapin_kib(entry) == kib


def test_breakdown_bars_are_the_parts_of_the_touch_steps(comparison):
    _, (ax,) = new_figure()
    assert breakdown_by_entry(comparison, ax) is ax
    drawn = {container.get_label(): container for container in ax.containers}
    results = list(comparison.arms.values())
    for part, (name, colour) in PARTS.items():
        wanted = [
            sum(r.step(name).breakdown_ns.get(part, 0) for name in ("touch", "touch-again"))
            / 32
            / 1000
            for r in results
        ]
        if not any(wanted):
            assert name not in drawn
            continue
        assert [bar.get_width() for bar in drawn[name]] == pytest.approx(wanted)
        assert {to_hex(bar.get_facecolor()).upper() for bar in drawn[name]} == {colour}
    assert "compression" not in drawn
    ends = [max(c[row].get_x() + c[row].get_width() for c in ax.containers) for row in range(6)]
    assert ends == pytest.approx([summed_us(result) for result in results])
    assert [label.get_text() for label in ax.get_yticklabels()] == list(comparison.arms)
    assert [text.get_text() for text in ax.texts] == [f"{end:.0f}" for end in ends]


def test_breakdown_figure_shows_page_out_beside_the_rest_on_one_scale(comparison):
    figure = breakdown_figure(comparison)
    left, right = figure.axes
    assert left.get_xlim() == right.get_xlim()
    ends = [max(c[row].get_x() + c[row].get_width() for c in left.containers) for row in (0, 5)]
    wanted = [comparison.arms[entry].per_2mib_us("pageout") for entry in ("pte", "pmd")]
    assert ends == pytest.approx(wanted)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(set(legend)) == len(legend)
    assert {"compression", "decompression", "fault entry"} <= set(legend)
    assert "clear and copy" not in legend


def test_cost_curve_is_the_sum_of_the_fallback_steps(comparison):
    _, (ax,) = new_figure()
    assert cost_by_swapin_size(comparison, ax) is ax
    predicted = line(ax, "predicted")
    assert list(predicted.get_xdata()) == list(SIZES_KIB.values())
    wanted = [summed_us(comparison.arms[entry]) for entry in SIZES_KIB]
    assert list(predicted.get_ydata()) == pytest.approx(wanted)
    assert predicted.get_color() == PREDICTED
    first, *_, last = predicted.get_ydata()
    assert first - last == pytest.approx(comparison.fallback.per_2mib_ns / 1000)
    band = ax.collections[0].get_paths()[0].vertices
    for entry, kib in SIZES_KIB.items():
        touch, again = (comparison.arms[entry].step(name) for name in ("touch", "touch-again"))
        bounds = [(touch.interval_ns[i] + again.interval_ns[i]) / 32000 for i in (0, 1)]
        at = [y for x, y in band if x == pytest.approx(kib)]
        assert [min(at), max(at)] == pytest.approx(bounds)
    sizes = ["4K", "16K", "64K", "256K", "1M", "2M"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == sizes
    mark = line(ax, "predicted, PMD swap entry")
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([2048], [pytest.approx(wanted[-1])])
    assert ax.get_ylim()[0] == 0


def test_cost_curve_shows_measured_points_with_their_spread(comparison):
    both = with_measured(comparison)
    _, (ax,) = new_figure()
    cost_by_swapin_size(both, ax)
    bars = {container.get_label(): container for container in ax.containers}
    for label, entry in (("measured", "pte"), ("measured shmem-pmd (stand-in)", "shmem-pmd")):
        points, _, (spread,) = bars[label]
        assert list(points.get_xdata()) == [swapin_kib(entry)]
        assert list(points.get_ydata()) == pytest.approx([summed_us(both.measured[entry])])
        assert points.get_color() == MEASURED
        touch, again = (both.measured[entry].step(name) for name in ("touch", "touch-again"))
        bounds = [(touch.interval_ns[i] + again.interval_ns[i]) / 32000 for i in (0, 1)]
        assert [y for _, y in spread.get_segments()[0]] == pytest.approx(bounds)


def test_a_measured_location_outside_its_summed_bounds_is_drawn_without_a_bar(comparison):
    step = attrs.evolve(comparison.arms["pte"].step("touch"), interval_ns=(9e9, 1.0))
    odd = attrs.evolve(comparison.arms["pte"], steps=(step, comparison.arms["pte"].steps[3]))
    _, (ax,) = new_figure()
    cost_by_swapin_size(attrs.evolve(comparison, measured={"pte": odd}), ax)


@pytest.mark.parametrize("entries", [["pmd"], ["pte"], ["pmd", "pte"]])
@pytest.mark.parametrize("factor", [1.0, 0.0, -1.0])
def test_figures_of_few_entries_zeros_and_negative_times(comparison, entries, factor):
    arms = {entry: scaled(comparison.arms[entry], factor) for entry in entries}
    few = attrs.evolve(comparison, arms=arms)
    figure, (ax,) = new_figure()
    cost_by_swapin_size(few, ax)
    low, high = ax.get_ylim()
    values = list(line(ax, "predicted").get_ydata())
    assert low <= min(values)
    assert high >= max(values)
    assert low < high
    assert to_svg(figure).startswith(b"<?xml")
    assert to_svg(breakdown_figure(few)).startswith(b"<?xml")
    figure, (ax,) = new_figure()
    breakdown_by_entry(few, ax)
    assert (ax.get_legend() is None) is (factor == 0)


def test_texts_do_not_overlap_and_stay_inside(comparison):
    figures = [breakdown_figure(comparison)]
    for data in (comparison, with_measured(comparison)):
        figure, (ax,) = new_figure()
        cost_by_swapin_size(data, ax)
        figures.append(figure)
    for figure in figures:
        figure.draw_without_rendering()
        texts = [text for ax in figure.axes for text in ax.texts]
        for ax in figure.axes:
            low, high = ax.get_xlim()
            texts += [
                label for label in ax.get_xticklabels() if low <= label.get_position()[0] <= high
            ]
        texts += [ax.xaxis.label for ax in figure.axes]
        for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes)]:
            texts += legend.get_texts() if legend else []
        boxes = [
            text.get_window_extent() for text in texts if text.get_visible() and text.get_text()
        ]
        page = figure.bbox
        for index, box in enumerate(boxes):
            assert box.x0 >= page.x0
            assert box.x1 <= page.x1
            assert not any(box.overlaps(other) for other in boxes[:index])


def test_svg_is_the_same_every_time(comparison):
    assert to_svg(breakdown_figure(comparison)) == to_svg(breakdown_figure(comparison))


def test_figures_leave_pyplot_and_its_settings_alone(comparison):
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    before = dict(mpl.rcParams)
    to_svg(breakdown_figure(comparison))
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
