"""Clients of a test, and what a refusal looks like to them.

Law: a refusal is compared whole: its code, its text, what it closes, and that what it does not close lives on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker

from tests.cluster.harness import LocalCluster, wait_until

ANSWER_SECONDS = 10.0


class Clients:
    """pika connections, each to the next node."""

    def __init__(self, nodes: LocalCluster, turn: Iterator[int]) -> None:
        self.nodes = nodes
        self._turn = turn
        self._connections: list[pika.BlockingConnection] = []

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for connection in self._connections:
            with suppress(AMQPError):
                if connection.is_open:
                    connection.close()

    def connect(self, node: int | None = None, **options: Any) -> pika.BlockingConnection:
        connection = self.nodes.connect(self.next_node() if node is None else node, **options)
        self._connections.append(connection)
        return connection

    def channel(self, node: int | None = None, **options: Any) -> BlockingChannel:
        return self.connect(node, **options).channel()

    def next_node(self) -> int:
        return next(self._turn) % len(self.nodes.nodes)


@contextmanager
def channel_refused(channel: BlockingChannel, code: int, text: str) -> Iterator[None]:
    """The block is answered with channel.close; the connection lives on."""
    with pytest.raises(ChannelClosedByBroker) as info:
        yield
    assert (info.value.reply_code, info.value.reply_text) == (code, text)
    assert channel.is_closed
    channel.connection.channel().close()


@contextmanager
def connection_refused(channel: BlockingChannel, code: int, text: str) -> Iterator[None]:
    """The block is answered with connection.close."""
    with pytest.raises(ConnectionClosedByBroker) as info:
        yield
    assert (info.value.reply_code, info.value.reply_text) == (code, text)
    assert channel.connection.is_closed


def label(queue: str) -> str:
    """What refusals call it."""
    return f"queue '{queue}' in vhost '/'"


def settle(channel: BlockingChannel) -> None:
    """Until everything that was sent on the channel before is carried out (or refused)."""
    channel.basic_qos()


def filled(channel: BlockingChannel, name: str, count: int, **options: Any) -> None:
    """A queue with messages b"0", b"1", ..."""
    channel.queue_declare(name, **{"durable": True, **options})
    channel.confirm_delivery()
    for number in range(count):
        channel.basic_publish("", name, b"%d" % number, pika.BasicProperties(delivery_mode=2))


def take(channel: BlockingChannel, queue: str) -> tuple[Any, Any, bytes]:
    """One message by basic.get, unacked; fails when there is none."""
    method, properties, body = channel.basic_get(queue)
    assert method is not None, f"{queue} is empty"
    assert body is not None
    return method, properties, body


def bodies(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Everything that is ready, in order; taken."""
    found = []
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        assert got[2] is not None
        found.append(got[2])
    return found


def ready_count(channel: BlockingChannel, queue: str) -> int:
    return channel.queue_declare(queue, passive=True).method.message_count


def pump_until(connection: pika.BlockingConnection, condition: Callable[[], bool], what: str) -> None:
    """Let pika work until something has come."""

    def there() -> bool:
        connection.process_data_events(time_limit=0.02)
        return condition()

    wait_until(there, what, ANSWER_SECONDS)
