"""What clients get from a node whose copy of the catalog is behind: a name means what it means when it is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from cluster.amqp import methods as m
from cluster.amqp.method import Method
from cluster.amqp.settings import ConnectionSettings
from cluster.broker.catalog.commands import (
    BindQueue,
    DeclareExchange,
    DeclareQueue,
    DeleteExchange,
    DeleteQueue,
    SingleCommand,
)
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.errors import BrokerError, no_queue
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.messages import ReplyStatus, RequestOp
from cluster.broker.shard.stream import ReplyCallback
from cluster.node.amqp.broker import Broker, BrokerLimits
from cluster.node.amqp.handlers import HANDLERS
from tests.broker.catalog.build import Founded

NAME = "q"


class Behind:
    """A node with a copy of the catalog that lacks what is in `missed`, and the leaders of all queues, who know."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.founded = Founded()
        self.missed: list[SingleCommand] = []
        self.asked: list[tuple[RequestOp, QueueId]] = []
        self.sent: list[Method] = []
        self.ready: dict[QueueId, int] = {}
        """Queues that are there, as their leaders know: how many messages each holds."""
        self.broker = Broker(
            node=1,
            incarnation=1,
            catalog=self.founded.catalog,
            client=self,  # type: ignore[arg-type]
            switchboard=self,  # type: ignore[arg-type]
            settings=ConnectionSettings(),
            limits=BrokerLimits(1 << 20, 1 << 20),
            loopback_user="",
            wake=lambda: None,
            nursery=nursery,
            links=SimpleNamespace(),  # type: ignore[arg-type]
        )
        self.connection: Any = SimpleNamespace(
            broker=self.broker,
            user="guest",
            vhost="/",
            id="1:1:1",
            owns_queues=False,
            machine=SimpleNamespace(send=self),
        )
        self.channel: Any = SimpleNamespace(
            number=1, last_queue="", consumers={}, consume=self.consume, get=self.get, served=[]
        )

    def __call__(self, channel: int, method: Method) -> None:
        """What the client is sent."""
        self.sent.append(method)

    async def do(self, method: Method) -> Method:
        """What the client is answered. Raises BrokerError."""
        await HANDLERS[type(method)](self.connection, self.channel, method)
        return self.sent.pop()

    def declared(self, messages: int) -> QueueDefinition:
        """Under the name; the copy knows it."""
        self.founded.ok(DeclareQueue("/", NAME, True, False, False))
        queue = self.founded.catalog.vhosts["/"].queues[NAME]
        self.ready[queue.id] = messages
        return queue

    def miss_another(self, messages: int) -> None:
        """The queue is deleted and another declared under its name; here nobody hears of it."""
        (queue,) = self.founded.catalog.queues.values()
        del self.ready[queue.id]
        self.missed += (DeleteQueue("/", NAME, queue.id), DeclareQueue("/", NAME, True, False, False))
        self.ready[QueueId(queue.id + len(self.missed))] = messages

    # ---- the catalog's client

    async def submit(self, command: SingleCommand) -> object:
        await self.catch_up()
        return self.founded.ok(command)

    async def catch_up(self) -> None:
        self.founded.ok(*self.missed)
        self.missed.clear()
        await trio.lowlevel.checkpoint()

    # ---- switchboard, streams and leaders

    def stream(self, shard: int) -> Behind:
        return self

    def stirred(self, stream: object) -> None: ...

    def request(self, op: RequestOp, queue: QueueId, args: Sequence[int], callback: ReplyCallback) -> int:
        self.asked.append((op, queue))
        status = ReplyStatus.OK if queue in self.ready else ReplyStatus.GONE
        ready = self.ready.get(queue, 0)
        callback(status, [ready, 0, 3, 0, 0, 0, 0] if op is RequestOp.INFO else ready)
        return len(self.asked)

    # ---- the channel

    async def consume(self, queue: QueueDefinition, method: m.BasicConsume, tag: str) -> None:
        if queue.id not in self.ready:
            raise no_queue(queue.vhost, queue.name)
        self.sent.append(m.BasicConsumeOk(str(queue.id)))

    async def get(self, queue: QueueDefinition, *, no_ack: bool) -> None:
        await self.consume(queue, m.BasicConsume("", "", False, no_ack, False, False, {}), "")


@asynccontextmanager
async def behind() -> AsyncIterator[Behind]:
    async with trio.open_nursery() as nursery:
        yield Behind(nursery)


DECLARE = m.QueueDeclare(NAME, False, True, False, False, False, {})


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (m.QueuePurge(NAME, False), lambda queue: m.QueuePurgeOk(7)),
        (DECLARE, lambda queue: m.QueueDeclareOk(NAME, 7, 3)),
        (m.QueueDeclare(NAME, True, True, False, False, False, {}), lambda queue: m.QueueDeclareOk(NAME, 7, 3)),
        (m.BasicConsume(NAME, "", False, False, False, False, {}), lambda queue: m.BasicConsumeOk(str(queue.id))),
        (m.BasicGet(NAME, False), lambda queue: m.BasicConsumeOk(str(queue.id))),
    ],
    ids=["purge", "declare", "passive declare", "consume", "get"],
)
async def test_what_is_said_of_a_name_is_done_to_the_queue_that_bears_it_now(
    method: Method, answer: Callable[[QueueDefinition], Method]
) -> None:
    async with behind() as node:
        node.declared(5)
        node.miss_another(7)
        answered = await node.do(method)
        (queue,) = node.founded.catalog.queues.values()
        assert answered == answer(queue)


async def test_a_purge_is_of_the_queue_that_bears_the_name_also_where_its_leader_has_not_heard_of_a_deletion() -> None:
    async with behind() as node:
        first = node.declared(5)
        node.miss_another(7)
        node.ready[first.id] = 5
        assert await node.do(m.QueuePurge(NAME, False)) == m.QueuePurgeOk(7)


async def test_a_queue_that_is_gone_is_made_by_who_declares_it_and_missing_for_who_only_looks() -> None:
    async with behind() as node:
        first = node.declared(5)
        del node.ready[first.id]
        node.missed.append(DeleteQueue("/", NAME, first.id))
        with pytest.raises(BrokerError, match="no queue 'q'"):
            await node.do(m.QueueDeclare(NAME, True, True, False, False, False, {}))
        node.declared(5)
        node.missed.append(DeleteQueue("/", NAME, node.founded.catalog.vhosts["/"].queues[NAME].id))
        node.ready.clear()
        assert await node.do(DECLARE) == m.QueueDeclareOk(NAME, 0, 0)
        assert NAME in node.founded.catalog.vhosts["/"].queues


async def test_a_queue_that_is_being_deleted_is_declared_as_it_is() -> None:
    async with behind() as node:
        node.declared(5)
        node.ready.clear()
        assert await node.do(DECLARE) == m.QueueDeclareOk(NAME, 0, 3)


async def test_a_binding_that_went_with_an_earlier_queue_is_made_again() -> None:
    async with behind() as node:
        node.declared(0)
        node.founded.ok(BindQueue("/", "amq.direct", NAME, "k"))
        node.miss_another(0)
        await node.do(m.QueueBind(NAME, "amq.direct", "k", False, {}))
        assert node.founded.catalog.route("/", "amq.direct", "k", dict).queues


async def test_what_another_kind_of_exchange_or_queue_had_in_its_way_is_declared() -> None:
    async with behind() as node:
        node.founded.ok(DeclareExchange("/", "e", "direct", True, False, False))
        node.missed.append(DeleteExchange("/", "e", False))
        await node.do(m.ExchangeDeclare("e", "fanout", False, True, False, False, False, {}))
        queue = node.declared(0)
        node.missed.append(DeleteQueue("/", NAME, queue.id))
        lesser = m.QueueDeclare(NAME, False, False, False, False, False, {})
        assert await node.do(lesser) == m.QueueDeclareOk(NAME, 0, 0)
        assert node.founded.catalog.vhosts["/"].exchanges["e"].type == "fanout"


async def test_an_exchange_that_is_gone_is_made_by_who_declares_it() -> None:
    async with behind() as node:
        node.founded.ok(DeclareExchange("/", "e", "direct", True, False, False))
        node.missed.append(DeleteExchange("/", "e", False))
        await node.do(m.ExchangeDeclare("e", "direct", False, True, False, False, False, {}))
        assert "e" in node.founded.catalog.vhosts["/"].exchanges
