"""Several swap devices: how they are named, what they cost, and what a user is told."""

import attrs
import pytest

from perfmodel.constants import DEVICE_EVENTS, PMD_BYTES, Event, Share
from perfmodel.errors import InputError
from perfmodel.measure.limits import refusals_of_several
from perfmodel.models.simulated import count_events, simulate, simulate_draws
from perfmodel.models.swap_devices import shares_of
from perfmodel.models.timeline import record_timeline
from perfmodel.report.notes import step_notes
from perfmodel.specs.catalog import load_device, load_devices, load_machine, load_policy
from perfmodel.specs.device import MOST_SWAP_DEVICES, together
from perfmodel.specs.io import structure, to_table
from perfmodel.specs.scenario import DeviceSpace, PageContent, Region, Scenario, SwapSpace
from perfmodel.specs.step import Step, StepAction

FILL, OUT = Step("fill", StepAction.FILL), Step("out", StepAction.PAGEOUT)
ROUND_TRIP = (FILL, OUT, Step("in", StepAction.TOUCH))
TIERS = "zram-lz4:100,optane-p5800x:-2"
MACHINE = load_machine("amd-zen3")


def scenario(*clusters, regions=4, steps=ROUND_TRIP):
    spaces = tuple(DeviceSpace(number) for number in clusters)
    return Scenario(
        "tiers",
        "more than the first device has room for",
        Region(regions * PMD_BYTES, PageContent.HALF_RANDOM),
        steps,
        swap=SwapSpace(devices=spaces) if spaces else SwapSpace(),
    )


def used(result, step):
    return [share["used_slots"] for share in result.step(step).devices]


def test_names_and_priorities():
    found = load_devices("zram-lz4:100,ram-disk,disk:7,zram-lzo")
    assert [one.name for one in found.all] == ["zram-lz4", "ram-disk", "disk", "zram-lzo"]
    # Who has no priority of its own gets the kernel's.
    assert [one.priority for one in found.all] == [100, -2, 7, -3]
    assert found.label == "zram-lz4:100,ram-disk:-2,disk:7,zram-lzo:-3"


def test_one_device_is_what_it_always_was():
    assert load_devices("zram-lz4") == load_device("zram-lz4")
    assert load_devices("zram-lz4").label == "zram-lz4"
    assert load_devices("zram-lz4").all == (load_device("zram-lz4"),)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("zram-lz4:100", "a priority is for several devices"),
        ("zram-lz4:100,nothing:5", "neither installed nor a path"),
        ("zram-lz4:40000,disk:1", "from -32767 to 32767"),
        (",".join(["disk:1"] * 9), "at most 8"),
        ("zram-lz4,", "neither installed"),
    ],
)
def test_wrong_names(names, message):
    with pytest.raises(InputError, match=message):
        load_devices(names)


def test_no_file_has_priorities():
    table = to_table(load_device("zram-lz4"))
    assert not {"priority", "beside"} & set(table)
    for key in ("priority", "beside"):
        with pytest.raises(InputError, match=f"{key}.*is not known here") as error:
            structure(type(load_device("disk")), table | {key: 1}, "file")
        known = str(error.value).partition("known are")[2]
        assert key not in known


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"devices": (DeviceSpace(1),)}, "a list of 2 to 8"),
        ({"devices": (DeviceSpace(1),) * 9}, "a list of 2 to 8"),
        ({"devices": (DeviceSpace(1),) * 2, "clusters": 4}, "leave out clusters"),
    ],
)
def test_wrong_spaces(fields, message):
    with pytest.raises(ValueError, match=message):
        SwapSpace(**fields)


def test_scenarios_and_devices_must_agree_in_number():
    with pytest.raises(InputError, match="about 2 swap devices, and 1 is named"):
        simulate(scenario(2, 9), MACHINE, device="zram-lz4", draws=20)
    with pytest.raises(InputError, match="about 2 swap devices, and 3 are named"):
        simulate(scenario(2, 9), MACHINE, device="disk,disk,disk", draws=20)
    # A scenario about one device has each like it.
    result = simulate(scenario(), MACHINE, device=TIERS, draws=20)
    assert used(result, "out") == [2048, 0]


def test_swapoff_is_for_one_device():
    steps = (FILL, OUT, Step("off", StepAction.SWAPOFF))
    with pytest.raises(InputError, match="swapoff is known for a single swap device only"):
        simulate(scenario(2, 9, steps=steps), MACHINE, device=TIERS, draws=20)


def test_the_documented_example():
    result = simulate(scenario(2, 40), MACHINE, device=TIERS, entry="pmd", draws=20)
    (line,) = [line for line in step_notes(result.step("out")) if "swap devices" in line]
    assert line == (
        "swap devices: zram-lz4 (priority 100): 1535 pages out, 0 in, 1535 slots used; "
        "optane-p5800x (priority -2): 513 pages out, 0 in, 513 slots used"
    )
    assert result.step("out").fallbacks == {"no_free_cluster": 1}
    assert result.device == "zram-lz4:100,optane-p5800x:-2"
    assert result.to_json()["steps"][1]["devices"][1]["used_slots"] == 513


def test_a_huge_page_is_split_although_another_device_has_room():
    result = simulate(scenario(1, 40), MACHINE, device=TIERS, entry="pmd", draws=20)
    counters = result.step("out").counters
    # The second THP fills cluster 0 and goes on page by page; the others go to the second device.
    assert counters["thp_swpout_fallback"] == 1
    assert counters["thp_swpout_pmd"] == 3


def test_equal_priorities_take_turns():
    steps = (FILL, OUT)
    alike = simulate(scenario(9, 9, steps=steps), MACHINE, device="disk:5,disk:5", draws=20)
    assert used(alike, "out") == [1024, 1024]
    unlike = simulate(scenario(9, 9, steps=steps), MACHINE, device="disk:5,disk:4", draws=20)
    assert used(unlike, "out") == [2048, 0]


@pytest.mark.parametrize("names", ["zram-lz4:9,zram-zstd:9", "disk:9,zram-lz4:3", TIERS])
@pytest.mark.parametrize("entry", ["pte", "pmd"])
def test_each_device_is_paid_at_its_own_prices(names, entry):
    devices = load_devices(names)
    elapsed, result = simulate_draws(
        scenario(2, 9), MACHINE, devices, load_policy(entry), entry=entry, seed=1, draws=30
    )
    for index, step in enumerate(result.steps):
        assert sum(step.breakdown_ns.values()) == pytest.approx(step.elapsed_ns, rel=1e-9, abs=1)
        if devices.beside[0].service is None:
            assert step.elapsed_ns == pytest.approx(elapsed[0, index] / 1000, abs=1e-3)


def test_a_dearer_second_device_costs_so_much_more():
    cheap = load_device("disk")
    more = attrs.evolve(cheap.write_request_ns, value=cheap.write_request_ns.value + 1e6, spread=0)
    dear = attrs.evolve(cheap, write_request_ns=more)
    steps = (FILL, OUT)
    times = []
    for second in (cheap, dear):
        found = simulate(
            scenario(9, 9, steps=steps), MACHINE, device=together([cheap, second], [1, 1]), draws=20
        )
        times.append(found.step("out").elapsed_ns)
    # Two of four THPs, a request each.
    assert times[1] - times[0] == pytest.approx(2e6)


def test_shares_add_up():
    device = load_devices("disk:9,zram-lz4:9,ram-disk:2")
    runs = count_events(scenario(1, 1, 9), MACHINE, load_policy("pte"), device, range(1))
    shares = shares_of(runs.counts[0], 3)
    for column, event in enumerate(DEVICE_EVENTS):
        assert (shares[..., column].sum(axis=1) == runs.counts[0][:, event]).all()
    assert shares[1, :, Share.USED_SLOTS].sum() == 2048
    assert runs.counts[0][1, Event.COMPRESS_PAGE] == 2048


def test_a_timeline_of_several_devices_ends_when_the_simulation_does():
    recorded = record_timeline(scenario(2, 9), MACHINE, device=TIERS, entry="pmd")
    result = simulate(scenario(2, 9), MACHINE, device=TIERS, entry="pmd", draws=20)
    for step, simulated in zip(recorded.steps, result.steps, strict=True):
        assert (step.end_ps - step.begin_ps) / 1000 == pytest.approx(simulated.elapsed_ns, abs=1e-3)


def test_what_a_live_kernel_cannot_do():
    rising = together([load_device("disk"), load_device("disk")], [-3, -2])
    (line,) = refusals_of_several(scenario(2, 9), rising)
    assert "falling order" in line
    neighbour = attrs.evolve(
        scenario(), swap=SwapSpace(devices=(DeviceSpace(4, 0, 9), DeviceSpace(4)))
    )
    (line,) = refusals_of_several(neighbour, load_devices(TIERS))
    assert "neighbour" in line
    assert not refusals_of_several(scenario(), load_device("disk"))
    assert MOST_SWAP_DEVICES == 8
