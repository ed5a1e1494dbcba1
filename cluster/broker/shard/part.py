"""What a transaction asks of one shard.

Law: a value that is gathered at the home node before anything is sent; the stream makes a batch of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.amqp.pieces import Octets
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.intervals import IntervalSet

Publish = tuple[Sequence[QueueId], list[Octets], Sequence[int], int, Sequence[tuple[int, int, int]]]
"""(queues, records, sizes, size, marks), as `ShardStream.publish` and `ShardStream.mark` take them."""


class Part:
    """publishes         in their order
    settles, rejects  u64 triples (queue, first seq, count) of deliveries that are answered
    """

    __slots__ = ("publishes", "rejects", "settles")

    def __init__(self) -> None:
        self.publishes: list[Publish] = []
        self.settles: list[int] = []
        self.rejects: list[int] = []

    @property
    def answers(self) -> list[int]:
        """Triples of all deliveries that are answered."""
        return self.settles + self.rejects

    @property
    def answers_twice(self) -> bool:
        """Is one message answered twice? It came again, so its first delivery was void by then."""
        answered: dict[int, IntervalSet] = {}
        triples = self.answers
        for i in range(0, len(triples), 3):
            first, end = triples[i + 1], triples[i + 1] + triples[i + 2]
            if answered.setdefault(triples[i], IntervalSet()).add(first, end) != [(first, end)]:
                return True
        return False
