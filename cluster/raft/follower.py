"""What a member does with the log that its leader sends.

Law: an append is taken only where its `prev` is in the log here; what conflicts with it goes, with all that
follows, and never anything committed. It is acknowledged up to its own last entry and no further: what lies
beyond may be another leader's (Raft paper §5.3). Acknowledgements wait for the disk, refusals for the term.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.raft.messages import Append, AppendReply, Heartbeat, HeartbeatReply
from cluster.raft.snapshot_receiver import SnapshotReceiver
from cluster.raft.state import GroupState
from cluster.raft.types import Entry, LogIndex, NodeId, Term


class Follower:
    """The receiving side of replication; every message given to it is of the leader of this term."""

    __slots__ = ("_receiver", "_state")

    def __init__(self, state: GroupState, receiver: SnapshotReceiver) -> None:
        self._state = state
        self._receiver = receiver

    def append(self, message: Append) -> None:
        if self._receiver.refuses_appends():
            return
        log = self._state.log
        prev_index = message.prev_index
        entries: Sequence[Entry] = message.entries
        if prev_index < log.commit_index:
            # What is committed equals the leader's; only what comes after it is of interest.
            last_index = LogIndex(max(prev_index + len(entries), log.commit_index))
            entries = entries[log.commit_index - prev_index :]
        elif log.matches(prev_index, message.prev_term):
            last_index = LogIndex(prev_index + len(entries))
        else:
            self.refuse(message.source, prev_index, message.prev_term)
            return
        if entries:
            self._take_over(entries)
        commit_index = min(message.commit_index, last_index)
        if commit_index > log.commit_index:
            log.commit_to(LogIndex(commit_index))
        self._state.acknowledge(message.source, last_index)

    def _take_over(self, entries: Sequence[Entry]) -> None:
        """Append what is not there yet; what is there and conflicts goes, with all that follows it."""
        state, log = self._state, self._state.log
        if entries[0].index <= log.last_index:
            known = 0
            while known < len(entries) and log.matches(entries[known].index, entries[known].term):
                known += 1
            entries = entries[known:]
            if not entries:
                return
            if entries[0].index <= log.last_index:
                state.truncate_from(entries[0].index)
        state.append(entries)

    def refuse(self, leader: NodeId, prev_index: LogIndex, prev_term: Term) -> None:
        """`prev_index` of `prev_term` is not here: say how far the logs may agree, in one step per term."""
        state, log = self._state, self._state.log
        hint_index = log.divergence(prev_index, prev_term)
        hint_term = log.known_term(hint_index) or Term(0)
        state.reply(AppendReply(state.group, state.node, leader, state.term, prev_index, True, hint_index, hint_term))

    def heartbeat(self, message: Heartbeat) -> None:
        state, log = self._state, self._state.log
        if log.commit_index < message.commit_index <= log.last_index:
            log.commit_to(message.commit_index)
        if not message.round:
            return
        state.reply(HeartbeatReply(state.group, state.node, message.source, state.term, message.round, log.last_index))
