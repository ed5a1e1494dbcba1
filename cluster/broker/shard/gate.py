"""Which publishes of a batch a leader lets into queues that may be full, or that know their messages by a key.

Law: the decision is made once, as the batch goes into an entry, and the entry says it: runs without what was kept out,
and the slots whose publisher is refused. The batch itself stays as its home node has sent it: if the entry never comes
to be, the next leader decides anew, of all of it. What was let in and is not applied yet counts as being there. A
duplicate is kept out and not refused: its publisher has what it wants. A transaction's part is let in or refused as a
whole, when it is prepared: what other publishes have filled its queue with when it is committed does not matter. A dead
letter has no publisher who could be refused: it gets in.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from cluster.broker.shard.columns import pack_numbers, unpack_column
from cluster.broker.shard.entry import Batch, EntryPayloads, LeaderOps, QueueId, encode_entry
from cluster.broker.shard.intervals import IntervalSet
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.mark import Mark, unpack_memory
from cluster.broker.shard.ready import SortedReady
from cluster.broker.shard.settings import Overflow
from cluster.broker.shard.tx_ops import Refusal

UNWEIGHED_SHARE = 8
"""One in so many bytes of its limit is what a queue takes at most while its backlog is being weighed."""
DeadLetter = Callable[[LeaderQueue, bytes], None]
"""Send a publish that was refused, by its record, to its queue's dead letter exchange."""


@dataclass(slots=True)
class Passed:
    """What an entry will bring to guarded queues, by queue."""

    counts: dict[QueueId, int] = field(default_factory=dict)
    sizes: dict[QueueId, int] = field(default_factory=dict)
    keys: dict[QueueId, list[int]] = field(default_factory=dict)

    def done(self, queues: Mapping[QueueId, LeaderQueue]) -> None:
        """The entry is applied: what it brought is there. Or it will never be."""
        for queue_id, count in self.counts.items():
            if queue_id in queues:
                queues[queue_id].coming -= count
        for queue_id, size in self.sizes.items():
            if queue_id in queues:
                queues[queue_id].coming_bytes -= size
        for queue_id, keys in self.keys.items():
            if queue_id in queues:
                for key in keys:
                    queues[queue_id].coming_keys.pop(key, None)

    def join(self, other: Passed) -> None:
        """The entry will bring what `other` says, too."""
        for queue_id, count in other.counts.items():
            self.counts[queue_id] = self.counts.get(queue_id, 0) + count
        for queue_id, size in other.sizes.items():
            self.sizes[queue_id] = self.sizes.get(queue_id, 0) + size
        for queue_id, keys in other.keys.items():
            self.keys.setdefault(queue_id, []).extend(keys)


def guard(
    batch: Batch,
    runs: array[int],
    queues: Mapping[QueueId, LeaderQueue],
    passed: Passed,
    now_ms: int,
    dead_letter: DeadLetter,
) -> Batch:
    """The batch for the entry: without what does not get in. `runs` is its column."""
    if batch.alone:
        whole = Passed()
        kept, refused = _sift(batch, runs, queues, whole, now_ms, _without_trace)
        if refused:
            whole.done(queues)
            return replace(batch, refused=pack_numbers([Refusal.FULL]))
        passed.join(whole)
        return replace(batch, runs=kept)
    kept, refused = _sift(batch, runs, queues, passed, now_ms, dead_letter)
    return replace(batch, runs=kept, refused=pack_numbers([n for a, b in refused for n in (a, b - a)]))


def _without_trace(queue: LeaderQueue, record: bytes) -> None:
    """A transaction that is refused was never there."""


def _sift(
    batch: Batch,
    runs: array[int],
    queues: Mapping[QueueId, LeaderQueue],
    passed: Passed,
    now_ms: int,
    dead_letter: DeadLetter,
) -> tuple[bytes, IntervalSet]:
    """The runs that get in, and the slots that are refused."""
    keys, memories = _keys(batch)
    records: EntryPayloads | None = None
    kept: list[int] = []
    refused = IntervalSet()
    for i in range(0, len(runs), 3):
        queue = queues.get(QueueId(runs[i]))
        first, end = runs[i + 1], runs[i + 1] + runs[i + 2]
        if queue is None or not (memories or queue.settings.guarded):
            kept += (runs[i], first, end - first)
            continue
        if records is None:
            records = EntryPayloads(encode_entry(0, [batch], LeaderOps()))
        for slot in range(first, end):
            key = keys.get(slot)
            keys_max, ttl_ms = memories.get(slot) or (queue.settings.keys_max, queue.settings.keys_ttl_ms)
            if key is not None and keys_max and _is_known(queue, key, keys_max, ttl_ms, now_ms):
                continue
            size = records.body_size(slot) if queue.settings.max_length_bytes is not None else 0
            if not _has_room(queue, size):
                refused.add(slot, slot + 1)
                if queue.settings.overflow is Overflow.REJECT_DEAD_LETTER:
                    dead_letter(queue, records.record(slot))
                continue
            if key is not None and keys_max:
                queue.coming_keys[key] = None
                passed.keys.setdefault(queue.id, []).append(key)
            queue.coming += 1
            passed.counts[queue.id] = passed.counts.get(queue.id, 0) + 1
            if size:
                queue.coming_bytes += size
                passed.sizes[queue.id] = passed.sizes.get(queue.id, 0) + size
            if kept and kept[-3] == queue.id and kept[-2] + kept[-1] == slot:
                kept[-1] += 1
            else:
                kept += (queue.id, slot, 1)
    return pack_numbers(kept), refused


def asks_memory(batch: Batch) -> bool:
    """Did a message come through an exchange that remembers keys?"""
    return bool(batch.marks) and Mark.MEMORY in unpack_column("Q", batch.marks)[1::3]


def _keys(batch: Batch) -> tuple[dict[int, int], dict[int, tuple[int, int | None]]]:
    """By slot: the key, and what an exchange asks of queues for it."""
    marks = unpack_column("Q", batch.marks)
    keys: dict[int, int] = {}
    memories: dict[int, tuple[int, int | None]] = {}
    for i in range(0, len(marks), 3):
        if marks[i + 1] == Mark.KEY:
            keys[marks[i]] = marks[i + 2]
        elif marks[i + 1] == Mark.MEMORY:
            memories[marks[i]] = unpack_memory(marks[i + 2])
    return keys, memories


def _is_known(queue: LeaderQueue, key: int, keys_max: int, ttl_ms: int | None, now_ms: int) -> bool:
    if key in queue.coming_keys:
        return True
    seen_ms = queue.state.keys.get(key)
    if seen_ms is None or (ttl_ms is not None and seen_ms + ttl_ms <= now_ms):
        return False
    return key in islice(reversed(queue.state.keys), keys_max)


def _has_room(queue: LeaderQueue, size: int) -> bool:
    """Would one more message of `size` bytes, after what waiting consumers take, still be within the limits? What is
    delayed or parked counts. `size` is 0 where no limit asks for it."""
    settings = queue.settings
    if settings.overflow is Overflow.DROP_HEAD:
        return True
    wanted = queue.appetite
    present = sum([place.count for place in queue.waiting]) + queue.coming
    if settings.max_length is not None and present >= settings.max_length + wanted:
        return False
    size_max = settings.max_length_bytes
    if size_max is None or wanted > present:
        return True
    places = [place for place in queue.waiting if isinstance(place, SortedReady)]
    grown = sum([place.grown for place in places if not place.is_weighed])
    coming = queue.coming_bytes + size
    may_grow = all(place.is_weighed for place in places) or grown + coming <= size_max // UNWEIGHED_SHARE
    return may_grow and sum([place.bytes_about for place in places]) + coming <= size_max
