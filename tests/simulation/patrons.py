"""Those who use the queues with traits: they publish, consume and answer, and take everything down.

Law: as other actors; each has its own Random, and says in the chronicle what it is about to do and what it has seen.
Once the world drains, consumers only acknowledge, and what publishers have sent is answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

import trio

from chaos.history import (
    NO_COUNT,
    Confirmed,
    ConsumerEnded,
    Consuming,
    Delivered,
    How,
    MessageId,
    Published,
    Settled,
    Stream,
    StreamEnded,
    Synced,
    Transaction,
)
from chaos.history import (
    Refused as WasRefused,
)
from cluster.amqp import methods as m
from cluster.amqp.properties import BasicProperties, decode_header
from tests.simulation.actors import body_of, borne, message_in
from tests.simulation.client import Client, Gone
from tests.simulation.traits import BY_NAME, EXPIRATION_MS, TOGETHER, TOGETHER_EXCHANGE, Plan
from tests.simulation.transactors import LATE, commit

if TYPE_CHECKING:
    from tests.simulation.chronicle import Chronicle
    from tests.simulation.world import World

ACCESS_REFUSED = 403
_UNANSWERED_MAX = 30
_ANSWERS_SECONDS = 40.0
_PREFETCH_COUNT = 5


@dataclass(frozen=True, slots=True)
class Outlet:
    """One order of messages from a publisher to one queue."""

    stream: str
    plan: Plan
    properties: BasicProperties


class Vendor:
    """Publishes with confirms to the queues of `plans`; to those that are only glanced at as well."""

    def __init__(self, world: World, name: str, node: int, plans: Sequence[Plan]) -> None:
        self.done = False
        self._plans = plans
        self._world = world
        self._name = name
        self._node = node
        self._random = Random(f"{name} {world.seed}")
        self._open: dict[int, MessageId] = {}
        """Delivery tag -> what waits for its confirm."""

    async def run(self) -> None:
        while not self.done:
            client = await self._world.connect(self._node)
            if client is None:
                continue
            self._open.clear()
            outlets: list[Outlet] = []
            with borne():
                await self._publish(client, outlets)
            chronicle = self._world.chronicle
            for outlet in outlets:
                chronicle.write(StreamEnded(t=chronicle.now, s=outlet.stream, orderly=self.done))
            client.vanish()

    async def _publish(self, client: Client, outlets: list[Outlet]) -> None:
        world, random = self._world, self._random
        client.on_confirm = self._answered
        await client.open()
        await client.call(m.ConfirmSelect(False), m.ConfirmSelectOk)
        outlets += self._outlets()
        numbers = dict.fromkeys([outlet.stream for outlet in outlets], 0)
        weights = [outlet.plan.weight for outlet in outlets]
        tag = 0
        while not world.draining:
            for outlet in random.choices(outlets, weights, k=random.choice((1, 3, 10))):
                tag += 1
                numbers[outlet.stream] += 1
                self._say(client, tag, outlet, numbers[outlet.stream])
            await world.idle(random, 5)
            await client.until(lambda: len(self._open) < _UNANSWERED_MAX or world.draining, 1000)
        answered = await client.until(lambda: not self._open, _ANSWERS_SECONDS)
        assert answered, f"{self._name}: {len(self._open)} publishes are not answered"
        self.done = True

    def _outlets(self) -> Iterator[Outlet]:
        chronicle = self._world.chronicle
        for plan in self._plans:
            for i in range(plan.streams if plan.weight else 0):
                brief = str(EXPIRATION_MS) if i < plan.brief_streams else None
                priority = i if plan.streams > 1 and not plan.brief_streams else None
                properties = BasicProperties(delivery_mode=2, priority=priority, expiration=brief)
                outlet = Outlet(chronicle.fresh("s"), plan, properties)
                if brief:
                    self._world.expiring[outlet.stream] = None
                if plan.no_ack:
                    self._world.glanced[outlet.stream] = None
                lives_seconds = EXPIRATION_MS / 1000 if brief else 0.0
                chronicle.write(
                    Stream(
                        t=chronicle.now,
                        s=outlet.stream,
                        node=self._node,
                        queues=(plan.name,),
                        lives_seconds=lives_seconds,
                    )
                )
                yield outlet

    def _say(self, client: Client, tag: int, outlet: Outlet, number: int) -> None:
        chronicle, message = self._world.chronicle, (outlet.stream, number)
        chronicle.write(Published(t=chronicle.now, s=outlet.stream, first=number, end=number + 1))
        self._open[tag] = message
        client.publish("", outlet.plan.name, body_of(message, self._random), properties=outlet.properties)

    def _answered(self, tag: int, multiple: bool, ack: bool) -> None:
        chronicle = self._world.chronicle
        assert multiple or tag in self._open, f"{self._name}: {tag} is answered and was answered before"
        for told in [t for t in self._open if t == tag or (multiple and t <= tag)]:
            stream, number = self._open.pop(told)
            if not ack:
                self._world.checks["refused by a full queue"] += 1
                chronicle.write(WasRefused(t=chronicle.now, s=stream, first=number, end=number + 1))
            elif stream not in self._world.glanced:
                chronicle.write(Confirmed(t=chronicle.now, s=stream, first=number, end=number + 1))


class Dealer:
    """Publishes each message to several queues, a few of them in one transaction."""

    def __init__(self, world: World, name: str, node: int) -> None:
        self._world = world
        self._node = node
        self._random = Random(f"{name} {world.seed}")

    async def run(self) -> None:
        while not self._world.draining:
            client = await self._world.connect(self._node)
            if client is None:
                continue
            chronicle = self._world.chronicle
            stream = chronicle.fresh("t")
            chronicle.write(Stream(t=chronicle.now, s=stream, node=self._node, queues=TOGETHER))
            with borne():
                await self._deal(client, stream)
            chronicle.write(StreamEnded(t=chronicle.now, s=stream))
            client.vanish()

    async def _deal(self, client: Client, stream: str) -> None:
        chronicle, random, first = self._world.chronicle, self._random, 1
        await client.open()
        await client.call(m.TxSelect(), m.TxSelectOk)
        while not self._world.draining:
            await self._world.idle(random, 2)
            end, began = first + random.randint(1, 3), chronicle.now
            chronicle.write(Published(t=began, s=stream, first=first, end=end))
            for number in range(first, end):
                client.publish(TOGETHER_EXCHANGE, "", body_of((stream, number), random))
            outcome: Literal["committed", "rolled-back", "unknown"] = "unknown"
            try:
                if random.random() < 0.2:
                    await client.call(m.TxRollback(), m.TxRollbackOk)
                    outcome = "rolled-back"
                else:
                    outcome = "committed" if await commit(self._world, client, began, LATE) else "rolled-back"
            finally:
                chronicle.write(Transaction(t=chronicle.now, s=stream, first=first, end=end, outcome=outcome))
            if not client.alive:
                raise Gone
            first = end


class Patron:
    """Consumes from one queue with traits, from one connection after the other."""

    def __init__(self, world: World, plan: Plan, name: str, node: int) -> None:
        self._world = world
        self._plan = plan
        self._node = node
        self._random = Random(f"{name} {world.seed}")

    async def run(self) -> None:
        while True:
            client = await self._world.connect(self._node)
            if client is None:
                continue
            stay = Stay(self._world, self._plan, self._node, client, self._random)
            with borne(*([ACCESS_REFUSED] if self._plan.exclusive else [])):
                await stay.run()
            client.vanish()
            await trio.sleep(self._random.expovariate(10))


class Stay:
    """One connection of a patron. It may cancel and consume again, under another name."""

    def __init__(self, world: World, plan: Plan, node: int, client: Client, random: Random) -> None:
        self._world = world
        self._chronicle: Chronicle = world.chronicle
        self._plan = plan
        self._node = node
        self._client = client
        self._random = random
        self._name = ""
        self._held: dict[int, MessageId] = {}
        """Delivery tag -> message, without an answer yet."""

    async def run(self) -> None:
        client, random, world = self._client, self._random, self._world
        client.on_deliver = self._delivered
        client.on_end = self._ended
        await client.open(beats=random.random() < 0.3)
        await client.call(m.BasicQos(0, _PREFETCH_COUNT, False), m.BasicQosOk)
        await self._consume()
        while True:
            await client.until(lambda: bool(self._held), random.uniform(0.3, 2))
            if not world.draining:
                await trio.sleep(random.expovariate(self._plan.answers_a_second))
            draw = 0.5 if world.draining else random.random()
            if draw < 0.02 and client.beats:
                client.fall_silent()  # what it would say now never leaves
                return
            self._answer()
            if draw < 0.02 or not client.alive:
                return
            if draw < 0.06 and self._plan.cancels:
                await self._leave()
            elif draw > (0.3 if self._plan.traits.counted else 0.7):
                await self._sync()

    async def _consume(self) -> None:
        chronicle, plan = self._chronicle, self._plan
        self._name = chronicle.fresh("c")
        chronicle.write(Consuming(t=chronicle.now, k=self._name, node=self._node, queue=plan.name))
        consume = m.BasicConsume(plan.name, self._name, False, plan.no_ack, plan.exclusive, False, {})
        await self._client.call(consume, m.BasicConsumeOk)

    def _delivered(self, method: m.BasicDeliver, body: bytes) -> None:
        chronicle, message = self._chronicle, message_in(body)
        headers = decode_header(self._client.header).properties.headers or {}
        deaths = headers.get("x-death")
        latest = deaths[0] if isinstance(deaths, list) else {}
        assert isinstance(latest, dict)
        count = headers.get("x-delivery-count", NO_COUNT)
        assert isinstance(count, int)
        died, place = str(latest.get("reason", "")), str(latest.get("queue", ""))
        chronicle.write(
            Delivered(
                t=chronicle.now,
                k=method.consumer_tag,
                s=message[0],
                n=message[1],
                redelivered=method.redelivered,
                count=int(count),
                died=died,
                from_queue=place,
            )
        )
        if died == "expired":
            lasting = BY_NAME[place].brief_streams and message[0] not in self._world.expiring
            assert not lasting, f"{message} of {place} expired and has no time to live"
            self._world.checks["a death of age, of who has an age"] += 1
        if self._plan.no_ack:
            return
        if method.consumer_tag != self._name:
            # It came after this consumer had asked to go.
            self._settle("requeue", {method.delivery_tag: message}, method.consumer_tag)
            return
        self._held[method.delivery_tag] = message

    def _answer(self) -> None:
        answers: dict[How, dict[int, MessageId]] = {"ack": {}, "requeue": {}, "reject": {}}
        for tag, message in self._held.items():
            draw = 0.5 if self._world.draining else self._random.random()
            how: How = "ack"
            if draw < self._plan.requeue:
                how = "requeue"
            elif draw > 1 - self._plan.reject:
                how = "reject"
            answers[how][tag] = message
        self._held.clear()
        for how, messages in answers.items():
            self._settle(how, messages, self._name)

    def _settle(self, how: How, messages: dict[int, MessageId], consumer: str) -> None:
        if not messages or not self._client.alive:
            return
        chronicle = self._chronicle
        chronicle.write(Settled(t=chronicle.now, k=consumer, how=how, m=tuple(messages.values())))
        for tag in messages:
            self._client.tell(m.BasicAck(tag, False) if how == "ack" else m.BasicNack(tag, False, how == "requeue"))

    async def _sync(self) -> None:
        asked, name = self._chronicle.now, self._name
        await self._client.call(m.BasicQos(0, _PREFETCH_COUNT, False), m.BasicQosOk)
        self._chronicle.write(Synced(t=self._chronicle.now, k=name, asked=asked))

    async def _leave(self) -> None:
        """Give back what it holds, say goodbye, and come again as somebody else."""
        self._settle("requeue", self._held, self._name)
        self._held = {}
        gone, self._name = self._name, ""
        self._chronicle.write(ConsumerEnded(t=self._chronicle.now, k=gone, orderly=True))
        await self._client.call(m.BasicCancel(gone, False), m.BasicCancelOk)
        await trio.sleep(self._random.expovariate(4))
        await self._consume()

    def _ended(self) -> None:
        """The connection is over, however that came."""
        if self._name:
            self._chronicle.write(ConsumerEnded(t=self._chronicle.now, k=self._name, orderly=False))
            self._name = ""
