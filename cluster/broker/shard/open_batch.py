"""The batch that a home node fills, and whom to tell of what is in it.

Law: what comes is put behind what came before, and neighbours become one run. `seal` makes a flight of it, and the next
batch begins empty.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.amqp.pieces import Octets, gathered
from cluster.broker.shard.columns import pack_column, pack_numbers
from cluster.broker.shard.entry import Batch, QueueId
from cluster.broker.shard.flight import Flight, Publishes
from cluster.broker.shard.part import Part
from cluster.broker.shard.sinks import PartSink, PublishSink, SettleSink


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """batches_in_flight    numbered batches without a receipt; beyond it operations wait in the open batch
    flight_bytes_max     the same in bytes: no further batch goes while so much is out
    batch_bytes_max      payload bytes at which the open batch is closed and the next one begins
    batch_rows_max       the same of stretches of messages that are settled, rejected or given back
    settles_held_max     settled messages at which a batch goes that holds nothing else; fewer wait until `hasten`
    """

    batches_in_flight: int = 4
    flight_bytes_max: int = 24 << 20
    batch_bytes_max: int = 1 << 20
    batch_rows_max: int = 500
    settles_held_max: int = 0


class OpenBatch:
    """Columns are those of `Batch`.

    record_bytes   payload bytes in it
    held_together  what comes shall not be parted
    whole          a transaction's part is in it, see `Flight`
    """

    __slots__ = (
        "_hastened",
        "_marks",
        "_node",
        "_parts",
        "_publish_sinks",
        "_records",
        "_rejects",
        "_returns",
        "_settle_sinks",
        "_settled",
        "_settles",
        "_settles_held_max",
        "_sizes",
        "_transactions",
        "held_together",
        "record_bytes",
        "runs",
        "whole",
    )

    def __init__(self, node: tuple[int, int], limits: StreamLimits) -> None:
        """`node`: its id and incarnation."""
        self._node = node
        self._settles_held_max = limits.settles_held_max
        self.held_together = self.whole = False
        self._begin()

    def _begin(self) -> None:
        self._records: list[Octets] = []
        self.record_bytes = 0
        self._sizes: array[int] = array("I")
        self.runs: list[int] = []
        self._settles: list[int] = []
        self._settled = 0
        """Messages in `_settles`."""
        self._hastened = False
        """Shall they go as soon as they can?"""
        self._returns: list[int] = []
        self._rejects: list[int] = []
        self._marks: list[int] = []
        self._publish_sinks: list[Publishes] = []
        self._settle_sinks: dict[SettleSink, int] = {}
        self._transactions: list[int] = []
        self._parts: list[tuple[PartSink, list[int]]] = []

    @property
    def rows(self) -> int:
        """Stretches of messages that are answered in it."""
        return (len(self._settles) + len(self._returns) + len(self._rejects)) // 3

    @property
    def is_open(self) -> bool:
        """Is there anything in it?"""
        return bool(self._settles) or self.is_due

    @property
    def is_due(self) -> bool:
        """Is there something in it that does not wait?"""
        return bool(
            self.runs
            or self._returns
            or self._rejects
            or self._transactions
            or (self._settles and (self._hastened or self._settled >= self._settles_held_max))
        )

    @property
    def holds_settles(self) -> bool:
        """Do settles wait for something to go with?"""
        return bool(self._settles) and not self.is_due

    def hasten(self) -> None:
        """Settles that wait for others to go with wait no longer."""
        self._hastened = bool(self._settles)

    def publish(
        self,
        queues: Sequence[QueueId],
        records: Sequence[Octets],
        sizes: Sequence[int],
        size: int,
        sink: PublishSink,
        first: int,
    ) -> None:
        """See `ShardStream.publish`."""
        count = len(sizes)
        self._put(queues, records, sizes, size)
        sinks = self._publish_sinks
        last = sinks[-1] if sinks else None
        if last is not None and last.sink is sink and last.first + last.count == first:
            last.count += count
            last.size += size
        else:
            sinks.append(Publishes(sink, first, count, size))

    def _put(self, queues: Sequence[QueueId], records: Sequence[Octets], sizes: Sequence[int], size: int) -> None:
        slot = len(self._sizes)
        count = len(sizes)
        runs = self.runs
        if len(queues) == 1 and runs and runs[-3] == queues[0] and runs[-2] + runs[-1] == slot:
            runs[-1] += count
        else:
            for queue in queues:
                runs += (queue, slot, count)
        self._records += records
        self.record_bytes += size
        self._sizes.extend(sizes)

    def mark(self, marks: Sequence[tuple[int, int, int]]) -> None:
        """Of messages of the publish that follows at once: (which, from 0, Mark, value)."""
        slot = len(self._sizes)
        self._marks += [n for message, kind, value in marks for n in (slot + message, kind, value)]

    def settle(self, queue: QueueId, first: int, count: int, sink: SettleSink) -> None:
        settles = self._settles
        if settles and settles[-3] == queue and settles[-2] + settles[-1] == first:
            settles[-1] += count
        else:
            settles += (queue, first, count)
        self._settled += count
        self._settle_sinks[sink] = self._settle_sinks.get(sink, 0) + count

    def reject(self, queue: QueueId, first: int, count: int, sink: SettleSink) -> None:
        self._rejects += (queue, first, count)
        self._settle_sinks[sink] = self._settle_sinks.get(sink, 0) + count

    def give_back(self, queue: QueueId, first: int, count: int, sink: SettleSink | None) -> None:
        """None: nobody is told when they are back."""
        returns = self._returns
        if returns and returns[-3] == queue and returns[-2] + returns[-1] == first:
            returns[-1] += count
        else:
            returns += (queue, first, count)
        if sink is not None:
            self._settle_sinks[sink] = self._settle_sinks.get(sink, 0) + count

    def part(self, rows: list[int], part: Part, sink: PartSink, answers: list[int]) -> None:
        """All of a transaction's part, into an empty batch; `answers` are held no more when it is done."""
        for queues, records, sizes, size, marks in part.publishes:
            if marks:
                self.mark(marks)
            self._put(queues, records, sizes, size)
        self._settles, self._rejects = list(part.settles), list(part.rejects)
        self._transactions = rows
        self._parts = [(sink, answers)]
        self.whole = True

    def conclude(self, row: tuple[int, int, int], part: Part | None, sink: PartSink | None) -> None:
        """See `ShardStream.conclude`."""
        self._transactions += row
        if part is not None and sink is not None:
            self._parts.append((sink, part.answers))

    def seal(self, number: int) -> Flight:
        """All of it, with its number."""
        node, incarnation = self._node
        batch = Batch(
            node,
            incarnation,
            number,
            pack_column(self._sizes),
            pack_numbers(self.runs),
            pack_numbers(self._settles),
            pack_numbers(self._returns),
            pack_numbers(self._rejects) if self._rejects else b"",
            pack_numbers(self._marks) if self._marks else b"",
            gathered(self._records, self.record_bytes),
            pack_numbers(self._transactions),
        )
        flight = Flight(batch, self._publish_sinks, self._settle_sinks, self._parts, whole=self.whole)
        self.whole = self.held_together
        self._begin()
        return flight
