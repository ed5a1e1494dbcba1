"""Records taken apart and put together."""

from __future__ import annotations

import pytest
from hypothesis import given

from cluster.amqp.field_table import Malformed
from cluster.amqp.properties import BasicProperties, encode_header
from cluster.amqp.record import Record
from tests.amqp.records import Message, messages, record_of


@given(messages)
def test_a_record_can_be_taken_apart_and_put_together(message: Message) -> None:
    exchange, routing_key, properties, body = message
    octets = record_of(message)
    record = Record.decode(memoryview(b"ab" + octets + b"c"), 2, len(octets))
    assert record == Record.decode(octets)
    assert record.address() == (exchange, routing_key)
    assert record.header == encode_header(len(body), properties)
    assert record.body == body
    assert record.encode() == octets


def test_a_record_that_is_cut_short_is_refused() -> None:
    record = record_of(("", "q", BasicProperties(), b""))
    for size in range(len(record)):
        with pytest.raises(Malformed):
            Record.decode(record[:size])
