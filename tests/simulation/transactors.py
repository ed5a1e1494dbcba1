"""Clients that publish in transactions, and what the answer to a commit says.

Law: a commit that is refused says whether anything of it can be done yet; where it says no, nothing may ever be seen.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import trio

from cluster.amqp import methods as m
from tests.simulation.actors import body_of, borne, expected
from tests.simulation.client import Client, Gone, Refused
from tests.simulation.oracle import Move

if TYPE_CHECKING:
    from tests.simulation.world import World

LATE, TAKEN = "a shard waited too long for it", "a delivery went to another consumer"
_PRECONDITION_FAILED, _INTERNAL_ERROR = 406, 541


async def commit(world: World, client: Client, began: float, *reasons: str) -> bool:
    """What was published since `began` is to be done. False: nothing of it ever will be.

    reasons  for which it may be refused as a whole; one that was out of touch may be, so something must have gone wrong
    Raises Gone: nobody knows. AssertionError for a refusal that cannot be.
    """
    try:
        await client.call(m.TxCommit(), m.TxCommitOk)
    except Refused as refused:
        answer = refused
    else:
        return True
    if answer.code == _PRECONDITION_FAILED:
        assert any(str(answer).endswith(f" transaction not carried out: {why}") for why in reasons), (
            f"refused: {answer}"
        )
        assert not world.oracle.everything.since(began), f"refused, and nothing was wrong: {answer}"
        return False
    expected(answer)
    if answer.code == _INTERNAL_ERROR and not str(answer).endswith(": it may be carried out yet"):
        return False
    raise Gone from answer


class Transactor:
    """Publishes in transactions, some of which it rolls back."""

    def __init__(self, world: World, name: str, node: int) -> None:
        self._world = world
        self._name = name
        self._node = node
        self._random = Random(f"{name} {world.seed}")
        self._lives = 0
        self._number = 0

    async def run(self) -> None:
        while not self._world.draining:
            self._lives += 1
            client = await self._world.connect(self._node)
            if client is None:
                continue
            with borne():
                await client.open()
                await client.call(m.TxSelect(), m.TxSelectOk)
                while client.alive and not self._world.draining:
                    await self._world.idle(self._random, 5)
                    await self._transaction(client)
            client.vanish()

    async def _transaction(self, client: Client) -> None:
        oracle, messages, began = self._world.oracle, [], trio.current_time()
        for _ in range(self._random.randint(1, 6)):
            self._number += 1
            message = (f"{self._name}.{self._lives}", self._number)
            queue = self._random.choice(self._world.queues)
            messages.append(message)
            oracle.published(message, queue)
            client.publish("", queue, body_of(message, self._random))
        if self._random.random() < 0.2:
            for message in messages:
                oracle.refused(message)
            await client.call(m.TxRollback(), m.TxRollbackOk)
            return
        oracle.moves.append(Move([], messages))
        tell = oracle.confirmed if await commit(self._world, client, began, LATE) else oracle.refused
        for message in messages:
            tell(message)
