"""Sweeps: the same numbers as single simulations, whoever calculates them, and after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import attrs
import numpy as np
import pytest

import perfmodel as pm
from perfmodel.errors import CapabilityError, InputError, OutOfMemoryError
from perfmodel.models.simulated import simulate_draws
from perfmodel.results.sweep import DATASET, JOURNAL, PARTS, load_sweep
from perfmodel.specs import fields
from perfmodel.specs.catalog import load_device, load_machine, load_policy, names
from perfmodel.specs.scenario import PageContent
from perfmodel.specs.study import Axis, Design, DesignKind, Ladder, Mixture, Model, Pair, Range
from perfmodel.studies import cells
from perfmodel.studies import sweep as module
from perfmodel.studies.plan import make_plan
from perfmodel.studies.sweep import sweep, sweep_plan
from tests.unit.studies import FAULT_COST, PAGES, limited_scenario, limited_study, small_study
from tests.unit.test_cli import call, call_json

MIB = 1 << 20


def single(study, entry, **settings):
    """The touch of one cell by a simulation of its own: best, low and high."""
    machine = load_machine(study.machine)
    device = load_device(study.device, machine)
    scenario = study.scenario
    for path, value in settings.items():
        root, _, path = path.replace("__", ".").partition(".")
        if root == "machine":
            place = fields.find(machine, path)
            machine = fields.replace(machine, path, fields.setting(place, value, "test"))
        else:
            place = fields.find(scenario, path)
            scenario = fields.replace(scenario, path, fields.setting(place, value, "test"))
    elapsed, _ = simulate_draws(
        scenario, machine, device, load_policy(entry), entry=entry, seed=study.seed,
        draws=max(study.draws, 20), with_model_error=True,
    )  # fmt: skip
    touched = elapsed[:, 2] / 1000 / scenario.region.count
    return [touched[0], *np.quantile(touched[1:], [0.05, 0.95])]


def test_cells_are_what_single_simulations_say():
    study = small_study()
    data = sweep(study).dataset
    assert dict(data.sizes) == {"pages": 3, "fault_ns": 5, "entry": 2, "pair": 1, "bound": 3}
    for pages in PAGES.values:
        for cost in (100.0, 1050.0):
            for entry in study.entries:
                wanted = single(
                    study, entry,
                    machine__kernel__fault_ns=cost, scenario__steps__touch__pages_per_2mib=pages,
                )  # fmt: skip
                found = data["touch"].sel(pages=pages, fault_ns=cost, entry=entry)
                assert found.values == pytest.approx(wanted, rel=1e-12)
    assert data["faults"].sel(pages=64, entry="pte").values == pytest.approx(64.0)
    assert data["touch"].attrs["units"] == "ns"


def with_model_error(size):
    """The calibrated machine, whose prices miss more or less of a step."""
    machine = load_machine("intel-emerald-rapids-guest")
    error = attrs.evolve(machine.fit.model_error, value=size)
    return attrs.evolve(machine, fit=attrs.evolve(machine.fit, model_error=error))


def planned(study, machine):
    """A plan on another machine than what its study names."""
    plan = make_plan(study)
    devices = {key: load_device(key[1], machine) for key in plan.devices}
    return attrs.evolve(plan, machines={study.machine: machine}, devices=devices)


def test_what_prices_miss_widens_intervals_and_moves_no_best_value():
    study = small_study(axes=(FAULT_COST,), draws=200)
    without, some, much = (
        sweep_plan(planned(study, with_model_error(size))).dataset for size in (0.0, 0.02, 0.3)
    )
    for name in ("touch", "touch_ratio", "touch_difference"):
        best = [data[name].sel(bound="best").values for data in (without, some, much)]
        np.testing.assert_array_equal(best[0], best[1])
        np.testing.assert_array_equal(best[0], best[2])
        width = [
            (data[name].sel(bound="high") - data[name].sel(bound="low")).values
            for data in (without, some, much)
        ]
        assert (width[2] > 1.5 * width[0]).all()
        assert (width[2] > width[1]).all()


def test_arms_with_the_same_events_miss_the_same():
    """Batched unmap is another swap-out, and the same touch."""
    study = small_study(
        entries=("pte", "pte-batched"), pairs=(Pair(above="pte", below="pte-batched"),)
    )
    ratio = sweep_plan(planned(study, with_model_error(0.3))).dataset["touch_ratio"]
    np.testing.assert_array_equal(ratio.values, 1.0)


def test_neighbouring_cells_miss_nearly_the_same():
    pages = attrs.evolve(PAGES, values=(1, 256, 264, 512))
    study = small_study(axes=(pages,), draws=400, keep_draws=True)
    missed = [
        sweep_plan(planned(study, with_model_error(size))).dataset["touch"] for size in (0.0, 0.1)
    ]
    relative = (missed[1] / missed[0]).sel(entry="pte").isel(draw=slice(1, None)).values
    assert relative.std(axis=1) == pytest.approx(0.1, rel=0.15)
    correlation = np.corrcoef(relative)
    assert correlation[1, 2] > 0.98
    assert abs(correlation[0, 3]) < 0.4


def test_engine_runs_miss_what_a_simulation_misses():
    study = attrs.evolve(limited_study(cells=2), draws=20)
    data = sweep(study, jobs=1).dataset["access"]
    machine = load_machine(study.machine)
    found = pm.simulate(
        study.scenario, machine, device="zram-lz4", entry="pmd", seed=study.seed, draws=20
    ).step("access")
    for bound, wanted in zip(("low", "high"), found.interval_ns, strict=True):
        value = float(data.sel(seed=0, entry="pmd", bound=bound))
        assert value == pytest.approx(wanted / 2000, rel=1e-5)


def test_a_price_that_others_are_made_of_is_not_taken_for_itself_alone():
    """Random pages are priced in proportion to the half-random ones whose price the axis sets."""
    region = attrs.evolve(small_study().scenario.region, content=PageContent.RANDOM)
    study = small_study(
        scenario=attrs.evolve(small_study().scenario, region=region),
        axes=(Axis(field="device.decompress_page_ns", values=(500.0, 1000.0)),),
    )
    data = sweep(study).dataset["touch"].sel(bound="best", entry="pte").values
    machine = load_machine(study.machine)
    device = load_device(study.device, machine)
    for value, found in zip((500.0, 1000.0), data, strict=True):
        place = fields.find(device, "decompress_page_ns")
        new = fields.replace(device, "decompress_page_ns", fields.setting(place, value, "test"))
        elapsed, _ = simulate_draws(
            study.scenario, machine, new, load_policy("pte"), entry="pte", seed=1, draws=20
        )
        assert found == pytest.approx(elapsed[0, 2] / 2000, rel=1e-12)


def test_differences_and_ratios_pair_the_draws():
    data = sweep(small_study(keep_draws=True)).dataset
    pmd, pte = data["touch"].sel(entry="pmd"), data["touch"].sel(entry="pte")
    pair = data.sel(pair="pmd/pte")
    np.testing.assert_array_equal(pair["touch_ratio"].values, (pmd / pte).values)
    np.testing.assert_array_equal(pair["touch_difference"].values, (pmd - pte).values)


def test_where_the_clock_decides_every_cell_is_run():
    study = limited_study(cells=3)
    assert make_plan(study).runs_engine
    data = sweep(study, jobs=1).dataset["access"]
    machine = load_machine(study.machine)
    policy = load_policy("pmd")
    for seed in range(3):
        scenario = limited_scenario()
        step = attrs.evolve(scenario.steps[1], seed=seed)
        scenario = attrs.evolve(scenario, steps=(scenario.steps[0], step))
        elapsed, _ = simulate_draws(
            scenario, machine, load_device("zram-lz4", machine), policy,
            entry="pmd", seed=1, draws=20,
        )  # fmt: skip
        found = float(data.sel(seed=seed, entry="pmd", bound="best"))
        assert found == pytest.approx(elapsed[0, 1] / 1000 / 2000, rel=1e-12)


def test_a_killed_program_is_infinite(monkeypatch):
    def killed(*_, **__):
        raise OutOfMemoryError(())

    monkeypatch.setattr(cells, "draw_arm", killed)
    data = sweep(limited_study(cells=2), jobs=1).dataset
    assert np.isinf(data["access"].values).all()
    assert np.isnan(data["access_ratio"].values).all()


def test_a_mixture_is_linear_between_both_fates():
    other = fields.replace(small_study().scenario, "steps.touch.pages_per_2mib", lambda _: 512)
    axis = Axis(field="mixture.share", values=(0.0, 0.25, 1.0))
    study = small_study(axes=(axis,), mixture=Mixture(scenario=other))
    data = sweep(study).dataset
    best = data["touch"].sel(entry="pte", bound="best").values
    assert best[1] == pytest.approx(0.75 * best[0] + 0.25 * best[2])
    assert best[2] == pytest.approx(
        single(study, "pte", scenario__steps__touch__pages_per_2mib=512)[0]
    )


def test_a_probability_is_a_mixture_and_the_engine_agrees():
    axes = (Axis(field="policy.order9_failure", values=(0.0, 0.5, 1.0)),)
    scenario = small_study().scenario
    scenario = attrs.evolve(scenario, region=attrs.evolve(scenario.region, size_bytes=64 * MIB))
    closed = sweep(small_study(axes=axes, scenario=scenario)).dataset
    drawn = sweep(small_study(axes=axes, scenario=scenario, model=Model.ENGINE)).dataset
    for output in ("touch", "faults"):
        ours, theirs = (
            data[output].sel(entry="pmd").values[..., :1].ravel() for data in (closed, drawn)
        )
        # 32 runs of 32 ranges: 4 standard errors of a probability of one half.
        assert ours == pytest.approx(theirs, rel=4 * 0.5 / 32)


@pytest.mark.parametrize("kind", [DesignKind.LATIN_HYPERCUBE, DesignKind.SOBOL])
def test_samples_fill_their_ranges(kind):
    axes = (
        Axis(field="machine.kernel.fault_ns", range=Range(low=10, high=1000, logarithmic=True)),
        Axis(
            field="scenario.steps.touch.pages_per_2mib", name="pages", range=Range(low=1, high=512)
        ),
        Axis(field="device", values=("zram-lz4", "zram-zstd")),
    )
    study = small_study(axes=axes, design=Design(kind=kind, count=64), draws=0)
    data = sweep(study).dataset
    assert data.sizes["cell"] == 64
    assert 10 <= data["fault_ns"].min() < 20
    assert (data["pages"] % 1 == 0).all()
    assert list(np.unique(data["device"], return_counts=True)[1]) == [32, 32]
    assert np.isfinite(data["touch"]).all()


def test_one_at_a_time_moves_one_axis_alone():
    axes = (
        Axis(field="machine.kernel.fault_ns", range=Range(spreads=1.0)),
        Axis(field="device.*", range=Range(spreads=2.0)),
    )
    study = small_study(axes=axes, design=Design(kind=DesignKind.ONE_AT_A_TIME), draws=0)
    plan = make_plan(study)
    assert plan.cells == 1 + 2 * len(plan.axes) > 5
    data = sweep(study).dataset["touch"].sel(bound="best", entry="pte").values
    assert data[0] == pytest.approx(single(study, "pte")[0])
    assert data[1] < data[0] < data[2]


# What is wrong with a study


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": (Axis(field="machine.kernel.falt_ns", values=(1,)),)}, ["axes[0]", "fault_ns"]),
        ({"axes": (Axis(field="machine.kernel.fault_ns", values=(-1,)),)}, ["not be negative"]),
        ({"axes": (Axis(field="device", values=("zram-lz5",)),)}, ["zram-lz5", "installed"]),
        ({"axes": (Axis(field="device", values=(1,)),)}, ["axes[0].values", "names"]),
        ({"axes": (FAULT_COST, FAULT_COST)}, ["another name"]),
        ({"axes": (Axis(field="scenario.region.size", values=("3 MiB",)),)}, ["multiple of 2 MiB"]),
        ({"machine": "amd-zen33"}, ["amd-zen33"]),
        (
            {"axes": (Axis(field="scenario.steps.touch.page_count", values=(512,)),
                      Axis(field="scenario.steps.touch.first_page", values=(0, 1)))},
            ["first_page + page_count"],
        ),
    ],
)  # fmt: skip
def test_a_wrong_study_is_refused_before_anything_runs(changes, words):
    with pytest.raises(InputError) as caught:
        make_plan(small_study(**changes))
    for word in words:
        assert word in str(caught.value)


def test_all_installed_studies_can_be_planned():
    found = names("study")
    assert len(found) >= 10
    for path in found.values():
        assert make_plan(path).cells >= 1


# The folder


def run_files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in [folder / DATASET, *sorted((folder / PARTS).iterdir())]
    }


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_result_does_not_depend_on_the_jobs(tmp_path, jobs):
    study = limited_study()
    sweep(study, jobs=2, out=tmp_path / "a")
    swept = sweep(study, jobs=jobs, out=tmp_path / "b")
    assert run_files(tmp_path / "a") == run_files(tmp_path / "b")
    assert load_sweep(tmp_path / "b").identical(swept.dataset)


def test_other_executors_give_the_same(tmp_path):
    study = small_study(axes=(FAULT_COST,))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        there = sweep(study, executor=executor).dataset
    assert there.identical(sweep(study).dataset)


def test_torn_and_damaged_parts_are_done_again(tmp_path):
    study = limited_study(cells=24)
    assert make_plan(study).chunks[:2] == ((0, 4), (4, 8))
    sweep(study, jobs=1, out=tmp_path / "a")
    wanted = run_files(tmp_path / "a")
    (tmp_path / "a" / DATASET).unlink()
    first, second, *_ = sorted((tmp_path / "a" / PARTS).iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    journal = tmp_path / "a" / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-20])
    done = []
    sweep(study, jobs=1, out=tmp_path / "a", resume=True, progress=lambda now, _: done.append(now))
    assert done[0] == 24 - 3 * 4
    assert run_files(tmp_path / "a") == wanted


def test_a_folder_with_something_else_is_refused(tmp_path):
    study = limited_study(cells=2)
    sweep(study, jobs=1, out=tmp_path / "a")
    with pytest.raises(InputError, match="holds a sweep already"):
        sweep(study, out=tmp_path / "a")
    with pytest.raises(InputError, match=r"head.json: study: is not what it was"):
        sweep(attrs.evolve(study, seed=2), out=tmp_path / "a", resume=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").write_text("")
    with pytest.raises(InputError, match="holds other files"):
        sweep(study, out=tmp_path / "b")
    with pytest.raises(InputError, match="holds no finished sweep"):
        load_sweep(tmp_path / "b")


def test_other_code_is_refused(tmp_path, monkeypatch):
    study = limited_study(cells=2)
    sweep(study, jobs=1, out=tmp_path / "a")
    monkeypatch.setattr(module, "code_digest", lambda: "other")
    with pytest.raises(InputError, match="code_sha256"):
        sweep(study, jobs=1, out=tmp_path / "a", resume=True)


def test_a_worker_with_other_code_is_refused(monkeypatch):
    answers = iter(["mine", *["theirs"] * 100])
    monkeypatch.setattr(module, "code_digest", lambda: next(answers))
    with pytest.raises(CapabilityError, match="another perfmodel"):
        sweep(limited_study(cells=16), jobs=2)


_PROGRAM = """
import sys
from perfmodel.studies.sweep import sweep, sweep_plan
from tests.unit.studies import limited_study
sweep(limited_study(cells=40, accesses=200_000), jobs=2, out=sys.argv[1])
"""


def test_after_kill_9_it_goes_on_and_ends_the_same(tmp_path):
    study = limited_study(cells=40, accesses=200_000)
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(tmp_path / "a")], cwd=root,
        env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip
    journal = tmp_path / "a" / JOURNAL
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if journal.is_file() and journal.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert journal.read_bytes().count(b"\n") >= 3
    assert not (tmp_path / "a" / DATASET).exists()
    done = []
    sweep(study, jobs=2, out=tmp_path / "a", resume=True, progress=lambda now, _: done.append(now))
    assert done[0] >= 3
    sweep(study, jobs=1, out=tmp_path / "b")
    assert run_files(tmp_path / "a") == run_files(tmp_path / "b")


# The command and the interface


def test_the_interface_is_the_designs():
    study = attrs.evolve(pm.study("callers"), draws=20)
    assert {"fork", "unmap"} <= set(pm.sweep(study, executor=None).dataset.data_vars)


def test_the_command_prints_json_and_keeps_everything(capsys, tmp_path):
    out = tmp_path / "out"
    document = call_json(capsys, "sweep", "fallback-probability", "--out", str(out))
    assert document["cells"] == 21
    assert document["variables"]["touch"]["units"] == "ns"
    assert {point["pair"] for point in document["break_even"]["points"]} == {
        "pmd/pte",
        "pmd/mthp-64k",
    }
    assert json.loads((out / "head.json").read_text())["study"]["name"] == "fallback-probability"
    again = call_json(capsys, "sweep", "fallback-probability", "--out", str(out), "--resume")
    for found in (document, again):
        del found["provenance"]["created"], found["command"]
    assert again == document


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "nothing"),
        (["callers", "--resume"], "--resume: needs --out"),
        (["callers", "--jobs", "0"], "--jobs"),
        (["callers", "--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"], "choose one of"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, arguments, words):
    status, out, err = call(capsys, "sweep", *arguments)
    assert (status, out) == (2, "")
    assert words in err


def test_ladders():
    assert Ladder(first=1, last=100, count=3).values(True) == (1.0, 10.0, 100.0)
    assert Ladder(first=1, last=3, count=9, whole=True).values(False) == (1, 2, 3)
