"""What a transaction asks of one shard.

Law: a value that is gathered at the home node before anything is sent; the stream makes a batch of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.amqp.pieces import Octets
from cluster.broker.shard.entry import QueueId

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
