"""Direct reply-to (RabbitMQ's extension): answers to a request go straight to the channel that asked, without a queue.

Law: a channel that consumes from the pseudo-queue has one address, valid on every node while the channel is open. A
message sent there is handed over at once or not at all: nothing is stored, and a client that does not read its answers
loses those over its connection's outgoing limit.
"""

from __future__ import annotations

import base64
import os
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from cluster.amqp.deliver import DeliveryEncoder
from cluster.amqp.properties import decode_header, encode_header
from cluster.broker.errors import precondition_failed
from cluster.node.kinds import Kind
from cluster.node.links import LinkError, RemoteError
from cluster.raft.types import NodeId

if TYPE_CHECKING:
    from cluster.node.amqp.broker import Broker
    from cluster.node.amqp.channel import Channel

PSEUDO_QUEUE = "amq.rabbitmq.reply-to"
REPLY_CONSUMERS = "reply-consumers"
"""What nodes ask each other for, followed by an address: see `Kind.SESSIONS`."""
ANSWER_TIMEOUT_SECONDS = 2.0
_PREFIX = PSEUDO_QUEUE + "."


class ReplyConsumer:
    """A channel's consumer of the pseudo-queue. `address` goes out as reply-to of its requests."""

    __slots__ = ("_encoder", "address", "channel", "tag")

    def __init__(self, channel: Channel, tag: str, node: int) -> None:
        self.channel = channel
        self.tag = tag
        secret = base64.urlsafe_b64encode(os.urandom(15)).decode()
        self.address = f"{_PREFIX}{node}.{secret}"
        self._encoder = DeliveryEncoder(channel.number, tag, channel.connection.machine.frame_max)

    def deliver(self, record: bytes) -> None:
        connection = self.channel.connection
        if connection.congested:
            return
        out: list[bytes | memoryview] = []
        self._encoder.encode(out, self.channel.unacked.tag_automatic(1), False, record, array("I", [len(record)]))
        connection.machine.queue_output(*out)
        connection.flush_soon()


class DirectReplies:
    """The reply consumers of this node, and the way to those of others."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._consumers: dict[str, ReplyConsumer] = {}

    def open(self, channel: Channel, tag: str) -> ReplyConsumer:
        """Raises BrokerError 406 when the channel has one."""
        if channel.reply_consumer is not None:
            raise precondition_failed("reply consumer already set")
        consumer = ReplyConsumer(channel, tag, self._broker.node)
        self._consumers[consumer.address] = consumer
        return consumer

    def close(self, consumer: ReplyConsumer) -> None:
        self._consumers.pop(consumer.address, None)

    def is_address(self, routing_key: str) -> bool:
        return routing_key.startswith(_PREFIX)

    def reachable(self, address: str) -> bool:
        """Would a message sent there now arrive, as far as this node knows?"""
        node = self._node_of(address)
        return address in self._consumers if node == self._broker.node else self._broker.is_up(NodeId(node))

    async def is_there(self, address: str) -> bool:
        """Is there somebody to answer to? Its node knows; one of an earlier version does not say."""
        node = NodeId(self._node_of(address))
        if node == self._broker.node or not self.reachable(address):
            return self.reachable(address)
        try:
            data = await self._broker.call(node, Kind.SESSIONS, f"{REPLY_CONSUMERS} {address}", ANSWER_TIMEOUT_SECONDS)
        except RemoteError:
            return True
        except LinkError:
            return False
        return bool(msgspec.msgpack.decode(data))

    def here(self, address: str) -> list[str]:
        """The address, if a channel of this node has it."""
        return [address] if address in self._consumers else []

    def send(self, address: str, record: bytes) -> None:
        """Hand a message over, here or to its node."""
        if self._node_of(address) == self._broker.node:
            self.receive(address, record)
        else:
            self._broker.send(NodeId(self._node_of(address)), Kind.DIRECT_REPLY, [address, record])

    def receive(self, address: str, record: bytes) -> None:
        """One for a channel of this node, if it is still there."""
        consumer = self._consumers.get(address)
        if consumer is not None:
            consumer.deliver(record)

    @staticmethod
    def _node_of(address: str) -> int:
        node = address.removeprefix(_PREFIX).partition(".")[0]
        return int(node) if node.isascii() and node.isdigit() else 0


def with_reply_to(header: bytes, address: str) -> bytes:
    """The header with another reply-to. Raises ConnectionException 501 for a malformed one."""
    decoded = decode_header(header)
    return encode_header(decoded.body_size, replace(decoded.properties, reply_to=address))
