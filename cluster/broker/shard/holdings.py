"""What a home node's channels hold of a shard: delivered there, and no receipt yet of its settle or return.

Law: a message is held by one. It is what a new leader is told, so that nobody else gets it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.intervals import IntervalMap, Range
from cluster.broker.shard.messages import AttachedConsumer
from cluster.broker.shard.sinks import ConsumerSink

REFUSED = -1
"""Stands for a consumer in an attachment: it holds what came too late for a consumer that had left."""


class Holdings:
    """Who holds what, by the consumer's number."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[QueueId, IntervalMap[int]] = {}

    def put(self, queue: QueueId, first: int, count: int, consumer: int) -> None:
        """From now on `consumer` holds these, and whoever did does not."""
        held = self._held.get(queue)
        if held is None:
            held = self._held[queue] = IntervalMap()
        held.cut(first, first + count)
        held.put(first, first + count, consumer)

    def release(self, triples: Sequence[int]) -> None:
        """(queue, first, count), one after the other: held by nobody."""
        for i in range(0, len(triples), 3):
            held = self._held.get(QueueId(triples[i]))
            if held is not None:
                held.cut(triples[i + 1], triples[i + 1] + triples[i + 2])
                if not held.count:
                    del self._held[QueueId(triples[i])]

    def forget(self, queue: QueueId) -> None:
        """Nobody holds anything of that queue."""
        self._held.pop(queue, None)

    def clear(self) -> None:
        """Nobody holds anything."""
        self._held.clear()

    def covers(self, queue: QueueId, seq: int) -> bool:
        """Does anybody hold this message?"""
        held = self._held.get(queue)
        return held is not None and held.covers(seq, seq + 1)

    def attachment(
        self, consumers: Mapping[int, tuple[QueueId, ConsumerSink]], served: Mapping[int, int]
    ) -> list[AttachedConsumer]:
        """What a new leader is told: who consumes, and who holds what, be he still there or not.

        served  consumer -> end of what was delivered to it
        """
        held = self._by_holder()
        attachment: list[AttachedConsumer] = []
        for consumer, (queue, sink) in consumers.items():
            told = sink.attached()
            attachment.append(
                AttachedConsumer(
                    consumer,
                    queue,
                    told.credit,
                    told.bytes_credit,
                    told.exclusive,
                    told.holder,
                    tuple(held.pop((queue, consumer), ())),
                    told.priority,
                    served.get(consumer, 0),
                )
            )
        for (queue, consumer), ranges in held.items():
            attachment.append(AttachedConsumer(consumer, queue, 0, 0, False, True, tuple(ranges)))
        return attachment

    def _by_holder(self) -> dict[tuple[QueueId, int], list[Range]]:
        """Queue and consumer -> what is held, in order."""
        ranges: dict[tuple[QueueId, int], list[Range]] = {}
        for queue, intervals in self._held.items():
            for first, end, consumer in intervals:
                ranges.setdefault((queue, consumer), []).append((first, end))
        return ranges
