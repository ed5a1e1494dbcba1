"""A snapshot on its way into a member's store.

Law: one at a time, from one leader in one term; chunks are staged in order, each is acknowledged when it is
durable, and the whole becomes the group's state in a write of its own. From the last chunk until that write is
done the log takes no appends, so nothing of it waits for the disk, and while that write is out nothing is read
from storage, which may have the old state or the new one. What is staged is lost in a crash; the leader
begins again then.
"""

from __future__ import annotations

from enum import Enum

from cluster.raft.messages import SnapshotChunkMessage, SnapshotChunkReply
from cluster.raft.state import GroupState
from cluster.raft.storage import SnapshotChunk
from cluster.raft.types import NOBODY, LogIndex, NodeId, SnapshotMeta, Term


class Phase(Enum):
    """IDLE -> STAGING (chunks come) -> COMPLETE (the last is on its way to the disk or there) -> INSTALLING."""

    IDLE = "idle"
    STAGING = "staging"
    COMPLETE = "complete"
    INSTALLING = "installing"


class SnapshotReceiver:
    """See the law of this file."""

    __slots__ = ("_chunk", "_cursor", "_leader", "_meta", "_state", "_term", "phase")

    def __init__(self, state: GroupState) -> None:
        self._state = state
        self.phase = Phase.IDLE
        self._meta: SnapshotMeta | None = None
        self._leader = NOBODY
        self._term = Term(0)
        # Where the next chunk starts, and the one that waits for the next write.
        self._cursor: bytes = b""
        self._chunk: SnapshotChunk | None = None

    def receive(self, message: SnapshotChunkMessage) -> None:
        """A chunk from the leader of this term."""
        state, log, meta = self._state, self._state.log, message.meta
        if self.phase is Phase.INSTALLING:
            return
        if log.matches(meta.index, meta.term) or meta.index <= log.commit_index:
            # The log has all of it already: that much is committed, and appends can go on after it.
            self._drop()
            if meta.index > log.commit_index:
                log.commit_to(meta.index)
            state.acknowledge(message.source, meta.index)
            return
        if self._chunk is not None:
            return
        is_same = (meta, message.source, message.term) == (self._meta, self._leader, self._term)
        if self.phase is Phase.IDLE or not is_same:
            if message.cursor:
                self._answer(message.source, meta.index, b"")
                return
            self._meta, self._leader, self._term = meta, message.source, message.term
            self._cursor = b""
            self.phase = Phase.STAGING
        if self.phase is Phase.COMPLETE:
            return
        if message.cursor != self._cursor:
            self._answer(message.source, meta.index, self._cursor)
            return
        self._chunk = SnapshotChunk(message.cursor, message.data, message.next_cursor)
        if message.next_cursor is None:
            self.phase = Phase.COMPLETE
        else:
            self._cursor = message.next_cursor

    def refuses_appends(self) -> bool:
        return self.phase in (Phase.COMPLETE, Phase.INSTALLING)

    def is_installing(self) -> bool:
        return self.phase is Phase.INSTALLING

    def take_chunk(self) -> tuple[SnapshotMeta, SnapshotChunk] | None:
        """The chunk to stage in the next write; its acknowledgement joins what waits for that."""
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            return None
        assert self._meta is not None
        if chunk.next_cursor is not None:
            self._answer(self._leader, self._meta.index, chunk.next_cursor)
        return self._meta, chunk

    def take_install(self) -> SnapshotMeta | None:
        """The snapshot to install in the next write, once every chunk is durable."""
        if self.phase is not Phase.COMPLETE or self._chunk is not None:
            return None
        assert self._meta is not None
        if self._meta.index <= self._state.log.commit_index:
            self._drop()
            return None
        self.phase = Phase.INSTALLING
        self._answer(self._leader, self._meta.index, None)
        return self._meta

    def has_write(self) -> bool:
        return self._chunk is not None or self.phase is Phase.COMPLETE

    def installed(self) -> None:
        assert self.phase is Phase.INSTALLING
        self._drop()

    def _drop(self) -> None:
        self.phase = Phase.IDLE
        self._meta = None
        self._leader = NOBODY
        self._chunk = None

    def _answer(self, leader: NodeId, index: LogIndex, cursor: bytes | None) -> None:
        """After the next write, and so after every chunk that was taken in before."""
        state = self._state
        state.after_persist.append(SnapshotChunkReply(state.group, state.node, leader, state.term, index, cursor))
