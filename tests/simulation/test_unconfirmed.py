"""Publishers that want no confirms: they are read again when what they published is committed, whoever looks."""

from __future__ import annotations

import trio

from cluster.amqp import methods as m
from tests.simulation import scheduling
from tests.simulation.agenda import Agenda
from tests.simulation.faults import Faults
from tests.simulation.world import World

_SIZE = 64 << 10
_COUNT = 400
"""More than `connection_unconfirmed_max` in all."""
_READ_SECONDS = 10.0


class FloodedWorld(World):
    """`stored` is how many messages of one client are there."""

    stored = 0

    async def _play(self, seconds: float) -> Faults:
        await self._set_up()
        for disk in self.disks.values():
            disk.latency_seconds = 0.3
        client = await self.connect(self.places[0])
        assert client is not None
        await client.open()
        for _ in range(_COUNT):
            client.publish("", self.queues[0], bytes(_SIZE))
        with trio.fail_after(_READ_SECONDS):
            passive = m.QueueDeclare(self.queues[0], True, False, False, False, False, {})
            self.stored = (await client.call(passive, m.QueueDeclareOk)).message_count
        return Faults(self)


def test_who_published_more_than_may_wait_for_a_commit_is_read_again() -> None:
    async def main(agenda: Agenda) -> int:
        world = FloodedWorld(1, lambda line: None, agenda)
        await world.play(0.0)
        return world.stored

    assert scheduling.run(main, 1) == _COUNT
