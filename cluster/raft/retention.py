"""How much of its log a leader keeps for peers that are behind.

Law: a snapshot made here takes effect only when no peer needs what it would take away, unless it can go on with a
snapshot alone already, has not been heard of for `retention_ticks`, or lets snapshot after snapshot pass without coming
closer. So who was away for seconds goes on with the log, and who has been sent a snapshot is not sent another because
time went by meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.raft.progress import Progress, ProgressState
from cluster.raft.state import GroupState
from cluster.raft.types import LogIndex, NodeId


class Retention:
    """Of one leader. Ticks are the leader's."""

    __slots__ = ("_behind", "_newest_index", "_state")

    def __init__(self, state: GroupState) -> None:
        self._state = state
        self._newest_index = LogIndex(0)
        # Peer -> how far it was behind when a snapshot was made whose predecessor it had not reached, and how many of
        # those it let pass without coming closer.
        self._behind: dict[NodeId, tuple[int, int]] = {}

    def snapshot_created(self, index: LogIndex, peers: Mapping[NodeId, Progress]) -> None:
        behind: dict[NodeId, tuple[int, int]] = {}
        for peer, progress in peers.items():
            if progress.state is ProgressState.SNAPSHOT or progress.needed_index > self._newest_index:
                continue
            lag = self._state.log.last_index - progress.needed_index
            lag_before, passed = self._behind.get(peer, (lag, 0))
            behind[peer] = (lag, passed if lag < lag_before else passed + 1)
        self._behind = behind
        self._newest_index = index

    def is_needed(self, index: LogIndex, peers: Mapping[NodeId, Progress], tick: int) -> bool:
        """Does a peer need what a snapshot at `index` would take away?"""
        config, first_index = self._state.config, self._state.log.first_index
        return any(
            first_index <= progress.needed_index <= index
            and tick - progress.heard_tick < config.retention_ticks
            and self._behind.get(peer, (0, 0))[1] < config.snapshots_passed_max
            for peer, progress in peers.items()
        )
