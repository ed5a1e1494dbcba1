"""pika, event-driven: publishers with confirms on each node, and consumers that acknowledge, give back, and refuse.

Law: one thread that never blocks for a message. Publishes go out by the clock, as long as fewer than `OUTSTANDING_MAX`
of a channel wait for their confirm. A connection that breaks is made anew, as new streams and new consumers. What it
had published without an answer to queues that deduplicate, the next channel there publishes once more, on any node.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop

from chaos.clients import body as bodies
from chaos.clients.steady_consumer import SteadyConsumer
from chaos.clients.workload import (
    HANDSHAKE_SECONDS,
    HEARTBEAT_SECONDS,
    PASSWORD,
    RETRY_SECONDS,
    USER,
    Chronicle,
    Orders,
    Route,
    Workload,
    load,
)
from chaos.history import Confirmed, MessageId, Published, Refused, Stream, StreamEnded

NAME = "steady"
OUTSTANDING_MAX = 2000
TURN_SECONDS = 0.01
BACKLOG_TURN_MAX = 100
"""Messages of a backlog that a channel publishes in a turn: the others have their turn, too."""
REPORT_SECONDS = 0.5
ENDING_SECONDS = 5.0
"""What the last answers may take to be committed."""
_PROPERTIES = pika.BasicProperties(delivery_mode=2)
KEY_HEADER = "x-deduplication-header"
ABANDONED_SHARE = 0.05
"""How often a channel to a queue that deduplicates is closed at once after a publish, in which case nobody hears what
came of it."""


class Outlet:
    """A confirming channel that publishes along one route."""

    def __init__(self, client: Steady, wire: Wire, route: Route, node: int, channel: Any) -> None:
        self.name = client.chronicle.fresh("p")
        self._client = client
        self._wire = wire
        self._route = route
        self._channel = channel
        self._due_from = time.monotonic()
        self._open: dict[int, MessageId] = {}
        """Delivery tags without an answer, ascending."""
        self._answered: dict[int, MessageId] = {}
        """The last of the others, at most `OUTSTANDING_MAX`: an answer that comes twice is taken down twice."""
        self._next_tag = 1
        self._next = 1
        client.chronicle.write(Stream(t=time.monotonic(), s=self.name, node=node, queues=route.queues))

    def turn(self, now: float) -> None:
        """Publish what is due."""
        due = int((now - self._due_from) * self._route.rate)
        self._due_from += due / self._route.rate
        missing = self._client.backlogs.get(self._route, 0)
        count = min(max(due, min(missing, BACKLOG_TURN_MAX)), OUTSTANDING_MAX - len(self._open))
        if count <= 0:
            return
        if missing:
            self._client.backlogs[self._route] = max(0, missing - count)
        chronicle, first = self._client.chronicle, self._next
        self._next += count
        undecided = self._client.undecided.pop(self._route, [])
        for stream, number in undecided:
            chronicle.write(Published(t=time.monotonic(), s=stream, first=number, end=number + 1))
            self._send(stream, number)
        chronicle.write(Published(t=time.monotonic(), s=self.name, first=first, end=self._next))
        chronicle.progress.published += count
        chronicle.progress.waiting += count + len(undecided)
        for number in range(first, self._next):
            self._send(self.name, number)
        if self._route.is_deduplicated and self._client.random.random() < ABANDONED_SHARE:
            self.end(orderly=True)
            self._channel.close()
            self._wire.replace(self, self._route)

    def _send(self, stream: str, number: int) -> None:
        self._open[self._next_tag] = (stream, number)
        self._next_tag += 1
        filler = self._client.filler[number % 64 : number % 64 + self._route.body_bytes]
        body, properties = bodies.make(stream, number, filler), _PROPERTIES
        if self._route.is_deduplicated:
            properties = pika.BasicProperties(delivery_mode=2, headers={KEY_HEADER: f"{stream}/{number}"})
        self._channel.basic_publish(self._route.exchange, self._route.routing_key, body, properties)

    def answered(self, frame: Any) -> None:
        """basic.ack or basic.nack, of one or of everything up to one."""
        last = frame.method.delivery_tag
        tags = [last] if last in self._open else []
        again = [self._answered[last]] if last in self._answered else []
        if frame.method.multiple:
            tags, again = [], []
            for tag in self._open:
                if tag > last:
                    break
                tags.append(tag)
        is_ack = isinstance(frame.method, pika.spec.Basic.Ack)
        kind = Confirmed if is_ack else Refused
        chronicle, now = self._client.chronicle, time.monotonic()
        for tag in tags:
            self._answered[tag] = self._open.pop(tag)
        for stream, first, end in _ranges(again + [self._answered[tag] for tag in tags]):
            # A second try that is refused says nothing of the first.
            if is_ack or stream == self.name:
                chronicle.write(kind(t=now, s=stream, first=first, end=end))
        while len(self._answered) > OUTSTANDING_MAX:
            del self._answered[next(iter(self._answered))]
        chronicle.progress.waiting -= len(tags)
        chronicle.progress.confirmed += len(tags) if is_ack else 0

    def end(self, *, orderly: bool) -> None:
        chronicle = self._client.chronicle
        chronicle.progress.waiting -= len(self._open)
        if self._route.is_deduplicated and self._open:
            self._client.undecided.setdefault(self._route, []).extend(self._open.values())
        self._open = {}
        chronicle.write(StreamEnded(t=time.monotonic(), s=self.name, orderly=orderly))


def _ranges(messages: list[MessageId]) -> list[tuple[str, int, int]]:
    """Messages as (stream, half-open range), in their order."""
    ranges: list[tuple[str, int, int]] = []
    for stream, number in messages:
        if ranges and ranges[-1][0] == stream and ranges[-1][2] == number:
            ranges[-1] = (stream, ranges[-1][1], number + 1)
        else:
            ranges.append((stream, number, number + 1))
    return ranges


class Wire:
    """A connection to one node that is made again whenever it breaks. With publishers on it, or with consumers."""

    def __init__(self, client: Steady, node: int, *, publishes: bool) -> None:
        self.outlets: list[Outlet] = []
        self.consumers: list[SteadyConsumer] = []
        self._client = client
        self._node = node
        self._publishes = publishes
        self._connection: Any = None
        self._is_draining = False
        self._connect()

    def _connect(self) -> None:
        if self._client.orders.is_over:
            return
        address = self._client.workload.nodes[self._node]
        pika.SelectConnection(
            pika.ConnectionParameters(
                address.host,
                address.port,
                credentials=pika.PlainCredentials(USER, PASSWORD),
                heartbeat=HEARTBEAT_SECONDS,
                connection_attempts=1,
                socket_timeout=HANDSHAKE_SECONDS,
                stack_timeout=HANDSHAKE_SECONDS,
            ),
            on_open_callback=self._opened,
            on_open_error_callback=lambda _, __: self._again(),
            on_close_callback=lambda _, __: self._closed(),
            custom_ioloop=self._client.loop,
        )

    def _again(self) -> None:
        self._client.loop.call_later(RETRY_SECONDS, self._connect)

    def _closed(self) -> None:
        for outlet in self.outlets:
            outlet.end(orderly=False)
        for consumer in self.consumers:
            consumer.lost()
        self.outlets, self.consumers = [], []
        self._connection = None
        self._again()

    def _opened(self, connection: Any) -> None:
        workload = self._client.workload
        self._connection = connection
        if self._publishes:
            for route in workload.routes:
                if route.client == NAME and self._node in route.nodes:
                    connection.channel(on_open_callback=lambda channel, route=route: self._publish(channel, route))
            return
        self._consume(deep=False)
        if self._is_draining:
            self._consume(deep=True)

    def drain(self) -> None:
        """From now on the deep queues are consumed as well."""
        if not self._is_draining and not self._publishes:
            self._is_draining = True
            if self._connection is not None:
                self._consume(deep=True)

    def _consume(self, *, deep: bool) -> None:
        for plan in self._client.workload.queues:
            if plan.client == NAME and self._node in plan.consumers and plan.is_deep == deep:
                self._connection.channel(
                    on_open_callback=lambda channel, plan=plan: self.consumers.append(
                        SteadyConsumer(self._client.chronicle, self._client.random, plan, self._node, channel)
                    )
                )

    def _publish(self, channel: Any, route: Route) -> None:
        outlet = Outlet(self._client, self, route, self._node, channel)
        channel.confirm_delivery(outlet.answered, callback=lambda _: self.outlets.append(outlet))

    def replace(self, outlet: Outlet, route: Route) -> None:
        """By a new channel for the same route."""
        self.outlets.remove(outlet)
        self._connection.channel(on_open_callback=lambda channel: self._publish(channel, route))


class Steady:
    """All connections, on one loop."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.orders = Orders()
        self.chronicle = Chronicle(workload, NAME)
        self.random = random.Random(workload.seed)
        self.filler = self.random.randbytes(64 + max(route.body_bytes for route in workload.routes))
        self.loop = IOLoop()
        self.undecided: dict[Route, list[MessageId]] = {}
        """Of broken connections: to be published once more."""
        self.backlogs = {route: route.backlog for route in workload.routes if route.backlog}
        """What is missing of each."""
        self._reported = 0.0
        self._deadline = 0.0
        nodes = range(len(workload.nodes))
        self._wires = [Wire(self, node, publishes=publishes) for publishes in (False, True) for node in nodes]

    def run(self) -> None:
        self.loop.call_later(TURN_SECONDS, self._turn)
        self.loop.start()
        self.chronicle.close()

    def _turn(self) -> None:
        now = time.monotonic()
        outlets = [outlet for wire in self._wires for outlet in wire.outlets]
        consumers = [consumer for wire in self._wires for consumer in wire.consumers]
        for outlet in outlets if self.orders.publishes else ():
            outlet.turn(now)
        for wire in self._wires if not self.orders.publishes else ():
            wire.drain()
        for consumer in consumers:
            consumer.turn(now, is_calm=not self.orders.publishes)
        self.chronicle.progress.held = sum(consumer.held for consumer in consumers)
        if now - self._reported > REPORT_SECONDS:
            self._reported = now
            self.chronicle.report()
        if self.orders.is_over:
            self._deadline = self._deadline or now + ENDING_SECONDS
            if all(consumer.is_synced for consumer in consumers) or now > self._deadline:
                for outlet in outlets:
                    outlet.end(orderly=True)
                self.loop.stop()
                return
        self.loop.call_later(TURN_SECONDS, self._turn)


def main() -> int:
    Steady(load(Path(sys.argv[1]))).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
