import pytest

from perfmodel.units import conversion_factor, format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("unit", "canonical", "factor"),
    [
        ("ns", "ns", 1.0),
        ("us", "ns", 1e3),
        ("µs", "ns", 1e3),
        ("ms", "ns", 1e6),
        ("s", "ns", 1e9),
        ("ps", "ns", 1e-3),
        ("B", "byte", 1.0),
        ("KiB", "byte", 1024.0),
        ("kB", "byte", 1000.0),
        ("TiB", "byte", float(1 << 40)),
        ("TB", "byte", 1e12),
        ("1", "1", 1.0),
    ],
)
def test_conversion(unit, canonical, factor):
    assert conversion_factor(unit, canonical) == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize(("unit", "factor"), [("us", 1e3), ("ms", 1e6), ("s", 1e9)])
def test_a_time_is_the_same_number_in_every_unit(unit, factor):
    # Digests of specs are compared, so 0.5 us must load as exactly 500 ns.
    assert conversion_factor(unit, "ns") == factor


@pytest.mark.parametrize(
    "unit",
    [
        "",
        " ",
        "m",
        "kg",
        "furlong",
        "ns**2",
        "2 ns",
        "ns\n",
        "B/s",
        "1/ns",
        "nan",
        "degC",
        "x" * 99,
    ],
)
def test_what_is_no_time_is_refused_with_what_would_be_right(unit):
    with pytest.raises(ValueError, match="does not fit here; use ns, us or ms"):
        conversion_factor(unit, "ns")


@pytest.mark.parametrize("unit", ["ns", "%", "dimensionless", "percent", ""])
def test_a_bare_number_has_no_other_unit(unit):
    with pytest.raises(ValueError, match='use "1"'):
        conversion_factor(unit, "1")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64 MiB", 64 << 20),
        ("64MiB", 64 << 20),
        ("  2 MiB ", 2 << 20),
        ("0.5 KiB", 512),
        ("1 kB", 1000),
        ("16 bit", 2),
        ("0 B", 0),
        ("128 TiB", 1 << 47),
        # A whole number of bytes, though 4.1 is no binary fraction.
        ("4.1 MB", 4_100_000),
    ],
)
def test_sizes(text, size):
    parsed = parse_bytes(text)
    assert parsed == size
    assert type(parsed) is int


@pytest.mark.parametrize(
    "text", ["", "64", "MiB", "-1 MiB", "1e3 MiB", "64 MiB MiB", "nan MiB", "inf B", "٣ MiB"]
)
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="64 MiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 ns", "use B, KiB, MiB"),
        ("1 mib", "use B, KiB, MiB"),
        ("0.5 B", "no whole number of bytes"),
        ("1 bit", "no whole number of bytes"),
    ],
)
def test_sizes_in_a_wrong_unit_or_with_a_fraction(text, message):
    with pytest.raises(ValueError, match=message):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (64 << 20, "64 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 47, "128 TiB"),
    ],
)
def test_format(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize("size", [0, 1, 1024, 2 << 20, 64 << 20, 1 << 40])
def test_formatted_sizes_parse_back(size):
    assert parse_bytes(format_bytes(size)) == size
