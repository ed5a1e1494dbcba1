"""The shard's state as plainly as it can be said: one dict per queue, one record per message.

Law: written from the words of entry.py and state.py, not from their code; it shares only the decoding of columns.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgpack

from cluster.broker.shard.intervals import Range
from cluster.broker.shard.queue_state import QueueState
from cluster.broker.shard.state import ShardState


def numbers(column: bytes) -> list[int]:
    """A u64 column."""
    return list(struct.unpack(f"<{len(column) // 8}Q", column))


def triples(column: bytes) -> list[tuple[int, int, int]]:
    """A u64 column of three."""
    flat = numbers(column)
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3)]


def flat(ranges: list[Range]) -> list[int]:
    """All integers of half-open ranges."""
    return [n for first, end in ranges for n in range(first, end)]


@dataclass(slots=True)
class Message:
    """An alive message: where its record is, and how often it came back."""

    index: int
    slot: int
    record: bytes
    returned: int = 0


class NaiveQueue:
    def __init__(self) -> None:
        self.next_seq = 0
        self.watermark = 0
        self.alive: dict[int, Message] = {}


@dataclass(slots=True)
class Change:
    """What an entry did: (queue, seq, record) enqueued; (queue, seq, by a home node) settled; queues dropped."""

    enqueued: list[tuple[int, int, bytes]]
    settled: list[tuple[int, int, bool]]
    dropped: list[int]


class NaiveState:
    def __init__(self) -> None:
        self.queues: dict[int, NaiveQueue] = {}
        self.sessions: dict[int, tuple[int, int]] = {}

    def apply(self, index: int, data: bytes) -> Change:
        (head_length,) = struct.unpack_from("<I", data)
        _, _, batches, leader, size_column = msgpack.unpackb(data[4 : 4 + head_length])
        sizes = struct.unpack(f"<{len(size_column) // 4}I", size_column)
        records = []
        position = 4 + head_length
        for size in sizes:
            records.append(data[position : position + size])
            position += size
        change = Change([], [], [])
        base = 0
        for node, incarnation, number, slots, runs, settles, returns in batches:
            known, last = self.sessions.get(node, (0, 0))
            if (incarnation == known and number == last + 1) or (incarnation > known and number == 1):
                self.sessions[node] = (incarnation, number)
                for queue_id, slot, count in triples(runs):
                    queue = self.queues.setdefault(queue_id, NaiveQueue())
                    for i in range(base + slot, base + slot + count):
                        queue.alive[queue.next_seq] = Message(index, i, records[i])
                        change.enqueued.append((queue_id, queue.next_seq, records[i]))
                        queue.next_seq += 1
                self._settle(settles, change, by_home=True)
                self._give_back(returns)
            base += slots
        if leader is not None:
            self._leader(leader, change)
        return change

    def _leader(self, columns: list[bytes], change: Change) -> None:
        hot, watermarks, settles, returns, drops = columns
        for queue_id in numbers(hot):
            if queue_id in self.queues:
                self.queues[queue_id].watermark = self.queues[queue_id].next_seq
        pairs = numbers(watermarks)
        for queue_id, seq in zip(pairs[::2], pairs[1::2], strict=True):
            if queue_id in self.queues:
                queue = self.queues[queue_id]
                queue.watermark = max(queue.watermark, min(seq, queue.next_seq))
        self._settle(settles, change, by_home=False)
        self._give_back(returns)
        for queue_id in numbers(drops):
            self.queues.pop(queue_id, None)
            change.dropped.append(queue_id)

    def _settle(self, column: bytes, change: Change, *, by_home: bool) -> None:
        for queue_id, first, count in triples(column):
            queue = self.queues.get(queue_id)
            for seq in range(first, first + count) if queue is not None else ():
                if queue is not None and queue.alive.pop(seq, None) is not None:
                    change.settled.append((queue_id, seq, by_home))

    def _give_back(self, column: bytes) -> None:
        for queue_id, first, count in triples(column):
            queue = self.queues.get(queue_id)
            for seq in range(first, first + count) if queue is not None else ():
                if queue is not None and seq in queue.alive:
                    queue.alive[seq].returned += 1


def same_queue(real: QueueState, naive: NaiveQueue) -> None:
    """Asserts that both hold the same messages at the same places."""
    assert real.next_seq == naive.next_seq
    assert real.watermark == naive.watermark
    assert real.alive == len(naive.alive)
    parts = real.alive_parts(0, real.next_seq)
    assert flat(parts) == sorted(naive.alive)
    assert real.returned == {seq: m.returned for seq, m in naive.alive.items() if m.returned}
    for first, end in parts:
        for seq, count, index, slot in real.places(first, end):
            for i in range(count):
                message = naive.alive[seq + i]
                assert (index, slot + i) == (message.index, message.slot)


def same_state(real: ShardState, naive: NaiveState) -> None:
    """Asserts that both have the same queues, sessions and live entries."""
    assert real.sessions == naive.sessions
    assert set(real.queues) == set(naive.queues)
    live: dict[int, int] = {}
    for queue_id, queue in naive.queues.items():
        same_queue(real.queues[queue_id], queue)  # type: ignore[index]
        for message in queue.alive.values():
            live[message.index] = live.get(message.index, 0) + 1
    assert real.live == live
