"""The x-delivery-count header is spliced in, and nothing else changes."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pytest

from cluster.amqp.delivery_count import NAME, count_deliveries, with_delivery_count
from cluster.amqp.field_table import Int64
from cluster.amqp.properties import BasicProperties, decode_header, encode_header
from cluster.amqp.record import Record


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"delivery_mode": 2},
        {"content_type": "text/plain", "content_encoding": "gzip", "priority": 3, "app_id": "a"},
        {"headers": {}},
        {"headers": {"mine": [1, {"deep": None}]}, "content_type": "x", "expiration": "5"},
        {"headers": {NAME: Int64(9), "mine": 1}},
    ],
)
def test_the_header_says_the_count_and_keeps_everything_else(properties: dict[str, Any]) -> None:
    before = BasicProperties(**properties)
    after = decode_header(with_delivery_count(encode_header(11, before), 3))
    headers = {**(before.headers or {}), NAME: 3}
    assert after.body_size == 11
    assert after.properties == replace(before, headers=headers)
    assert isinstance(after.properties.headers, dict)
    assert isinstance(after.properties.headers[NAME], Int64)


def test_records_that_stand_together_are_counted_each() -> None:
    bodies = [b"", b"abc", b"x" * 500]
    records = [Record(b"\0\1k", encode_header(len(b), BasicProperties(delivery_mode=2)), b).encode() for b in bodies]
    joined, sizes = count_deliveries(b"".join(records), array("I", [len(r) for r in records]), 1)
    position = 0
    for size, body in zip(sizes, bodies, strict=True):
        record = Record.decode(joined, position, size)
        position += size
        assert (record.envelope, record.body) == (b"\0\1k", body)
        assert decode_header(record.header).properties.headers == {NAME: 1}
    assert position == len(joined)


def test_a_header_that_cannot_be_read_stays_as_it_is() -> None:
    broken = encode_header(1, BasicProperties(headers={NAME: "xxxx"})).replace(b"countS", b"count?")
    assert with_delivery_count(broken, 1) == broken
