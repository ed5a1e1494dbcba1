"""One group at work on this node: its core, its state machine, and the reads that wait for it.

Law: `applied_index` is what the handler has applied; it never goes back. A member that is stopped says nothing
and hears nothing any more.
"""

from __future__ import annotations

from cluster.raft.group import RaftGroup
from cluster.raft.ready import GroupStatus, ReadState, Ready, Role
from cluster.raft.runtime.interface import GroupHandler
from cluster.raft.storage import GroupStorage
from cluster.raft.types import LogIndex, Term


class Member:
    """See the law of this file. Whatever reads the storage may raise StorageCorrupt."""

    __slots__ = ("_reads", "_storage", "_told", "applied_index", "handler", "raft")

    def __init__(self, raft: RaftGroup, handler: GroupHandler, storage: GroupStorage) -> None:
        self.raft = raft
        self.handler = handler
        self._storage = storage
        self.applied_index = LogIndex(0)
        self._told = (Role.FOLLOWER, Term(0))
        self._reads: list[ReadState] = []
        """Confirmed reads whose index is not applied yet; bounded by the core's max_waiting_reads."""

    def start(self) -> None:
        """Give the handler the snapshot that is stored, if there is one."""
        meta = self._storage.snapshot_meta()
        if meta.index > 0:
            self.handler.restore(meta, self._storage.snapshot_index())
            self.applied_index = meta.index

    def is_told_leader(self) -> bool:
        """True while the handler knows that this member leads in the present term."""
        return self.raft.role is Role.LEADER and self._told == (Role.LEADER, self.raft.term)

    def perform(self, ready: Ready) -> int:
        """All of `ready` but its messages. Returns how many entries were applied."""
        handler = self.handler
        if ready.restored is not None:
            assert ready.restored.index >= self.applied_index, "an installed snapshot went back"
            handler.restore(ready.restored, self._storage.snapshot_index())
            self.applied_index = ready.restored.index
        committed = ready.committed
        if committed:
            assert committed[0].index == self.applied_index + 1, "committed entries leave a gap"
            handler.apply(committed)
            self.applied_index = committed[-1].index
        change = ready.role_change
        if change is not None:
            self._told = (change.role, change.term)
            handler.role_changed(change.role, change.term, change.leader)
        if ready.read_states or self._reads:
            self._answer_reads(ready.read_states)
        return len(committed)

    def _answer_reads(self, confirmed: list[ReadState]) -> None:
        reads = self._reads + confirmed if self._reads else confirmed
        self._reads = [read for read in reads if read.index > self.applied_index]
        for read in reads:
            if read.index <= self.applied_index:
                self.handler.read_ready(read.context)

    def status(self) -> GroupStatus:
        return self.raft.status()
