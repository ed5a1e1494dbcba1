"""Clients under a cluster's faults: on each node a connection that publishes with confirms and one that consumes.

Law: a process of its own with one thread, so that what it measures is not the faults' own work. It never blocks for a
message: publishes go out by the clock at the rate asked for, as long as fewer than `OUTSTANDING_MAX` wait for their
confirm. A connection that breaks is made anew, as a new publishing. What is received is acknowledged `HOLD_SECONDS`
later, so that at every moment messages are held, and some of it is returned. It ends when told to, or when whoever
started it is gone.
"""

from __future__ import annotations

import random
import time
import zlib
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from struct import Struct
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop

from chaos.ledger import CONFIRMED, OPEN, REFUSED, Delivery, Fault, Ledger, Publishing, Receiving, Verdict
from cluster.node.dev.layout import HOST

OUTSTANDING_MAX = 5000
"""Unconfirmed messages of one channel; then it waits."""
HOLD_SECONDS = 0.05
RETURN_EVERY = 50
"""Of so many deliveries of a connection one is returned to its queue at once, if it is the message's first."""
PREFETCH_COUNT = 500
BODY_BYTES = 256
_TURN_SECONDS = 0.005
_RETRY_SECONDS = 0.1
_HANDSHAKE_SECONDS = 5.0
_HEAD = Struct(">IQI")
"""Publishing, number, CRC of the rest."""
_PROPERTIES = pika.BasicProperties(delivery_mode=2)


@dataclass(frozen=True, slots=True)
class Assignment:
    """`rate` is messages a second over all nodes and queues."""

    ports: tuple[int, ...]
    queues: tuple[str, ...]
    rate: float
    seed: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the load stands. `waiting`: published and undecided; `missing`: confirmed and not delivered."""

    published: int
    confirmed: int
    delivered: int
    waiting: int
    missing: int


# What the other side may ask: ("begin", Fault), ("over", number), ("gap", number) -> float, ("progress",) -> Progress,
# ("stop",): publish no more, ("finish", left) -> Verdict.
Word = tuple[Any, ...]


class _Client:
    """A connection to one node that is made again whenever it breaks."""

    def __init__(self, load: Load, node: int) -> None:
        self.load = load
        self.node = node
        self.parameters = pika.ConnectionParameters(
            HOST,
            load.assignment.ports[node],
            heartbeat=20,
            connection_attempts=1,
            socket_timeout=_HANDSHAKE_SECONDS,
            stack_timeout=_HANDSHAKE_SECONDS,
        )
        self.connect()

    def connect(self) -> None:
        if self.load.is_over:
            return
        pika.SelectConnection(
            self.parameters,
            on_open_callback=self.opened,
            on_open_error_callback=lambda _, __: self.again(),
            on_close_callback=lambda _, __: self._closed(),
            custom_ioloop=self.load.loop,
        )

    def again(self) -> None:
        self.load.loop.call_later(_RETRY_SECONDS, self.connect)

    def _closed(self) -> None:
        self.lost(time.monotonic())
        self.again()

    def opened(self, connection: Any) -> None:
        raise NotImplementedError

    def lost(self, at: float) -> None:
        raise NotImplementedError


class _Outlet:
    """A confirming channel into one queue."""

    def __init__(self, load: Load, index: int, channel: Any, share: float) -> None:
        self.publishing = load.ledger.publishings[index]
        self._load = load
        self._index = index
        self._channel = channel
        self._share = share
        self._due_from = time.monotonic()
        self._oldest = 0
        """The first message without an answer."""
        self.waiting = 0

    def turn(self, now: float) -> None:
        """Publish what is due."""
        due = int((now - self._due_from) * self._share)
        self._due_from += due / self._share
        for _ in range(min(due, OUTSTANDING_MAX - self.waiting)):
            number = self.publishing.publish()
            rest = self._load.filler[number % 64 : number % 64 + BODY_BYTES - _HEAD.size]
            body = _HEAD.pack(self._index, number, zlib.crc32(rest)) + rest
            self._channel.basic_publish("", self.publishing.queue, body, _PROPERTIES)
            self.waiting += 1

    def answered(self, frame: Any) -> None:
        """basic.ack or basic.nack."""
        method = frame.method
        last = method.delivery_tag - 1
        answers = self.publishing.answers
        answer = CONFIRMED if isinstance(method, pika.spec.Basic.Ack) else REFUSED
        assert method.multiple or answers[last] == OPEN, f"answered twice: {last} of publishing {self._index}"
        for number in range(self._oldest, last + 1) if method.multiple else (last,):
            if answers[number] == OPEN:
                answers[number] = answer
                self.waiting -= 1
        while self._oldest < len(answers) and answers[self._oldest] != OPEN:
            self._oldest += 1
        self.publishing.answered_at.append(time.monotonic())


class _Publisher(_Client):
    """One confirming channel a queue."""

    def __init__(self, load: Load, node: int) -> None:
        self.outlets: list[_Outlet] = []
        super().__init__(load, node)

    def opened(self, connection: Any) -> None:
        for queue in self.load.assignment.queues:
            connection.channel(on_open_callback=lambda channel, queue=queue: self._ready(channel, queue))

    def _ready(self, channel: Any, queue: str) -> None:
        load, plan = self.load, self.load.assignment
        load.ledger.publishings.append(Publishing(self.node, queue))
        share = plan.rate / len(plan.ports) / len(plan.queues)
        outlet = _Outlet(load, len(load.ledger.publishings) - 1, channel, share)
        channel.confirm_delivery(outlet.answered, callback=lambda _: self.outlets.append(outlet))

    def lost(self, at: float) -> None:
        for outlet in self.outlets:
            outlet.publishing.ended_at = at
        self.outlets = []


class _Consumer(_Client):
    """Consumes every queue through one channel."""

    def __init__(self, load: Load, node: int) -> None:
        self._held: deque[tuple[float, int]] = deque()
        """(received at, delivery tag)."""
        self._channel: Any = None
        self._receiving = 0
        super().__init__(load, node)

    def opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._ready)

    def _ready(self, channel: Any) -> None:
        ledger = self.load.ledger
        ledger.receivings.append(Receiving(self.node))
        self._receiving = len(ledger.receivings) - 1
        self._channel = channel
        channel.basic_qos(prefetch_count=PREFETCH_COUNT)
        for queue in self.load.assignment.queues:
            channel.basic_consume(queue, self._received)

    def _received(self, _: Any, method: Any, __: Any, body: bytes) -> None:
        now = time.monotonic()
        ledger = self.load.ledger
        is_returned = not method.redelivered and method.delivery_tag % RETURN_EVERY == 0
        if is_returned:
            self._channel.basic_nack(method.delivery_tag, requeue=True)
        else:
            self._held.append((now, method.delivery_tag))
        rest = body[_HEAD.size :]
        if len(body) != BODY_BYTES:
            ledger.phantoms += 1
            return
        index, number, crc = _HEAD.unpack_from(body)
        if crc != zlib.crc32(rest):
            ledger.phantoms += 1
            return
        ledger.deliver(index, number, Delivery(now, self._receiving, method.redelivered, is_returned))

    def turn(self, now: float) -> None:
        """Acknowledge what was held long enough."""
        tag = 0
        while self._held and self._held[0][0] <= now - HOLD_SECONDS:
            tag = self._held.popleft()[1]
        if tag:
            self._channel.basic_ack(tag, multiple=True)

    def lost(self, at: float) -> None:
        if self._channel is not None:
            self.load.ledger.receivings[self._receiving].ended_at = at
        self._channel = None
        self._held.clear()


class Load:
    """All clients, on one loop."""

    def __init__(self, assignment: Assignment, pipe: Pipe) -> None:
        self.assignment = assignment
        self.loop = IOLoop()
        self.ledger = Ledger()
        self.is_over = False
        self.filler = random.Random(assignment.seed).randbytes(64 + BODY_BYTES)
        self._pipe = pipe
        self._is_publishing = True
        nodes = range(len(assignment.ports))
        self._consumers = [_Consumer(self, node) for node in nodes]
        self._publishers = [_Publisher(self, node) for node in nodes]

    def run(self) -> None:
        self.loop.call_later(_TURN_SECONDS, self._turn)
        self.loop.start()

    def _turn(self) -> None:
        try:
            while self._pipe.poll(0):
                self._obey(self._pipe.recv())
        except (EOFError, OSError):
            self.is_over = True
        if self.is_over:
            self.loop.stop()
            return
        now = time.monotonic()
        if self._is_publishing:
            for publisher in self._publishers:
                for outlet in publisher.outlets:
                    outlet.turn(now)
        for consumer in self._consumers:
            consumer.turn(now)
        self.loop.call_later(_TURN_SECONDS, self._turn)

    def _obey(self, word: Word) -> None:
        match word:
            case ("begin", Fault() as fault):
                self.ledger.faults.append(fault)
            case ("over", number):
                self.ledger.fault_over(number, time.monotonic())
            case ("gap", number):
                self._pipe.send(self.ledger.gap(self.ledger.faults[number]))
            case ("progress",):
                self._pipe.send(self._progress())
            case ("stop",):
                self._is_publishing = False
            case ("finish", left):
                self._pipe.send(self.ledger.judge(left))
                self.is_over = True
            case _:
                raise ValueError(f"unknown word {word}")

    def _progress(self) -> Progress:
        ledger = self.ledger
        waiting = sum(outlet.waiting for publisher in self._publishers for outlet in publisher.outlets)
        missing = 0 if self._is_publishing else len(ledger.undelivered())
        return Progress(ledger.published, ledger.confirmed, ledger.delivered, waiting, missing)


def serve(assignment: Assignment, pipe: Pipe) -> None:
    """The process's entry."""
    Load(assignment, pipe).run()


class RemoteLoad:
    """The load from the side of whoever does the faults."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def fault_begins(self, fault: Fault) -> None:
        self._pipe.send(("begin", fault))

    def fault_is_over(self, number: int) -> None:
        self._pipe.send(("over", number))

    def gap(self, number: int) -> float:
        answer = self._ask("gap", number)
        assert isinstance(answer, float)
        return answer

    def progress(self) -> Progress:
        answer = self._ask("progress")
        assert isinstance(answer, Progress)
        return answer

    def stop_publishing(self) -> None:
        self._pipe.send(("stop",))

    def finish(self, left: int) -> Verdict:
        answer = self._ask("finish", left)
        assert isinstance(answer, Verdict)
        return answer

    def _ask(self, *word: object) -> object:
        """Raises EOFError when the load has died."""
        self._pipe.send(word)
        return self._pipe.recv()
