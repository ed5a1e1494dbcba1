"""Single messages over HTTP: publish one, look at some.

Law: for tests and repairs, not for traffic. A publish is answered when it is confirmed; what was looked at is
settled, in the way asked for, before the answer.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, fields
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cluster.amqp.field_table import FieldTable, Timestamp
from cluster.amqp.properties import BasicProperties
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import MANAGEMENT
from cluster.node.admin.api.exchanges import known_exchange
from cluster.node.admin.api.fields import BadField, Document, field, short
from cluster.node.admin.api.queues import known_queue
from cluster.node.admin.api.values import to_json, to_table
from cluster.node.admin.loopback import Fetched, loopback

GET_COUNT_MAX = 1000
"""Messages of one look; who asks for more gets so many, as from a queue that has no more at once."""
MESSAGE_BYTES_MAX = 32 << 20
"""Of a body with a message in it."""
_ACK_MODES = ("ack_requeue_true", "ack_requeue_false", "reject_requeue_true", "reject_requeue_false")
_NUMBERS = frozenset({"delivery_mode", "priority", "timestamp"})


def read_properties(document: Document) -> BasicProperties:
    """Raises BadField."""
    known = {each.name for each in fields(BasicProperties)}
    values: dict[str, Any] = {}
    for name in document:
        if name not in known:
            raise BadField(f"'{name}' is not a property of a message")
        if name == "headers":
            headers: FieldTable = field(document, name, dict)
            to_table(headers)
            values[name] = headers
        elif name in _NUMBERS:
            number = field(document, name, int)
            if not 0 <= number < (1 << 64 if name == "timestamp" else 256):
                raise BadField(f"'{name}' does not fit")
            values[name] = Timestamp(number) if name == "timestamp" else number
        else:
            values[name] = short(field(document, name, str), f"'{name}'")
    return BasicProperties(**values)


def show_properties(properties: BasicProperties) -> Document:
    """Those that are there."""
    present = {each.name: getattr(properties, each.name) for each in fields(properties)}
    return {
        name: to_json(value) if isinstance(value, dict) else value
        for name, value in present.items()
        if value is not None
    }


def _payload(document: Document) -> bytes:
    text, encoding = field(document, "payload", str), field(document, "payload_encoding", str, "string")
    match encoding:
        case "string":
            return text.encode()
        case "base64":
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                raise BadField("'payload' is not base64") from None
        case _:
            raise BadField(f"'payload_encoding' must be string or base64, got {encoding!r}")


@dataclass(frozen=True, slots=True)
class Look:
    """How many messages are looked at, and how. `truncate` is how many octets of each are shown; None shows all."""

    count: int
    ack_mode: str
    encoding: str
    truncate: int | None


def read_look(document: Document) -> Look:
    """Raises BadField."""
    count, ack_mode = field(document, "count", int), field(document, "ackmode", str)
    encoding = field(document, "encoding", str, "auto")
    truncate = field(document, "truncate", int) if document.get("truncate") is not None else None
    if count < 0:
        raise BadField("'count' must not be negative")
    if ack_mode not in _ACK_MODES:
        raise BadField(f"'ackmode' must be one of {', '.join(_ACK_MODES)}")
    if encoding not in {"auto", "base64"}:
        raise BadField("'encoding' must be auto or base64")
    if truncate is not None and truncate < 0:
        raise BadField("'truncate' must not be negative")
    return Look(min(count, GET_COUNT_MAX), ack_mode, encoding, truncate)


async def publish(asked: Asked) -> Response:
    """`{"routing_key", "payload", "payload_encoding", "properties"}` -> `{"routed"}`."""
    vhost = asked.vhost_to_change()
    exchange = known_exchange(asked, vhost, asked.part("name"))
    document = await asked.body(MESSAGE_BYTES_MAX)
    routing_key = short(field(document, "routing_key", str), "'routing_key'")
    body, properties = _payload(document), read_properties(field(document, "properties", dict, {}))
    routed = False
    caller = asked.caller
    async with loopback(asked.node.amqp_client(), caller.name, caller.password, vhost.name) as client:
        routed = await client.publish(exchange.name, routing_key, properties, body)
    return JSONResponse({"routed": routed})


def _message(got: Fetched, look: Look) -> Document:
    body = got.body if look.truncate is None else got.body[: look.truncate]
    text: str | None = None
    if look.encoding == "auto":
        try:
            text = body.decode()
        except UnicodeDecodeError:
            text = None
    return {
        "payload_bytes": len(got.body),
        "redelivered": got.redelivered,
        "exchange": got.exchange,
        "routing_key": got.routing_key,
        "message_count": got.message_count,
        "properties": show_properties(got.properties),
        "payload": base64.b64encode(body).decode() if text is None else text,
        "payload_encoding": "base64" if text is None else "string",
    }


async def get(asked: Asked) -> Response:
    """`{"count", "ackmode", "encoding", "truncate"}` -> the messages."""
    vhost = asked.vhost_to_change()
    queue = known_queue(vhost, asked.part("name"))
    look = read_look(await asked.body())
    if queue.exclusive:
        raise HTTPException(400, f"{queue.label} is exclusive to a connection")
    messages: list[Fetched] = []
    caller = asked.caller
    async with loopback(asked.node.amqp_client(), caller.name, caller.password, vhost.name) as client:
        for _ in range(look.count):
            got = await client.get(queue.name, no_ack=look.ack_mode == "ack_requeue_false")
            if got is None:
                break
            messages.append(got)
        if look.ack_mode != "ack_requeue_false":
            for message in messages:
                await client.reject(message.delivery_tag, requeue=look.ack_mode.endswith("true"))
        await client.close()
    return JSONResponse([_message(message, look) for message in messages])


ENDPOINTS = (
    Endpoint("POST", "/api/exchanges/{vhost}/{name}/publish", MANAGEMENT, publish),
    Endpoint("POST", "/api/queues/{vhost}/{name}/get", MANAGEMENT, get),
)
