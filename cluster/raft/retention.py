"""How much of its log a leader keeps for peers that are behind.

Law: a snapshot made here takes effect only when no peer needs what it would take away, unless it can go on with a
snapshot alone already, has taken nothing in for `retention_ticks`, or lets snapshot after snapshot pass without coming
closer. So who was away for seconds goes on with the log, and who has been sent a snapshot is not sent another because
time went by meanwhile. All of the log is kept until then, so closer means by a good part of what came meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.raft.progress import Progress
from cluster.raft.state import GroupState
from cluster.raft.types import LogIndex, NodeId

_CLOSER_SHARE = 8
"""Who is closer by less than one in so many of the entries that came meanwhile has not come closer: the log would grow
to many times what it lacked."""


class Retention:
    """Of one leader. Ticks are the leader's."""

    __slots__ = ("_behind", "_newest_index", "_state")

    def __init__(self, state: GroupState) -> None:
        self._state = state
        self._newest_index = LogIndex(0)
        # Peer -> how far it was behind when a snapshot was made whose predecessor it had not reached, and how many of
        # those it let pass without coming closer.
        self._behind: dict[NodeId, tuple[int, int]] = {}

    def snapshot_created(self, index: LogIndex, peers: Mapping[NodeId, Progress], tick: int) -> None:
        behind: dict[NodeId, tuple[int, int]] = {}
        for peer, progress in peers.items():
            if progress.is_receiving(tick) or progress.needed_index > self._newest_index:
                continue
            lag = self._state.log.last_index - progress.needed_index
            lag_before, passed = self._behind.get(peer, (lag, 0))
            is_closer = lag + (index - self._newest_index) // _CLOSER_SHARE < lag_before
            behind[peer] = (lag, passed if is_closer else passed + 1)
        self._behind = behind
        self._newest_index = index

    def is_in_vain(self, peers: Mapping[NodeId, Progress], tick: int) -> bool:
        """Is log kept that a peer which answers does not take in, while a snapshot made now would do instead of it?"""
        log = self._state.log
        return any(
            log.first_index <= progress.needed_index <= log.emitted_index
            and progress.is_active(tick)
            and self.is_stuck(progress, tick)
            for progress in peers.values()
        )

    def is_stuck(self, progress: Progress, tick: int) -> bool:
        """Has a peer taken nothing in for so long that no log is kept for it, and for an election timeout at least?"""
        config = self._state.config
        return tick - progress.moved_tick >= max(config.retention_ticks, config.election_ticks)

    def is_needed(self, index: LogIndex, peers: Mapping[NodeId, Progress], tick: int) -> bool:
        """Does a peer need what a snapshot at `index` would take away?"""
        config, first_index = self._state.config, self._state.log.first_index
        return any(
            first_index <= progress.needed_index <= index
            and tick - progress.moved_tick < config.retention_ticks
            and self._behind.get(peer, (0, 0))[1] < config.snapshots_passed_max
            for peer, progress in peers.items()
        )
