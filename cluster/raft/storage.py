"""The storage protocol: what consensus asks of a disk.

Law: writes arrive as values (`GroupWrite`), many groups at once, and are durable and atomic together when
`write` returns. Reads are synchronous and short. A group's log is the half-open range
`[first_index, last_index + 1)`; entries below `first_index` are covered by the snapshot, but the store keeps
those whose payload is still alive (the log is the store) until `delete_entries` names them, and
`payload` still reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from cluster.raft.types import Configuration, Entry, GroupId, HardState, LogIndex, SnapshotMeta, Term


class StorageError(Exception):
    """Base of everything a store can raise; the text is one clear line."""


class StorageFull(StorageError):
    """No space: ENOSPC, or the map reached its configured maximum. Nothing of the write took effect."""


class StorageCorrupt(StorageError):
    """A checksum did not match, or a record is not where it must be. The group must not vote or lead."""


class StorageIO(StorageError):
    """The device refused (EIO and the like). Nothing can be said about the write; the node must stop."""


class Compacted(StorageError):
    """The asked index lies below `first_index`."""


class Unavailable(StorageError):
    """The asked index lies above `last_index`."""


class Health(IntEnum):
    """Whether what a store has of a group can be believed. SOUND -> DAMAGED -> REBUILDING -> SOUND.

    DAMAGED      the log and the snapshot stay where they are, unread: the group looks empty. Term and vote hold
    REBUILDING   they are deleted, and what is there now came from a leader since; some of it may still be missing
    """

    SOUND = 0
    DAMAGED = 1
    REBUILDING = 2


EMPTY_SNAPSHOT = SnapshotMeta(LogIndex(0), Term(0), Configuration(()))
"""Of a group that nobody bootstrapped, or that lost everything."""


@dataclass(frozen=True, slots=True)
class InitialState:
    """What a group finds when it starts. A new group: term 0, index 0, `snapshot` as bootstrapped."""

    hard_state: HardState
    snapshot: SnapshotMeta
    first_index: LogIndex
    last_index: LogIndex
    health: Health = Health.SOUND


@dataclass(frozen=True, slots=True)
class SnapshotChunk:
    """A piece of a snapshot in transfer. `cursor` is opaque to consensus: the first is b"", `next_cursor` is
    where the following one starts, None after the last. `data` is at most the byte limit asked for, except
    that one record is never split over it by more than its own size."""

    cursor: bytes
    data: bytes
    next_cursor: bytes | None


@dataclass(frozen=True, slots=True)
class GroupWrite:
    """Everything one group wants durable in a round, carried out in the order of the fields.

    forget           this node is no member any more: log and snapshot go; the hard state stays, for a vote is cast once
    hard_state       replaces the stored one
    health           the group's next health; what it says is done with the contents, see `Health`
    install          finish a received snapshot: the chunks staged for `install` become the group's state, the
                     log becomes empty after `install.index`, entries and snapshot that were there are gone
    stage            chunks of a snapshot being received (for `stage_meta`), kept apart until installed;
                     a chunk with cursor b"" drops whatever was staged before
    truncate_from    drop every log entry at or above this index (never below `first_index`)
    entries          append; the first index is last_index + 1 after the fields above
    snapshot         a new snapshot made locally: its meta and the state machine's index (opaque, may be large);
                     entries up to its index leave the log but stay readable by `payload`
    delete_entries   payloads that are no longer alive; each lies at or below the snapshot's index
    replace_entries  data rewritten smaller, under the same index; likewise. The term that is stored stays
    """

    group: GroupId
    hard_state: HardState | None = None
    health: Health | None = None
    stage_meta: SnapshotMeta | None = None
    stage: Sequence[SnapshotChunk] = ()
    install: SnapshotMeta | None = None
    truncate_from: LogIndex | None = None
    entries: Sequence[Entry] = ()
    snapshot: tuple[SnapshotMeta, bytes] | None = None
    delete_entries: Sequence[LogIndex] = ()
    replace_entries: Sequence[Entry] = ()
    forget: bool = False

    @property
    def is_plain(self) -> bool:
        """Does it bring entries, with a truncation and a hard state maybe, and nothing else?"""
        of_snapshots = self.stage or self.install or self.snapshot or self.delete_entries or self.replace_entries
        return not (of_snapshots or self.forget or self.health is not None)

    @property
    def entry_bytes(self) -> int:
        """Of the entries' data."""
        size = 0
        for entry in self.entries:
            size += len(entry.data)
        return size


class GroupStorage(Protocol):
    """The read side of one group, as the core sees it."""

    def initial_state(self) -> InitialState:
        """Raises StorageCorrupt."""

    def hard_state(self) -> HardState:
        """Term and vote alone, whatever became of the rest. Raises StorageCorrupt."""

    def term(self, index: LogIndex) -> Term:
        """Term of a stored entry, or of the snapshot's last. Raises Compacted, Unavailable, StorageCorrupt."""

    def entries(self, first_index: LogIndex, end_index: LogIndex, max_bytes: int) -> list[Entry]:
        """Entries of the half-open range, at least one, then as many as fit in `max_bytes` of data.

        Raises Compacted, Unavailable, StorageCorrupt.
        """

    def snapshot_meta(self) -> SnapshotMeta: ...

    def snapshot_index(self) -> bytes:
        """The state machine's index of the latest snapshot; b"" for a group that never made one."""

    def payload(self, index: LogIndex) -> bytes | None:
        """Data of an entry that may lie below `first_index`; None if it was deleted. Raises StorageCorrupt."""

    def payload_indexes(self) -> Sequence[LogIndex]:
        """Indexes at or below the snapshot's whose payload is kept, ascending."""

    def check(self, cursor: bytes, max_bytes: int) -> bytes | None:
        """Read through the group's records, from `cursor` (b"": the first) on, at least one, then as many as fit in
        `max_bytes`. Where to go on; None at the end. Raises StorageCorrupt."""

    def snapshot_chunk(self, meta: SnapshotMeta, cursor: bytes, max_bytes: int) -> SnapshotChunk | None:
        """Next piece of the latest snapshot: the state machine's index first, then the live payloads.

        One short read transaction. None when `meta` is no longer the latest snapshot (start again).
        """


class Storage(Protocol):
    """A node's store: every group of it."""

    def group(self, group: GroupId) -> GroupStorage: ...

    def groups(self) -> Sequence[GroupId]: ...

    def write(self, writes: Sequence[GroupWrite]) -> None:
        """One transaction, one fsync. Called from one thread at a time; reads may go on in another.

        Raises StorageFull (nothing took effect), StorageIO, StorageCorrupt.
        """


def is_held(storage: GroupStorage) -> bool:
    """Does this node take part in the group? A damaged replica counts: it is to be seen."""
    try:
        stored = storage.initial_state()
    except StorageCorrupt:
        return True
    return bool(stored.last_index or stored.snapshot.configuration.voters) or stored.health is not Health.SOUND
