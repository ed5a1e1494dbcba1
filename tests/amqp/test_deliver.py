"""Deliveries encoded from stored records, read back by pamqp and by our own codec."""

from __future__ import annotations

import pamqp.body
import pamqp.commands
import pamqp.frame
import pamqp.header
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.amqp import deliver
from cluster.amqp import methods as m
from cluster.amqp.deliver import DeliveryEncoder
from cluster.amqp.field_table import Malformed
from cluster.amqp.properties import BasicProperties, encode_header
from tests.amqp.client import split_frames
from tests.amqp.records import Message, messages, record_of


def read_back(octets: bytes) -> list[tuple[m.BasicDeliver, bytes, bytes]]:
    """Method, header payload and body of each delivery on channel 7, whose frames are at most 4096 octets."""
    deliveries: list[tuple[m.BasicDeliver, bytes, bytes]] = []
    for kind, channel, payload in split_frames(octets):
        assert channel == 7
        assert len(payload) <= 4088
        if kind == 1:
            deliveries.append((m.BasicDeliver.decode(payload), b"", b""))
        elif kind == 2:
            deliveries[-1] = (deliveries[-1][0], payload, b"")
        else:
            method, header, body = deliveries[-1]
            deliveries[-1] = (method, header, body + payload)
    return deliveries


@given(
    st.lists(st.tuples(messages, st.booleans()), min_size=1, max_size=12),
    st.integers(0, 2**63),
    st.booleans(),
    st.binary(max_size=9),
)
def test_every_delivery_is_the_record_it_was_made_of(
    run: list[tuple[Message, bool]], first_tag: int, as_view: bool, before: bytes
) -> None:
    records = [record_of(message) for message, _ in run]
    blob: bytes | memoryview = before + b"".join(records) + b"behind"
    if as_view:
        blob = memoryview(blob)
    encoder = DeliveryEncoder(7, "ctag", 4096)
    for _ in range(2):  # the second time everything is remembered
        out: list[bytes] = []
        flags = [flag for _, flag in run]
        size = encoder.encode(out, first_tag, flags, blob, [len(record) for record in records], len(before))
        octets = b"".join(out)
        assert size == len(octets)
        deliveries = read_back(octets)
        assert len(deliveries) == len(run)
        for number, (((exchange, routing_key, properties, body), redelivered), found) in enumerate(
            zip(run, deliveries, strict=True)
        ):
            method, header, found_body = found
            assert method == m.BasicDeliver("ctag", first_tag + number, redelivered, exchange, routing_key)
            assert header == encode_header(len(body), properties)
            assert found_body == body


def test_pamqp_reads_a_delivery() -> None:
    record = record_of(("amq.topic", "orders.new", BasicProperties(content_type="text/plain"), b"hello"))
    out: list[bytes] = []
    DeliveryEncoder(7, "ctag", 4096).encode(out, 9, True, record, [len(record)])
    octets = b"".join(out)
    found = []
    while octets:
        consumed, channel, value = pamqp.frame.unmarshal(octets)
        assert channel == 7
        found.append(value)
        octets = octets[consumed:]
    method, header, body = found
    assert isinstance(method, pamqp.commands.Basic.Deliver)
    assert dict(method) == {
        "consumer_tag": "ctag",
        "delivery_tag": 9,
        "redelivered": True,
        "exchange": "amq.topic",
        "routing_key": "orders.new",
    }
    assert isinstance(header, pamqp.header.ContentHeader)
    assert (header.body_size, header.properties.content_type) == (5, "text/plain")
    assert isinstance(body, pamqp.body.ContentBody)
    assert body.value == b"hello"


def test_one_flag_may_stand_for_all_and_no_record_gives_no_octets() -> None:
    records = [record_of(("", "q", BasicProperties(), b"a")), record_of(("", "q", BasicProperties(), b"b"))]
    encoder = DeliveryEncoder(7, "", 4096)
    out: list[bytes] = []
    assert encoder.encode(out, 1, False, b"", []) == 0
    assert out == []
    encoder.encode(out, 1, True, b"".join(records), [len(record) for record in records])
    assert [delivery[0].redelivered for delivery in read_back(b"".join(out))] == [True, True]


def test_a_long_run_comes_in_pieces_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "_CHUNK_SIZE_TARGET", 1000)
    record = record_of(("", "q", BasicProperties(), bytes(300)))
    out: list[bytes] = []
    size = DeliveryEncoder(7, "ctag", 4096).encode(out, 1, False, record * 10, [len(record)] * 10)
    assert len(out) == 3
    assert size == sum(map(len, out))
    assert len(read_back(b"".join(out))) == 10


def test_what_an_encoder_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "_SHAPES_MAX", 3)
    encoder = DeliveryEncoder(7, "ctag", 4096)
    records = [record_of(("", f"q{number}", BasicProperties(), b"x")) for number in range(10)]
    out: list[bytes] = []
    encoder.encode(out, 1, False, b"".join(records), [len(record) for record in records])
    assert [found[0].routing_key for found in read_back(b"".join(out))] == [f"q{number}" for number in range(10)]


def test_a_record_that_is_cut_short_is_not_delivered() -> None:
    record = record_of(("", "q", BasicProperties(), b""))
    encoder = DeliveryEncoder(7, "ctag", 4096)
    for size in range(len(record)):
        with pytest.raises(Malformed):
            encoder.encode([], 1, False, record, [size])
    with pytest.raises(ValueError, match="shorter"):
        encoder.encode([], 1, False, record, [len(record) + 1])
    with pytest.raises(ValueError):
        encoder.encode([], 1, [True, False], record, [len(record)])
