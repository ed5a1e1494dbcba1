"""Shards that are led by a node which hears nothing of the catalog: its link to the catalog's leader is gone."""

from __future__ import annotations

import pytest
import trio

from cluster.amqp import methods as m
from cluster.broker.shard.entry import QueueId
from cluster.node import lag
from cluster.node.balance import SETTLE_LOOKS
from cluster.node.core import Core
from cluster.node.shards.host import ShardHost
from cluster.raft.group import Role
from cluster.raft.types import GroupId, NodeId
from tests.broker.shard.graves import make_record
from tests.simulation import scheduling
from tests.simulation.agenda import Agenda
from tests.simulation.client import Client
from tests.simulation.faults import Faults
from tests.simulation.network import SILENCE_SECONDS
from tests.simulation.world import SHARDS, World

SHARD = GroupId(1)
BETWEEN_SECONDS = 5.0
"""That the lead may take to another node and a message to its consumer."""
BACK_SECONDS = lag.QUIET_SECONDS + 2 * SETTLE_LOOKS
NOWHERE = QueueId(1 << 40)
"""Declared so late that no copy of the catalog comes there."""


class Sink:
    """Nobody waits."""

    def published(self, first: int, count: int, size: int) -> None: ...

    def refused(self, first: int, count: int, size: int) -> None: ...


class LagWorld(World):
    """`leads` are the nodes that led the shard, one after the other."""

    def __init__(self, seed: int, agenda: Agenda) -> None:
        super().__init__(seed, lambda line: None, agenda)
        self.leads: list[int] = []

    def core(self, node: int) -> Core:
        core = self.processes[node].core
        assert core is not None
        return core

    def host(self, node: int) -> ShardHost:
        return next(host for host in self.core(node).switchboard.hosts() if host.group == SHARD)

    def leader(self) -> int:
        hosts = [self.host(node) for node in self.nodes]
        leading = [(host.term, node) for node, host in zip(self.nodes, hosts, strict=True) if host.leader is not None]
        return max(leading)[1] if leading else 0

    async def watch_leads(self) -> None:
        while True:
            leader = self.leader()
            if leader and self.leads[-1:] != [leader]:
                self.leads.append(leader)
            await trio.sleep(0.01)

    async def set_up(self) -> None:
        await self._set_up()
        home = self.core(1).members.placement[SHARD][0]
        await self._within(10.0, lambda: self.leader() == home, "the shard is led by the first of its nodes")
        self._nursery.start_soon(self.watch_leads)

    async def client(self, node: int) -> Client:
        client = await self.connect(node)
        assert client is not None
        await client.open()
        return client


class Apart(LagWorld):
    """Who leads the shard is not linked to who leads the catalog."""

    restarts = False
    """Was it away for a moment, and cannot serve since?"""

    async def _play(self, seconds: float) -> Faults:
        await self.set_up()
        home = self.leader()
        catalog = next(node for node in self.nodes if node != home)
        if self.core(catalog).catalog.role is not Role.LEADER:
            old = next(node for node in self.nodes if self.core(node).catalog.role is Role.LEADER)
            self.core(old).runtime.transfer_leadership(GroupId(0), NodeId(catalog))
        await self._within(2.0, lambda: self.core(catalog).catalog.role is Role.LEADER, "the catalog's lead moves")
        (third,) = [node for node in self.nodes if node not in (home, catalog)]
        for way in ((home, catalog), (catalog, home)):
            self.network.stall(*way)
        if self.restarts:
            self.kill(home)
            self.start(home)
        await trio.sleep(SILENCE_SECONDS + 1)
        client = await self.client(third)
        got: list[bytes] = []
        client.on_deliver = lambda method, body: got.append(body)
        queues = [f"new-{number}" for number in range(SHARDS)]
        for queue in queues:
            declare = m.QueueDeclare(queue, False, True, False, False, False, {})
            await client.call(declare, m.QueueDeclareOk)
            await client.call(m.BasicConsume(queue, queue, False, True, False, False, {}), m.BasicConsumeOk)
            client.publish("", queue, queue.encode())
        known = self.core(third).catalog.catalog.queues.values()
        shards = {int(queue.shard) for queue in known if queue.name in queues}
        assert int(SHARD) in shards
        assert self.leader() == home
        assert await client.until(lambda: len(got) == SHARDS, BETWEEN_SECONDS), got
        await trio.sleep(BACK_SECONDS)
        assert self.processes[home].serving is not self.restarts
        assert self.leads == [home, third], "it is not given back to who is behind"
        for way in ((home, catalog), (catalog, home)):
            self.network.unstall(*way)
        await self._within(BACK_SECONDS, lambda: self.leader() == home, "the lead is back")
        return Faults(self)


class Returned(Apart):
    restarts = True


class Nowhere(LagWorld):
    """A message is for a queue that no copy of the catalog ever hears of."""

    async def _play(self, seconds: float) -> Faults:
        await self.set_up()
        home = self.leader()
        self.processes[home].within(self._publish)
        await trio.sleep(3 * BACK_SECONDS)
        assert sorted(self.leads[:3]) == self.nodes, "each of them might have known it"
        assert self.leads[3:] == [home], "and none of them is behind the others"
        assert all(node in self.core(1).behind for node in self.nodes)
        return Faults(self)

    def _publish(self) -> None:
        switchboard = self.core(self.leader()).switchboard
        record = make_record(1)
        stream = switchboard.stream(SHARD)
        stream.publish([NOWHERE], [record], [len(record)], len(record), Sink(), 1)
        switchboard.stirred(stream)


@pytest.mark.parametrize("world", [Apart, Returned, Nowhere])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_waits_goes_to_who_may_know_it(seed: int, world: type[LagWorld]) -> None:
    async def main(agenda: Agenda) -> None:
        await world(seed, agenda).play(0.0)

    scheduling.run(main, seed)
