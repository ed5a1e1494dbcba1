"""What goes into a group besides messages, and what comes out of it.

Law: plain values. The driver carries them out; nothing here refers back into the core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from cluster.raft.messages import Message
from cluster.raft.storage import GroupWrite
from cluster.raft.types import Configuration, Entry, GroupId, LogIndex, NodeId, SnapshotMeta, Term


class Role(Enum):
    """What a member is in its term. A learner is a FOLLOWER that is in no voter set."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class NotLeader(Exception):
    """Only a leader can do this. `leader` is who it is as far as is known here, NOBODY (0) if unknown."""

    def __init__(self, leader: NodeId) -> None:
        super().__init__(f"the leader is node {leader}" if leader else "there is no leader")
        self.leader = leader


class ProposalDropped(Exception):
    """The leader did not take the proposal, and its log is as before; the text says why."""


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """Times are in ticks, sizes in bytes.

    election_ticks         a follower starts an election after 1..2 times as long without a leader, a leader
                           that hears from no quorum for as long steps down, and a voter that heard from its
                           leader within it votes for nobody else
    heartbeat_ticks        a leader says so often that it is there; half as often while its group is quiet
    max_append_bytes       entry data in one append, at least one entry
    max_inflight_appends   unacknowledged appends to one peer; then the leader waits
    max_inflight_bytes     the same in bytes
    max_uncommitted_bytes  a leader drops proposals while more than this waits for a quorum
    max_apply_bytes        entry data in one `Ready.committed`, at least one entry
    max_waiting_reads      reads that wait for a leader's confirmation; more are dropped
    tail_bytes             recent entries kept in memory, durable and applied ones beyond it are let go
    snapshot_chunk_bytes   asked of the store per chunk
    retention_ticks        the log is kept so long for a peer that takes nothing of it in
    snapshots_passed_max   and until it has let so many snapshots pass without coming closer; 0: never
    patient_commit_news    that something is committed goes to followers with the next append or tick, not in a
                           message of its own. Off: where followers answer from what they have applied. They are
                           told at once then, even of what their own disk is still busy with
    """

    election_ticks: int = 10
    heartbeat_ticks: int = 2
    max_append_bytes: int = 1 << 20
    max_inflight_appends: int = 64
    max_inflight_bytes: int = 32 << 20
    max_uncommitted_bytes: int = 64 << 20
    max_apply_bytes: int = 4 << 20
    max_waiting_reads: int = 1 << 16
    tail_bytes: int = 8 << 20
    snapshot_chunk_bytes: int = 1 << 20
    retention_ticks: int = 1200
    snapshots_passed_max: int = 3
    patient_commit_news: bool = False


@dataclass(frozen=True, slots=True)
class ReadState:
    """A read asked for with `context` sees everything once the state machine has applied `index`."""

    context: int
    index: LogIndex


@dataclass(frozen=True, slots=True)
class RoleChange:
    role: Role
    term: Term
    leader: NodeId


@dataclass(slots=True)
class Ready:
    """What the driver does now, before any write: send, restore, apply, answer reads.

    `restored` comes first: the state machine restores from `storage.snapshot_index()` and then applies
    `committed`, which continues after it without a gap.
    """

    messages: list[Message]
    committed: list[Entry]
    read_states: list[ReadState]
    role_change: RoleChange | None
    restored: SnapshotMeta | None


@dataclass(slots=True, eq=False)
class Persist:
    """What must be durable before `messages` leave. Hand it back through `RaftGroup.persisted`.

    `term` and `vote` are what will be durable with it.
    """

    write: GroupWrite
    messages: list[Message]
    term: Term
    vote: NodeId


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A leader's view of a peer. `state` is probe, replicate or snapshot; `active`: heard from lately; `is_near`: what
    it lacks is in the leader's memory."""

    match_index: LogIndex
    next_index: LogIndex
    state: str
    active: bool
    is_near: bool


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """`progress` is empty unless this member leads; the leader itself is not in it."""

    group: GroupId
    role: Role
    term: Term
    leader: NodeId
    commit_index: LogIndex
    applied_index: LogIndex
    first_index: LogIndex
    last_index: LogIndex
    configuration: Configuration
    progress: Mapping[NodeId, ReplicaStatus]
    configuration_index: LogIndex
    """Where `configuration` stands in the log; 0 where the group began with it."""
    is_repairing: bool = False
    """It lost its log and does not vote until it has everything again."""

    @property
    def is_settled(self) -> bool:
        """Is the configuration committed, and not a joint one?"""
        return self.configuration_index <= self.commit_index and not self.configuration.outgoing_voters
