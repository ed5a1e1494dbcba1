"""How long publishers wait for a confirm while a majority is alive. In virtual time only disks and ways take any."""

from __future__ import annotations

import pytest
import trio

from cluster.amqp import methods as m
from tests.simulation import scheduling
from tests.simulation.agenda import Agenda
from tests.simulation.client import Gone, Refused
from tests.simulation.faults import Faults
from tests.simulation.world import World

SYNC_SECONDS = 0.5
GAP_SECONDS_MAX = 3.0
_STEADY_SECONDS = 2.0
_AFTER_SECONDS = 4.0
_PUBLISH_SECONDS = 0.05
_UNCONFIRMED_MAX = 30


class Waiting:
    """Publishes to one queue over one node. `longest_gap` is in seconds, from when it begins."""

    def __init__(self, world: World, place: int, queue: str) -> None:
        self._world = world
        self._place = place
        self._queue = queue
        self._confirmed_at = trio.current_time()
        self._confirmed = 0
        self.longest_gap = 0.0

    def look(self) -> None:
        self.longest_gap = max(self.longest_gap, trio.current_time() - self._confirmed_at)

    def _answered(self, number: int, multiple: bool, ack: bool) -> None:
        self.look()
        self._confirmed = number
        if ack:
            self._confirmed_at = trio.current_time()

    async def run(self) -> None:
        client = await self._world.connect(self._place)
        assert client is not None
        try:
            await client.open()
            await client.call(m.ConfirmSelect(False), m.ConfirmSelectOk)
            client.on_confirm = self._answered
            number = 0
            while True:
                number += 1
                client.publish("", self._queue, b"")
                await trio.sleep(_PUBLISH_SECONDS)
                await client.until(lambda sent=number: sent - self._confirmed <= _UNCONFIRMED_MAX, _AFTER_SECONDS)
        except (Gone, Refused) as error:
            raise AssertionError(f"a client of node {self._place} lost its connection") from error


class SlowWorld(World):
    """One node's disk is slow, another node is lost."""

    lost = slow = 0
    longest_gap = 0.0

    async def _play(self, seconds: float) -> Faults:
        await self._set_up()
        self.disks[self.slow].latency_seconds = SYNC_SECONDS
        self.disks[self.slow].is_even = True
        publishers = [Waiting(self, node, queue) for node in self.nodes if node != self.lost for queue in self.queues]
        for publisher in publishers:
            self._nursery.start_soon(publisher.run)
        await trio.sleep(_STEADY_SECONDS)
        self.kill(self.lost)
        await trio.sleep(_AFTER_SECONDS)
        for publisher in publishers:
            publisher.look()
        self.longest_gap = max(publisher.longest_gap for publisher in publishers)
        return Faults(self)


@pytest.mark.parametrize(("lost", "slow"), [(1, 2), (2, 3), (3, 1)])
def test_a_node_is_lost_while_the_syncs_of_another_take_half_a_second(lost: int, slow: int) -> None:
    async def main(agenda: Agenda) -> float:
        world = SlowWorld(1, lambda line: None, agenda)
        world.lost, world.slow = lost, slow
        await world.play(0.0)
        return world.longest_gap

    gap: float = scheduling.run(main, 1)
    print(f"longest gap {gap:.2f} s")
    assert SYNC_SECONDS < gap < GAP_SECONDS_MAX
