"""What the journal holds of a group, on top of what LMDB has: the log's tail, and how a write is told in a record.

Law: a tail is never changed but by entries that follow, so whoever has one may read it beside the writer. What it says
is durable. A group's vote, its snapshots and what they allow to delete never go through the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from cluster.raft.storage import GroupWrite
from cluster.raft.types import Entry, EntryKind, GroupId, HardState, LogIndex, NodeId, Term
from cluster.store.record import SnapshotHead
from cluster.store.state import GroupState

JOURNALED_BYTES_MAX = 128 << 10
"""Entries of one write that goes to the journal, in bytes: what is more costs LMDB less than being written twice."""


@dataclass(frozen=True, slots=True)
class Tail:
    """`stored` and `head` are what LMDB has. Of its log, what is at or above `first` does not count any more: the rest
    of the log is `entries`."""

    stored: GroupState
    head: SnapshotHead
    hard_state: HardState
    first: LogIndex
    entries: list[Entry]

    @property
    def last_index(self) -> LogIndex:
        return LogIndex(self.first + len(self.entries) - 1)

    def __contains__(self, index: LogIndex) -> bool:
        return self.first <= index <= self.last_index

    def state(self) -> GroupState:
        """The group with it."""
        return replace(self.stored, hard_state=self.hard_state, last_index=self.last_index)

    def entry(self, index: LogIndex) -> Entry:
        """One that is at or above `first` and not above `last_index`."""
        return self.entries[index - self.first]

    def after(self, write: GroupWrite) -> Tail:
        """What becomes of it."""
        tail = self
        if write.truncate_from is not None and write.truncate_from <= tail.last_index:
            first = LogIndex(min(tail.first, write.truncate_from))
            tail = replace(tail, first=first, entries=tail.entries[: write.truncate_from - first])
        if write.hard_state is not None:
            tail = replace(tail, hard_state=write.hard_state)
        tail.entries.extend(write.entries)
        return tail

    def as_write(self, group: GroupId) -> GroupWrite:
        """All of it, for LMDB."""
        return GroupWrite(
            group,
            hard_state=self.hard_state if self.hard_state != self.stored.hard_state else None,
            truncate_from=self.first if self.first <= self.stored.last_index else None,
            entries=list(self.entries),
        )


def tail_of(state: GroupState, head: SnapshotHead) -> Tail:
    """Of a group of which the journal holds nothing."""
    return Tail(state, head, state.hard_state, LogIndex(state.last_index + 1), [])


def may_be_journaled(write: GroupWrite, state: GroupState) -> bool:
    """Is it of the kind that may go to the journal, its size aside?"""
    hard, known = write.hard_state, state.hard_state
    return write.is_plain and (hard is None or (hard.term, hard.vote) == (known.term, known.vote))


def encode_writes(writes: Sequence[GroupWrite]) -> bytes:
    """The body of a record."""
    told = []
    for write in writes:
        hard = write.hard_state
        told.append(
            (
                write.group,
                (hard.term, hard.vote, hard.commit_index) if hard is not None else None,
                write.truncate_from,
                [(entry.term, entry.index, int(entry.kind), entry.data) for entry in write.entries],
            )
        )
    packed: bytes = msgpack.packb(told)
    return packed


def decode_writes(body: bytes) -> list[GroupWrite]:
    """Inverse of `encode_writes`; the caller has checked the record."""
    told: list[Any] = msgpack.unpackb(body, use_list=False)
    writes: list[GroupWrite] = []
    for group, hard, truncate_from, entries in told:
        writes.append(
            GroupWrite(
                GroupId(group),
                hard_state=HardState(Term(hard[0]), NodeId(hard[1]), LogIndex(hard[2])) if hard is not None else None,
                truncate_from=LogIndex(truncate_from) if truncate_from is not None else None,
                entries=[Entry(Term(e[0]), LogIndex(e[1]), EntryKind(e[2]), e[3]) for e in entries],
            )
        )
    return writes
