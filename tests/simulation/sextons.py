"""Clients that see to it that what dies is buried where it should be, as was said after it had been published.

Law: a message with a time to live is confirmed, and then its grave is dug: a queue, bound to where the dead letter is
to go. If that is answered well before the message dies, it turns up there, whoever leads by then and whatever that
one's copy of the catalog has.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import trio

from cluster.amqp import methods as m
from cluster.amqp.field_table import FieldTable
from tests.simulation.actors import borne
from tests.simulation.client import Client

if TYPE_CHECKING:
    from tests.simulation.world import World

_EXCHANGE = "amq.direct"
_TTL_SECONDS = (1.0, 4.0)
_OPEN_MAX = 4
"""Deaths that one of them waits for at a time."""
_SURE = 0.75
"""Of the time to live, by when a grave has to be there. Where clocks were set, nothing is sure."""


class Sexton:
    """`done` when the world drains and every dead letter has been seen: one that is lost is waited for in vain."""

    def __init__(self, world: World, name: str, node: int) -> None:
        self.done = False
        self._world = world
        self._name = name
        self._node = node
        self._random = Random(f"{name} {world.seed}")
        self._count = 0
        self._due: dict[str, float] = {}
        """Grave -> when its dead letter should be there at the latest, if nothing goes wrong."""

    async def run(self) -> None:
        while not self.done:
            client = await self._world.connect(self._node)
            if client is None:
                continue
            with borne():
                await client.open()
                await client.call(m.ConfirmSelect(False), m.ConfirmSelectOk)
                await self._work(client)
            client.vanish()

    async def _work(self, client: Client) -> None:
        while not self._world.draining:
            await self._world.idle(self._random, 5)
            if len(self._due) < _OPEN_MAX:
                await self._bury(client)
            await self._visit(client)
        while self._due:
            await trio.sleep(0.2)
            await self._visit(client)
        self.done = True

    async def _bury(self, client: Client) -> None:
        self._count += 1
        grave, ttl = f"{self._name}.{self._count}", self._random.choice(_TTL_SECONDS)
        died: FieldTable = {
            "x-message-ttl": int(ttl * 1000),
            "x-dead-letter-exchange": _EXCHANGE,
            "x-dead-letter-routing-key": grave,
        }
        await client.call(m.QueueDeclare(f"{grave} lived", False, True, False, False, False, died), m.QueueDeclareOk)
        answers: list[bool] = []
        client.on_confirm = lambda tag, multiple, ack: answers.append(ack)
        began = trio.current_time()
        client.publish("", f"{grave} lived", b"")
        await client.until(lambda: bool(answers), 40)
        await client.call(m.QueueDeclare(grave, False, True, False, False, False, {}), m.QueueDeclareOk)
        await client.call(m.QueueBind(grave, _EXCHANGE, grave, False, {}), m.QueueBindOk)
        is_in_time = trio.current_time() < began + _SURE * ttl and not self._world.clocks_differ
        if answers == [True] and is_in_time:
            self._due[grave] = trio.current_time() + ttl

    async def _visit(self, client: Client) -> None:
        for grave in [grave for grave, at in self._due.items() if at <= trio.current_time()]:
            client.tell(m.BasicGet(grave, False))
            method, _ = await client.expect_content(m.BasicGetOk, m.BasicGetEmpty)
            if isinstance(method, m.BasicGetOk):
                self._world.checks["dead letters to new graves"] += 1
                del self._due[grave]
                for queue in (grave, f"{grave} lived"):
                    await client.call(m.QueueDelete(queue, False, False, False), m.QueueDeleteOk)
