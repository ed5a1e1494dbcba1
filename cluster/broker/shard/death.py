"""What becomes of a message's header when it dies in a queue (RabbitMQ's dead letter headers).

Law: pure, record in, header out. `x-death` has one entry for each pair of queue and reason, the latest first; dying
again for the same reason in the same queue raises its count and changes nothing else in it. The expiration property
goes, so that the message does not expire again where it comes to; its value is kept in `original-expiration`.
Source: RabbitMQ 3.10, "Dead Letter Exchanges".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from cluster.amqp.errors import AmqpException
from cluster.amqp.field_table import FieldTable, FieldValue, Int64, Timestamp
from cluster.amqp.properties import BasicProperties, ContentHeader, decode_header, encode_header
from cluster.amqp.record import RECORD_HEAD, RECORD_HEAD_SIZE, Record
from cluster.amqp.wire import encode_shortstr

COUNT_MAX = 2**63 - 1
"""A count in `x-death` stays there."""
_BODY_SIZE_AT, _PROPERTIES_AT = 4, 12
"""In a content header (AMQP 0-9-1 §2.3.5.2)."""


class Reason(Enum):
    """Why a message died, in RabbitMQ's words."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    MAXLEN = "maxlen"
    DELIVERY_LIMIT = "delivery_limit"


REASONS = (Reason.REJECTED, Reason.EXPIRED, Reason.MAXLEN, Reason.DELIVERY_LIMIT)
"""By the numbers that entries and snapshots have for them."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message on its way to a dead letter exchange: its record there, and what routes it."""

    record: bytes
    routing_keys: tuple[str, ...]
    properties: BasicProperties

    @property
    def headers(self) -> FieldTable:
        return self.properties.headers or {}

    @property
    def priority(self) -> int:
        return self.properties.priority or 0


def parted(record: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """What is before the size of its body, that size, the properties, the body. Those of which the first and the third
    are the same die alike: so do these parts of their dead letters."""
    envelope_size, header_size = RECORD_HEAD.unpack_from(record)
    header = RECORD_HEAD_SIZE + envelope_size
    size, properties, body = header + _BODY_SIZE_AT, header + _PROPERTIES_AT, header + header_size
    return record[:size], record[size:properties], record[properties:body], record[body:]


def die(
    record: bytes, *, queue: str, reason: Reason, time_ms: int, exchange: str, routing_key: str | None
) -> DeadLetter:
    """The dead letter of a stored record. `exchange`, `routing_key`: where the queue sends its dead letters.

    Without a routing key the message keeps its own keys, those of its CC header included. What a client put into the
    headers table is not looked at when it is stored: a message whose properties cannot be read loses them.
    """
    message = Record.decode(record)
    content = _content(message.header)
    old_exchange, old_key = message.address()
    headers: FieldTable = dict(content.properties.headers or {})
    copies = _strings(headers.get("CC"))
    event: FieldTable = {
        "count": Int64(1),
        "exchange": old_exchange,
        "queue": queue,
        "reason": reason.value,
        "routing-keys": [old_key, *copies],
        "time": Timestamp(time_ms // 1000),
    }
    if content.properties.expiration is not None:
        event["original-expiration"] = content.properties.expiration
    is_first = "x-death" not in headers
    headers["x-death"] = _with_event(headers.get("x-death"), event)
    where: tuple[tuple[str, str], ...] = (("exchange", old_exchange), ("queue", queue), ("reason", reason.value))
    for name, value in where:
        if is_first:
            headers[f"x-first-death-{name}"] = value
        headers[f"x-last-death-{name}"] = value
    if routing_key is not None:
        headers.pop("CC", None)
        keys: tuple[str, ...] = (routing_key,)
    else:
        keys = (old_key, *copies)
    properties = replace(content.properties, headers=headers, expiration=None)
    header = _encoded(content.body_size, properties)
    envelope = encode_shortstr(exchange) + encode_shortstr(keys[0])
    return DeadLetter(Record(envelope, header, message.body).encode(), keys, properties)


def _content(header: bytes) -> ContentHeader:
    try:
        return decode_header(header)
    except AmqpException:
        return ContentHeader(int.from_bytes(header[4:12], "big"), BasicProperties())


def _encoded(body_size: int, properties: BasicProperties) -> bytes:
    """The header; without what the client put there if that can be read but not written again."""
    try:
        return encode_header(body_size, properties)
    except (ValueError, OverflowError, struct.error, RecursionError):
        headers = properties.headers or {}
        own = {name: value for name, value in headers.items() if name.startswith("x-last-death-")}
        return encode_header(body_size, BasicProperties(headers=own))


def goes_round(headers: FieldTable, queue: str, reason: Reason) -> bool:
    """Would the dead letter come to `queue` again without anybody having rejected it in between?

    RabbitMQ drops such a message for that queue, so that it does not circle for ever.
    """
    if reason is Reason.REJECTED:
        return False
    for event in _events(headers.get("x-death")):
        if event.get("reason") == Reason.REJECTED.value:
            return False
        if event.get("queue") == queue:
            return True
    return False


def _with_event(known: FieldValue, event: FieldTable) -> FieldValue:
    others: list[FieldValue] = []
    for old in _events(known):
        if old.get("queue") == event["queue"] and old.get("reason") == event["reason"]:
            count = old.get("count")
            event = old | {"count": Int64(min((count if isinstance(count, int) else 0) + 1, COUNT_MAX))}
        else:
            others.append(old)
    return [event, *others]


def _events(value: FieldValue) -> Sequence[FieldTable]:
    return [event for event in value if isinstance(event, dict)] if isinstance(value, list) else ()


def _strings(value: FieldValue) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
