"""A consumer of a channel, and the holder of what basic.get handed out.

Law: `credit` and `bytes_credit` are what the shard's leader may still send, as this node has granted it; a grant is
told to the leader, a delivery takes from it. With a prefetch count an ack grants again, and a return when it is
committed; without one (or without acks) what was written to the client's socket does. Bytes are always granted again by
what was written, so that a client that does not read holds at most `BYTES_WINDOW` and one message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from cluster.amqp.deliver import DeliveryEncoder
from cluster.amqp.field_table import FieldValue, type_name
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.queue_arguments import INTEGERS
from cluster.broker.errors import precondition_failed
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.messages import AttachedConsumer
from cluster.broker.shard.stream import ShardStream
from cluster.node.amqp.flow import Flow

if TYPE_CHECKING:
    from cluster.node.amqp.consuming import Consuming

BYTES_WINDOW = 2 << 20
"""Bytes on their way to one consumer."""
MESSAGES_WINDOW = 2000
"""Messages on their way to a consumer that has no prefetch count."""
NO_ARGUMENTS: Final[Mapping[str, FieldValue]] = {}
CANCEL_ON_FAILOVER: Final = "x-cancel-on-ha-failover"
"""Of mirrored queues: a consumer is cancelled when its queue's master moves. Here it just goes on."""
FOREIGN: Final[Mapping[str, tuple[str, ...]]] = {
    "classic": ("x-stream-offset",),
    "quorum": ("x-stream-offset", CANCEL_ON_FAILOVER),
}
"""By the queue's type: arguments that none of its consumers may have."""


class GetHolder:
    """Holds the unacked messages that basic.get took from one queue through one channel."""

    __slots__ = ("consumer", "flow", "queue", "stream")

    def __init__(self, consumer: int, queue: QueueId, stream: ShardStream, flow: Flow) -> None:
        self.consumer = consumer
        self.queue = queue
        self.stream = stream
        self.flow = flow

    def deliver(self, first: int, count: int, redelivered: int, sizes: bytes, records: bytes | memoryview) -> None:
        """Replies carry what it gets; a delivery to it is a leader's fault."""
        raise AssertionError("a basic.get holder has no credit")

    def attached(self) -> AttachedConsumer:
        return AttachedConsumer(self.consumer, self.queue, 0, 0, exclusive=False, holder=True, held=())

    def cancelled(self) -> None:
        """The queue is gone, and what was held with it."""

    def acked(self, count: int) -> None:
        """Nothing is granted again."""


class Consumer:
    """One basic.consume. `window` is how much it may hold unacked, or None where socket writes grant credit. `flow`
    counts for its queue."""

    __slots__ = (
        "_owed_to_limit",
        "arguments",
        "bytes_credit",
        "channel",
        "consumer",
        "counts",
        "credit",
        "encoder",
        "exclusive",
        "flow",
        "no_ack",
        "owed_bytes",
        "owed_messages",
        "prefetch_count",
        "priority",
        "queue",
        "queue_name",
        "stream",
        "tag",
        "window",
    )

    def __init__(
        self,
        *,
        consumer: int,
        tag: str,
        channel: Consuming,
        stream: ShardStream,
        queue: QueueId,
        queue_name: str,
        flow: Flow,
        no_ack: bool,
        exclusive: bool,
        prefetch_count: int,
        channel_prefetch_count: int,
        frame_max: int,
        counts: bool = False,
        priority: int = 0,
        arguments: Mapping[str, FieldValue] = NO_ARGUMENTS,
    ) -> None:
        self.consumer = consumer
        self.tag = tag
        self.channel = channel
        self.stream = stream
        self.queue = queue
        self.queue_name = queue_name
        self.flow = flow
        self.arguments = arguments
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.counts = counts
        """Do deliveries say how often the message came back?"""
        self.priority = priority
        self.prefetch_count = prefetch_count
        self._owed_to_limit = 0
        """Answers that grant nothing again, because the limit has become smaller."""
        self.window = self._window(channel_prefetch_count)
        self.credit = self.window or MESSAGES_WINDOW
        self.bytes_credit = BYTES_WINDOW
        self.owed_messages = 0
        self.owed_bytes = 0
        self.encoder = DeliveryEncoder(channel.number, tag, frame_max)

    def _window(self, channel_prefetch_count: int) -> int | None:
        limits = [count for count in (self.prefetch_count, channel_prefetch_count) if count]
        return min(limits) if limits and not self.no_ack else None

    def limit(self, channel_prefetch_count: int) -> None:
        """All consumers of the channel may hold so much together from now on; 0 is no limit."""
        before, self.window = self.window, self._window(channel_prefetch_count)
        if before == self.window:
            return
        if before is None or self.window is None:
            # What it may still get: written messages granted it again until now, or will from now on.
            more = (self.window or MESSAGES_WINDOW) - self.credit
        else:
            more = self.window - before
        if self.window is None:
            self._owed_to_limit = 0
        self._grant(more)
        self.channel.stirred(self.stream)

    def _grant(self, count: int) -> None:
        """A limit that became smaller is paid first."""
        self._owed_to_limit -= count
        if self._owed_to_limit < 0:
            self.credit -= self._owed_to_limit
            self.stream.credit(self.queue, self.consumer, -self._owed_to_limit, 0)
            self._owed_to_limit = 0

    def deliver(self, first: int, count: int, redelivered: int, sizes: bytes, records: bytes | memoryview) -> None:
        self.credit -= count
        self.bytes_credit -= len(records)
        self.channel.deliver(self, first, count, redelivered, sizes, records)

    def attached(self) -> AttachedConsumer:
        return AttachedConsumer(
            self.consumer,
            self.queue,
            self.credit,
            self.bytes_credit,
            exclusive=self.exclusive,
            holder=False,
            held=(),
            priority=self.priority,
        )

    def cancelled(self) -> None:
        self.channel.consumer_cancelled(self)

    def acked(self, count: int) -> None:
        """The client answered `count` deliveries."""
        if self.window is not None:
            self._grant(count)

    def settled(self, count: int) -> None:
        """`SettleSink` of what it gave back: that is at its place again, and now nothing behind it can come first."""
        self.acked(count)
        self.channel.stirred(self.stream)
        self.channel.settled(count)

    def written(self, count: int, size: int) -> None:
        """`count` messages of `size` bytes have left for the client."""
        self.owed_bytes += size
        if self.window is None:
            self.owed_messages += count
        if self.owed_bytes >= BYTES_WINDOW // 4 or self.owed_messages >= MESSAGES_WINDOW // 4:
            self.credit += self.owed_messages
            self.bytes_credit += self.owed_bytes
            self.stream.credit(self.queue, self.consumer, self.owed_messages, self.owed_bytes)
            self.owed_messages = self.owed_bytes = 0
            self.channel.stirred(self.stream)


def consumer_priority(arguments: Mapping[str, FieldValue], queue: QueueDefinition) -> int:
    """The x-priority that a consumer asks for; 0 if it does not. Raises BrokerError 406 for bad arguments."""
    for name in FOREIGN[queue.type]:
        if name in arguments:
            kind = f"rabbit_{queue.type}_queue"
            raise precondition_failed(f"invalid arg '{name}' for {queue.label} of queue type {kind}")
    value = arguments.get("x-priority", 0)
    if type_name(value) not in INTEGERS:
        raise precondition_failed(
            f"invalid arg 'x-priority' for {queue.label}: \"expected integer, got {type_name(value)}\""
        )
    assert isinstance(value, int)
    if not isinstance(cancels := arguments.get(CANCEL_ON_FAILOVER, False), bool):
        kind = type_name(cancels)
        raise precondition_failed(f"invalid arg '{CANCEL_ON_FAILOVER}' for {queue.label}: {{unacceptable_type,{kind}}}")
    return int(value)
