"""Linearizable reads without the log (Raft thesis §6.4).

Law: a read's index is the commit index at the moment it was asked for, and it is answered only after a quorum
confirmed, by a heartbeat round that began later, that this member still led. Before the leader has committed
an entry of its own term, it does not know the commit index, and reads wait.
"""

from __future__ import annotations

from collections import deque

from cluster.raft.messages import ReadIndexReply
from cluster.raft.ready import ReadState
from cluster.raft.state import GroupState
from cluster.raft.types import LogIndex, NodeId


class ReadQueue:
    """Reads that a leader has not answered yet, at most `max_waiting_reads`; more are dropped."""

    __slots__ = ("_early", "_state", "_waiting", "last_round_wanted")

    def __init__(self, state: GroupState) -> None:
        self._state = state
        # (context, asker), until the commit index is known.
        self._early: list[tuple[int, NodeId]] = []
        # (round, context, asker, index), rounds ascending.
        self._waiting: deque[tuple[int, int, NodeId, LogIndex]] = deque()
        self.last_round_wanted = 0

    def is_full(self) -> bool:
        return len(self._early) + len(self._waiting) >= self._state.config.max_waiting_reads

    def ask_early(self, context: int, asker: NodeId) -> None:
        self._early.append((context, asker))

    def take_early(self) -> list[tuple[int, NodeId]]:
        early, self._early = self._early, []
        return early

    def wait_for_round(self, number: int, context: int, asker: NodeId) -> None:
        assert number >= self.last_round_wanted
        self.last_round_wanted = number
        self._waiting.append((number, context, asker, self._state.log.commit_index))

    def confirmed(self, number: int) -> None:
        """A quorum answered the heartbeat round `number`."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= number:
            _, context, asker, index = waiting.popleft()
            self.answer(context, asker, index)

    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def answer(self, context: int, asker: NodeId, index: LogIndex) -> None:
        state = self._state
        if asker == state.node:
            state.read_states.append(ReadState(context, index))
        else:
            state.outbox.append(ReadIndexReply(state.group, state.node, asker, state.term, context, index))
