"""Prices by content: scaled by a codec's ratios, and nothing else changes."""

import attrs
import pytest

from perfmodel import abi
from perfmodel.constants import Event
from perfmodel.errors import InputError
from perfmodel.models.simulated import simulate
from perfmodel.specs import io
from perfmodel.specs.catalog import load_device, load_machine, load_scenario, names
from perfmodel.specs.codec import PLAIN_CONTENTS, ContentCost, price
from perfmodel.specs.device import DeviceKind, SwapDevice, like
from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.scenario import PageContent
from perfmodel.specs.zswap import ZswapPool

MACHINE = load_machine("amd-zen3")
PROFILE = load_machine("intel-emerald-rapids-guest")
ZRAM = load_device("zram-lz4")
CONTENT_SCENARIOS = {
    content: f"thp-{content}-roundtrip"
    for content in (PageContent.SAME_FILLED, PageContent.COMPRESSIBLE, PageContent.RANDOM)
} | {PageContent.HALF_RANDOM: "thp-roundtrip", PageContent.ZERO: "thp-zero-roundtrip"}


def known(value, spread=0.0, unit="ns", how=How.MEASURED):
    return Quantity(value, spread, unit, "test", how)


def costs(**compress):
    """A codec whose compression takes so long; a half-random page 1000 ns."""
    times = {content: compress.get(content.name.lower(), 1000.0) for content in PLAIN_CONTENTS}
    return {
        content: ContentCost(known(time, 0.1 * time), known(time / 2), known(100.0, unit="byte"))
        for content, time in times.items()
    }


def test_a_price_is_multiplied_by_the_ratio():
    base = known(2000.0, 300.0, how=How.FITTED)
    found = price(base, costs(random=3000.0), "compress_page_ns", PageContent.RANDOM)
    assert found.value == 6000.0
    # The price's own spread, and that of the content's time.
    assert found.spread == pytest.approx((900.0**2 + 600.0**2) ** 0.5)
    assert found.how is How.FITTED
    assert found.source.startswith("test; times 3 for random pages: test")


def test_how_a_price_is_known_is_the_worse_of_both():
    guess = {
        content: attrs.evolve(cost, compress_page_ns=known(1.0, how=How.ASSUMED))
        for content, cost in costs().items()
    }
    assert price(known(1.0), guess, "compress_page_ns", PageContent.ZERO).how is How.ASSUMED


@pytest.mark.parametrize("content", PageContent)
def test_without_a_codec_and_for_half_random_pages_a_price_stays(content):
    base = known(2000.0)
    assert price(base, {}, "compress_page_ns", content) is base
    assert price(base, costs(), "compress_page_ns", PageContent.HALF_RANDOM) is base


def test_one_page_among_zeros_costs_the_mean():
    found = price(known(1000.0), costs(zero=0.0), "compress_page_ns", PageContent.ONE_NON_ZERO)
    assert found.value == pytest.approx(1000 / 512)
    assert "zero pages" in found.source


def test_zram_prices_by_content_and_all_others_do_not():
    device = attrs.evolve(ZRAM, codec=costs(random=3000.0))
    plain = abi.event_quantities(MACHINE, device)
    random = abi.event_quantities(MACHINE, device, PageContent.RANDOM)
    changed = {event for event in Event if plain[event] != random[event]}
    assert changed == {Event.COMPRESS_PAGE, Event.DECOMPRESS_PAGE}
    assert random[Event.COMPRESS_PAGE].value == 3 * device.compress_page_ns.value


def test_zswap_of_a_device_has_its_own_prices():
    pool = ZswapPool("zstd", known(10.0), known(4.0), codec=costs(random=3000.0))
    device = attrs.evolve(load_device("disk"), zswap=pool)
    plain = abi.event_quantities(MACHINE, device)
    random = abi.event_quantities(MACHINE, device, PageContent.RANDOM)
    assert plain[Event.ZSWAP_STORE_PAGE] is pool.store_page_ns
    assert random[Event.ZSWAP_STORE_PAGE].value == 30.0
    assert random[Event.ZSWAP_LOAD_PAGE].value == 12.0
    # What the disk transfers takes as long whatever it is.
    assert random[Event.COMPRESS_PAGE] is device.compress_page_ns
    without = abi.event_quantities(MACHINE, load_device("disk"))
    assert without[Event.ZSWAP_STORE_PAGE] is MACHINE.kernel.zswap_store_page_ns


def simulated(content, machine=MACHINE, device="zram-lz4", entry="pte"):
    scenario = load_scenario(CONTENT_SCENARIOS[content])
    return simulate(scenario, machine, device=device, entry=entry, draws=20)


@pytest.mark.parametrize("entry", ["pte", "pmd"])
def test_a_round_trip_takes_as_long_as_its_content_says(entry):
    out = {c: simulated(c, entry=entry).step("pageout").elapsed_ns for c in CONTENT_SCENARIOS}
    order = ("same-filled", "compressible", "half-random", "random")
    assert [c for c in sorted(out, key=lambda c: out[c]) if c != "zero"] == list(order)
    # Content changes no counter but those of pages that are all zero.
    counters = simulated(PageContent.RANDOM, entry=entry).step("touch").counters
    assert counters == simulated(PageContent.SAME_FILLED, entry=entry).step("touch").counters


def test_a_fitted_device_takes_the_ratios_of_the_installed_one():
    fitted = load_device("zram-lz4", PROFILE)
    assert not PROFILE.devices["zram-lz4"].codec
    assert fitted.codec == ZRAM.codec
    assert attrs.evolve(fitted, codec={}) == PROFILE.devices["zram-lz4"]
    random = abi.event_quantities(PROFILE, fitted, PageContent.RANDOM)[Event.COMPRESS_PAGE]
    codec = ZRAM.codec
    ratio = (
        codec[PageContent.RANDOM].compress_page_ns.value
        / codec[PageContent.HALF_RANDOM].compress_page_ns.value
    )
    assert random.value == pytest.approx(fitted.compress_page_ns.value * ratio)


def test_another_zram_is_scaled_from_the_fitted_one():
    fitted, published = load_device("zram-lz4", PROFILE), load_device("zram-lzo-rle")
    found = load_device("zram-lzo-rle", PROFILE)
    assert found == like(published, fitted)
    assert found.read_request_ns is fitted.read_request_ns
    assert found.codec == published.codec
    half = PageContent.HALF_RANDOM
    for name in ("compress_page_ns", "decompress_page_ns"):
        ratio = getattr(published.codec[half], name).value / getattr(ZRAM.codec[half], name).value
        assert getattr(found, name).value == pytest.approx(getattr(fitted, name).value * ratio)
    # A file that somebody names by its path is taken at its word.
    assert load_device(names("device")["zram-lzo-rle"], PROFILE) == published


def test_devices_without_a_codec_are_not_scaled():
    assert load_device("disk", PROFILE) == load_device("disk")
    assert load_device("zswap-zstd", PROFILE) == load_device("zswap-zstd")


# Files


def table_of(device: SwapDevice):
    return io.to_table(device)


@pytest.mark.parametrize("name", names("device"))
def test_presets_are_complete_and_say_how_they_are_known(name):
    device = load_device(name)
    pools = [device.codec] if device.kind is DeviceKind.ZRAM else []
    pools += [device.zswap.codec] if device.zswap is not None else []
    for codec in pools:
        assert set(codec) == set(PLAIN_CONTENTS)
        sizes = [codec[c].compressed_bytes.value for c in ("compressible", "half-random", "random")]
        assert sizes == sorted(sizes)
        assert sizes[-1] == 4096


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        ({"codec": {"random": {}}}, "codec[random].compress_page_ns", "is missing"),
        ({"codec": {"one-non-zero": 3}}, "codec", "must be a table"),
        ({"codec": {"noise": io.to_table(costs())["random"]}}, "codec", "must be one of"),
        ({"codec": 3}, "codec", "must be a table"),
        ({"zswap": {"compressor": "lz4"}}, "zswap", "is missing"),
    ],
)
def test_wrong_codecs_of_a_file(change, key, said):
    with pytest.raises(InputError) as caught:
        io.structure(SwapDevice, table_of(ZRAM) | change, "device.toml")
    assert key in str(caught.value)
    assert said in str(caught.value)


def test_a_codec_without_one_content():
    table = table_of(ZRAM)
    del table["codec"]["random"]
    with pytest.raises(InputError, match="exactly these contents"):
        io.structure(SwapDevice, table, "device.toml")


def test_a_reference_of_nothing():
    with pytest.raises(ValueError, match="must not be 0"):
        attrs.evolve(ZRAM, codec=costs(half_random=0.0))


def test_codecs_where_they_mean_nothing():
    disk = load_device("disk")
    with pytest.raises(ValueError, match=r"codec is zram's"):
        attrs.evolve(disk, codec=costs())
    with pytest.raises(ValueError, match="does not compress itself"):
        attrs.evolve(ZRAM, zswap=ZswapPool("lz4", known(1.0), known(1.0)))
    with pytest.raises(ValueError, match="table of costs"):
        attrs.evolve(ZRAM, codec={"random": 3})
