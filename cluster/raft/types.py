"""The words of consensus that storage, core and driver share.

Law: values only. Nothing here has behaviour that depends on time, I/O or order of construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

NodeId = NewType("NodeId", int)
"""A member's id, from 1; never reused within a cluster. 0 stands for "nobody"."""
GroupId = NewType("GroupId", int)
"""A Raft group. 0 is the catalog, 1.. are shards."""
Term = NewType("Term", int)
LogIndex = NewType("LogIndex", int)
"""Position in a group's log, from 1. 0 is the position before the first entry."""

NOBODY = NodeId(0)


class EntryKind(IntEnum):
    """What an entry's data is. NOOP opens a leader's term (Raft thesis §6.4), or with data is a mark; CONFIG is a
    `Configuration`."""

    NOOP = 0
    COMMAND = 1
    CONFIG = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One log record. `data` is opaque to consensus (COMMAND) or an encoded configuration (CONFIG)."""

    term: Term
    index: LogIndex
    kind: EntryKind
    data: bytes


@dataclass(frozen=True, slots=True)
class HardState:
    """What must be durable before any reply that depends on it leaves (Raft paper §5, figure 2).

    `commit_index` is a hint that shortens a restart; losing a newer one is harmless.
    """

    term: Term
    vote: NodeId
    commit_index: LogIndex


@dataclass(frozen=True, slots=True)
class Configuration:
    """A membership, joint while `outgoing_voters` is not empty (Raft thesis §4.3). All tuples are sorted.

    `next_learners` are voters of the outgoing half that become learners when the joint phase ends.
    """

    voters: tuple[NodeId, ...]
    outgoing_voters: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()
    next_learners: tuple[NodeId, ...] = ()


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """A snapshot covers every entry up to and including `index`, which was written in `term`."""

    index: LogIndex
    term: Term
    configuration: Configuration
