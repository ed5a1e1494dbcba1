"""What the messages of a queue weigh, for whoever asks.

Law: nothing of this is counted when messages come and go. It is summed when somebody asks, for no more of the queue
than he has patience for: half of that from each end, and what lies between is taken to weigh as much on average. What
was settled meanwhile is not there, and nothing that is looked at is kept in memory for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Reversible
from dataclasses import dataclass
from typing import Final

from cluster.amqp.errors import AmqpException
from cluster.amqp.properties import decode_header
from cluster.amqp.record import Record
from cluster.broker.shard.intervals import Range
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.payload_cache import PayloadCache
from cluster.broker.shard.queue_state import QueueState

READ_COSTS: Final = 100
"""Patience that an entry takes which has to be read from the log; a message in memory takes 1."""
_QUEUE_BYTES: Final = 4096
"""Memory of a queue without messages, about."""
_RUN_BYTES: Final = 28
_INTERVAL_BYTES: Final = 80
_HOLDER_BYTES: Final = 256
_SPARSE_BYTES: Final = 100
"""Of what is known of a single message."""


@dataclass(slots=True)
class Weight:
    """Of some messages: their number, the bytes of their bodies; and of those whose records are in memory."""

    count: int = 0
    size: int = 0
    count_in_memory: int = 0
    size_in_memory: int = 0


class Scale:
    """Weighs queues of one leader. `patience` is what all of it may cost; a queue of which nothing can be weighed any
    more weighs nothing."""

    def __init__(self, payloads: PayloadCache, patience: int) -> None:
        self._payloads = payloads
        self._patience = patience

    def figures(self, queue: LeaderQueue) -> list[int]:
        """Bytes ready, unacked and parked; messages in memory that are ready, and unacked; bytes of bodies in memory;
        memory in bytes; timestamp of the first message that is ready, 0 for none. Raises EntryCorrupt."""
        state = queue.state
        ready = self._weigh(state, queue.ready, queue.ready.count)
        unacked = self._weigh(state, [(first, end) for first, end, _ in queue.unacked], queue.unacked.count)
        parked = self._weigh(state, queue.parked, queue.parked.count)
        in_memory = ready.size_in_memory + unacked.size_in_memory + parked.size_in_memory
        intervals = len(state.settled.starts) + len(queue.unacked.starts) + len(state.returned.starts)
        sparse = len(state.keys) + sum(map(len, state.marks.values()))
        memory = (
            _QUEUE_BYTES
            + in_memory
            + _RUN_BYTES * len(state.first)
            + _INTERVAL_BYTES * intervals
            + _HOLDER_BYTES * len(queue.holders)
            + _SPARSE_BYTES * sparse
        )
        return [
            ready.size,
            unacked.size,
            parked.size,
            ready.count_in_memory,
            unacked.count_in_memory,
            in_memory,
            memory,
            self._timestamp(queue),
        ]

    def _weigh(self, state: QueueState, parts: Reversible[Range], count: int) -> Weight:
        weight = Weight()
        if not count:
            return weight
        if count <= self._patience:
            self._add(weight, state, parts, self._patience)
        else:
            half = self._patience // 2
            self._add(weight, state, parts, half)
            self._add(weight, state, _last(parts, min(half, count - weight.count)), half)
        if 0 < weight.count < count:
            weight.size = weight.size * count // weight.count
        return weight

    def _add(self, weight: Weight, state: QueueState, parts: Iterable[Range], patience: int) -> None:
        """Weigh from the first on, for so much patience; to pass by what it is too short for takes 1."""
        payloads = self._payloads
        for first, end in parts:
            for _, run, index, slot in state.places(first, end):
                entry = payloads.kept(index)
                cost = 0 if entry is not None else READ_COSTS
                count = min(run, patience - cost)
                if count > 0:
                    size = (entry or payloads.look(index)).body_sizes(slot, count)
                    weight.count += count
                    weight.size += size
                    if entry is not None:
                        weight.count_in_memory += count
                        weight.size_in_memory += size
                    cost += count
                else:
                    cost = 1
                patience -= cost
                self._patience -= cost
                if patience <= 0:
                    return

    def _timestamp(self, queue: LeaderQueue) -> int:
        first = queue.ready.starts[:1]
        if not first:
            return 0
        ((_, _, index, slot),) = queue.state.places(first[0], first[0] + 1)
        entry = self._payloads.kept(index)
        if entry is None:
            if self._patience < READ_COSTS:
                return 0
            self._patience -= READ_COSTS
            entry = self._payloads.look(index)
        try:
            return decode_header(Record.decode(entry.record(slot)).header).properties.timestamp or 0
        except AmqpException:
            return 0


def _last(parts: Reversible[Range], count: int) -> list[Range]:
    """The last `count` messages of `parts`, ascending."""
    taken: list[Range] = []
    for first, end in reversed(parts):
        if count <= 0:
            break
        taken.append((max(first, end - count), end))
        count -= end - first
    return taken[::-1]
