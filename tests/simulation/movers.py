"""Clients that take messages from one queue and put others into several, each time in one transaction.

Law: nobody else answers what is in WORK, so what is taken from it is gone if and only if what was put for it is there,
and that is so once for each message.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import trio

from cluster.amqp import methods as m
from tests.simulation.actors import body_of, borne, message_in
from tests.simulation.client import Client, Gone
from tests.simulation.oracle import Move
from tests.simulation.transactors import LATE, TAKEN, commit

if TYPE_CHECKING:
    from tests.simulation.world import World

WORK = "work"


class Mover:
    """Goes on until there is nothing left to take."""

    def __init__(self, world: World, name: str, node: int) -> None:
        self._world = world
        self._name = name
        self._node = node
        self._random = Random(f"{name} {world.seed}")
        self._lives = 0

    async def run(self) -> None:
        while True:
            self._lives += 1
            client = await self._world.connect(self._node)
            if client is None:
                continue
            with borne():
                await Shift(self._world, f"{self._name}.{self._lives}", client, self._random).run()
            client.vanish()


class Shift:
    """One connection: the holder of what comes by it."""

    def __init__(self, world: World, name: str, client: Client, random: Random) -> None:
        self.name = name
        self._world = world
        self._client = client
        self._random = random
        self._number = 0

    @property
    def _pace(self) -> float:
        """There may be much left to move when everything else has ended."""
        return 1.0 if self._world.draining else self._world.pace

    @property
    def present(self) -> bool:
        return self._client.alive

    async def run(self) -> None:
        await self._client.open()
        await self._client.call(m.TxSelect(), m.TxSelectOk)
        while self._world.draining or self._random.random() < 0.98:
            await trio.sleep(self._random.expovariate(8 * self._pace))
            await self._move()

    async def _move(self) -> None:
        world, random, oracle = self._world, self._random, self._world.oracle
        move, began = Move([], []), trio.current_time()
        for _ in range(random.randint(0, 3)):
            await self._take(move)
        for _ in move.taken:
            for queue in world.queues[:2]:
                self._put(move, queue)
        if not world.draining:
            self._put(move, WORK)
        if not move.put:
            return
        oracle.moves.append(move)
        if random.random() < 0.1 and not world.draining:
            await self._client.call(m.TxRollback(), m.TxRollbackOk)
            for message in move.put:
                oracle.refused(message)
            raise Gone
        if not await commit(world, self._client, began, LATE, TAKEN):
            for message in move.put:
                oracle.refused(message)
            raise Gone
        for message in move.put:
            oracle.confirmed(message)
        for message in move.taken:
            oracle.acked(self, WORK, message)

    async def _take(self, move: Move) -> None:
        self._client.tell(m.BasicGet(WORK, False))
        method, body = await self._client.expect_content(m.BasicGetOk, m.BasicGetEmpty)
        if isinstance(method, m.BasicGetOk):
            message = message_in(body)
            stream = f"{self.name} get"
            self._world.oracle.received(self, stream, WORK, message, redelivered=method.redelivered)
            self._client.tell(m.BasicAck(method.delivery_tag, False))
            move.taken.append(message)

    def _put(self, move: Move, queue: str) -> None:
        self._number += 1
        message = (self.name, self._number)
        move.put.append(message)
        self._world.oracle.published(message, queue)
        self._client.publish("", queue, body_of(message, self._random))
