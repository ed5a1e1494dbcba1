"""Field tables: every letter both ways, the same octets back, RabbitMQ's names, and the limits."""

from __future__ import annotations

import datetime
import math
import struct
from decimal import Decimal

import pamqp.decode
import pamqp.encode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.amqp import field_table
from cluster.amqp.field_table import (
    FIELD_DEPTH_MAX,
    Binary,
    FieldTable,
    FieldValue,
    Float32,
    Int8,
    Int16,
    Int64,
    Malformed,
    SpecInt64,
    Timestamp,
    UInt8,
    UInt16,
    UInt32,
    encode_table,
    read_table,
    type_name,
)

LETTERS: list[tuple[bytes, bytes, FieldValue, str]] = [
    (b"t", b"\x01", True, "bool"),
    (b"t", b"\x00", False, "bool"),
    (b"b", b"\xff", Int8(-1), "byte"),
    (b"B", b"\xff", UInt8(255), "unsignedbyte"),
    (b"s", b"\xff\xfe", Int16(-2), "short"),
    (b"u", b"\xff\xfe", UInt16(65534), "unsignedshort"),
    (b"I", b"\xff\xff\xff\xfd", -3, "signedint"),
    (b"i", b"\xff\xff\xff\xfd", UInt32(4294967293), "unsignedint"),
    (b"l", b"\xff" * 8, Int64(-1), "long"),
    (b"L", b"\xff" * 8, SpecInt64(-1), "long"),
    (b"f", struct.pack(">f", 0.1), Float32(struct.unpack(">f", struct.pack(">f", 0.1))[0]), "float"),
    (b"d", struct.pack(">d", 0.1), 0.1, "double"),
    (b"D", b"\x02\x00\x00\x01\x3a", Decimal("3.14"), "decimal"),
    (b"D", b"\x00\xff\xff\xff\xff", Decimal("-1"), "decimal"),
    (b"S", b"\x00\x00\x00\x03\xe2\x82\xac", "€", "longstr"),
    (b"S", b"\x00\x00\x00\x02\xff\xfe", b"\xff\xfe", "longstr"),
    (b"x", b"\x00\x00\x00\x02ab", Binary(b"ab"), "binary"),
    (b"T", b"\x00\x00\x00\x00\x65\x00\x00\x00", Timestamp(0x65000000), "timestamp"),
    (b"V", b"", None, "void"),
    (b"A", b"\x00\x00\x00\x03t\x01V", [True, None], "array"),
    (b"F", b"\x00\x00\x00\x03\x01aV", {"a": None}, "table"),
]


@pytest.mark.parametrize(("letter", "octets", "value", "name"), LETTERS)
def test_each_letter_means_what_rabbitmq_means(letter: bytes, octets: bytes, value: FieldValue, name: str) -> None:
    entry = b"\x01k" + letter + octets
    encoded = len(entry).to_bytes(4) + entry
    table, end = read_table(encoded, 0)
    assert end == len(encoded)
    assert table == {"k": value}
    assert type(table["k"]) is type(value)
    assert type_name(table["k"]) == name
    assert encode_table(table) == encoded


def test_a_plain_int_is_written_with_the_letter_that_holds_it() -> None:
    for value, letter, name in ((2**31 - 1, b"I", "signedint"), (-(2**31), b"I", "signedint"), (2**31, b"l", "long")):
        assert encode_table({"": value})[5:6] == letter
        assert type_name(value) == name
    with pytest.raises(ValueError):
        encode_table({"": 2**63})


def test_the_width_of_a_number_does_not_count_in_comparison_and_does_not_show_in_text() -> None:
    assert Int64(5) == 5 == UInt8(5)
    assert f"{Int64(5)}" == str(Int16(5)) == "5"


def scaled(unscaled: int, scale: int) -> Decimal:
    return Decimal(unscaled).scaleb(-scale)


def leaves(latest: int) -> st.SearchStrategy[FieldValue]:
    """Every type but array and table; timestamps up to `latest` seconds."""
    return (
        st.none()
        | st.booleans()
        | st.integers(-(2**31), 2**31 - 1)
        | st.integers(-(2**7), 2**7 - 1).map(Int8)
        | st.integers(0, 2**8 - 1).map(UInt8)
        | st.integers(-(2**15), 2**15 - 1).map(Int16)
        | st.integers(0, 2**16 - 1).map(UInt16)
        | st.integers(0, 2**32 - 1).map(UInt32)
        | st.integers(-(2**63), 2**63 - 1).map(Int64)
        | st.integers(-(2**63), 2**63 - 1).map(SpecInt64)
        | st.integers(0, latest).map(Timestamp)
        | st.floats()
        | st.floats(width=32).map(Float32)
        | st.text()
        | st.binary().map(Binary)
        | st.builds(scaled, st.integers(-(2**31), 2**31 - 1), st.integers(0, 15))
    )


values = st.recursive(
    leaves(2**64 - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
tables = st.dictionaries(st.text(max_size=20), values, max_size=6)


def same(left: FieldValue, right: FieldValue) -> bool:
    """Equal in value and type, all the way down; NaN equals NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    if isinstance(left, Decimal) and isinstance(right, Decimal):
        return left.as_tuple() == right.as_tuple()
    return left == right


@given(tables, st.binary(max_size=5), st.binary(max_size=5))
def test_a_table_comes_back_as_it_was(table: FieldTable, before: bytes, after: bytes) -> None:
    encoded = encode_table(table)
    decoded, end = read_table(before + encoded + after, len(before))
    assert end == len(before) + len(encoded)
    assert same(decoded, table)
    assert encode_table(decoded) == encoded


def oracle(value: FieldValue) -> object:
    """What pamqp makes of the same octets."""
    if isinstance(value, Timestamp):
        return datetime.datetime.fromtimestamp(value, tz=datetime.UTC)
    if isinstance(value, list):
        return [oracle(item) for item in value]
    if isinstance(value, dict):
        return {key: oracle(item) for key, item in value.items()}
    return bytearray(value) if isinstance(value, Binary) else value


@given(st.dictionaries(st.text(max_size=20), leaves(2**32 - 1), max_size=8))
def test_pamqp_reads_what_we_write(table: FieldTable) -> None:
    encoded = encode_table(table)
    consumed, decoded = pamqp.decode.field_table(encoded)
    assert consumed == len(encoded)
    expected = oracle(table)
    assert repr(decoded) == repr(expected)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(width=32, allow_nan=False)
        | st.text()
        | st.builds(scaled, st.integers(0, 2**31 - 1), st.integers(0, 9)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=8,
    ).map(lambda value: {"k": value})
)  # fmt: skip
def test_we_read_what_pamqp_writes(table: dict[str, object]) -> None:
    encoded = pamqp.encode.field_table(table)  # type: ignore[arg-type]
    decoded, end = read_table(encoded, 0)
    assert end == len(encoded)
    assert decoded == table
    assert encode_table(decoded) == encoded


@given(st.binary(max_size=60))
def test_random_octets_are_a_table_or_malformed(octets: bytes) -> None:
    for encoded in (octets, len(octets).to_bytes(4) + octets):
        try:
            table, end = read_table(encoded, 0)
        except Malformed:
            continue
        assert end <= len(encoded)
        again, _ = read_table(encode_table(table), 0)
        assert same(again, table)


@given(tables)
@settings(max_examples=30)
def test_a_table_cut_short_is_malformed(table: FieldTable) -> None:
    encoded = encode_table(table)
    for size in range(len(encoded)):
        with pytest.raises(Malformed):
            read_table(encoded[:size], 0)


@pytest.mark.parametrize(
    "body",
    [
        b"\x01kz",
        b"\x01kU\x00\x01",
        b"\x05k",
        b"\x01k",
        b"\x01kI\x00\x00\x00",
        b"\x01kS\x00\x00\x00\x02a",
        b"\x02\xff\xfeV",
        b"\x01kA\x00\x00\x00\x01t",
    ],
    ids=["letter", "letter U", "long name", "no value", "short int", "short string", "name not UTF-8", "array overrun"],
)
def test_a_table_that_is_not_one_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_table(len(body).to_bytes(4) + body + bytes(8), 0)


def test_of_a_key_that_is_named_twice_the_first_value_counts() -> None:
    body = b"\x01kb\x05\x01kb\x06"
    assert read_table(len(body).to_bytes(4) + body, 0)[0] == {"k": 5}


def nested(depth: int) -> FieldValue:
    value: FieldValue = None
    for level in range(depth - 1):
        value = [value] if level % 2 else {"k": value}
    return value


def test_nesting_is_limited_both_ways() -> None:
    deepest: FieldTable = {"k": nested(FIELD_DEPTH_MAX)}
    encoded = encode_table(deepest)
    assert read_table(encoded, 0)[0] == deepest
    with pytest.raises(ValueError, match="nest deeper"):
        encode_table({"k": nested(FIELD_DEPTH_MAX + 1)})
    wrapped = b"\x01kF" + encoded
    with pytest.raises(Malformed, match="nest too deep"):
        read_table(len(wrapped).to_bytes(4) + wrapped, 0)


def test_size_is_limited_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_table, "TABLE_SIZE_MAX", 100)
    assert read_table(encode_table({"k": "x" * 93}), 0)[0] == {"k": "x" * 93}
    with pytest.raises(ValueError, match="above the limit"):
        encode_table({"k": "x" * 94})
    with pytest.raises(Malformed, match="longer"):
        read_table(b"\x00\x00\x00\x65" + bytes(200), 0)


@pytest.mark.parametrize(
    "value", [Int8(128), UInt8(-1), Float32(1e300), Decimal("NaN"), Decimal(2**31), Decimal("1e11"), Decimal("1e-256")]
)
def test_a_value_out_of_range_is_a_value_error(value: FieldValue) -> None:
    with pytest.raises(ValueError):
        encode_table({"k": value})


def test_a_field_name_above_255_octets_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="255"):
        encode_table({"€" * 86: None})
