"""The replicated contents of one queue: which messages are alive, and where their records stand in the log.

Law: sequence numbers are given in order, without gaps, from 0. Every seq in `[first[start], next_seq)` lies in
exactly one run; a run is a stretch of neighbouring slots of one entry. Below `head` everything is settled;
`settled` holds only what is settled above it. A message is alive from its enqueue until its settle. What is known
of single messages (`returned`, `marks`, `limbo`, `doomed`, `locked`) is sparse, and goes with their settle.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Container, Iterator
from typing import NamedTuple

from cluster.broker.shard.columns import pack_column, pack_numbers
from cluster.broker.shard.counts import Counts
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.intervals import IntervalSet, Range
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.mark_values import MarkValues

_TRIM_AT = 1024
"""Dead runs kept at the front of the columns before they are cut off (amortises the cut)."""

KEYS_MAX = 1 << 16
"""Deduplication keys that a queue remembers, whatever its settings say."""


class QueueState:
    """One queue's index. Runs are four columns: first seq, log index, first slot, the entry's time."""

    __slots__ = (
        "doomed",
        "first",
        "head",
        "id",
        "index",
        "keys",
        "limbo",
        "locked",
        "marks",
        "next_seq",
        "returned",
        "settled",
        "slot",
        "start",
        "time",
        "watermark",
    )

    def __init__(self, queue: QueueId) -> None:
        self.id = queue
        self.next_seq = 0
        self.head = 0
        self.first: array[int] = array("Q")
        self.index: array[int] = array("Q")
        self.slot: array[int] = array("I")
        self.time: array[int] = array("Q")
        """Unix milliseconds at which a run was enqueued."""
        self.start = 0
        self.settled = IntervalSet()
        self.returned = Counts()
        """How often a message came back; only what came back at least once."""
        self.marks: dict[int, MarkValues] = {}
        """Mark -> seq -> value; none is empty. Keys (Mark.KEY) are in `keys`."""
        self.limbo = IntervalSet()
        """Alive, rejected by a consumer or by the queue's rules, and for the leader to send away."""
        self.doomed: dict[int, IntervalSet] = {}
        """What of it was not rejected by a consumer, by the number of its reason in `REASONS`; none is empty."""
        self.locked = IntervalSet()
        """Alive, and answered by a transaction whose outcome is open: nobody gives them back or rejects them."""
        self.keys: dict[int, int] = {}
        """Deduplication keys -> when they were seen, Unix milliseconds, oldest first. Bounded by KEYS_MAX."""
        self.watermark = 0
        """Messages below may have been delivered: a new leader shows them as redelivered."""

    @property
    def alive(self) -> int:
        """Messages that are neither settled nor dropped."""
        return self.next_seq - self.head - self.settled.count

    def enqueue(self, index: int, slot: int, count: int, time_ms: int = 0) -> int:
        """Append `count` messages whose records are slots `slot`.. of entry `index`, written at `time_ms`.

        Returns their first seq.
        """
        first = self.next_seq
        last = len(self.first) - 1
        if last < self.start or self.index[last] != index or self.slot[last] + (first - self.first[last]) != slot:
            self.first.append(first)
            self.index.append(index)
            self.slot.append(slot)
            self.time.append(time_ms)
        self.next_seq = first + count
        return first

    def settle(self, first: int, end: int) -> list[Range]:
        """Settle what is alive in `[first, end)`. Returns those parts; settling twice changes nothing."""
        first = max(first, self.head)
        end = min(end, self.next_seq)
        if first >= end:
            return []
        settled = self.settled
        if first == self.head and not settled.starts:
            self.head = end
            gone = [(first, end)]
        else:
            gone = settled.add(first, end)
            if settled.starts[0] == self.head:
                self.head = settled.ends[0]
                settled.take(settled.ends[0] - settled.starts[0], self.head)
        if self.returned or self.marks or self.limbo or self.locked:
            self._forget(gone)
        return gone

    def _forget(self, gone: list[Range]) -> None:
        returned, limbo, locked = self.returned, self.limbo, self.locked
        if self.head == self.next_seq:
            for sparse in (returned, limbo, locked, self.marks, self.doomed):
                sparse.clear()
            return
        for a, b in gone:
            returned.remove(a, b)
            limbo.remove(a, b)
            locked.remove(a, b)
            for values in self.marks.values():
                values.remove(a, b)
            for doomed in self.doomed.values():
                doomed.remove(a, b)
        for kind in [kind for kind, values in self.marks.items() if not values]:
            del self.marks[kind]
        for reason in [reason for reason, doomed in self.doomed.items() if not doomed]:
            del self.doomed[reason]

    def mark(self, seq: int, kind: int, value: int, time_ms: int) -> None:
        """Remember a mark of a message that has just been enqueued."""
        if kind == Mark.MEMORY:
            return
        if kind != Mark.KEY:
            if kind not in self.marks:
                self.marks[kind] = MarkValues()
            self.marks[kind].put(seq, value)
            return
        keys = self.keys
        keys.pop(value, None)
        keys[value] = time_ms
        if len(keys) > KEYS_MAX:
            del keys[next(iter(keys))]

    def value(self, seq: int, kind: Mark) -> int | None:
        """A mark of a message."""
        values = self.marks.get(kind)
        return values.value(seq) if values is not None else None

    def reject(self, first: int, end: int) -> list[Range]:
        """What is alive in `[first, end)` is in limbo now. Returns the parts that were not before."""
        return [part for a, b in self.free_parts(first, end) for part in self.limbo.add(a, b)]

    def doom(self, first: int, end: int, reason: int) -> None:
        """What is alive in `[first, end)` is in limbo now, unless it is already, for one of `REASONS`."""
        for a, b in self.reject(first, end):
            if reason:
                self.doomed.setdefault(reason, IntervalSet()).add(a, b)

    def in_limbo(self) -> list[tuple[int, int, int]]:
        """What is, ascending, with the number of its reason: (first seq, end, reason)."""
        rejected = IntervalSet(self.limbo)
        rows = [(first, end, reason) for reason, parts in self.doomed.items() for first, end in parts]
        for first, end, _ in rows:
            rejected.remove(first, end)
        return sorted([*rows, *[(first, end, 0) for first, end in rejected]])

    def lock(self, first: int, end: int) -> list[Range]:
        """What is alive in `[first, end)` waits for the outcome of a transaction. Returns those parts."""
        parts = self.alive_parts(first, end)
        for a, b in parts:
            self.locked.add(a, b)
        return parts

    def unlock(self, first: int, end: int) -> list[Range]:
        """Returns what was locked in `[first, end)`, which is all alive."""
        return self.locked.remove(first, end)

    def free_parts(self, first: int, end: int) -> list[Range]:
        """What of `[first, end)` is alive and not locked."""
        parts = self.alive_parts(first, end)
        if not self.locked:
            return parts
        free = IntervalSet(parts)
        for a, b in self.locked:
            free.remove(a, b)
        return list(free)

    def forgive(self, first: int, end: int) -> list[Range]:
        """Returns of what is alive in `[first, end)` count no more. Returns those parts."""
        parts = self.alive_parts(first, end)
        for a, b in parts:
            self.returned.remove(a, b)
        return parts

    def enqueued_at(self, seq: int) -> int:
        """When an alive message was enqueued, Unix milliseconds."""
        return self.time[bisect_right(self.first, seq, self.start) - 1]

    def run_end(self, seq: int) -> int:
        """Up to which seq messages came together with an alive one."""
        i = bisect_right(self.first, seq, self.start)
        return self.first[i] if i < len(self.first) else self.next_seq

    def forget_settled(self) -> None:
        """Cut off the runs below head. To be called when `places` has been asked about them."""
        first = self.first
        length = len(first)
        start = self.start
        while start + 1 < length and first[start + 1] <= self.head:
            start += 1
        if self.head == self.next_seq:
            start = length
        if start == length:
            self._cut(length)
        elif start > _TRIM_AT and start * 2 > length:
            self._cut(start)
        else:
            self.start = start

    def _cut(self, runs: int) -> None:
        del self.first[:runs]
        del self.index[:runs]
        del self.slot[:runs]
        del self.time[:runs]
        self.start = 0

    def places(self, first: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """`(first seq, count, log index, slot)` of each run's part in `[first, end)`."""
        i = self.start
        firsts = self.first
        length = len(firsts)
        if i + 1 < length and firsts[i + 1] <= first:
            i = bisect_right(firsts, first, i) - 1
        while first < end:
            run_end = firsts[i + 1] if i + 1 < length else self.next_seq
            stop = min(end, run_end)
            yield first, stop - first, self.index[i], self.slot[i] + first - firsts[i]
            first = stop
            i += 1

    def give_back(self, first: int, end: int) -> list[Range]:
        """Count a return of what is alive and not locked in `[first, end)`. Returns those parts."""
        parts = self.free_parts(first, end)
        for a, b in parts:
            self.returned.add(a, b)
        return parts

    def alive_in(self, entries: Container[int]) -> Iterator[tuple[int, int, int]]:
        """`(log index, slot, count)` of what is alive and has its record in one of `entries`."""
        if self.head == self.next_seq:
            return
        runs = [i for i in range(self.start, len(self.index)) if self.index[i] in entries]
        for i in runs:
            first = self.first[i]
            end = self.first[i + 1] if i + 1 < len(self.first) else self.next_seq
            for a, b in self.alive_parts(first, end):
                yield self.index[i], self.slot[i] + a - first, b - a

    def alive_parts(self, first: int, end: int) -> list[Range]:
        """What of `[first, end)` is alive."""
        first = max(first, self.head)
        end = min(end, self.next_seq)
        if first >= end:
            return []
        if not self.settled:
            return [(first, end)]
        alive = IntervalSet()
        alive.add(first, end)
        low = bisect_right(self.settled.ends, first)
        for i in range(low, len(self.settled.starts)):
            if self.settled.starts[i] >= end:
                break
            alive.remove(self.settled.starts[i], self.settled.ends[i])
        return list(alive)

    def frozen(self) -> Frozen:
        """As it is now, without what is settled."""
        self.forget_settled()
        start = self.start
        columns = [pack_column(column[start:]) for column in (self.first, self.index, self.slot, self.time)]
        reasons = [n for reason in sorted(self.doomed) for a, b in self.doomed[reason] for n in (reason, a, b)]
        return Frozen(
            (self.id, self.next_seq, self.head, self.watermark, *columns, *_pack_intervals(self.settled)),
            self.returned.copy() if self.returned else None,
            [(kind, len(values), values.frozen()) for kind, values in sorted(self.marks.items())]
            if self.marks
            else None,
            (
                *_pack_intervals(self.limbo),
                pack_numbers([n for pair in self.keys.items() for n in pair]),
                *_pack_intervals(self.locked),
                *([pack_numbers(reasons)] if reasons else []),
            ),
            bool(reasons),
        )


class Frozen(NamedTuple):
    """A queue's state at one moment, as rows for the octets of a snapshot; what there may be much of is not packed yet.

    head   number, next seq, head and watermark; packed columns of runs; settled ranges
    marks  Mark, number of values, and these, chunk by chunk
    tail   ranges in limbo; keys; locked ranges; of those in limbo (reason, first, end), if any has a reason
    """

    head: tuple[int | bytes, ...]
    returned: Counts | None
    marks: list[tuple[int, int, list[dict[int, int]]]] | None
    tail: tuple[bytes, ...]
    has_reasons: bool


def _pack_intervals(intervals: IntervalSet) -> tuple[bytes, bytes]:
    return (pack_numbers(intervals.starts), pack_numbers(intervals.ends)) if intervals.starts else (b"", b"")
