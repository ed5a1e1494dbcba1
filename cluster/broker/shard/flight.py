"""A home node's batch under way, and whom to tell when it is done.

Law: a batch is told of once: all of it, or publish by publish where the leader did not let everything in.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.broker.shard.columns import unpack_column
from cluster.broker.shard.entry import Batch
from cluster.broker.shard.intervals import IntervalSet
from cluster.broker.shard.sinks import PartSink, PublishSink, SettleSink


class Publishes:
    """Publishes of one sink in a batch: numbers `first`.. of the sink, `size` bytes together."""

    __slots__ = ("count", "first", "sink", "size")

    def __init__(self, sink: PublishSink, first: int, count: int, size: int) -> None:
        self.sink = sink
        self.first = first
        self.count = count
        self.size = size


class Flight:
    """`whole`: a transaction's part is in it.

    parts  transactions whose parts are prepared or come to an end with it, and the triples that are held no more then
    """

    __slots__ = ("batch", "parts", "publishes", "settles", "whole")

    def __init__(
        self,
        batch: Batch,
        publishes: list[Publishes],
        settles: dict[SettleSink, int],
        parts: list[tuple[PartSink, list[int]]],
        *,
        whole: bool,
    ) -> None:
        self.batch = batch
        self.publishes = publishes
        self.settles = settles
        self.parts = parts
        self.whole = whole

    def tell(self, refused: bytes) -> None:
        """It is done, but for the slots in u64 pairs (first, count)."""
        if refused:
            self._tell_apart(unpack_column("Q", refused))
        else:
            for publishes in self.publishes:
                publishes.sink.published(publishes.first, publishes.count, publishes.size)
        for settle_sink, count in self.settles.items():
            settle_sink.settled(count)

    def _tell_apart(self, pairs: Sequence[int]) -> None:
        sizes = unpack_column("I", self.batch.sizes)
        refused = IntervalSet()
        for i in range(0, len(pairs), 2):
            refused.add(pairs[i], pairs[i] + pairs[i + 1])
        slot = 0
        for publishes in self.publishes:
            end = slot + publishes.count
            position = slot
            distance = publishes.first - slot
            for a, b in [*refused.remove(slot, end), (end, end)]:
                if position < a:
                    publishes.sink.published(position + distance, a - position, sum(sizes[position:a]))
                if a < b:
                    publishes.sink.refused(a + distance, b - a, sum(sizes[a:b]))
                position = b
            slot = end
