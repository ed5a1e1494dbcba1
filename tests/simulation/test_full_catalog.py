"""A replica of the catalog whose disk is full of what was declared and is long gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
import trio

from cluster.amqp import methods as m
from cluster.node.catalog import snapshots
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.node.config import NodeConfig
from cluster.node.config.model import RaftSection
from cluster.raft.group import Role
from tests.patched import patched
from tests.simulation import process, scheduling
from tests.simulation.agenda import Agenda
from tests.simulation.client import Client
from tests.simulation.faults import Faults
from tests.simulation.world import World

RETENTION_TICKS = 40
WAIT_SECONDS = 8.0
"""A few times more than that is."""
ROOM = 8_000
LARGE = "x" * 20_000


@contextmanager
def impatient_nodes() -> Iterator[None]:
    """They keep no log for long. What is declared here is not much log."""
    of_seed = process._config

    def config(name: str, seed: int) -> NodeConfig:
        return msgspec.structs.replace(of_seed(name, seed), raft=RaftSection(retention_ticks=RETENTION_TICKS))

    with patched(process, "_config", config), patched(snapshots, "SNAPSHOT_BYTES", 1 << 20):
        yield


class FullWorld(World):
    """One node has no room for what is declared."""

    async def _play(self, seconds: float) -> Faults:
        with impatient_nodes():
            await self._set_up()
            leader = next(node for node in self.nodes if self._role(node) is Role.LEADER)
            follower, third = [node for node in self.nodes if node != leader]
            client = await self.connect(leader)
            assert client is not None
            await client.open()
            self.disks[follower].fill(ROOM)
            for number in range(5):
                await self._declare_and_delete(client, f"large-{number}")
            await trio.sleep(1.0)
            assert self._refused(follower)
            await trio.sleep(WAIT_SECONDS)
            assert not self._refused(follower)
            assert self.disks[follower].store.bytes_max is not None
            self.note("it counts again: the two of them are a quorum")
            self.kill(third)
            await self._declare_and_delete(client, "small", large="")
        return Faults(self)

    async def _declare_and_delete(self, client: Client, queue: str, large: str = LARGE) -> None:
        declare = m.QueueDeclare(queue, False, True, False, False, False, {"x-note": large})
        await client.call(declare, m.QueueDeclareOk)
        await client.call(m.QueueDelete(queue, False, False, False), m.QueueDeleteOk)

    def _role(self, node: int) -> Role:
        core = self.processes[node].core
        assert core is not None
        return core.catalog.role

    def _refused(self, node: int) -> str:
        core = self.processes[node].core
        assert core is not None
        return core.runtime.report(CATALOG_GROUP).refused


@pytest.mark.parametrize("seed", [1, 2])
def test_a_replica_of_the_catalog_without_room_is_sent_what_is_left_of_it(seed: int) -> None:
    async def main(agenda: Agenda) -> None:
        await FullWorld(seed, lambda line: None, agenda).play(0.0)

    scheduling.run(main, seed)
