"""A leader that makes room for another (Raft thesis §3.10).

Law: while a transfer is under way nothing is proposed; its target is told to take over once it has the whole log. It is
given up after `election_ticks`, and when its target is no voter any more. Without a target of its own, it is the voter
that is there and has most of the log.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.raft.membership import quorum_value
from cluster.raft.messages import TimeoutNow
from cluster.raft.progress import Progress, ProgressState
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

    @property
    def is_under_way(self) -> bool:
        """May the target lead by now?"""
        return self._target != NOBODY

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
        heirs = self._heirs(peers, tick)
        if heirs:
            self._tell(max(heirs, key=lambda peer: (peers[peer].match_index, -peer)))

    def is_dispensable(self, peers: Mapping[NodeId, Progress], tick: int, *, is_long: bool) -> bool:
        """Are so many others there that they need nothing of this member's disk to elect and to commit? Not with one
        that is being sent a snapshot: the next leader would begin with that anew. If the disk `is_long` away, one that
        could take over is enough."""
        node = self._state.node

        def is_helpful(voter: NodeId) -> int:
            if voter == node:
                return 0
            progress = peers[voter]
            return int(progress.state is not ProgressState.SNAPSHOT and progress.is_active(tick))

        is_carried = bool(quorum_value(self._state.configuration, is_helpful))
        return is_carried or (is_long and bool(self._heirs(peers, tick)))

    def _heirs(self, peers: Mapping[NodeId, Progress], tick: int) -> list[NodeId]:
        """The voters that are there and could take over."""
        voters = self._state.configuration.voters
        return [peer for peer, progress in peers.items() if peer in voters and progress.is_active(tick)]

    def _tell(self, target: NodeId) -> None:
        state = self._state
        state.outbox.append(TimeoutNow(state.group, state.node, target, state.term))
