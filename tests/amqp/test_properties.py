"""Content headers: the same octets back, of one mind with pamqp, and peek of one mind with decode."""

from __future__ import annotations

import datetime

import pamqp.commands
import pamqp.frame
import pamqp.header
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.amqp.errors import ConnectionException
from cluster.amqp.field_table import Timestamp
from cluster.amqp.properties import BasicProperties, ContentHeader, decode_header, encode_header, peek
from tests.amqp.client import frame
from tests.amqp.test_field_table import tables
from tests.amqp.test_methods import PLAIN_TABLES

text = st.none() | st.text(max_size=40)
octet = st.none() | st.integers(0, 255)
properties = st.builds(
    BasicProperties,
    text,
    text,
    st.none() | tables,
    octet,
    octet,
    text,
    text,
    text,
    text,
    st.none() | st.integers(0, 2**64 - 1).map(Timestamp),
    text,
    text,
    text,
    text,
)
filled = st.none() | st.text("abc-", min_size=1, max_size=9)
pamqp_properties = st.builds(
    BasicProperties,
    filled,
    filled,
    st.none() | PLAIN_TABLES.filter(bool),
    st.sampled_from([None, 1, 2]),
    octet,
    filled,
    filled,
    filled,
    filled,
    st.none() | st.integers(1, 2**31).map(Timestamp),
    filled,
    filled,
    filled,
    st.none(),
)
sizes = st.integers(0, 2**64 - 1)


def outcome(payload: bytes) -> ContentHeader | str:
    try:
        return decode_header(payload)
    except ConnectionException as error:
        return error.text


@given(sizes, properties)
def test_a_header_comes_back_as_it_was(body_size: int, value: BasicProperties) -> None:
    payload = encode_header(body_size, value)
    decoded = decode_header(payload)
    assert decoded.body_size == body_size
    assert repr(decoded.properties) == repr(value)
    assert encode_header(body_size, decoded.properties) == payload


@given(sizes, properties)
def test_peek_sees_what_decode_sees(body_size: int, value: BasicProperties) -> None:
    seen = peek(encode_header(body_size, value))
    assert seen.delivery_mode == value.delivery_mode
    assert seen.priority == value.priority
    assert seen.expiration == value.expiration
    assert seen.reply_to == value.reply_to
    assert seen.user_id == value.user_id
    assert bool(seen.raw_headers) == (value.headers is not None)
    assert repr(seen.headers()) == repr(value.headers or {})


@given(properties, st.integers(1, 20))
@settings(max_examples=30)
def test_a_header_cut_short_or_too_long_is_501_for_decode_and_peek(value: BasicProperties, extra: int) -> None:
    payload = encode_header(9, value)
    for octets in [payload[:size] for size in range(14, len(payload))] + [payload + bytes(extra)]:
        for read in (decode_header, peek):
            with pytest.raises(ConnectionException) as caught:
                read(octets)
            assert caught.value.code == 501
            assert (caught.value.class_id, caught.value.method_id) == (60, 40)


@given(st.binary(max_size=60), st.integers(0, 2**16 - 1))
def test_random_octets_are_a_header_or_501(octets: bytes, flags: int) -> None:
    payload = b"\x00\x3c\x00\x00" + bytes(8) + flags.to_bytes(2) + octets
    decoded = outcome(payload)
    try:
        seen = peek(payload)
        table = seen.headers()
    except ConnectionException:
        seen, table = None, {}
    if isinstance(decoded, ContentHeader):
        assert seen is not None
        assert seen.expiration == decoded.properties.expiration
        assert repr(table) == repr(decoded.properties.headers or {})


def test_the_text_for_a_malformed_header_is_that_of_malformed_arguments() -> None:
    assert outcome(encode_header(0, BasicProperties(delivery_mode=2)) + b"\x01") == (
        "FRAME_ERROR - cannot decode <<16,0,2,1>>"
    )
    assert outcome(encode_header(0, BasicProperties(app_id="ab")).replace(b"ab", b"\xff\xff")) == (
        "FRAME_ERROR - Malformed UTF-8 in shortstr"
    )
    assert outcome(b"\x00\x3c\x00\x00" + bytes(8) + b"\x00\x01\x00\x00") == "FRAME_ERROR - cannot decode <<0,1,0,0>>"


@given(st.integers(0, 2**63), pamqp_properties)
def test_pamqp_reads_what_we_write_and_we_read_what_it_writes(body_size: int, ours: BasicProperties) -> None:
    _, _, theirs = pamqp.frame.unmarshal(frame(2, 1, encode_header(body_size, ours)))
    assert isinstance(theirs, pamqp.header.ContentHeader)
    assert theirs.body_size == body_size
    for name, (_, their_value) in zip(BasicProperties.__slots__, theirs.properties, strict=True):
        value = getattr(ours, name)
        if isinstance(value, Timestamp):
            value = datetime.datetime.fromtimestamp(value, tz=datetime.UTC)
        assert their_value == (value or ("" if name == "cluster_id" else value)), name
    again = pamqp.frame.marshal(theirs, 1)
    assert decode_header(again[7:-1]) == ContentHeader(body_size, ours)
