"""A shard's state as octets, written bit by bit.

Law: canonical: equal states give equal octets, whatever order things happened in, so the octets' hash is the state's
hash. A program reads every version up to its own. What a deep queue has of single messages is written `PIECE_BYTES` at
a time: a node is one thread, and a million of them take longer than a heartbeat may.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

import msgpack

from cluster.broker.shard.columns import pack_column, unpack_column
from cluster.broker.shard.counts import Counts
from cluster.broker.shard.intervals import IntervalSet
from cluster.broker.shard.mark_values import MarkValues
from cluster.broker.shard.queue_state import Frozen, QueueState

STATE_VERSION: Final = 3
"""Version 1 had no transactions, 2 no reasons why messages leave; both can be read."""
_VERSION_WITHOUT_REASONS: Final = 2
"""Written while no message has one: a program that cannot read reasons is told none."""
PIECE_BYTES: Final = 128 << 10
"""Of what is known of single messages is written in one go."""
PIECE_QUEUES: Final = 200
"""Queues that are written in one go, of which there is not much."""
_BIN8, _BIN16, _BIN32 = Struct(">BB"), Struct(">BH"), Struct(">BI")


class Draft:
    """A state as it is now, to be written while it changes.

    Making one costs a copy of what its queues have in columns and tables, which is made of numbers alone.
    """

    def __init__(
        self, applied_index: int, sessions: Sequence[object], queues: Sequence[Frozen], transactions: object
    ) -> None:
        """`queues` ascend by number."""
        has_reasons = any(queue.has_reasons for queue in queues)
        self._head = [STATE_VERSION if has_reasons else _VERSION_WITHOUT_REASONS, applied_index, sessions]
        self._queues = queues
        self._tail = transactions

    def pieces(self) -> Iterator[bytes]:
        """The octets; each piece costs a few milliseconds at most."""
        packer = msgpack.Packer()
        gathered = [packer.pack_array_header(len(self._head) + 2), *map(packer.pack, self._head)]
        gathered.append(packer.pack_array_header(len(self._queues)))
        size = 0
        """Of what is known of single messages, since the last piece."""
        for number, queue in enumerate(self._queues, 1):
            if queue.returned is None and queue.marks is None:
                gathered.append(packer.pack((*queue.head, b"", (), *queue.tail)))
            else:
                for part in _parts(packer, queue):
                    gathered.append(part)
                    size += len(part)
                    if size >= PIECE_BYTES:
                        yield b"".join(gathered)
                        gathered, size = [], 0
            if number % PIECE_QUEUES == 0:
                yield b"".join(gathered)
                gathered = []
        gathered.append(packer.pack(self._tail))
        yield b"".join(gathered)


def _parts(packer: msgpack.Packer, queue: Frozen) -> Iterator[bytes]:
    returned, marks = queue.returned or Counts(), queue.marks or []
    yield packer.pack_array_header(len(queue.head) + 2 + len(queue.tail))
    yield b"".join(map(packer.pack, queue.head))
    yield _bin_head(16 * len(returned))
    yield from returned.pairs(PIECE_BYTES // 16)
    yield packer.pack_array_header(len(marks))
    for kind, count, chunks in marks:
        yield packer.pack_array_header(2) + packer.pack(kind) + _bin_head(16 * count)
        for chunk in chunks:
            seqs = sorted(chunk)
            pairs = array("Q", bytes(16 * len(seqs)))
            pairs[::2] = array("Q", seqs)
            pairs[1::2] = array("Q", map(chunk.__getitem__, seqs))
            yield pack_column(pairs)
    yield b"".join(map(packer.pack, queue.tail))


def _bin_head(size: int) -> bytes:
    """What stands before so many octets in msgpack (its specification, "bin format family")."""
    if size < 1 << 8:
        return _BIN8.pack(0xC4, size)
    if size < 1 << 16:
        return _BIN16.pack(0xC5, size)
    return _BIN32.pack(0xC6, size)


def read_queue(wire: list[object]) -> QueueState:
    """A queue as `Draft` wrote it. Version 1 ended before locks, 2 before reasons."""
    queue, next_seq, head, watermark, first, index, slot, time, starts, ends, *sparse = wire
    returned, marks, limbo_starts, limbo_ends, keys, *later = sparse
    state = QueueState(queue)  # type: ignore[arg-type]
    state.next_seq, state.head, state.watermark = next_seq, head, watermark  # type: ignore[assignment]
    state.first = unpack_column("Q", first)  # type: ignore[arg-type]
    state.index = unpack_column("Q", index)  # type: ignore[arg-type]
    state.slot = unpack_column("I", slot)  # type: ignore[arg-type]
    state.time = unpack_column("Q", time)  # type: ignore[arg-type]
    _fill(state.settled, starts, ends)
    state.returned = Counts.of_pairs(unpack_column("Q", returned))  # type: ignore[arg-type]
    state.marks = {kind: MarkValues.of_pairs(unpack_column("Q", pairs)) for kind, pairs in marks}  # type: ignore[attr-defined]
    _fill(state.limbo, limbo_starts, limbo_ends)
    if later:
        _fill(state.locked, *later[:2])
    if len(later) > 2:
        rows = unpack_column("Q", later[2])  # type: ignore[arg-type]
        for reason, first, end in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
            state.doomed.setdefault(reason, IntervalSet()).add(first, end)
    pairs = unpack_column("Q", keys)  # type: ignore[arg-type]
    state.keys = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return state


def _fill(intervals: IntervalSet, starts: object, ends: object) -> None:
    for a, b in zip(unpack_column("Q", starts), unpack_column("Q", ends), strict=True):  # type: ignore[arg-type]
        intervals.add(a, b)
