"""Where one publish goes, and what its header has to say about it.

Law: judged in RabbitMQ's order; synchronous, from this node's copy of the catalog.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cluster.amqp import methods as m
from cluster.amqp.errors import not_implemented
from cluster.amqp.field_table import FieldValue, type_name
from cluster.amqp.properties import Peek, decode_header, encode_header, peek
from cluster.broker.catalog.definitions import DEDUPLICATING, DELAYED
from cluster.broker.catalog.exchange_rules import cache_limits
from cluster.broker.catalog.queue_arguments import EXPIRY_MAX_MS
from cluster.broker.errors import BrokerError, precondition_failed
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.mark import pack_memory
from cluster.broker.shard.stream import ShardStream
from cluster.node.amqp.direct_reply import PSEUDO_QUEUE, ReplyConsumer, with_reply_to
from cluster.node.amqp.publish import Route

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def resolve(
    connection: Connection, method: bytes, header: bytes, more_keys: Sequence[str] = (), *, plain: bool = True
) -> Route:
    """The route of a publish with this method payload. Raises BrokerError 403, 404; ConnectionException 540."""
    publish = m.BasicPublish.decode(method)
    if publish.immediate:
        raise not_implemented("immediate=true")
    broker = connection.broker
    exchange, routing_key = publish.exchange, publish.routing_key
    broker.catalog.checks.publish(connection.user, connection.vhost, exchange, routing_key)
    if not exchange and broker.replies.is_address(routing_key):
        entrance = broker.flows.entrance(connection.vhost, exchange, 0)
        return Route(method, exchange, routing_key, [], entrance, mandatory=publish.mandatory, static=True, direct=True)

    def headers() -> Mapping[str, FieldValue]:
        return peek(header).headers()

    def a_property(name: str) -> str | int | None:
        value: str | int | None = getattr(decode_header(header).properties, name)
        return value

    found = broker.catalog.route(connection.vhost, exchange, routing_key, headers, more_keys, a_property)
    targets: dict[ShardStream, list[QueueId]] = {}
    for queue in found.queues:
        if broker.is_lost(queue):
            continue
        targets.setdefault(broker.stream_of(queue), []).append(queue.id)
    definition = broker.catalog.exchange(connection.vhost, exchange)
    memory = None
    if definition is not None and definition.type == DEDUPLICATING:
        memory = pack_memory(*cache_limits(definition.arguments))
    return Route(
        method,
        exchange,
        routing_key,
        [(stream, tuple(queues)) for stream, queues in targets.items()],
        broker.flows.entrance(connection.vhost, exchange, sum(map(len, targets.values()))),
        mandatory=publish.mandatory,
        static=plain and not found.by_headers,
        prioritized=any("x-max-priority" in queue.arguments.values for queue in found.queues),
        delays=definition is not None and definition.type == DELAYED,
        keyed=memory is not None or any(DEDUPLICATING in queue.arguments.values for queue in found.queues),
        memory=memory,
        refusable=any(
            broker.catalog.queue_settings(queue).get("overflow", "drop-head") != "drop-head" for queue in found.queues
        ),
    )


def _read_special(
    connection: Connection, reply_consumer: ReplyConsumer | None, header: bytes
) -> tuple[bytes, list[str]]:
    """The header as it is delivered, and the routing keys in its CC and BCC. Raises as `resolve_special`."""
    keys: list[str] = []
    seen = peek(header)
    if seen.reply_to == PSEUDO_QUEUE:
        if reply_consumer is None:
            raise precondition_failed("fast reply consumer does not exist")
        header = with_reply_to(header, reply_consumer.address)
    if seen.user_id is not None and seen.user_id != connection.user:
        raise precondition_failed(
            f"user_id property set to '{seen.user_id}' but authenticated user was '{connection.user}'"
        )
    if seen.expiration is not None:
        _check_expiration(seen.expiration)
    if b"CC" in seen.raw_headers:
        headers = seen.headers()
        for name in ("CC", "BCC"):
            if name in headers:
                keys += _copies(name, headers[name])
        if "BCC" in headers:
            decoded = decode_header(header)
            assert decoded.properties.headers is not None
            del decoded.properties.headers["BCC"]
            header = encode_header(decoded.body_size, decoded.properties)
    check_delivery_mode(seen)
    return header, keys


def resolve_special(
    connection: Connection, reply_consumer: ReplyConsumer | None, method: bytes, header: bytes
) -> tuple[Route, bytes]:
    """Route and header of a message with headers, an expiration or a user-id. BCC is taken out of the header.

    `connection.routes` hold for the catalog as it is.
    Raises BrokerError 406 besides what `resolve` raises; ConnectionException 501 for a malformed header.
    """
    try:
        header, keys = _read_special(connection, reply_consumer, header)
    except BrokerError:
        # What is wrong with the exchange is said first.
        resolve(connection, method, header)
        raise
    if not keys and (known := connection.routes.get(method)) is not None:
        return known, header
    route = resolve(connection, method, header, keys, plain=not keys)
    if route.static:
        connection.routes[method] = route
    return route, header


def check_delivery_mode(seen: Peek) -> None:
    """Raises BrokerError 406 for what is neither transient nor persistent."""
    if seen.delivery_mode not in {None, 1, 2}:
        raise precondition_failed(f"invalid message: {{delivery_mode_unknown,{seen.delivery_mode}}}")


def _copies(name: str, value: FieldValue) -> list[str]:
    if not isinstance(value, list):
        raise precondition_failed(f'invalid message: {{unacceptable_type_in_header,"{name}",{type_name(value)}}}')
    return [key for key in value if isinstance(key, str)]


def _check_expiration(text: str) -> None:
    """RabbitMQ's words; milliseconds as decimal digits."""
    number = _INTEGER.match(text)
    if number is None:
        raise precondition_failed(f"invalid expiration '{text}': no_integer")
    if number.end() < len(text):
        raise precondition_failed(f"invalid expiration '{text}': {{leftover_string,\"{text[number.end() :]}\"}}")
    value = int(text)
    if value < 0:
        raise precondition_failed(f"invalid expiration '{text}': {{value_negative,{value}}}")
    if value > EXPIRY_MAX_MS:
        raise precondition_failed(f"invalid expiration '{text}': {{value_too_large,{value}}}")
