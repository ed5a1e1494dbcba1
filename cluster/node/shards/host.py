"""One replica of a shard on this node: the bridge between consensus and the shard's state and leader.

Law: the state changes only by committed entries, in order. A leader exists from the moment its own term's first
entry is applied (everything confirmed earlier is then in the state) until the role is lost; what it had not
proposed then is re-sent by the home nodes. A snapshot of the index is made every `snapshot_bytes` of log or
`snapshot_entries` entries, and when a shard has come to rest with dead entries in its log, bit by bit where there is
much of it; the dead entries that it covers are deleted with it. Of the others, those with few survivors are rewritten,
a few at a time. Where the disk is short, what is dead goes as soon as that gives more space back than it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cluster.broker.shard.columns import EntryCorrupt
from cluster.broker.shard.compaction import FEW, FEW_WHERE_SHORT, Compaction, remnant
from cluster.broker.shard.leader import LeaderLimits
from cluster.broker.shard.state import ShardState
from cluster.node.checkpoints import Checkpoints
from cluster.node.shards.seat import Seat, SeatServices
from cluster.node.shards.snapshots import Snapshots
from cluster.raft.group import NotLeader, ProposalDropped, RaftGroup, Role
from cluster.raft.storage import GroupStorage, StorageCorrupt
from cluster.raft.types import NOBODY, Entry, EntryKind, GroupId, LogIndex, NodeId, SnapshotMeta, Term

OLD_DEAD_ENTRIES = 8
"""Dead entries of unknown size for which a resting shard makes a snapshot."""
SHORT_FACTOR = 2
"""Where the disk is short, log of so many times the size of a snapshot may pass between two of them."""


@dataclass(frozen=True, slots=True)
class HostLimits:
    """snapshot_bytes, snapshot_entries  log that may pass between two snapshots of a shard's index
    resting_dead_entries  dead entries for which a resting shard makes one
    resting_bytes  bytes of dead entries, or of log since the last one, for which it does so
    rewrite_bytes  of entries that are read in one go to see whether to rewrite them
    """

    snapshot_bytes: int = 64 << 20
    snapshot_entries: int = 8192
    resting_dead_entries: int = 64
    resting_bytes: int = 1 << 20
    rewrite_bytes: int = 4 << 20


class HostServices(SeatServices, Protocol):
    """What a replica needs from its node, besides."""

    def damaged(self, group: GroupId, error: StorageCorrupt) -> None:
        """What the log has of the group cannot be believed: give up its lead, and have it rebuilt."""

    def propose(self, group: GroupId) -> None:
        """Ask the group's host for an entry when the next write round starts."""

    def write_snapshot(self, group: GroupId, index: LogIndex, data: bytes, dead: list[LogIndex]) -> None:
        """Make the snapshot durable, and delete the entries that it says are dead."""

    def raft(self, group: GroupId) -> RaftGroup | None:
        """Consensus of the group, if it takes part."""

    def rewrite(self, group: GroupId, entries: list[Entry]) -> None:
        """Entries that the latest snapshot covers have shrunk to this."""


class ShardHost(Seat):
    """A `GroupHandler` for one shard. A payload that turns out to be damaged ends its lead before anything of it
    is handed out; the next leader has it."""

    def __init__(
        self,
        group: GroupId,
        storage: GroupStorage,
        services: HostServices,
        limits: HostLimits,
        leader_limits: LeaderLimits,
    ) -> None:
        super().__init__(group, services, leader_limits)
        self.group = group
        self.role = Role.FOLLOWER
        self._host_services = services
        self._storage = storage
        self._host_limits = limits
        self._leading_term = Term(0)
        self._bytes_since_snapshot = 0
        self._entries_since_snapshot = 0
        self._sizes: dict[int, int] = {}
        """Of entries that may be alive and are large: a few of them, dead, are much of the disk."""
        self._restored_index = LogIndex(0)
        self._rested_at = 0
        self._snapshot_index = LogIndex(0)
        self._snapshot_bytes = 0
        """Size of the one that was made last."""
        self._is_short = False
        """Is this node's disk?"""
        self._compaction = Compaction()
        self._snapshots = Snapshots()
        self.checkpoints = Checkpoints()

    def damaged(self, error: StorageCorrupt) -> None:
        self._host_services.damaged(self.group, error)

    def load(self, index: int) -> bytes:
        """Raises StorageCorrupt. What a majority has may not be on this node's disk yet, and is in memory then."""
        raft = self._host_services.raft(self.group)
        recent = raft.recent_entry(LogIndex(index)) if raft is not None else None
        if recent is not None:
            return recent.data
        data = self._storage.payload(LogIndex(index))
        if data is None:
            raise StorageCorrupt(f"group {self.group}: entry {index} is alive but not in the log")
        return data

    def is_leaving(self) -> bool:
        raft = self._host_services.raft(self.group)
        return raft is not None and raft.is_handing_over

    # ---- GroupHandler

    def take_proposal(self, max_bytes: int) -> bytes | None:
        leader = self.leader
        return leader.take_entry(self._services.wall_ms(), max_bytes) if leader is not None else None

    def proposed(self, index: LogIndex, term: Term) -> None:
        if self.leader is not None:
            self.leader.entry_accepted()
            if self.leader.wants_entry:
                self._host_services.propose(self.group)

    def proposal_refused(self, data: bytes, error: NotLeader | ProposalDropped) -> None:
        if self.leader is not None:
            self.leader.entry_refused()

    def apply(self, entries: list[Entry]) -> None:
        state = self.state
        for entry in entries:
            if entry.kind is EntryKind.COMMAND:
                try:
                    applied = state.apply(entry.index, entry.data)
                except EntryCorrupt as error:
                    raise StorageCorrupt(f"group {self.group}: entry {entry.index}: {error}") from error
                if self.leader is not None:
                    self.leader.applied(applied, entry.data)
                self._bytes_since_snapshot += len(entry.data)
                if entry.index in state.live:
                    self._compaction.written(entry.index, state.live[entry.index])
                    if len(entry.data) >= self._large_bytes:
                        self._sizes[entry.index] = len(entry.data)
            else:
                state.skip(entry.index)
                if entry.kind is EntryKind.NOOP and entry.data:
                    self.checkpoints.begin(entry.data, entry.index, state.draft().pieces())
                if entry.kind is EntryKind.NOOP and entry.term == self._leading_term and self.leader is None:
                    self.begin(entry.term)
        self._entries_since_snapshot += len(entries)
        if self.leader is not None:
            self._services.disturbed(self)
        if (
            self._bytes_since_snapshot >= self._bytes_between
            or self._entries_since_snapshot >= self._host_limits.snapshot_entries
        ):
            self.write_snapshot()

    @property
    def _bytes_between(self) -> int:
        """Of the log, between two snapshots."""
        limits = self._host_limits
        short_bytes = max(limits.resting_bytes, SHORT_FACTOR * self._snapshot_bytes)
        return min(limits.snapshot_bytes, short_bytes) if self._is_short else limits.snapshot_bytes

    def tick(self, now_ms: int) -> None:
        super().tick(now_ms)
        self.checkpoints.tick()
        if self._snapshots.is_begun:
            self._go_on()

    def tidy(self, *, is_short: bool) -> None:
        """To be called now and then: gives space back. A shard in which nothing happened since makes a snapshot, and so
        does a leader whose log a peer has no room for."""
        self._is_short = is_short
        applied, limits = self.state.applied_index, self._host_limits
        raft = self._host_services.raft(self.group)
        if raft is not None and raft.wants_snapshot and self._snapshot_index < applied:
            self.write_snapshot()
        if applied == self._rested_at and (
            len(self.state.dead) >= (1 if is_short else limits.resting_dead_entries)
            or self._bytes_since_snapshot >= limits.resting_bytes
            or sum(map(self._size_of, self.state.dead)) >= limits.resting_bytes
        ):
            self.write_snapshot()
        self._rested_at = applied
        self._guarded(self._compact, None)

    def _size_of(self, index: int) -> int:
        """About, of a dead entry. Of one from before a start it is not known: a few of them are enough."""
        unknown = self._host_limits.resting_bytes // OLD_DEAD_ENTRIES if index <= self._restored_index else 0
        return self._sizes.get(index, unknown)

    @property
    def _large_bytes(self) -> int:
        """Smaller ones are counted: as many as a resting shard keeps are not much."""
        return self._host_limits.resting_bytes // self._host_limits.resting_dead_entries

    def _compact(self) -> None:
        """Rewrite some entries of which little is left. Raises StorageCorrupt."""
        compaction = self._compaction
        # What is committed by the others may be on its way to a slow disk here, its snapshot as well.
        stored_index = min(self._snapshot_index, self._storage.snapshot_meta().index)
        few = FEW_WHERE_SHORT if self._is_short else FEW
        indexes = compaction.candidates(self.state, stored_index, few)
        if not indexes:
            return
        left = self._host_limits.rewrite_bytes
        rewritten: list[Entry] = []
        looked_at: list[tuple[int, bytes]] = []
        for index in indexes:
            if left > 0:
                data = self.load(index)
                looked_at.append((index, data))
                left -= len(data)
        survivors = compaction.survivors(self.state, [index for index, _ in looked_at])
        for index, data in looked_at:
            shrunk = remnant(data, survivors[index], few) if index in survivors else None
            if shrunk is not None:
                rewritten.append(Entry(Term(0), LogIndex(index), EntryKind.COMMAND, shrunk))
        if rewritten:
            self._host_services.rewrite(self.group, rewritten)

    def write_snapshot(self) -> None:
        """Snapshot the index as it is now, unless an earlier snapshot is not complete."""
        if self._snapshots.is_begun:
            return
        self._bytes_since_snapshot = 0
        self._entries_since_snapshot = 0
        index = LogIndex(self.state.applied_index)
        dead = [LogIndex(i) for i in self.state.take_dead(index)]
        self._snapshots.begin(index, self.state.draft().pieces(), dead)
        self._go_on()

    def _go_on(self) -> None:
        data = self._snapshots.tick()
        if data is None:
            return
        index, dead = self._snapshots.index, self._snapshots.dead
        self._snapshot_index = index
        self._snapshot_bytes = len(data)
        self._compaction.forget(dead)
        for index_of_dead in dead:
            self._sizes.pop(index_of_dead, None)
        self._host_services.write_snapshot(self.group, index, data, dead)

    def restore(self, meta: SnapshotMeta, data: bytes) -> None:
        self.end()
        self._snapshots.give_up()
        self._snapshot_index = self._restored_index = meta.index
        self._sizes = {}
        self._compaction = Compaction()
        if not data:
            self.state = ShardState()
            return
        try:
            self.state.restore(data)
        except EntryCorrupt as error:
            raise StorageCorrupt(f"group {self.group}: {error}") from error
        kept = set(self._storage.payload_indexes())
        missing = self.state.live.keys() - kept
        if missing:
            raise StorageCorrupt(f"group {self.group}: entry {min(missing)} is alive but not in the log")
        self.state.dead.extend(sorted(kept - self.state.live.keys()))

    def role_changed(self, role: Role, term: Term, leader: NodeId) -> None:
        self.role = role
        self.is_headless = leader == NOBODY
        if role is Role.LEADER:
            if self._leading_term != term:
                self.end()
                self._leading_term = term
        else:
            self._leading_term = Term(0)
            self.end()

    def read_ready(self, context: int) -> None:
        raise AssertionError("a shard asks for no reads")
