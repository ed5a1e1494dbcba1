"""What the members of one group say to each other.

Law: a message is a value; whoever sends it does not change it afterwards, and entry data in it is the very
object that is in the log. `term` is the sender's term, except in a `PreVoteRequest` and in the `PreVoteReply`
that grants it, where it is the term that the candidate would open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cluster.raft.types import (
    Configuration,
    Entry,
    GroupId,
    LogIndex,
    NodeId,
    SnapshotMeta,
    Term,
)


@dataclass(slots=True)
class PreVoteRequest:
    """Would you vote for me in `term`? Nothing is promised by asking or answering (Raft thesis §9.6)."""

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    last_index: LogIndex
    last_term: Term


@dataclass(slots=True)
class PreVoteReply:
    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    granted: bool


@dataclass(slots=True)
class VoteRequest:
    """RequestVote (Raft paper figure 2). `transfer`: the leader itself asked for this election."""

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    last_index: LogIndex
    last_term: Term
    transfer: bool


@dataclass(slots=True)
class VoteReply:
    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    granted: bool


@dataclass(slots=True)
class Append:
    """AppendEntries (Raft paper figure 2); `entries` follow `prev_index` without a gap, and may be none."""

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    prev_index: LogIndex
    prev_term: Term
    commit_index: LogIndex
    entries: list[Entry]


@dataclass(slots=True)
class AppendReply:
    """Accepted: every entry up to `index` is durable at the source and equals the leader's.

    Rejected: `index` is the `prev_index` that did not match, and the source's log may match the leader's at
    `hint_index`, whose term there is `hint_term`, but nowhere between the two.
    """

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    index: LogIndex
    rejected: bool
    hint_index: LogIndex
    hint_term: Term


@dataclass(slots=True)
class Heartbeat:
    """`commit_index` is never above what the target acknowledged, so the order of arrival does not matter.

    Rounds are numbered from 1 and answered; one of round 0 only tells the commit index.
    """

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    commit_index: LogIndex
    round: int


@dataclass(slots=True)
class HeartbeatReply:
    """`round` is the heartbeat's; `last_index` is where the source's log ends, durable or not."""

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    round: int
    last_index: LogIndex


@dataclass(slots=True)
class SnapshotChunkMessage:
    """A piece of the snapshot `meta` (InstallSnapshot, Raft paper figure 13); see `storage.SnapshotChunk`."""

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    meta: SnapshotMeta
    cursor: bytes
    data: bytes
    next_cursor: bytes | None


@dataclass(slots=True)
class SnapshotChunkReply:
    """Everything before `cursor` of the snapshot that ends at `index` is durable; None: it is installed."""

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    index: LogIndex
    cursor: bytes | None


@dataclass(slots=True)
class TimeoutNow:
    """The leader asks the target to start an election at once (Raft thesis §3.10)."""

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term


@dataclass(slots=True)
class ReadIndexRequest:
    """A follower asks for a read index (Raft thesis §6.4); `context` is the asker's own."""

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    context: int


@dataclass(slots=True)
class ReadIndexReply:
    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    context: int
    index: LogIndex


@dataclass(slots=True)
class RepairRequest:
    """A member that lost its log asks its leader how much there was; see `Repair`."""

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    nonce: int


@dataclass(slots=True)
class RepairReply:
    """The leader's log ends at `last_index`; `configuration` is the one in force where it begins."""

    group: GroupId
    source: NodeId
    target: NodeId
    term: Term
    nonce: int
    last_index: LogIndex
    configuration: Configuration


Message: TypeAlias = (
    PreVoteRequest
    | PreVoteReply
    | VoteRequest
    | VoteReply
    | Append
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | SnapshotChunkMessage
    | SnapshotChunkReply
    | TimeoutNow
    | ReadIndexRequest
    | ReadIndexReply
    | RepairRequest
    | RepairReply
)


def data_bytes(message: Message) -> int:
    """Of entries, or of a snapshot, in a message."""
    if type(message) is Append:
        return sum([len(entry.data) for entry in message.entries])
    return len(message.data) if type(message) is SnapshotChunkMessage else 0
