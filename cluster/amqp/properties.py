"""The content header of class basic: class, weight, body size, property flags and the properties themselves.

Law: absent and present are told apart: None is absent. Decoding accepts exactly the header's octets; encoding
gives them back (tables as field_table says). `peek` walks over a header once without making anything but what a
broker must know of every message, and finds the same faults.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from struct import Struct
from typing import Final

from cluster.amqp.constants import CLASS_BASIC
from cluster.amqp.errors import ConnectionException, frame_error
from cluster.amqp.field_table import FieldTable, Malformed, MalformedUtf8, Timestamp, encode_table, read_table
from cluster.amqp.wire import encode_shortstr, erlang_octets, read_shortstr

_HEAD: Final = Struct(">HHQH")
"""Class, weight, body size, property flags."""
_LONG: Final = Struct(">I")
_TIMESTAMP: Final = Struct(">Q")
_FIRST_PROPERTY_AT: Final = 14
_PUBLISH_IDS: Final = (CLASS_BASIC, 40)

CONTENT_TYPE: Final = 0x8000
CONTENT_ENCODING: Final = 0x4000
HEADERS: Final = 0x2000
DELIVERY_MODE: Final = 0x1000
PRIORITY: Final = 0x0800
CORRELATION_ID: Final = 0x0400
REPLY_TO: Final = 0x0200
EXPIRATION: Final = 0x0100
MESSAGE_ID: Final = 0x0080
TIMESTAMP: Final = 0x0040
TYPE: Final = 0x0020
USER_ID: Final = 0x0010
APP_ID: Final = 0x0008
CLUSTER_ID: Final = 0x0004
_UNKNOWN: Final = 0x0003
"""Bit 1 means nothing, bit 0 that more flags follow; class basic has no more."""


@dataclass(frozen=True, slots=True)
class BasicProperties:
    """AMQP 0-9-1 §1.8, class basic. `expiration` is text, milliseconds; `timestamp` seconds.

    `cluster_id` is what 0-9-1 calls reserved.
    """

    content_type: str | None = None
    content_encoding: str | None = None
    headers: FieldTable | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: Timestamp | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    cluster_id: str | None = None


@dataclass(frozen=True, slots=True)
class ContentHeader:
    """`body_size` in octets."""

    body_size: int
    properties: BasicProperties


def decode_header(payload: bytes) -> ContentHeader:
    """Raises ConnectionException 501 on octets that are not a content header of class basic."""
    try:
        return _decode(payload)
    except MalformedUtf8:
        raise frame_error("Malformed UTF-8 in shortstr", *_PUBLISH_IDS) from None
    except (Malformed, IndexError, struct.error):
        raise _cannot_decode(payload) from None


def _cannot_decode(payload: bytes) -> ConnectionException:
    return frame_error(f"cannot decode {erlang_octets(payload[12:140])}", *_PUBLISH_IDS)


def _decode(payload: bytes) -> ContentHeader:
    class_id, weight, body_size, flags = _HEAD.unpack_from(payload)
    if class_id != CLASS_BASIC or weight or flags & _UNKNOWN:
        raise Malformed("not a content header of class basic")
    position = _FIRST_PROPERTY_AT

    def text(flag: int) -> str | None:
        nonlocal position
        if not flags & flag:
            return None
        value, position = read_shortstr(payload, position)
        return value

    def octet(flag: int) -> int | None:
        nonlocal position
        if not flags & flag:
            return None
        position += 1
        return payload[position - 1]

    content_type, content_encoding = text(CONTENT_TYPE), text(CONTENT_ENCODING)
    headers: FieldTable | None = None
    if flags & HEADERS:
        headers, position = read_table(payload, position)
    delivery_mode, priority = octet(DELIVERY_MODE), octet(PRIORITY)
    correlation_id, reply_to, expiration = text(CORRELATION_ID), text(REPLY_TO), text(EXPIRATION)
    message_id = text(MESSAGE_ID)
    timestamp: Timestamp | None = None
    if flags & TIMESTAMP:
        timestamp = Timestamp(_TIMESTAMP.unpack_from(payload, position)[0])
        position += 8
    properties = BasicProperties(
        content_type,
        content_encoding,
        headers,
        delivery_mode,
        priority,
        correlation_id,
        reply_to,
        expiration,
        message_id,
        timestamp,
        text(TYPE),
        text(USER_ID),
        text(APP_ID),
        text(CLUSTER_ID),
    )
    if position != len(payload):
        raise Malformed("octets behind the last property")
    return ContentHeader(body_size, properties)


def encode_header(body_size: int, properties: BasicProperties) -> bytes:
    """Payload of a content header frame. Raises ValueError or struct.error on a value out of range."""
    p = properties
    flags = 0
    parts: list[bytes] = [b""]

    def text(flag: int, value: str | None) -> None:
        nonlocal flags
        if value is not None:
            flags |= flag
            parts.append(encode_shortstr(value))

    def octet(flag: int, value: int | None) -> None:
        nonlocal flags
        if value is not None:
            flags |= flag
            parts.append(bytes((value,)))

    text(CONTENT_TYPE, p.content_type)
    text(CONTENT_ENCODING, p.content_encoding)
    if p.headers is not None:
        flags |= HEADERS
        parts.append(encode_table(p.headers))
    octet(DELIVERY_MODE, p.delivery_mode)
    octet(PRIORITY, p.priority)
    text(CORRELATION_ID, p.correlation_id)
    text(REPLY_TO, p.reply_to)
    text(EXPIRATION, p.expiration)
    text(MESSAGE_ID, p.message_id)
    if p.timestamp is not None:
        flags |= TIMESTAMP
        parts.append(_TIMESTAMP.pack(p.timestamp))
    text(TYPE, p.type)
    text(USER_ID, p.user_id)
    text(APP_ID, p.app_id)
    text(CLUSTER_ID, p.cluster_id)
    parts[0] = _HEAD.pack(CLASS_BASIC, 0, body_size, flags)
    return b"".join(parts)


class Peek:
    """What a broker must know of every message. `raw_headers` is an encoded table with its length, b"" if absent.

    delivery_mode and priority are None when absent; expiration, reply_to and user_id are None or text.
    """

    __slots__ = ("delivery_mode", "expiration", "priority", "raw_headers", "reply_to", "user_id")

    def __init__(self) -> None:
        self.delivery_mode: int | None = None
        self.priority: int | None = None
        self.expiration: str | None = None
        self.reply_to: str | None = None
        self.user_id: str | None = None
        self.raw_headers = b""

    def headers(self) -> FieldTable:
        """The headers table decoded; {} if absent. Raises ConnectionException 501."""
        if not self.raw_headers:
            return {}
        try:
            return read_table(self.raw_headers, 0)[0]
        except Malformed:
            raise frame_error(f"cannot decode {erlang_octets(self.raw_headers[:128])}", *_PUBLISH_IDS) from None


def peek(payload: bytes) -> Peek:
    """Read a content header as far as a broker needs it for every message.

    Everything is checked to be well-formed except the inside of the headers table and UTF-8 in properties that
    are not read. Raises ConnectionException 501.
    """
    found = Peek()
    try:
        end = _walk(payload, found)
    except MalformedUtf8:
        raise frame_error("Malformed UTF-8 in shortstr", *_PUBLISH_IDS) from None
    except (Malformed, IndexError, struct.error):
        raise _cannot_decode(payload) from None
    if end != len(payload):
        raise _cannot_decode(payload)
    return found


def _walk(payload: bytes, found: Peek) -> int:
    flags = payload[12] << 8 | payload[13]
    position = _FIRST_PROPERTY_AT
    if flags == DELIVERY_MODE:
        found.delivery_mode = payload[position]
        return position + 1
    if flags & _UNKNOWN:
        raise Malformed("unknown property flags")
    if flags & CONTENT_TYPE:
        position += 1 + payload[position]
    if flags & CONTENT_ENCODING:
        position += 1 + payload[position]
    if flags & HEADERS:
        end = position + 4 + _LONG.unpack_from(payload, position)[0]
        found.raw_headers = payload[position:end]
        position = end
    if flags & DELIVERY_MODE:
        found.delivery_mode = payload[position]
        position += 1
    if flags & PRIORITY:
        found.priority = payload[position]
        position += 1
    if flags & CORRELATION_ID:
        position += 1 + payload[position]
    if flags & REPLY_TO:
        found.reply_to, position = read_shortstr(payload, position)
    if flags & EXPIRATION:
        found.expiration, position = read_shortstr(payload, position)
    if flags & (MESSAGE_ID | TIMESTAMP | TYPE | USER_ID | APP_ID | CLUSTER_ID):
        if flags & MESSAGE_ID:
            position += 1 + payload[position]
        if flags & TIMESTAMP:
            position += 8
        if flags & TYPE:
            position += 1 + payload[position]
        if flags & USER_ID:
            found.user_id, position = read_shortstr(payload, position)
        if flags & APP_ID:
            position += 1 + payload[position]
        if flags & CLUSTER_ID:
            position += 1 + payload[position]
    return position
