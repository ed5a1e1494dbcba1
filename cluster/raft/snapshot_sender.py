"""A leader's latest snapshot on its way to a peer whose next entry is gone.

Law: one chunk at a time per peer; the next is sent when the peer says that everything before it is durable
there, the same again after an election timeout of silence. When a newer snapshot took the place of the one
under way, the transfer begins again with that.
"""

from __future__ import annotations

from cluster.raft.messages import SnapshotChunkMessage, SnapshotChunkReply
from cluster.raft.progress import Progress, ProgressState
from cluster.raft.state import GroupState
from cluster.raft.types import NodeId


class SnapshotSender:
    """Keeps nothing itself: how far a transfer is stands in the peer's `Progress`."""

    __slots__ = ("_state",)

    def __init__(self, state: GroupState) -> None:
        self._state = state

    def begin(self, peer: NodeId, progress: Progress, tick: int) -> None:
        progress.send_snapshot(self._state.storage.snapshot_meta(), tick)
        self._send(peer, progress, tick)

    def send_again(self, peer: NodeId, progress: Progress, tick: int) -> None:
        """Called now and then: the chunk or its answer may be lost."""
        if (
            progress.state is ProgressState.SNAPSHOT
            and progress.is_active(tick)
            and tick - progress.cursor_tick >= self._state.config.election_ticks
        ):
            self._send(peer, progress, tick)

    def replied(self, progress: Progress, reply: SnapshotChunkReply, tick: int) -> bool:
        """True if the peer has installed it. Answers about another snapshot, and repeated ones, say nothing."""
        if progress.snapshot is None or progress.snapshot.index != reply.index:
            return False
        if reply.cursor is None:
            progress.moved_tick = tick
            progress.accepted(reply.index)
            return True
        if reply.cursor != progress.cursor or not reply.cursor:
            progress.moved_tick = tick
            progress.cursor = reply.cursor
            self._send(reply.source, progress, tick)
        return False

    def _send(self, peer: NodeId, progress: Progress, tick: int) -> None:
        state = self._state
        limit = state.config.snapshot_chunk_bytes
        assert progress.snapshot is not None
        chunk = state.storage.snapshot_chunk(progress.snapshot, progress.cursor, limit)
        while chunk is None:
            progress.send_snapshot(state.storage.snapshot_meta(), tick)
            chunk = state.storage.snapshot_chunk(progress.snapshot, progress.cursor, limit)
        progress.cursor_tick = tick
        state.outbox.append(
            SnapshotChunkMessage(
                state.group,
                state.node,
                peer,
                state.term,
                progress.snapshot,
                chunk.cursor,
                chunk.data,
                chunk.next_cursor,
            )
        )
