"""aio-pika: publishers that wait for each confirm, transactions over several queues, and consumers.

Law: one task for each route and node and for each consumer, each with a connection of its own that is made again
whenever it breaks. A publish or a commit that ends in an error is undecided.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, DeliveryError

from chaos.clients import body as bodies
from chaos.clients.workload import (
    HANDSHAKE_SECONDS,
    HEARTBEAT_SECONDS,
    PASSWORD,
    PREFETCH_COUNT,
    RETRY_SECONDS,
    USER,
    Chronicle,
    Orders,
    QueuePlan,
    Route,
    Workload,
    load,
)
from chaos.history import (
    Confirmed,
    ConsumerEnded,
    Consuming,
    Published,
    Refused,
    Settled,
    Stream,
    StreamEnded,
    Synced,
    Transaction,
)

NAME = "asynchronous"
TURN_SECONDS = 0.02
REPORT_SECONDS = 0.5
SYNC_SECONDS = 0.7
ROLLBACK_SHARE = 0.2
TRANSACTION_MESSAGES = 3
ANSWER_SECONDS = 60.0
"""After so long without an answer the client gives its connection up."""
_BROKEN = (AMQPError, OSError, RuntimeError, asyncio.TimeoutError)
"""What aio-pika raises of a connection that is no more. RuntimeError: for a channel of it."""

Work = Callable[[AbstractConnection], Awaitable[None]]


class Asynchronous:
    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.orders = Orders()
        self.chronicle = Chronicle(workload, NAME)
        self.random = random.Random(workload.seed + 1)
        self.filler = self.random.randbytes(max(route.body_bytes for route in workload.routes))

    async def run(self) -> None:
        """Until told to end."""
        tasks: list[asyncio.Task[None]] = []
        for route in self.workload.routes:
            if route.client == NAME:
                work = self._transact if route.in_transactions else self._publish
                for node in route.nodes:
                    keep = self._keep(node, lambda connection, r=route, n=node, w=work: w(connection, r, n))  # type: ignore[misc]
                    tasks.append(asyncio.create_task(keep))
        for plan in self.workload.queues:
            if plan.client == NAME:
                for node in plan.consumers:
                    keep = self._keep(node, lambda connection, p=plan, n=node: self._consume(connection, p, n))  # type: ignore[misc]
                    tasks.append(asyncio.create_task(keep))
        while not all(task.done() for task in tasks):
            self.chronicle.report()
            await asyncio.wait(tasks, timeout=REPORT_SECONDS)
        for task in tasks:
            task.result()
        self.chronicle.close()

    async def _keep(self, node: int, work: Work) -> None:
        """Do `work` on a connection, again whenever that breaks."""
        address = self.workload.nodes[node]
        while not self.orders.is_over:
            try:
                connection = await aio_pika.connect(
                    host=address.host,
                    port=address.port,
                    login=USER,
                    password=PASSWORD,
                    timeout=HANDSHAKE_SECONDS,
                    client_properties={"connection_name": NAME},
                    heartbeat=HEARTBEAT_SECONDS,
                )
            except _BROKEN:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                await work(connection)
            except _BROKEN:
                await asyncio.sleep(RETRY_SECONDS)
            except asyncio.CancelledError:
                # aiormq cancels whoever waits on a connection that ends; nobody cancels these tasks.
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                await self._leave(connection)

    async def _leave(self, connection: AbstractConnection) -> None:
        try:
            await asyncio.wait_for(connection.close(), HANDSHAKE_SECONDS)
        except (*_BROKEN, asyncio.CancelledError):
            return

    async def _publish(self, connection: AbstractConnection, route: Route, node: int) -> None:
        channel = await connection.channel(publisher_confirms=True)
        stream, number = self.chronicle.fresh("p"), 1
        self.chronicle.write(Stream(t=time.monotonic(), s=stream, node=node, queues=route.queues))
        try:
            while self.orders.publishes:
                self._published(stream, number, 1)
                try:
                    taken = await self._send(channel, route, stream, number)
                finally:
                    self.chronicle.progress.waiting -= 1
                kind = Confirmed if taken else Refused
                self.chronicle.write(kind(t=time.monotonic(), s=stream, first=number, end=number + 1))
                self.chronicle.progress.confirmed += taken
                number += 1
                await asyncio.sleep(1.0 / route.rate)
        finally:
            self.chronicle.write(StreamEnded(t=time.monotonic(), s=stream, orderly=not self.orders.publishes))

    def _published(self, stream: str, first: int, count: int) -> None:
        self.chronicle.write(Published(t=time.monotonic(), s=stream, first=first, end=first + count))
        self.chronicle.progress.published += count
        self.chronicle.progress.waiting += count

    async def _send(self, channel: AbstractChannel, route: Route, stream: str, number: int) -> bool:
        """Whether the broker took it. Raises what a broken connection raises."""
        exchange = channel.default_exchange
        if route.exchange:
            exchange = await channel.get_exchange(route.exchange, ensure=False)
        message = aio_pika.Message(
            bodies.make(stream, number, self.filler[: route.body_bytes]), delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        try:
            await asyncio.wait_for(exchange.publish(message, route.routing_key, mandatory=False), ANSWER_SECONDS)
        except DeliveryError:
            return False
        return True

    async def _transact(self, connection: AbstractConnection, route: Route, node: int) -> None:
        channel = await connection.channel(publisher_confirms=False)
        transaction = channel.transaction()
        await transaction.select(timeout=HANDSHAKE_SECONDS)
        stream, first = self.chronicle.fresh("t"), 1
        self.chronicle.write(Stream(t=time.monotonic(), s=stream, node=node, queues=route.queues))
        try:
            while self.orders.publishes:
                end = first + TRANSACTION_MESSAGES
                self._published(stream, first, TRANSACTION_MESSAGES)
                rolls_back = self.random.random() < ROLLBACK_SHARE
                known = False
                try:
                    for number in range(first, end):
                        await self._send(channel, route, stream, number)
                    if rolls_back:
                        await transaction.rollback(timeout=ANSWER_SECONDS)
                    else:
                        await transaction.commit(timeout=ANSWER_SECONDS)
                    known = True
                finally:
                    self.chronicle.progress.waiting -= TRANSACTION_MESSAGES
                    self.chronicle.progress.confirmed += TRANSACTION_MESSAGES * (known and not rolls_back)
                    outcome = ("rolled-back" if rolls_back else "committed") if known else "unknown"
                    self.chronicle.write(
                        Transaction(
                            t=time.monotonic(),
                            s=stream,
                            first=first,
                            end=end,
                            outcome=outcome,  # type: ignore[arg-type]
                        )
                    )
                first = end
                await asyncio.sleep(1.0 / route.rate)
        finally:
            self.chronicle.write(StreamEnded(t=time.monotonic(), s=stream, orderly=not self.orders.publishes))

    async def _consume(self, connection: AbstractConnection, plan: QueuePlan, node: int) -> None:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH_COUNT)
        queue = await channel.get_queue(plan.name, ensure=False)
        name = self.chronicle.fresh("c")
        self.chronicle.write(Consuming(t=time.monotonic(), k=name, node=node, queue=plan.name))
        held: list[tuple[float, AbstractIncomingMessage, tuple[str, int] | None]] = []

        def received(message: AbstractIncomingMessage) -> None:
            record = self.chronicle.delivered(
                name, message.body, dict(message.headers), redelivered=bool(message.redelivered)
            )
            held.append((record.t, message, (record.s, record.n) if record.intact else None))
            self.chronicle.progress.held += 1

        async def listen(message: AbstractIncomingMessage) -> None:
            received(message)

        gone = asyncio.Event()  # `connection.is_closed` says only whether this side has closed it
        connection.close_callbacks.add(lambda *_: gone.set())
        settled_at, synced_at = 0.0, time.monotonic()
        try:
            await queue.consume(listen, consumer_tag=name, timeout=HANDSHAKE_SECONDS)
            while not gone.is_set():
                now = time.monotonic()
                due = [one for one in held if one[0] <= now - plan.held_seconds]
                del held[: len(due)]
                self.chronicle.progress.held -= len(due)
                if due:
                    named = tuple([message for _, _, message in due if message is not None])
                    settled_at = time.monotonic()
                    self.chronicle.write(Settled(t=settled_at, k=name, how="ack", m=named))
                    for _, message, _ in due:
                        await asyncio.wait_for(message.ack(), HANDSHAKE_SECONDS)
                if synced_at < settled_at and (now - synced_at > SYNC_SECONDS or self.orders.is_over):
                    asked = time.monotonic()
                    await asyncio.wait_for(channel.set_qos(prefetch_count=PREFETCH_COUNT), ANSWER_SECONDS)
                    synced_at = asked
                    self.chronicle.write(Synced(t=time.monotonic(), k=name, asked=asked))
                if self.orders.is_over and not held:
                    return
                await asyncio.sleep(TURN_SECONDS)
        finally:
            self.chronicle.progress.held -= len(held)
            self.chronicle.write(ConsumerEnded(t=time.monotonic(), k=name, orderly=self.orders.is_over))


def main() -> int:
    asyncio.run(Asynchronous(load(Path(sys.argv[1]))).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
