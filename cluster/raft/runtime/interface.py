"""What the driver needs from its surroundings, and what it tells them.

Law: every call between driver, handlers and transport is synchronous and on the Trio thread. A handler may call
the driver back from within any of its methods; the driver acts on it in a later step of its round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cluster.raft.messages import Message
from cluster.raft.ready import GroupStatus, NotLeader, ProposalDropped, RaftConfig, Role
from cluster.raft.types import Entry, GroupId, LogIndex, NodeId, SnapshotMeta, Term


class Transport(Protocol):
    """Carries messages to peers; may lose and reorder them, but never changes one."""

    def send(self, peer: NodeId, messages: list[Message]) -> None:
        """Queue all messages of a round for one peer. Never blocks, never raises; may drop."""


class GroupHandler(Protocol):
    """The state machine of one group, and what proposes to it.

    Within a round the order is restore, apply, role_changed, read_ready.
    """

    def take_proposal(self, max_bytes: int) -> bytes | None:
        """The next entry, or None. Asked of a leader that was marked dirty, once a write round, until None.

        `max_bytes` is a wish: one command larger than it is still taken.
        """

    def proposed(self, index: LogIndex, term: Term) -> None:
        """The entry just taken will stand at `index` if this leader of `term` commits it."""

    def proposal_refused(self, data: bytes, error: NotLeader | ProposalDropped) -> None:
        """The entry just taken is not in the log. A handler that keeps it is asked again within a tick."""

    def apply(self, entries: list[Entry]) -> None:
        """Committed entries in order, each once, NOOP and CONFIG included."""

    def restore(self, meta: SnapshotMeta, data: bytes) -> None:
        """Become the state as of `meta.index`; b"" is the state of a group that never made a snapshot, or that
        lost what it had: everything is applied again then."""

    def role_changed(self, role: Role, term: Term, leader: NodeId) -> None:
        """Any of the three changed. `leader` is NOBODY when unknown."""

    def read_ready(self, context: int) -> None:
        """The read asked for with `context` was confirmed, and everything it must see is applied."""


class StorageListener(Protocol):
    """Who must know how the disk is."""

    def storage_full_changed(self, is_full: bool, text: str) -> None:
        """`text` says what is full; "" when it is no more."""

    def group_damaged(self, group: GroupId, text: str) -> None:
        """What the storage has of the group cannot be believed, for this reason. It is taken from the peers again;
        `text` is "" when that is done."""


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Times and bounds of the driver.

    tick_seconds               length of a raft tick
    raft, raft_of              for all groups but those with their own
    proposal_bytes_max         wished size of one entry, see `GroupHandler.take_proposal`
    patient_bytes              while no more than this waits for a quorum, a group proposes nothing: what comes up
                               meanwhile shares the next entry
    fsync_stall_seconds        a write that takes longer makes this node give up its leaderships of groups that have a
                               quorum without it, and five times as long those of all groups that others are there of;
                               where it does not lead it takes no part in elections until the disk answers
    full_retry_seconds         pause before a write that found the disk full is tried again
    inbox_messages_max         messages received and not yet stepped; more are dropped
    inbox_bytes_max            the same in bytes of entries and snapshot chunks
    rebuild_bytes_per_second   chunks of snapshots that this node sends, to all that lack what logs do not have any more
    stop_timeout_seconds       how long `run` waits for a write under way when it ends
    latency_window             writes over which percentiles are computed
    """

    tick_seconds: float = 0.05
    raft: RaftConfig = field(default_factory=RaftConfig)
    raft_of: Mapping[GroupId, RaftConfig] = field(default_factory=dict)
    proposal_bytes_max: int = 1 << 20
    patient_bytes: int = 8 << 10
    fsync_stall_seconds: float = 1.0
    full_retry_seconds: float = 0.2
    inbox_messages_max: int = 1 << 16
    inbox_bytes_max: int = 256 << 20
    rebuild_bytes_per_second: int = 16 << 20
    stop_timeout_seconds: float = 10.0
    latency_window: int = 512


@dataclass(frozen=True, slots=True)
class RuntimeStatistics:
    """Counters since the start, and the present state of the disk. Latencies are seconds of a whole write.

    `writes` is the number of write transactions, so of fsyncs; `entries_written` over it is the batching.
    """

    rounds: int
    writes: int
    writes_failed: int
    write_seconds_last: float
    write_seconds_p50: float
    write_seconds_p99: float
    entries_proposed: int
    bytes_proposed: int
    entries_written: int
    bytes_written: int
    entries_applied: int
    messages_sent: int
    messages_received: int
    messages_dropped: int
    is_storage_full: bool
    is_stalled: bool
    groups_stopped: int
    groups_repairing: int


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group as its driver sees it. `stopped` says why it takes no part; "" while it does. `status` is None then.

    `repairing` says what was damaged, while the group's log is taken from the others again; else "". `refused` says
    what its storage lacks for its latest write, while that waits for room; else "".
    """

    group: GroupId
    stopped: str
    status: GroupStatus | None
    repairing: str = ""
    refused: str = ""
