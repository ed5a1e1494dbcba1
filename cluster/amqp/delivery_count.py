"""Puts RabbitMQ's `x-delivery-count` header into stored messages as they are delivered from a quorum queue.

Law: the octets of everything else stay as they are. The headers table is spliced, not decoded, unless the message
already carries such a header, which is replaced (a table that cannot be read stays as it is).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from struct import Struct

from cluster.amqp.errors import AmqpException
from cluster.amqp.field_table import Int64
from cluster.amqp.properties import CONTENT_ENCODING, CONTENT_TYPE, HEADERS, decode_header, encode_header
from cluster.amqp.record import RECORD_HEAD, RECORD_HEAD_SIZE

NAME = "x-delivery-count"
_FIELD = bytes((len(NAME),)) + NAME.encode() + b"l"
_COUNT = Struct(">q")
_LONG = Struct(">I")
_FLAGS = Struct(">H")
_FLAGS_AT = 12


def with_delivery_count(header: bytes, count: int) -> bytes:
    """A content header payload that says how often the message was delivered before in vain."""
    (flags,) = _FLAGS.unpack_from(header, _FLAGS_AT)
    position = _FLAGS_AT + 2
    if flags & CONTENT_TYPE:
        position += 1 + header[position]
    if flags & CONTENT_ENCODING:
        position += 1 + header[position]
    field = _FIELD + _COUNT.pack(count)
    if not flags & HEADERS:
        table = _LONG.pack(len(field)) + field
        return (
            header[:_FLAGS_AT]
            + _FLAGS.pack(flags | HEADERS)
            + header[_FLAGS_AT + 2 : position]
            + table
            + header[position:]
        )
    (size,) = _LONG.unpack_from(header, position)
    end = position + 4 + size
    if NAME.encode() in header[position:end]:
        try:
            content = decode_header(header)
        except AmqpException:
            return header
        headers = {**(content.properties.headers or {}), NAME: Int64(count)}
        return encode_header(content.body_size, replace(content.properties, headers=headers))
    return b"".join((header[:position], _LONG.pack(size + len(field)), header[position + 4 : end], field, header[end:]))


def count_deliveries(records: bytes | memoryview, sizes: Sequence[int], count: int) -> tuple[bytes, array[int]]:
    """Records standing back to back, each with the same delivery count. Returns records and sizes."""
    pieces: list[bytes | memoryview] = []
    counted: array[int] = array("I")
    offset = 0
    for size in sizes:
        envelope_size, header_size = RECORD_HEAD.unpack_from(records, offset)
        header_at = offset + RECORD_HEAD_SIZE + envelope_size
        body_at = header_at + header_size
        header = with_delivery_count(bytes(records[header_at:body_at]), count)
        head = RECORD_HEAD.pack(envelope_size, len(header))
        pieces += (head, records[offset + RECORD_HEAD_SIZE : header_at], header, records[body_at : offset + size])
        counted.append(size + len(header) - header_size)
        offset += size
    return b"".join(pieces), counted
