"""A home node's stream to one shard, and somebody who publishes, settles and consumes over it."""

from __future__ import annotations

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.messages import AttachedConsumer, FromHome, Reply, ReplyStatus, ToHome
from cluster.broker.shard.stream import ShardStream, StreamLimits

QUEUE = QueueId(7)
OTHER = QueueId(8)


class Sink:
    """Publisher, settler and consumer; `told` is what it heard, in order."""

    def __init__(self, consumer: int = 1) -> None:
        self.consumer = consumer
        self.told: list[tuple[object, ...]] = []

    def published(self, first: int, count: int, size: int) -> None:
        self.told.append(("published", first, count, size))

    def refused(self, first: int, count: int, size: int) -> None:
        self.told.append(("refused", first, count, size))

    def settled(self, count: int) -> None:
        self.told.append(("settled", count))

    def deliver(self, first: int, count: int, redelivered: int, sizes: bytes, records: bytes) -> None:
        self.told.append(("deliver", first, count, redelivered, records))

    def attached(self) -> AttachedConsumer:
        return AttachedConsumer(self.consumer, QUEUE, 5, 50, exclusive=True, holder=False, held=())

    def cancelled(self) -> None:
        self.told.append(("cancelled",))


def make_stream(*, in_flight: int = 4, bytes_max: int = 1 << 20) -> ShardStream:
    """Attached to a leader in its first term, on node 2."""
    limits = StreamLimits(batches_in_flight=in_flight, batch_bytes_max=bytes_max)
    stream = ShardStream(shard=1, node=1, incarnation=3, limits=limits)
    stream.leader_is(2, 1)
    out(stream)
    return stream


def out(stream: ShardStream) -> FromHome:
    words = stream.take_out()
    assert words is not None
    return words


def publish(stream: ShardStream, sink: Sink, first: int, *records: bytes, queues: list[QueueId] | None = None) -> None:
    sizes = [len(r) for r in records]
    stream.publish(queues or [QUEUE], list(records), sizes, sum(sizes), sink, first)


def deliver(stream: ShardStream, consumer: int, first: int, count: int = 1, receipt: int | None = None) -> None:
    words = ToHome(deliveries=[(consumer, QUEUE, first, count, False, bytes(4 * count), b"")])
    words.receipt = None if receipt is None else (3, receipt)
    stream.receive(words)


def reply(stream: ShardStream, request: int, value: object, *, receipt: int | None = None) -> None:
    replies: list[Reply] = [(request, int(ReplyStatus.OK), value)]
    stream.receive(ToHome(receipt=None if receipt is None else (3, receipt), replies=replies))
