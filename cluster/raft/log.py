"""A group's log: the stored part, and in memory its recent end.

Law: `emitted <= commit <= last` and `stable <= offered <= last`. Entries above `stable_index` (not known to
be durable) or above `emitted_index` (not yet handed out to be applied) are in memory; below, memory keeps
`tail_bytes`, give or take an eighth. Nothing at or below `commit_index` is ever truncated. Storage is read
only below the tail, where nothing is in flight but compaction: what can be read here may be gone there.
What was replaced while a write was under way is not durable when that write is: `offered_index` was cut back
with it.
"""

from __future__ import annotations

from itertools import islice

from cluster.raft.storage import Compacted, GroupStorage, InitialState, Unavailable
from cluster.raft.types import Entry, LogIndex, SnapshotMeta, Term

_ENTRY_OVERHEAD_BYTES = 128
"""What an entry costs in memory besides its data; without it, small entries would be kept without a limit."""


def _size_of(entry: Entry) -> int:
    return len(entry.data) + _ENTRY_OVERHEAD_BYTES


class RaftLog:
    """See the law of this file. Indexes are inclusive unless they are called `first` or `end`."""

    __slots__ = (
        "_prev_term",
        "_storage",
        "_stored_last",
        "_tail",
        "_tail_bytes_max",
        "_tail_first",
        "_tail_size",
        "commit_index",
        "emitted_index",
        "first_index",
        "last_index",
        "offered_index",
        "snapshot_index",
        "snapshot_term",
        "stable_index",
    )

    def __init__(self, storage: GroupStorage, initial: InitialState, tail_bytes: int) -> None:
        self._storage = storage
        self._tail_bytes_max = tail_bytes
        self.snapshot_index = initial.snapshot.index
        self.snapshot_term = initial.snapshot.term
        self.first_index = initial.first_index
        self.last_index = initial.last_index
        self.stable_index = self.last_index
        self.offered_index = self.last_index
        # Where the stored log ends once the write that is under way, if any, is durable.
        self._stored_last = self.last_index
        self.commit_index = max(self.snapshot_index, min(initial.hard_state.commit_index, self.last_index))
        self.emitted_index = self.snapshot_index
        # The tail is [_tail_first, last_index]; _prev_term is the term at _tail_first - 1.
        self._tail: list[Entry] = []
        self._tail_first = self.last_index + 1
        self._tail_size = 0
        self._prev_term = (
            self.snapshot_term if self.last_index == self.snapshot_index else storage.term(self.last_index)
        )

    @property
    def memory_first(self) -> LogIndex:
        """From there on all of the log is in memory."""
        return LogIndex(self._tail_first)

    @property
    def last_term(self) -> Term:
        return self._tail[-1].term if self._tail else self._prev_term

    def term(self, index: LogIndex) -> Term:
        """Term at `index`. Raises Compacted, Unavailable (above the end), StorageCorrupt."""
        position = index - self._tail_first
        if position >= 0:
            if index > self.last_index:
                raise Unavailable(f"index {index} lies above {self.last_index}")
            return self._tail[position].term
        if position == -1:
            return self._prev_term
        if index == self.snapshot_index:
            return self.snapshot_term
        if index < self.first_index:
            raise Compacted(f"index {index} lies below {self.first_index}")
        return self._storage.term(index)

    def recent(self, index: LogIndex) -> Entry | None:
        """The entry if it is in memory, as all are that are not known to be durable."""
        position = index - self._tail_first
        return self._tail[position] if 0 <= position < len(self._tail) else None

    def known_term(self, index: LogIndex) -> Term | None:
        """Term at `index`, None if it was compacted: perhaps a moment ago, by a write that is just done."""
        try:
            return self.term(index)
        except Compacted:
            return None

    def matches(self, index: LogIndex, term: Term) -> bool:
        """True if the entry at `index` is here and is of `term`."""
        return index <= self.last_index and self.known_term(index) == term

    def is_current(self, last_index: LogIndex, last_term: Term) -> bool:
        """True if a log that ends so is at least as up to date as this one (Raft paper §5.4.1)."""
        own = self.last_term
        return last_term > own or (last_term == own and last_index >= self.last_index)

    def divergence(self, index: LogIndex, term: Term) -> LogIndex:
        """The largest index at or below `index` whose term is at most `term`, or where the log was compacted.

        Whoever has `term` at `index` can have nothing in common with this log above it.
        """
        index = min(index, self.last_index)
        while index > self.snapshot_index or index >= self._tail_first:
            known = self.known_term(index)
            if known is None or known <= term:
                break
            index = LogIndex(index - 1)
        return index

    # -- growing and cutting back

    def append(self, entry: Entry) -> None:
        assert entry.index == self.last_index + 1
        self._tail.append(entry)
        self._tail_size += len(entry.data) + _ENTRY_OVERHEAD_BYTES
        self.last_index = entry.index

    def truncate_from(self, index: LogIndex) -> None:
        """Drop every entry at or above `index`; they conflict with a leader's."""
        assert self.commit_index < index <= self.last_index, "a committed entry would be truncated"
        last = LogIndex(index - 1)
        if index >= self._tail_first:
            position = index - self._tail_first
            self._tail_size -= sum(map(_size_of, islice(self._tail, position, None)))
            del self._tail[position:]
        else:
            self._prev_term = self.term(last)
            self._tail.clear()
            self._tail_size = 0
            self._tail_first = index
        self.last_index = last
        self.stable_index = min(self.stable_index, last)
        self.offered_index = min(self.offered_index, last)

    def commit_to(self, index: LogIndex) -> None:
        assert self.commit_index <= index <= self.last_index
        self.commit_index = index

    def reset(self, meta: SnapshotMeta) -> None:
        """An installed snapshot replaced everything."""
        assert self.commit_index < meta.index
        self.snapshot_index = self.commit_index = self.emitted_index = meta.index
        self.snapshot_term = self._prev_term = meta.term
        self.first_index = LogIndex(meta.index + 1)
        self.last_index = self.stable_index = self.offered_index = self._stored_last = meta.index
        self._tail.clear()
        self._tail_first = meta.index + 1
        self._tail_size = 0

    def compacted(self, meta: SnapshotMeta) -> None:
        """A snapshot made here is durable. What memory has of the entries below it still serves followers."""
        assert self.snapshot_index < meta.index <= self.stable_index
        self.snapshot_index, self.snapshot_term = meta.index, meta.term
        self.first_index = LogIndex(meta.index + 1)

    # -- the way to the disk

    def take_unoffered(self) -> tuple[LogIndex | None, list[Entry]]:
        """What the next write carries: where to truncate the stored log first, and the entries to append."""
        first = LogIndex(self.offered_index + 1)
        truncate_from = first if self._stored_last >= first else None
        position = first - self._tail_first
        assert position >= 0
        entries = self._tail[position:]
        self.offered_index = self._stored_last = self.last_index
        return truncate_from, entries

    def has_unoffered(self) -> bool:
        return self.offered_index < self.last_index or self._stored_last > self.offered_index

    def offered_is_durable(self) -> None:
        """The write under way is done. Entries replaced since then do not count: `offered_index` tells."""
        assert self.stable_index <= self.offered_index
        self.stable_index = self.offered_index
        self._trim()

    # -- reading

    def read(self, first: LogIndex, max_bytes: int) -> list[Entry]:
        """Entries from `first` on, at least one, then as many as fit in `max_bytes` of data.

        Raises Compacted, Unavailable, StorageCorrupt.
        """
        position = first - self._tail_first
        if position < 0:
            if first < self.first_index:
                raise Compacted(f"index {first} lies below {self.first_index}")
            return self._storage.entries(first, LogIndex(self._tail_first), max_bytes)
        return self._read_tail(position, len(self._tail), max_bytes)

    def _read_tail(self, position: int, end: int, max_bytes: int) -> list[Entry]:
        tail = self._tail
        if end - position == 1:
            return [tail[position]]
        size = 0
        for at in range(position, end):
            size += len(tail[at].data)
            if size > max_bytes and at > position:
                return tail[position:at]
        return tail[position:end]

    def data_bytes(self, first: LogIndex, last: LogIndex) -> int:
        """Bytes of data in entries `first..last`, all of which are in memory."""
        position = first - self._tail_first
        assert position >= 0 or first > last
        if first == last:
            return len(self._tail[position].data)
        return sum([len(entry.data) for entry in self._tail[position : last + 1 - self._tail_first]])

    def take_committed(self, max_bytes: int) -> list[Entry]:
        """The next committed entries, each handed out once; [] when there are none."""
        first = self.emitted_index + 1
        if first > self.commit_index:
            return []
        if first >= self._tail_first:
            entries = self._read_tail(first - self._tail_first, self.commit_index + 1 - self._tail_first, max_bytes)
        else:
            end = min(self.commit_index + 1, self._tail_first)
            entries = self._storage.entries(LogIndex(first), LogIndex(end), max_bytes)
        self.emitted_index = entries[-1].index
        self._trim()
        return entries

    def remember(self, entries: list[Entry]) -> None:
        """Stored entries read at the start, up to the end of the log: as much of them as memory may keep."""
        if entries:
            assert not self._tail
            self._prev_term = self.term(LogIndex(entries[0].index - 1))
            self._tail = entries
            self._tail_first = entries[0].index
            self._tail_size = sum(map(_size_of, entries))

    def _trim(self) -> None:
        if self._tail_size <= self._tail_bytes_max + self._tail_bytes_max // 8:
            return
        keep_from = min(self.stable_index, self.emitted_index) + 1 - self._tail_first
        count = 0
        while count < keep_from and self._tail_size > self._tail_bytes_max:
            self._tail_size -= _size_of(self._tail[count])
            count += 1
        if count:
            self._prev_term = self._tail[count - 1].term
            self._tail_first += count
            del self._tail[:count]
