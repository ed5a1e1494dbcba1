"""One group as the random tests drive it: its log, the state that its leader keeps, and the leader.

Law: entries beyond `commit` may be lost with an election, those below are applied once, in order; None stands for an
entry that is no command.
"""

from __future__ import annotations

from random import Random
from typing import Protocol

from cluster.broker.shard.leader import ShardLeader
from cluster.broker.shard.state import Applied, ShardState


class GroupWorld(Protocol):
    """What a group needs of the world it is in."""

    random: Random
    now_ms: int
    faults: bool


class Group:
    """`world` decides by its seed when a leader may not propose, and when a state is made anew from its snapshot."""

    def __init__(self, world: GroupWorld) -> None:
        self._world = world
        self.log: list[bytes | None] = []
        self.commit = 0
        self.term = 0
        self.state = ShardState()
        self.leader: ShardLeader | None = None

    def propose(self) -> None:
        if self.leader is None or not self.leader.wants_entry:
            return
        data = self.leader.take_entry(self._world.now_ms, self._world.random.choice([1, 300, 10**6]))
        assert data is not None
        if self._world.faults and self._world.random.random() < 0.1:
            self.leader.entry_refused()
            return
        self.leader.entry_accepted()
        self.log.append(data)

    def apply(self) -> None:
        while self.state.applied_index < self.commit:
            index = self.state.applied_index + 1
            data = self.log[index - 1]
            if data is None:
                self.state.skip(index)
                continue
            applied = self.state.apply(index, data)
            self.happened(applied)
            if self.leader is not None:
                self.leader.applied(applied, data)

    def happened(self, applied: Applied) -> None:
        """An entry took effect; its leader is not told yet."""

    def state_may_restart(self) -> None:
        """As after a restart of the process: the state is what its snapshot says."""
        if self._world.random.random() < 0.5:
            snapshot, self.state = self.state.snapshot(), ShardState()
            self.state.restore(snapshot)
            assert self.state.snapshot() == snapshot
