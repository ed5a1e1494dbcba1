"""A leader that makes room for another (Raft thesis §3.10).

Law: while a transfer is under way nothing is proposed; its target is told to take over once it has the whole log. It is
given up after `election_ticks`, and when its target is no voter any more.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.raft.messages import TimeoutNow
from cluster.raft.progress import Progress
from cluster.raft.ready import ProposalDropped
from cluster.raft.state import GroupState
from cluster.raft.types import NOBODY, NodeId


class Handover:
    """Of one leader, whose ticks these are."""

    __slots__ = ("_is_sent", "_started", "_state", "_target")

    def __init__(self, state: GroupState) -> None:
        self._state = state
        self._target = NOBODY
        self._started = 0
        self._is_sent = False

    def refuse_proposals(self) -> None:
        """Raises ProposalDropped while a transfer is under way."""
        if self._target:
            raise ProposalDropped(f"leadership is being transferred to node {self._target}")

    def begin(self, target: NodeId, tick: int) -> None:
        """Raises ProposalDropped: not a voter, or another is under way."""
        if target not in self._state.configuration.voters:
            raise ProposalDropped(f"node {target} is not a voter of group {self._state.group}")
        self.refuse_proposals()
        self._target, self._started, self._is_sent = target, tick, False

    def tick(self, tick: int) -> None:
        if tick - self._started >= self._state.config.election_ticks:
            self._target = NOBODY

    def members_changed(self) -> None:
        if self._target not in self._state.configuration.voters:
            self._target = NOBODY

    def go_on(self, peers: Mapping[NodeId, Progress]) -> None:
        """Somebody has more of the log than before."""
        if self._target and not self._is_sent and peers[self._target].match_index == self._state.log.last_index:
            self._is_sent = True
            self._tell(self._target)

    def step_aside(self, peers: Mapping[NodeId, Progress], tick: int) -> None:
        """Ask the voter that has most of the log to take over; this member is about to stop leading."""
        candidates = [
            (progress.match_index, -peer)
            for peer, progress in peers.items()
            if peer in self._state.configuration.voters and progress.is_active(tick)
        ]
        if candidates:
            self._tell(NodeId(-max(candidates)[1]))

    def _tell(self, target: NodeId) -> None:
        state = self._state
        state.outbox.append(TimeoutNow(state.group, state.node, target, state.term))
