"""A store that forgets: the storage protocol in dictionaries.

Law: it passes the contract tests that LmdbStore passes, so what is simulated on it holds on a disk. It is for
tests and simulations: nothing survives the object, and a full or damaged disk is something one asks it for. A record
that was damaged is kept as the bytes that it has become, and found out as LmdbStore would: by its checksum.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from cluster.raft.storage import (
    GroupWrite,
    Health,
    InitialState,
    SnapshotChunk,
    StorageFull,
)
from cluster.raft.types import Entry, GroupId, HardState, LogIndex, SnapshotMeta, Term
from cluster.store.chunk import (
    INDEX_PART,
    accept,
    chunk_records,
    cut_chunk,
    decode_part,
    key_position,
    log_key,
    split_index,
)
from cluster.store.identity import Identity
from cluster.store.record import (
    SnapshotHead,
    decode_entry,
    decode_hard_state,
    decode_head,
    decode_term,
    encode_entry,
    encode_hard_state,
    encode_head,
)
from cluster.store.state import GroupState, after, check_in_log
from cluster.store.statistics import StoreStatistics

HARD_STATE_KEY, HEAD_KEY = b"hard state", b"head"
"""Keys of the two records that a group has besides those of a chunk."""


@dataclass(slots=True)
class _Contents:
    """One snapshot and what stands behind it: a group's own, or one being received."""

    index: bytes = b""
    log: dict[LogIndex, Entry] = field(default_factory=dict)
    """Ascending: entries are appended at the end, and replaced in place."""

    def size(self) -> int:
        return len(self.index) + sum(len(entry.data) for entry in self.log.values())


@dataclass(frozen=True, slots=True)
class _Staged:
    """A received chunk, decoded."""

    starts_over: bool
    index: bytes
    entries: list[Entry]


def _decode_chunk(group: GroupId, chunk: SnapshotChunk) -> _Staged:
    staged = _Staged(chunk.cursor == b"", b"", [])
    for key, record in chunk_records(group, chunk.data):
        kind, position = key_position(key)
        if kind == INDEX_PART:
            staged = _Staged(staged.starts_over, staged.index + decode_part(group, position, record), staged.entries)
        else:
            staged.entries.append(decode_entry(group, position, record))
    return staged


class MemoryGroup:
    """`GroupStorage` of one group."""

    def __init__(self, group: GroupId, lock: threading.Lock) -> None:
        self._group = group
        self._lock = lock
        self.state = GroupState()
        self.contents = _Contents()
        self.staged = _Contents()
        self.damaged: dict[bytes, bytes] = {}
        """What stands under a key instead of the record that was put there."""
        self.written = False

    def initial_state(self) -> InitialState:
        with self._lock:
            self._hard_state()
            self._check_head()
            return self.state.initial_state()

    def hard_state(self) -> HardState:
        with self._lock:
            return self._hard_state()

    def term(self, index: LogIndex) -> Term:
        with self._lock:
            self._check_head()
            if index == self.state.snapshot.index:
                return self.state.snapshot.term
            self._check_in_log(index)
            key = log_key(index)
            if key in self.damaged:
                return decode_term(self._group, index, self.damaged[key])
            return self.contents.log[index].term

    def entries(self, first_index: LogIndex, end_index: LogIndex, max_bytes: int) -> list[Entry]:
        found: list[Entry] = []
        with self._lock:
            if first_index >= end_index:
                return found
            self._check_head()
            self._check_in_log(first_index)
            self._check_in_log(LogIndex(end_index - 1))
            size = 0
            for index in range(first_index, end_index):
                entry = self._entry(LogIndex(index))
                size += len(entry.data)
                if found and size > max_bytes:
                    break
                found.append(entry)
        return found

    def snapshot_meta(self) -> SnapshotMeta:
        with self._lock:
            self._check_head()
            return self.state.snapshot

    def snapshot_index(self) -> bytes:
        with self._lock:
            self._check_head()
            return self._index()

    def payload(self, index: LogIndex) -> bytes | None:
        with self._lock:
            self._check_head()
            return self._entry(index).data if index in self.contents.log else None

    def payload_indexes(self) -> Sequence[LogIndex]:
        with self._lock:
            self._check_head()
            return [index for index in self.contents.log if index <= self.state.snapshot.index]

    def snapshot_chunk(self, meta: SnapshotMeta, cursor: bytes, max_bytes: int) -> SnapshotChunk | None:
        with self._lock:
            self._check_head()
            if meta != self.state.snapshot:
                return None
            return cut_chunk(cursor, self._records_from(cursor), max_bytes)

    def check(self, cursor: bytes, max_bytes: int) -> bytes | None:
        with self._lock:
            self._check_head()
            self._index()
            for index in self.contents.log:
                self._entry(index)
        return None

    def record(self, key: bytes) -> bytes | None:
        """What stands under a key on the disk; None if nothing does."""
        with self._lock:
            return self.damaged[key] if key in self.damaged else self._encoded(key)

    def _encoded(self, key: bytes) -> bytes | None:
        parts = dict(split_index(self._group, self.contents.index))
        if key == HARD_STATE_KEY:
            return encode_hard_state(self._group, self.state.hard_state, self.state.last_index)
        if key == HEAD_KEY:
            return encode_head(self._group, SnapshotHead(0, len(parts), self.state.snapshot, self.state.health))
        kind, position = key_position(key)
        if kind == INDEX_PART:
            return parts.get(key)
        entry = self.contents.log.get(LogIndex(position))
        return encode_entry(self._group, entry) if entry is not None else None

    def _hard_state(self) -> HardState:
        if HARD_STATE_KEY in self.damaged:
            return decode_hard_state(self._group, self.damaged[HARD_STATE_KEY])[0]
        return self.state.hard_state

    def _check_head(self) -> None:
        if HEAD_KEY in self.damaged:
            decode_head(self._group, self.damaged[HEAD_KEY])

    def _index(self) -> bytes:
        if not self.damaged:
            return self.contents.index
        parts = [self.damaged.get(key, record) for key, record in split_index(self._group, self.contents.index)]
        return b"".join([decode_part(self._group, part, record) for part, record in enumerate(parts)])

    def _records_from(self, cursor: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, record in split_index(self._group, self._index()):
            if key >= cursor:
                yield key, record
        for index in self.contents.log:
            key = log_key(index)
            if key >= cursor and index <= self.state.snapshot.index:
                yield key, encode_entry(self._group, self._entry(index))

    def _check_in_log(self, index: LogIndex) -> None:
        check_in_log(self._group, index, first_index=self.state.first_index, last_index=self.state.last_index)

    def _entry(self, index: LogIndex) -> Entry:
        key = log_key(index) if self.damaged else b""
        if key in self.damaged:
            return decode_entry(self._group, index, self.damaged[key])
        return self.contents.log[index]

    def check_before(self, write: GroupWrite) -> None:
        """Raises StorageCorrupt for what `write` has to believe of the group."""
        self._hard_state()
        if write.health is not Health.DAMAGED:
            self._check_head()

    def apply(self, write: GroupWrite, state: GroupState, staged: list[_Staged]) -> None:
        """Carry out a write that `after` allowed and that leads to `state`."""
        if write.forget or write.health in (Health.DAMAGED, Health.REBUILDING):
            # What a store on a disk would keep unread until it is rebuilt, this one has no use for.
            self.contents, self.staged = _Contents(), _Contents()
            self.damaged.clear()
        for chunk in staged:
            if chunk.starts_over:
                self.staged = _Contents()
            self.staged.index += chunk.index
            self.staged.log.update((entry.index, entry) for entry in chunk.entries)
        if write.install is not None:
            self.contents, self.staged = self.staged, _Contents()
            self.damaged.clear()
        log = self.contents.log
        if write.truncate_from is not None:
            while log and next(reversed(log)) >= write.truncate_from:
                self._forget(next(reversed(log)))
        log.update((entry.index, entry) for entry in write.entries)
        if write.snapshot is not None:
            for key, _ in split_index(self._group, self.contents.index) if self.damaged else ():
                self.damaged.pop(key, None)
            self.damaged.pop(HEAD_KEY, None)
            self.contents.index = write.snapshot[1]
        for index in write.delete_entries:
            self._forget(index)
        for entry in write.replace_entries:
            if entry.index in log:
                log[entry.index] = replace(entry, term=log[entry.index].term)
                self.damaged.pop(log_key(entry.index), None)
        self.state = state
        self.written = True

    def _forget(self, index: LogIndex) -> None:
        self.contents.log.pop(index, None)
        if self.damaged:
            self.damaged.pop(log_key(index), None)


class MemoryStore:
    """`Storage` in memory. `bytes_max` is its disk: what would not fit raises StorageFull."""

    def __init__(self, *, bytes_max: int | None = None) -> None:
        self.bytes_max = bytes_max
        self._groups: dict[GroupId, MemoryGroup] = {}
        self._identity: Identity | None = None
        self._notes: dict[str, bytes] = {}
        self._commit_count = 0
        self._lock = threading.Lock()

    def group(self, group: GroupId) -> MemoryGroup:
        """The read side of a group, whether or not anything was written to it yet."""
        return self._groups.setdefault(group, MemoryGroup(group, self._lock))

    def groups(self) -> Sequence[GroupId]:
        """Every group that was written to, ascending."""
        return sorted(group for group, owner in self._groups.items() if owner.written)

    def write(self, writes: Sequence[GroupWrite]) -> None:
        """All of `writes` or nothing. Raises StorageFull, StorageCorrupt (of the group, or of a received chunk)."""
        states: dict[GroupId, GroupState] = {}
        plan: list[tuple[MemoryGroup, GroupWrite, GroupState, list[_Staged]]] = []
        added = 0
        for write in writes:
            owner = self.group(write.group)
            owner.check_before(write)
            before = states.get(write.group, owner.state)
            _, chunks = accept(before.received, write.stage_meta, write.stage)
            staged = [_decode_chunk(write.group, chunk) for chunk in chunks]
            states[write.group] = after(write.group, before, write)
            plan.append((owner, write, states[write.group], staged))
            added += sum(len(entry.data) for entry in write.entries) + sum(len(c.data) for c in chunks)
            added += len(write.snapshot[1]) if write.snapshot is not None else 0
        if added and self.bytes_max is not None and self.used_bytes() + added > self.bytes_max:
            raise StorageFull(f"the store reached its configured maximum of {self.bytes_max} bytes")
        with self._lock:
            for owner, write, state, staged in plan:
                owner.apply(write, state, staged)
            self._commit_count += 1

    def used_bytes(self) -> int:
        """Bytes of data and snapshot indexes held, staged ones too."""
        return sum(owner.contents.size() + owner.staged.size() for owner in self._groups.values())

    def statistics(self) -> StoreStatistics:
        """As LmdbStore's, with pages of one byte."""
        used = self.used_bytes()
        size = used if self.bytes_max is None else self.bytes_max
        return StoreStatistics(
            file_size=used,
            used_bytes=used,
            free_pages=0,
            page_size=1,
            map_size=size,
            map_size_max=size,
            map_grow_count=0,
            commit_count=self._commit_count,
            last_commit_seconds=0.0,
        )

    def damage(self, group: GroupId, key: bytes, record: bytes) -> None:
        """Something else than what was put there stands under `key`, until that is replaced or dropped."""
        self.group(group).damaged[key] = record

    def read_identity(self) -> Identity | None:
        """The owner of this store; None before the first `write_identity`."""
        return self._identity

    def write_identity(self, identity: Identity) -> None:
        """Durable when it returns."""
        self._identity = identity

    def read_note(self, name: str) -> bytes | None:
        """What `write_note` was given."""
        return self._notes.get(name)

    def write_note(self, name: str, data: bytes) -> None:
        """Durable when it returns."""
        self._notes[name] = data

    def close(self) -> None:
        """Nothing to give back."""
