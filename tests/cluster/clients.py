"""Small blocking clients for tests on real clusters. Bodies are decimal numbers; every wait has a deadline."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import pika

from tests.cluster.harness import LocalCluster

PERSISTENT = pika.BasicProperties(delivery_mode=2)
PATIENCE_SECONDS = 15.0


class Consuming:
    """A channel with one consumer that acknowledges nothing by itself."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.arrived: deque[tuple[int, bool]] = deque()

    def received(self, _: Any, method: Any, __: Any, body: bytes) -> None:
        self.arrived.append((int(body), method.redelivered))


def declare(cluster: LocalCluster, queue: str, node: int = 0) -> None:
    """A durable queue."""
    connection = cluster.connect(node)
    connection.channel().queue_declare(queue, durable=True)
    connection.close()


def publish(connection: pika.BlockingConnection, queue: str, numbers: Iterable[int]) -> None:
    """Each confirmed before the next."""
    channel = connection.channel()
    channel.confirm_delivery()
    for number in numbers:
        channel.basic_publish("", queue, b"%d" % number, PERSISTENT, mandatory=True)
    channel.close()


def consume(connection: pika.BlockingConnection, queue: str, *, prefetch_count: int) -> Consuming:
    channel = connection.channel()
    channel.basic_qos(prefetch_count=prefetch_count)
    consuming = Consuming(channel)
    channel.basic_consume(queue, consuming.received)
    return consuming


def drain(consuming: Consuming, count: int) -> list[tuple[int, bool]]:
    """The next `count` deliveries as (number, redelivered)."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(consuming.arrived) < count:
        left = deadline - time.monotonic()
        assert left > 0, f"only {list(consuming.arrived)} of {count} deliveries arrived"
        consuming.channel.connection.process_data_events(min(left, 0.1))
    return [consuming.arrived.popleft() for _ in range(count)]
