"""aio-pika and kombu, used as their own documentation says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import aio_pika
import aiormq
import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue

from tests.cluster.harness import HOST, LocalCluster
from tests.contract.admin import Admin

DEADLINE_SECONDS = 20.0


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await scene()

    asyncio.run(bounded())


@pytest.fixture
def urls(nodes: LocalCluster, turn: Iterator[int]) -> tuple[str, str]:
    """Two nodes."""
    first = next(turn)
    return tuple([f"amqp://guest:guest@{HOST}:{nodes.port((first + n) % 3)}/" for n in (0, 1)])  # type: ignore[return-value]


def test_aio_pika_publishes_with_confirms_and_consumes_through_another_node(urls: tuple[str, str], name: str) -> None:
    async def scene() -> None:
        publishing = await aio_pika.connect_robust(urls[0])
        consuming = await aio_pika.connect_robust(urls[1])
        async with publishing, consuming:
            channel = await publishing.channel()
            queue = await channel.declare_queue(name, durable=True)
            exchange = await channel.declare_exchange(f"{name}-x", aio_pika.ExchangeType.TOPIC, durable=True)
            await queue.bind(exchange, "a.*")
            for number in range(20):
                message = aio_pika.Message(b"%d" % number, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await exchange.publish(message, routing_key="a.b")
            channel = await consuming.channel()
            await channel.set_qos(prefetch_count=5)
            received = []
            async with (await channel.get_queue(name)).iterator() as messages:
                async for message in messages:
                    async with message.process():
                        received.append(int(message.body))
                    if len(received) == 20:
                        break
            assert received == list(range(20))
            await (await channel.get_queue(name)).delete(if_empty=True)

    run(scene)


def test_aio_pika_learns_what_cannot_be_routed_and_what_is_not_there(urls: tuple[str, str], name: str) -> None:
    async def scene() -> None:
        async with await aio_pika.connect_robust(urls[0]) as connection:
            channel = await connection.channel(on_return_raises=True)
            with pytest.raises(aio_pika.exceptions.PublishError):
                await channel.default_exchange.publish(aio_pika.Message(b"x"), routing_key=name)
            with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
                await channel.declare_queue(name, passive=True)
            await (await connection.channel()).declare_queue(name, auto_delete=True)

    run(scene)


def test_aio_pika_calls_procedures_over_exclusive_queues(urls: tuple[str, str], name: str) -> None:
    async def scene() -> None:
        async with await aio_pika.connect_robust(urls[0]) as server, await aio_pika.connect_robust(urls[1]) as client:
            serving = await aio_pika.patterns.RPC.create(await server.channel())

            async def multiply(*, x: int, y: int) -> int:
                return x * y

            await serving.register(name, multiply, auto_delete=True)
            calling = await aio_pika.patterns.RPC.create(await client.channel())
            assert await calling.call(name, kwargs={"x": 6, "y": 7}) == 42
            results = await asyncio.gather(*[calling.call(name, kwargs={"x": n, "y": n}) for n in range(10)])
            assert results == [n * n for n in range(10)]
            await calling.close()
            await serving.close()

    run(scene)


def test_a_robust_connection_that_the_operator_closes_comes_back_with_queue_binding_and_consumer(
    urls: tuple[str, str], admin: Admin, name: str
) -> None:
    async def scene() -> None:
        received: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with message.process():
                received.put_nowait(message.body)

        closed: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        robust = await aio_pika.connect_robust(
            urls[0], reconnect_interval=0.1, client_properties={"connection_name": name}
        )
        steady = await aio_pika.connect(urls[1])
        async with robust, steady:
            robust.close_callbacks.add(lambda _, error: closed.done() or closed.set_result(error))
            channel = await robust.channel()
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind("amq.topic", f"{name}.*")
            await queue.consume(take)
            publishing = await (await steady.channel()).get_exchange("amq.topic")
            await publishing.publish(aio_pika.Message(b"before"), f"{name}.a")
            assert await received.get() == b"before"
            await asyncio.to_thread(close_connection, admin, name)
            error = await closed
            assert isinstance(error, aiormq.exceptions.ConnectionClosed)
            assert "CONNECTION_FORCED - time to go" in str(error)
            while True:
                await publishing.publish(aio_pika.Message(b"after"), f"{name}.a")
                with suppress(TimeoutError):
                    assert await asyncio.wait_for(received.get(), 0.2) == b"after"
                    break

    run(scene)


def close_connection(admin: Admin, client_name: str) -> None:
    """As an operator: the connection that calls itself so."""
    found = [c for c in admin.get("connections") if client_name in json.dumps(c)]
    assert len(found) == 1, found
    admin.delete("connections", found[0]["name"], reason="time to go")


def test_kombu_produces_and_consumes_through_another_node(urls: tuple[str, str], name: str) -> None:
    exchange = Exchange(name, type="topic")
    queue = Queue(name, exchange, routing_key="t.#")
    with Connection(urls[0]) as producing, Connection(urls[1]) as consuming:
        queue(producing.channel()).declare()
        producer = Producer(producing.channel(), exchange, serializer="json")
        for number in range(10):
            producer.publish({"n": number}, routing_key="t.a", declare=[queue], retry=True)
        received: list[int] = []

        def take(body: dict[str, int], message: object) -> None:
            received.append(body["n"])
            message.ack()  # type: ignore[attr-defined]

        with Consumer(consuming.channel(), [queue], callbacks=[take], prefetch_count=3, accept=["json"]):
            while len(received) < 10:
                consuming.drain_events(timeout=DEADLINE_SECONDS)
        assert received == list(range(10))
        assert queue(consuming.channel()).delete(if_empty=True, if_unused=True) == 0


def test_kombus_simple_queue_puts_and_gets(urls: tuple[str, str], name: str) -> None:
    with Connection(urls[0], heartbeat=4) as connection, connection.SimpleQueue(name) as queue:
        for number in range(3):
            queue.put({"n": number})
        got = []
        for _ in range(3):
            message = queue.get(timeout=DEADLINE_SECONDS)
            got.append(message.payload["n"])
            message.ack()
        connection.heartbeat_check()
        with pytest.raises(queue.Empty):
            queue.get_nowait()
        assert got == [0, 1, 2]
