"""The queues of this node that are not replicated: transient and exclusive ones.

Law: the same state and the same leader as a replicated shard, but what is proposed is applied at once and kept in
memory only. The node always leads it; its term is the node's incarnation, so that words of an earlier life are
dropped. It goes with the process.
"""

from __future__ import annotations

from cluster.broker.shard.leader import LeaderLimits
from cluster.node.shards.seat import Seat, SeatServices
from cluster.node.shards.view import LOCAL_SHARDS

__all__ = ["LOCAL_SHARDS", "LocalShard"]

_ENTRY_BYTES_MAX = 1 << 20


class LocalShard(Seat):
    """Leads from the start, for the life of the process."""

    def __init__(self, services: SeatServices, incarnation: int, limits: LeaderLimits) -> None:
        super().__init__(LOCAL_SHARDS + services.node, services, limits)
        self._entries: dict[int, bytes] = {}
        """Live entries. Bounded by what the queues hold."""
        self._index = 0
        self.incarnation = incarnation

    def start(self) -> None:
        self.begin(self.incarnation)

    def holders(self) -> set[int]:
        """This life has handed nothing out yet."""
        return self._services.reachable()

    def load(self, index: int) -> bytes:
        return self._entries[index]

    def apply_waiting(self) -> None:
        """Carry out what has been asked for."""
        leader = self.leader
        assert leader is not None
        while (data := leader.take_entry(self._services.wall_ms(), _ENTRY_BYTES_MAX)) is not None:
            leader.entry_accepted()
            self._index += 1
            applied = self.state.apply(self._index, data)
            if self._index in self.state.live:
                self._entries[self._index] = data
            leader.applied(applied, data)
            for index in self.state.take_dead(self._index):
                self._entries.pop(index, None)
