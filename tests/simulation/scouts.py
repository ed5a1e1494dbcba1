"""Clients that publish through one node what has nowhere to go, and then has: it is bound through another node.

Law: what is published after the binding was answered is not returned, whichever links break meanwhile, and how.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from cluster.amqp import methods as m
from tests.simulation.actors import by_two
from tests.simulation.client import Client

if TYPE_CHECKING:
    from tests.simulation.world import World

_EXCHANGE = "amq.direct"
_ANSWERS_SECONDS = 40.0


class Scout:
    """Its queue is another one with each pair of connections."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._random = Random(f"{name} {world.seed}")
        self._queues = 0
        self._keys = 0

    async def run(self) -> None:
        while not self._world.draining:
            await by_two(self._world, self._random, self._work)

    async def _work(self, one: Client, other: Client) -> None:
        self._queues += 1
        queue = f"{self._name}.{self._queues}"
        await one.open()
        await other.open()
        await other.call(m.ConfirmSelect(False), m.ConfirmSelectOk)
        await one.call(m.QueueDeclare(queue, False, True, False, False, False, {}), m.QueueDeclareOk)
        while not self._world.draining:
            await self._world.idle(self._random, 5)
            self._keys += 1
            key = f"{self._name} {self._keys}"
            await self._comes_back(other, key)
            await one.call(m.QueueBind(queue, _EXCHANGE, key, False, {}), m.QueueBindOk)
            assert not await self._comes_back(other, key), f"{key} is bound and a publish comes back"
            self._world.checks["routed once bound"] += 1
        await one.call(m.QueueDelete(queue, False, False, False), m.QueueDeleteOk)

    async def _comes_back(self, client: Client, key: str) -> bool:
        returned: list[bytes] = []
        answers: list[bool] = []
        client.on_return = returned.append
        client.on_confirm = lambda tag, multiple, ack: answers.append(ack)
        client.publish(_EXCHANGE, key, b"", mandatory=True)
        assert await client.until(lambda: bool(answers), _ANSWERS_SECONDS), f"a publish to {key} is not answered"
        return bool(returned)
