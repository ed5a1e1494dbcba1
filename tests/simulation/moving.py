"""A world whose shards are on the move: four nodes, and every node now and then gives a shard another place.

Law: nodes follow the catalog as real ones do, less the links, which are all there. When everything is mended, each
group must have arrived where the catalog last said, and whoever was left out must have let go.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from random import Random

import trio

from cluster.broker.catalog.commands import PlaceShard
from cluster.broker.errors import BrokerError
from cluster.node.catalog.client import NoQuorum
from cluster.node.core import Core
from cluster.node.membership.follower import Follower
from cluster.node.membership.placement import REPLICAS
from cluster.node.shards.host import ShardHost
from cluster.raft.types import GroupId
from tests.simulation import world as worlds
from tests.simulation.process import Process
from tests.simulation.replicas import _state_of
from tests.simulation.world import World


class _Follower(Follower):
    """Links are not its business."""

    async def _link(self) -> None:
        """All are there."""


class MovingWorld(World):
    """`moves` counts the placements that were asked for."""

    node_count = 4
    moves = 0
    moves_a_second = 0.8
    """That one node asks for."""

    def watch(self, process: Process, core: Core) -> None:
        super().watch(process, core)
        make = core._seat

        def made(group: GroupId) -> ShardHost:
            host = make(group)
            self.replicas._watch(process.node, group, host, partial(_state_of, host), lambda: process.alive)
            return host

        core._seat = made  # type: ignore[method-assign]
        follower = _Follower(core, None)  # type: ignore[arg-type]
        core.requests.update(follower.requests())
        process.start_soon(follower.run)
        process.start_soon(self._rove, process, core)

    async def _rove(self, process: Process, core: Core) -> None:
        random = Random(f"moves {self.seed} {process.node} {process.incarnation}")
        while not self.draining:
            await trio.sleep(random.expovariate(self.moves_a_second))
            if not process.serving or self.draining:
                continue
            group = random.randrange(worlds.SHARDS) + 1
            nodes = tuple(random.sample(self.nodes, REPLICAS))
            self.note(f"shard {group} shall be on {nodes}")
            self.moves += 1
            with suppress(BrokerError, NoQuorum):
                await core.client.submit(PlaceShard(group, nodes))

    def _at_rest(self) -> bool:
        return all(self._has_arrived(process.core) for process in self.processes.values()) and super()._at_rest()

    def _has_arrived(self, core: Core | None) -> bool:
        if core is None:
            return False
        for group, nodes in core.members.placement.items():
            raft = core.runtime.groups.get(group)
            if group and core.holds(group) != (core.node in nodes):
                return False
            if group and raft is not None:
                # Until a change is committed, the voters before it are needed as well.
                is_over = raft.leader and raft.status().is_settled
                if not is_over or set(raft.configuration.voters) != set(nodes):
                    return False
        return True
