"""Write rounds: what is being made durable, one write at a time, and what to do when the disk refuses.

Law: every persist that is offered comes back exactly once, as durable or as corrupt, unless it is withdrawn or given
up, or `finish` raises and the node stops. A disk that is full keeps what it refused and is asked again; what gives
space back passes it, and so does what is smaller than all that was refused by itself: a group with little to write does
not wait for another's megabytes.
A damaged record is found by writing the groups of the failed write one at a time. Groups do not wait for each other's
megabytes: what is heavy goes by itself, one group at a time, and between two of those everything else has a write.
A disk that takes long for little rests for a moment between two writes: what follows elsewhere from the one, and would
come too late for the next (an entry after a vote, a batch after a commit), is in that.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import outcome

from cluster.raft.ready import Persist
from cluster.raft.runtime.interface import RuntimeConfig
from cluster.raft.runtime.member import Member
from cluster.raft.runtime.writer import Done, WriteOutcome, Writer
from cluster.raft.storage import StorageCorrupt, StorageFull
from cluster.raft.types import GroupId, SnapshotMeta

HEAVY_BYTES = 4 << 20
"""Entries of one group that take the disk longer than a commit does."""
SLOW_BYTES_PER_SECOND = 8 << 20
"""What a disk that works may still take for its time."""
SLUGGISH_SECONDS = 0.2
"""A write of less than `HEAVY_BYTES` that takes so long is followed by a rest."""
REST_SECONDS = 0.01
"""At least; the next tick ends it."""
LONG = 5.0
"""A disk that takes so many times what makes it stalled is not slow, but gone for now."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A persist under way, and whose it is."""

    member: Member
    persist: Persist

    def size(self) -> int:
        """Bytes of entries."""
        return self.persist.write.entry_bytes

    def data_bytes(self) -> int:
        """Of entries, and of a snapshot that is being received."""
        return self.size() + sum([len(chunk.data) for chunk in self.persist.write.stage])

    def is_heavy(self) -> bool:
        """Would others wait for it noticeably?"""
        return self.size() >= HEAVY_BYTES

    def adds_data(self) -> bool:
        """False for what a full disk may still take: votes, deletions, and the snapshots that allow them. One that is
        received replaces what may be much more."""
        return bool(self.persist.write.entries)


@dataclass(frozen=True, slots=True)
class Finished:
    """What one write settled."""

    durable: Sequence[Pending] = ()
    corrupt: Sequence[tuple[Pending, StorageCorrupt]] = ()


class WriteRounds:
    """The only user of a `Writer`. Times are seconds of one clock, given by the caller."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._batch: list[Pending] = []
        """Being written; not empty exactly while a write is under way."""
        self._next: list[Pending] = []
        """To be written as soon as no write is under way."""
        self._blocked: list[Pending] = []
        """Refused by a full disk."""
        self._heavy: list[Pending] = []
        """To be written by themselves, in their order."""
        self._suspects: deque[Pending] = deque()
        """Of a write that met damage, or was too much for a full disk: each goes alone."""
        self._refused_of: set[Member] = set()
        """Whose write was refused by itself, and has not been done since."""
        self._too_large = math.inf
        """Bytes of the smallest write that was refused by itself since the last retry."""
        self._heavy_is_due = False
        """Has everything else had its write since the last heavy one?"""
        self._retry_at = 0.0
        self._started_at = 0.0
        self._blocked_since = 0.0
        self._rests_until = 0.0
        self._latencies: deque[float] = deque(maxlen=config.latency_window)
        self.full_text = ""
        """What is full; "" while nothing is blocked."""
        self.writes = 0
        self.writes_failed = 0
        self.entries_written = 0
        self.bytes_written = 0

    @property
    def is_writing(self) -> bool:
        return bool(self._batch)

    def holds(self, group: GroupId) -> bool:
        """True if something of the group was offered and has not come back."""
        pendings = chain(self._batch, self._next, self._heavy, self._blocked, self._suspects)
        return any(pending.persist.write.group == group for pending in pendings)

    def is_blocked(self, member: Member) -> bool:
        return any(pending.member is member for pending in self._blocked)

    def has_no_room(self, member: Member) -> bool:
        """Has a full disk refused what it has to write, also if that is just being tried again?"""
        return member in self._refused_of or self.is_blocked(member)

    def withdraw(self, member: Member, snapshot: SnapshotMeta | None) -> bool:
        """Forget what a full disk refused of a member, if it is entries, or a part of another snapshot than this."""
        for pending in self._blocked:
            write = pending.persist.write
            if pending.member is member and (write.entries or write.stage_meta not in (None, snapshot)):
                self._blocked.remove(pending)
                self._refused_of.discard(member)
                return True
        return False

    def give_up(self, group: GroupId) -> None:
        """Forget what a full disk refused of a group of which nothing is to be left."""
        for pending in [pending for pending in self._blocked if pending.persist.write.group == group]:
            self._blocked.remove(pending)
            self._refused_of.discard(pending.member)

    @property
    def has_waiting(self) -> bool:
        """True if something that was offered is not being written."""
        return bool(self._next or self._heavy or self._blocked or self._suspects)

    def is_due(self, now: float) -> bool:
        """True if `start` would write something of its own."""
        at_once = self._suspects or self._next or self._heavy
        return not self._batch and bool(at_once or (self._blocked and now >= self._retry_at))

    def stalled_members(self, members: Sequence[Member], now: float, times: float = 1.0) -> Sequence[Member]:
        """Those of `members` that have been unable to write for longer than so many `times` fsync_stall_seconds.
        Megabytes may take longer: whoever led next would have to write the same."""
        limit = times * self._config.fsync_stall_seconds
        under_way = now - self._started_at if self._batch else 0.0
        if under_way > limit + sum([pending.size() for pending in self._batch]) / SLOW_BYTES_PER_SECOND:
            return members
        if self._blocked and now - self._blocked_since > limit:
            return [pending.member for pending in self._blocked]
        return ()

    def rests(self, now: float) -> bool:
        """Is it too early for the next write?"""
        return now < self._rests_until

    def start(self, offered: list[Pending], writer: Writer, done: Done, now: float) -> None:
        """Begin the next write, if there is anything; `offered` is in it or waits for a better moment."""
        assert not self._batch, "one write at a time"
        waiting = [*self._next, *self._heavy, *offered] if self._heavy else self._next + offered
        self._next = []
        self._heavy = []
        if self._suspects:
            self._next = waiting
            batch = [self._suspects.popleft()]
        elif not self._blocked:
            batch = self._in_turn(waiting)
        elif now >= self._retry_at:
            batch = self._blocked + waiting
            self._blocked = []
            self._too_large = math.inf
        else:
            batch = [pending for pending in waiting if self._may_fit(pending)]
            self._blocked += [pending for pending in waiting if not self._may_fit(pending)]
        if batch:
            self._batch = batch
            self._started_at = now
            writer.submit([pending.persist.write for pending in batch], done)

    def _in_turn(self, waiting: list[Pending]) -> list[Pending]:
        """What of `waiting` is written now: one that is heavy only when there is nothing else, or it has just gone."""
        heavy = [pending for pending in waiting if pending.is_heavy()]
        if not heavy:
            return waiting
        light = [pending for pending in waiting if not pending.is_heavy()] if len(heavy) < len(waiting) else []
        if light and not self._heavy_is_due:
            self._heavy_is_due = True
            self._heavy = heavy
            return light
        self._heavy_is_due = False
        self._next = light
        self._heavy = heavy[1:]
        return heavy[:1]

    def finish(self, ended: WriteOutcome, now: float) -> Finished:
        """The write under way ended. Raises what is neither StorageFull nor StorageCorrupt."""
        batch, self._batch = self._batch, []
        assert batch, "a write ended that was not begun"
        match ended.result:
            case outcome.Error(error=StorageFull() as full):
                self.writes_failed += 1
                self._refused(batch, str(full), now)
                return Finished()
            case outcome.Error(error=StorageCorrupt() as corrupt):
                self.writes_failed += 1
                if len(batch) > 1:
                    self._suspects.extend(batch)
                    return Finished()
                return Finished(corrupt=[(batch[0], corrupt)])
            case result:
                result.unwrap()
        if self._refused_of:
            self._refused_of.difference_update([pending.member for pending in batch])
        self._count(batch, ended.seconds)
        if ended.seconds >= SLUGGISH_SECONDS and not any(pending.is_heavy() for pending in batch):
            self._rests_until = now + REST_SECONDS
        if not (self._blocked or self._suspects):
            self.full_text = ""
            self._too_large = math.inf
        return Finished(durable=batch)

    def _refused(self, batch: list[Pending], text: str, now: float) -> None:
        if not self.full_text:
            self._blocked_since = now
        self.full_text = text
        self._retry_at = now + self._config.full_retry_seconds
        if len(batch) == 1:
            self._refused_of.add(batch[0].member)
            self._too_large = min(self._too_large, batch[0].data_bytes())
            self._blocked += batch
        else:
            self._suspects.extend(sorted(batch, key=Pending.data_bytes))
        # What waits to be tried by itself and is no smaller need not be.
        self._blocked += [pending for pending in self._suspects if not self._may_fit(pending)]
        self._suspects = deque([pending for pending in self._suspects if self._may_fit(pending)])

    def _may_fit(self, pending: Pending) -> bool:
        """May a full disk take it?"""
        return not pending.adds_data() or pending.data_bytes() < self._too_large

    def _count(self, batch: list[Pending], seconds: float) -> None:
        self._latencies.append(seconds)
        self.writes += 1
        for pending in batch:
            self.entries_written += len(pending.persist.write.entries)
            self.bytes_written += pending.size()

    def latencies(self) -> tuple[float, float, float]:
        """Last, median and 99th percentile of the window, in seconds; zeros before the first write."""
        if not self._latencies:
            return 0.0, 0.0, 0.0
        ordered = sorted(self._latencies)
        return self._latencies[-1], ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
