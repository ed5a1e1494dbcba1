"""The shard's state as plainly as it can be said: one dict per queue, one record per message.

Law: written from the words of entry.py and state.py, not from their code; it shares only the decoding of columns.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgpack

from cluster.broker.shard.entry import SHARD_SESSIONS
from cluster.broker.shard.intervals import Range
from cluster.broker.shard.mark import Mark
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
    """An alive message: where its record is, when it came, its marks, and what became of it so far."""

    index: int
    slot: int
    record: bytes
    time_ms: int
    marks: dict[int, int]
    returned: int = 0
    rejected: bool = False
    reason: int = 0


class NaiveQueue:
    def __init__(self) -> None:
        self.next_seq = 0
        self.watermark = 0
        self.alive: dict[int, Message] = {}
        self.keys: dict[int, int] = {}

    def enqueue(self, message: Message) -> int:
        """Returns its seq."""
        key = message.marks.pop(Mark.KEY, None)
        if key is not None:
            self.keys.pop(key, None)
            self.keys[key] = message.time_ms
        self.alive[self.next_seq] = message
        self.next_seq += 1
        return self.next_seq - 1


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
        _, time_ms, batches, leader, size_column = msgpack.unpackb(data[4 : 4 + head_length])
        sizes = struct.unpack(f"<{len(size_column) // 4}I", size_column)
        records = []
        position = 4 + head_length
        for size in sizes:
            records.append(data[position : position + size])
            position += size
        change = Change([], [], [])
        base = 0
        for node, incarnation, number, slots, runs, settles, returns, rejects, marks, _ in batches:
            known, last = self.sessions.get(node, (0, 0))
            if incarnation > known:
                last = 0
            in_turn = number - slots >= last and slots > 0 if node >= SHARD_SESSIONS else number == last + 1
            if incarnation >= known and in_turn:
                self.sessions[node] = (incarnation, number)
                for queue_id, slot, count in triples(runs):
                    queue = self.queues.setdefault(queue_id, NaiveQueue())
                    for i in range(base + slot, base + slot + count):
                        message = Message(index, i, records[i], time_ms, self._marks(marks, i - base))
                        change.enqueued.append((queue_id, queue.enqueue(message), records[i]))
                self._settle(settles, change, by_home=True)
                self._give_back(returns)
                for queue_id, first, count in triples(rejects):
                    for seq in range(first, first + count):
                        if queue_id in self.queues and seq in self.queues[queue_id].alive:
                            self.queues[queue_id].alive[seq].rejected = True
            base += slots
        if leader is not None:
            self._leader(leader, change)
            self._move(leader, change, index, base, time_ms, records)
            for queue_id in numbers(leader[4]):
                self.queues.pop(queue_id, None)
                change.dropped.append(queue_id)
        return change

    @staticmethod
    def _marks(column: bytes, slot: int) -> dict[int, int]:
        return {kind: value for s, kind, value in triples(column) if s == slot}

    def _move(
        self, columns: list[bytes], change: Change, index: int, base: int, time_ms: int, records: list[bytes]
    ) -> None:
        moves = numbers(columns[6])
        gone: list[tuple[int, int]] = []
        for i in range(0, len(moves), 4):
            source, seq, target, slot = moves[i : i + 4]
            if source:
                if source not in self.queues or seq not in self.queues[source].alive:
                    continue
                gone.append((source, seq))
            queue = self.queues.setdefault(target, NaiveQueue())
            message = Message(index, base + slot, records[base + slot], time_ms, self._marks(columns[7], slot))
            change.enqueued.append((target, queue.enqueue(message), records[base + slot]))
        for source, seq in gone:
            if self.queues[source].alive.pop(seq, None) is not None:
                change.settled.append((source, seq, False))

    def _leader(self, columns: list[bytes], change: Change) -> None:
        hot, watermarks, settles, returns, _, forgives, *_ = columns
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
        for queue_id, first, count in triples(forgives):
            for seq in range(first, first + count):
                if queue_id in self.queues and seq in self.queues[queue_id].alive:
                    self.queues[queue_id].alive[seq].returned = 0

        dooms = numbers(columns[9]) if len(columns) > 9 else []
        for i in range(0, len(dooms), 4):
            queue_id, first, count, reason = dooms[i : i + 4]
            for seq in range(first, first + count):
                message = self.queues[queue_id].alive.get(seq) if queue_id in self.queues else None
                if message is not None and not message.rejected:
                    message.rejected, message.reason = True, reason

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
    assert flat(list(real.limbo)) == [seq for seq, m in naive.alive.items() if m.rejected]
    doomed = [(seq, reason) for first, end, reason in real.in_limbo() for seq in range(first, end)]
    assert doomed == [(seq, m.reason) for seq, m in naive.alive.items() if m.rejected]
    assert list(real.keys.items()) == list(naive.keys.items())
    for kind in Mark:
        marked = {seq: m.marks[kind] for seq, m in naive.alive.items() if kind in m.marks}
        assert real.marks.get(kind, {}) == marked
    assert [real.enqueued_at(seq) for seq in sorted(naive.alive)] == [
        naive.alive[s].time_ms for s in sorted(naive.alive)
    ]
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
