"""A publisher that never stops: on which node it is, whether nodes come or go, and how long it was kept waiting.

Law: one message at a time, each confirmed before the next: the longest time between two confirms is the gap that any
client would have seen. A publish whose outcome is unknown is counted as neither lost nor there.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError

from tests.cluster.clients import PERSISTENT

Address = tuple[str, int]
_STALL_LOOK_SECONDS = 0.01
_PAUSE_SECONDS = 0.02


def unhurried(seconds: float) -> float:
    """That time on a machine that carries its load; longer while others want several times of what it has."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class SteadyLoad:
    """Publishes the numbers from 0 on to a durable queue. Use as a context manager; `addresses` are tried at random."""

    def __init__(
        self, addresses: Callable[[], Sequence[Address]], queue: str, credentials: pika.PlainCredentials | None = None
    ) -> None:
        self.confirmed: set[int] = set()
        self.refusals = 0
        self._addresses = addresses
        self._queue = queue
        self._credentials = credentials or pika.PlainCredentials("guest", "guest")
        self._stopping = threading.Event()
        self._confirmed_at = time.monotonic()
        self._gap = 0.0
        self._stall = 0.0
        self._number = 0
        self._random = random.Random(1)
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._run, self._watch_machine)]

    def __enter__(self) -> SteadyLoad:
        for thread in self._threads:
            thread.start()
        try:
            self.settle()
        except AssertionError:
            self._stopping.set()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def settle(self, count: int = 20) -> float:
        """Until so many more are confirmed. The gap until then; a new one is measured from then on."""
        wanted = len(self.confirmed) + count
        deadline = time.monotonic() + 60
        while len(self.confirmed) < wanted:
            assert time.monotonic() < deadline, "nothing is confirmed"
            time.sleep(_PAUSE_SECONDS)
        gap = self.gap()
        self._gap = self._stall = 0.0
        return gap

    def gap(self) -> float:
        """The longest time without a confirm since `settle`, in seconds, less what the machine itself stood still."""
        return max(self._gap, time.monotonic() - self._confirmed_at) - self._stall

    def _run(self) -> None:
        while not self._stopping.is_set():
            addresses = list(self._addresses())
            self._random.shuffle(addresses)
            for host, port in addresses:
                try:
                    self._publish(host, port)
                    break
                except (AMQPError, AMQPConnectorException, OSError):
                    continue
            time.sleep(_PAUSE_SECONDS)

    def _publish(self, host: str, port: int) -> None:
        parameters = pika.ConnectionParameters(
            host, port, credentials=self._credentials, heartbeat=4, socket_timeout=2, stack_timeout=5
        )
        with pika.BlockingConnection(parameters) as connection:
            channel = connection.channel()
            channel.queue_declare(self._queue, durable=True)
            channel.confirm_delivery()
            while not self._stopping.is_set():
                number, self._number = self._number, self._number + 1
                try:
                    channel.basic_publish("", self._queue, b"%d" % number, PERSISTENT, mandatory=True)
                except pika.exceptions.NackError:
                    self.refusals += 1
                    continue
                now = time.monotonic()
                self._gap = max(self._gap, now - self._confirmed_at)
                self._confirmed_at = now
                self.confirmed.add(number)

    def _watch_machine(self) -> None:
        before = time.monotonic()
        while not self._stopping.is_set():
            time.sleep(_STALL_LOOK_SECONDS)
            now = time.monotonic()
            self._stall = max(self._stall, now - before - _STALL_LOOK_SECONDS)
            before = now


def received(connection: pika.BlockingConnection, queue: str, wanted: set[int]) -> set[int]:
    """What the queue held, consumed until all of `wanted` has come or nothing more does."""
    got: set[int] = set()
    channel = connection.channel()
    channel.basic_qos(prefetch_count=500)
    for method, _, body in channel.consume(queue, inactivity_timeout=10):
        if method is None:
            break
        got.add(int(body))
        channel.basic_ack(method.delivery_tag)
        if wanted <= got:
            break
    connection.close()
    return got
