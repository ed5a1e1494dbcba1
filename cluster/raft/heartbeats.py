"""The heartbeats of a leader: when they are due, what they say, and which round of them a quorum has answered.

Law: rounds are numbered, ascending, and a peer that answers one was led by this member after it began. A heartbeat says
no commit index above what its peer acknowledged. They are half as frequent while nothing comes up and every peer has
everything and knows it.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.raft.membership import quorum_value
from cluster.raft.messages import Heartbeat
from cluster.raft.progress import Progress
from cluster.raft.state import GroupState
from cluster.raft.types import LogIndex, NodeId


class Heartbeats:
    """Of one leader, whose ticks these are. `round` is the latest."""

    __slots__ = ("_elapsed", "_quiet_index", "_quiet_since", "_state", "round")

    def __init__(self, state: GroupState) -> None:
        self._state = state
        self._elapsed = 0
        # Since when the log ends where it does.
        self._quiet_index = LogIndex(0)
        self._quiet_since = 0
        self.round = 0

    def tick(self, beats: int, peers: Mapping[NodeId, Progress], tick: int) -> bool:
        """So many lengths of a tick are over. True if a round is due."""
        self._elapsed += beats
        if self._elapsed < self._state.config.heartbeat_ticks or self._may_be_quiet(peers, tick):
            return False
        self._elapsed = 0
        return True

    def _may_be_quiet(self, peers: Mapping[NodeId, Progress], tick: int) -> bool:
        """Can a heartbeat wait? Nothing came up for an election timeout, and every peer has everything and knows it."""
        config, last = self._state.config, self._state.log.last_index
        if self._quiet_index != last:
            self._quiet_index, self._quiet_since = last, tick
        if tick - self._quiet_since < config.election_ticks:
            return False
        if self._elapsed >= min(2 * config.heartbeat_ticks, config.election_ticks // 2):
            return False
        return all(peer.commit_sent == peer.match_index == last for peer in peers.values())

    def send_round(self, peers: Mapping[NodeId, Progress]) -> None:
        """Begin the next round."""
        self.round += 1
        for peer, progress in peers.items():
            self.send(peer, progress, self.round)

    def send(self, peer: NodeId, progress: Progress, number: int) -> None:
        """One of round `number`; of 0 for one that belongs to none and only tells of a commit."""
        state = self._state
        known = min(progress.match_index, state.log.commit_index)
        progress.commit_sent = max(progress.commit_sent, known)
        state.outbox.append(Heartbeat(state.group, state.node, peer, state.term, known, number))

    def quorum_round(self, peers: Mapping[NodeId, Progress]) -> int:
        """The latest round that a quorum answered; this member is always one ahead."""
        node, own = self._state.node, self.round + 1
        return quorum_value(self._state.configuration, lambda voter: own if voter == node else peers[voter].round)
