"""aio-pika: robust connections, while nodes are killed below them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from tests.clients.conftest import url_of
from tests.clients.placement import led
from tests.cluster.harness import LocalCluster

DEADLINE_SECONDS = 40.0


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await scene()

    asyncio.run(bounded())


def test_a_consumer_on_the_killed_leader_comes_back_to_its_node_and_misses_nothing(
    cluster: LocalCluster, name: str
) -> None:
    async def scene() -> None:
        steady = await aio_pika.connect_robust(url_of(cluster, 0))
        await (await steady.channel()).declare_queue(name, durable=True)
        leader, other, _ = await asyncio.to_thread(led, cluster, name)
        got: list[tuple[int, bool | None]] = []
        more = asyncio.Event()

        async def take(message: AbstractIncomingMessage) -> None:
            async with message.process():
                got.append((int(message.body), message.redelivered))
                more.set()

        async def until(goal: int) -> None:
            while len({number for number, _ in got}) < goal:
                more.clear()
                await more.wait()

        publishing = await aio_pika.connect_robust(url_of(cluster, other))
        consuming = await aio_pika.connect_robust(url_of(cluster, leader), reconnect_interval=0.2)
        back = asyncio.Event()
        consuming.reconnect_callbacks.add(lambda _: back.set())
        async with steady, publishing, consuming:
            channel = await consuming.channel()
            await channel.set_qos(prefetch_count=4)
            await (await channel.declare_queue(name, durable=True)).consume(take)
            private = await channel.declare_queue(exclusive=True)
            await private.bind("amq.topic", f"{name}.#")
            await private.consume(take)
            sending = await publishing.channel()

            async def send(numbers: range) -> None:
                for number in numbers:
                    message = aio_pika.Message(b"%d" % number, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                    await sending.default_exchange.publish(message, name)

            await send(range(20))
            await until(20)
            await asyncio.to_thread(cluster.kill, leader)
            await send(range(20, 40))
            cluster.start(leader)
            await back.wait()
            await send(range(40, 60))
            await until(60)
            first: set[int] = set()
            for number, redelivered in got:
                assert number not in first or redelivered, f"{number} came again and did not say so"
                first.add(number)
            topic = await sending.get_exchange("amq.topic")
            await topic.publish(aio_pika.Message(b"60"), f"{name}.a")
            await until(61)
            await sending.queue_delete(name)

    run(scene)


def test_a_publisher_and_a_consumer_elsewhere_do_not_notice_that_the_leader_is_killed(
    cluster: LocalCluster, name: str
) -> None:
    async def scene() -> None:
        first = await aio_pika.connect_robust(url_of(cluster, 0))
        async with first:
            await (await first.channel()).declare_queue(name, durable=True)
            leader, home, other = await asyncio.to_thread(led, cluster, name)
        lost: list[BaseException | None] = []
        publishing = await aio_pika.connect_robust(url_of(cluster, home))
        consuming = await aio_pika.connect_robust(url_of(cluster, other))
        async with publishing, consuming:
            publishing.close_callbacks.add(lambda _, error: lost.append(error))
            consuming.close_callbacks.add(lambda _, error: lost.append(error))
            sending, taking = await publishing.channel(), await consuming.channel()
            await taking.set_qos(prefetch_count=10)
            queue = await taking.get_queue(name)
            confirmed: list[int] = []

            async def send() -> None:
                for number in range(200):
                    if number == 50:
                        await asyncio.to_thread(cluster.kill, leader)
                    await sending.default_exchange.publish(
                        aio_pika.Message(b"%d" % number, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), name
                    )
                    confirmed.append(number)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(send())
                got: list[int] = []
                async with queue.iterator() as messages:
                    async for message in messages:
                        async with message.process():
                            got.append(int(message.body))
                        if len(got) == 200:
                            break
            assert got == confirmed == list(range(200))
            assert lost == []
            await queue.delete()

    run(scene)
