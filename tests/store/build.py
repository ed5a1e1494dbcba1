"""Short ways to say what a group writes."""

from __future__ import annotations

from cluster.raft.storage import GroupStorage, GroupWrite, SnapshotChunk
from cluster.raft.types import (
    Configuration,
    Entry,
    EntryKind,
    GroupId,
    HardState,
    LogIndex,
    NodeId,
    SnapshotMeta,
    Term,
)

G = GroupId(3)
"""The group of a test that needs only one."""
VOTERS = Configuration((NodeId(1), NodeId(2), NodeId(3)))


def index(number: int) -> LogIndex:
    return LogIndex(number)


def entry(number: int, data: bytes | None = None, *, term: int = 1) -> Entry:
    body = b"data of %d" % number if data is None else data
    return Entry(Term(term), LogIndex(number), EntryKind.COMMAND, body)


def entries(first: int, last: int, *, term: int = 1) -> list[Entry]:
    """Entries first..last, both included."""
    return [entry(number, term=term) for number in range(first, last + 1)]


def hard_state(term: int, vote: int = 0, commit_index: int = 0) -> HardState:
    return HardState(Term(term), NodeId(vote), LogIndex(commit_index))


def meta(number: int, *, term: int = 1, configuration: Configuration = VOTERS) -> SnapshotMeta:
    return SnapshotMeta(LogIndex(number), Term(term), configuration)


def appended(first: int, last: int, *, group: GroupId = G, term: int = 1) -> GroupWrite:
    return GroupWrite(group, entries=entries(first, last, term=term))


def chunks_of(source: GroupStorage, max_bytes: int) -> list[SnapshotChunk]:
    """The whole of a group's snapshot, as it would travel."""
    snapshot, cursor = source.snapshot_meta(), b""
    found: list[SnapshotChunk] = []
    while True:
        chunk = source.snapshot_chunk(snapshot, cursor, max_bytes)
        assert chunk is not None
        found.append(chunk)
        if chunk.next_cursor is None:
            return found
        cursor = chunk.next_cursor


def data_of(group: GroupStorage, first: int, last: int) -> list[bytes]:
    """Data of log entries first..last, both included."""
    found = group.entries(LogIndex(first), LogIndex(last + 1), 1 << 30)
    return [found_entry.data for found_entry in found]
