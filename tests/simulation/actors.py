"""Clients with a life of their own: publishers, consumers, and those who declare and delete.

Law: each has its own Random, one connection at a time, to a node of its choice, and tells the oracle what it sees. Once
the world drains, publishers come to an end and consumers ack whatever comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import trio

from cluster.amqp import methods as m
from tests.simulation.client import Client, Gone, Refused
from tests.simulation.oracle import DEAD, MessageId

if TYPE_CHECKING:
    from tests.simulation.world import World

CONNECTION_FORCED, NOT_FOUND, INTERNAL_ERROR = 320, 404, 541
_PUBLISHED_AT_END = 3
_BACK_SECONDS = 40.0
"""Within this time what was handed to who does not hold it is back, although things go wrong."""
_LOOK_SECONDS = 0.2


def body_of(message: MessageId, random: Random) -> bytes:
    return f"{message[0]} {message[1]} ".encode() + bytes(random.choice((0, 0, 10, 300)))


def message_in(body: bytes) -> MessageId:
    publisher, number, _ = body.split(b" ", 2)
    return publisher.decode(), int(number)


def expected(refused: Refused, *more: int) -> None:
    """A node without a quorum may say so; nothing else is refused, but for the codes of `more`."""
    assert refused.code in (CONNECTION_FORCED, INTERNAL_ERROR, *more), f"refused: {refused}"


@contextmanager
def borne(*more: int) -> Iterator[None]:
    """What may end anybody's connection: it broke, or something was refused that may be, see `expected`."""
    try:
        yield
    except Gone:
        pass
    except Refused as refused:
        expected(refused, *more)


class Publisher:
    """Publishes with confirms to any of the lasting queues."""

    def __init__(self, world: World, name: str, node: int) -> None:
        self.done = False
        self._world = world
        self._name = name
        self._node = node
        self._random = Random(f"{name} {world.seed}")
        self._lives = 0
        self._unanswered: dict[int, MessageId] = {}

    async def run(self) -> None:
        while not self.done:
            self._lives += 1
            self._unanswered.clear()
            client = await self._world.connect(self._node)
            if client is None:
                continue
            with borne():
                await self._publish(client)
            client.vanish()
            self._world.oracle.tally.unanswered += len(self._unanswered)

    async def _publish(self, client: Client) -> None:
        world, random = self._world, self._random
        client.on_confirm = self._answered
        await client.open()
        await client.call(m.ConfirmSelect(False), m.ConfirmSelectOk)
        number = 0
        while not world.draining:
            for _ in range(random.choice((1, 1, 3, 10))):
                number += 1
                self._say(client, number, random.choice(world.queues))
            await world.idle(random, 20)
            await client.until(lambda: len(self._unanswered) < 30 or world.draining, 1000)
            if random.random() < 0.003:
                return
        for queue in world.queues * _PUBLISHED_AT_END:
            number += 1
            self._say(client, number, queue)
        answered = await client.until(lambda: not self._unanswered, 40)
        assert answered, f"{self._name}: {len(self._unanswered)} publishes are not answered"
        self.done = True

    def _say(self, client: Client, number: int, queue: str) -> None:
        message = (f"{self._name}.{self._lives}", number)
        self._unanswered[number] = message
        self._world.oracle.published(message, queue)
        client.publish("", queue, body_of(message, self._random))

    def _answered(self, number: int, multiple: bool, ack: bool) -> None:
        oracle = self._world.oracle
        assert multiple or number in self._unanswered, f"{self._name}: {number} is answered and was answered before"
        for told in [n for n in self._unanswered if n == number or (multiple and n <= number)]:
            message = self._unanswered.pop(told)
            if ack:
                oracle.confirmed(message)
            else:
                oracle.refused(message)


class Consumer:
    """Consumes from one lasting queue at a time, and answers as it likes."""

    def __init__(self, world: World, name: str, node: int, queue: str = "") -> None:
        self.name = name
        self._world = world
        self._kind = name
        self._node = node
        self._queue_wanted = queue
        self._random = Random(f"{name} {world.seed}")
        self._lives = 0

    async def run(self) -> None:
        while True:
            self._lives += 1
            client = await self._world.connect(self._node)
            if client is None:
                continue
            queue = self._queue_wanted or self._random.choice([*self._world.queues, DEAD])
            with borne():
                await Visit(self._world, f"{self._kind}.{self._lives}", client, queue, self._random).run()
            if not client.orderly:
                client.vanish()


class Visit:
    """One connection of a consumer: the holder of what comes by it."""

    def __init__(self, world: World, name: str, client: Client, queue: str, random: Random) -> None:
        self.name = name
        self._world = world
        self._client = client
        self._queue = queue
        self._random = random
        self._outstanding: dict[int, MessageId] = {}
        self._closing = False

    @property
    def present(self) -> bool:
        return self._client.orderly or (self._client.alive and not self._closing)

    async def run(self) -> None:
        client, random = self._client, self._random
        client.on_deliver = self._delivered
        await client.open(beats=random.random() < 0.3)
        await client.call(m.BasicQos(0, random.choice((1, 3, 10, 100)), False), m.BasicQosOk)
        await self._consume()
        while True:
            await client.until(lambda: bool(self._outstanding), random.uniform(0.5, 5))
            if not self._world.draining:
                await trio.sleep(random.expovariate(15))
                if await self._whim():
                    return
            self._answer()

    async def _consume(self) -> None:
        consume = m.BasicConsume(self._queue, "c", False, False, False, False, {})
        await self._client.call(consume, m.BasicConsumeOk)

    async def _whim(self) -> bool:
        """Something out of the ordinary. True if the connection is over."""
        client, chance = self._client, self._random.random()
        if chance < 0.01:
            if client.beats:
                client.fall_silent()
            return True
        if chance < 0.02:
            self._closing = True
            await client.close()
            for message in self._outstanding.values():
                self._world.oracle.given_back(self, self._queue, message)
            return True
        if chance < 0.04:
            await client.call(m.BasicCancel("c", False), m.BasicCancelOk)
            await self._consume()
        elif chance < 0.07:
            await client.call(m.BasicQos(0, 10, False), m.BasicQosOk)
        elif chance < 0.12:
            client.tell(m.BasicGet(self._queue, False))
            method, body = await client.expect_content(m.BasicGetOk, m.BasicGetEmpty)
            if isinstance(method, m.BasicGetOk):
                self._take(method.delivery_tag, body, f"{self.name} get", redelivered=method.redelivered)
        return False

    def _delivered(self, method: m.BasicDeliver, body: bytes) -> None:
        self._take(method.delivery_tag, body, self.name, redelivered=method.redelivered)

    def _take(self, tag: int, body: bytes, stream: str, *, redelivered: bool) -> None:
        message = message_in(body)
        self._world.oracle.received(self, stream, self._queue, message, redelivered=redelivered)
        self._outstanding[tag] = message

    def _answer(self) -> None:
        if not self._outstanding:
            return
        client, random, oracle = self._client, self._random, self._world.oracle
        tag = random.choice(list(self._outstanding))
        multiple = self._world.draining or random.random() < 0.5
        if self._world.draining:
            tag = max(self._outstanding)
        chance = 0.0 if self._world.draining else random.random()
        if chance < 0.8:
            tell = oracle.acked
            client.tell(m.BasicAck(tag, multiple))
        elif chance < 0.9 or self._queue not in self._world.mortal:
            tell = oracle.given_back
            client.tell(m.BasicNack(tag, multiple, True))
        else:
            tell = oracle.rejected
            client.tell(m.BasicNack(tag, multiple, False))
        for told in [t for t in self._outstanding if t == tag or (multiple and t <= tag)]:
            tell(self, self._queue, self._outstanding.pop(told))


async def by_two(world: World, random: Random, work: Callable[[Client, Client], Awaitable[None]]) -> None:
    """`work` through connections to two places, if both can be had; it may end with either of them."""
    here, there = random.sample(world.places, 2)
    one = await world.connect(here)
    other = await world.connect(there) if one is not None else None
    if one is not None and other is not None:
        with borne():
            await work(one, other)
    for client in (one, other):
        if client is not None:
            client.vanish()


class Architect:
    """Declares, binds and deletes through one node, and looks through another."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._random = Random(f"{name} {world.seed}")
        self._count = 0

    async def run(self) -> None:
        while not self._world.draining:
            await self._world.idle(self._random, 2)
            await by_two(self._world, self._random, self._build)

    async def _build(self, one: Client, other: Client) -> None:
        oracle, random = self._world.oracle, self._random
        self._count += 1
        queue = f"{self._name}.{self._count}"
        oracle.queue_gone(queue)
        await one.open()
        await other.open()
        await other.call(m.ConfirmSelect(False), m.ConfirmSelectOk)
        began = trio.current_time()
        lasting = random.random() < 0.7
        await one.call(m.QueueDeclare(queue, False, lasting, False, False, False, {}), m.QueueDeclareOk)
        try:
            await self._use(one, other, queue, began, lasting=lasting)
        except Refused as refused:
            # What only a node's memory has may be gone or out of reach.
            if refused.code != NOT_FOUND or lasting or oracle.everything.since(began):
                raise

    async def _use(self, one: Client, other: Client, queue: str, began: float, *, lasting: bool) -> None:
        oracle, random = self._world.oracle, self._random
        try:
            await other.call(m.QueueDeclare(queue, True, lasting, False, False, False, {}), m.QueueDeclareOk)
        except Refused as refused:
            if refused.code == NOT_FOUND and lasting:
                raise AssertionError(f"{queue} is declared and not found by another node") from refused
            raise
        await one.call(m.QueueBind(queue, "amq.direct", queue, False, {}), m.QueueBindOk)
        oracle.tally.declared += 1
        returned: list[bytes] = []
        answers: list[bool] = []
        other.on_return = returned.append
        other.on_confirm = lambda tag, multiple, ack: answers.append(ack)
        message = (queue, 1)
        oracle.published(message, queue)
        other.publish("amq.direct", queue, body_of(message, random), mandatory=True)
        await other.until(lambda: bool(answers), 40)
        assert answers, f"a publish to {queue} is not answered"
        # What only a node's memory has may be gone.
        is_there = lasting or oracle.everything.since(began)
        assert not (returned and is_there), f"{queue} is bound and a publish comes back"
        if answers == [True] and not returned:
            body = await self._got(one, queue, began, lasting=lasting)
            if body is not None:
                assert message_in(body) == message
            else:
                lost = lasting or oracle.everything.since(began)
                assert not lost, f"{queue} has a confirmed message and basic.get finds none"
        await random.choice((one, other)).call(m.QueueDelete(queue, False, False, False), m.QueueDeleteOk)
        try:
            await one.call(m.QueueDeclare(queue, True, lasting, False, False, False, {}), m.QueueDeclareOk)
        except Refused as refused:
            if refused.code != NOT_FOUND:
                raise
        else:
            assert not oracle.everything.since(began), f"{queue} is deleted and still there"

    async def _got(self, client: Client, queue: str, began: float, *, lasting: bool) -> bytes | None:
        """What is in a queue. Where a link broke, it may have been on its way to this client, and has to come back."""
        deadline = trio.current_time() + _BACK_SECONDS
        while True:
            client.tell(m.BasicGet(queue, False))
            method, body = await client.expect_content(m.BasicGetOk, m.BasicGetEmpty)
            if isinstance(method, m.BasicGetOk):
                return body
            disturbed = lasting and not self._world.oracle.everything.since(began)
            if not disturbed or trio.current_time() > deadline:
                return None
            await trio.sleep(_LOOK_SECONDS)
