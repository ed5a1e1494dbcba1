"""pika's SelectConnection: an asynchronous publisher and consumer in one loop, while the leader of their queue dies."""

from __future__ import annotations

from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel

from tests.clients.placement import led
from tests.cluster.clients import PERSISTENT, declare
from tests.cluster.harness import HOST, LocalCluster

DEADLINE_SECONDS = 30.0
MESSAGES = 300
WINDOW = 20
"""Unconfirmed at most."""
KILL_AFTER = 60
"""Confirms."""


class Both:
    """A publisher on one node and a consumer on another. `run` returns when all is confirmed and acknowledged."""

    def __init__(self, cluster: LocalCluster, queue: str, *, publish_at: int, consume_at: int, victim: int) -> None:
        self.queue = queue
        self.loop = IOLoop()
        self.confirmed: set[int] = set()
        self.refused: set[int] = set()
        self.got: list[tuple[int, bool]] = []
        self.failure = ""
        self._cluster = cluster
        self._victim = victim
        self._published = 0
        self._connections = [
            self._connect(cluster.port(publish_at), self._to_publish),
            self._connect(cluster.port(consume_at), self._to_consume),
        ]
        self._publishing: Channel | None = None
        self._consuming = False

    def _connect(self, port: int, opened: Any) -> pika.SelectConnection:
        return pika.SelectConnection(
            pika.ConnectionParameters(HOST, port),
            on_open_callback=lambda connection: connection.channel(on_open_callback=opened),
            on_open_error_callback=lambda _, error: self._fail(f"not opened: {error}"),
            on_close_callback=lambda _, error: self._fail(f"connection closed: {error}"),
            custom_ioloop=self.loop,
        )

    def run(self) -> None:
        self.loop.call_later(DEADLINE_SECONDS, lambda: self._fail("the time is over"))
        self.loop.start()
        assert not self.failure, f"{self.failure}; {len(self.confirmed)} confirmed, {len(self.got)} received"

    def _fail(self, reason: str) -> None:
        if not self._is_over():
            self.failure = self.failure or reason
            self.loop.stop()

    def _is_over(self) -> bool:
        return len(self.confirmed) == MESSAGES and len({n for n, _ in self.got}) == MESSAGES

    def _to_publish(self, channel: Channel) -> None:
        channel.add_on_close_callback(lambda _, error: self._fail(f"publishing channel closed: {error}"))
        channel.confirm_delivery(self._answered, callback=lambda _: self._ready(channel))

    def _to_consume(self, channel: Channel) -> None:
        channel.add_on_close_callback(lambda _, error: self._fail(f"consuming channel closed: {error}"))
        channel.basic_qos(
            prefetch_count=7,
            callback=lambda _: channel.basic_consume(self.queue, self._take, callback=lambda _: self._ready(None)),
        )

    def _ready(self, publishing: Channel | None) -> None:
        if publishing is None:
            self._consuming = True
        else:
            self._publishing = publishing
        if self._consuming:
            self._fill()

    def _fill(self) -> None:
        while self._publishing is not None and self._published < min(MESSAGES, len(self.confirmed) + WINDOW):
            self._publishing.basic_publish("", self.queue, b"%d" % self._published, PERSISTENT, mandatory=True)
            self._published += 1

    def _answered(self, frame: Any) -> None:
        """A confirm of one message or of all up to it."""
        tag = frame.method.delivery_tag
        if isinstance(frame.method, pika.spec.Basic.Nack):
            self._fail(f"message {tag - 1} was refused")
            return
        self.confirmed.update(range(len(self.confirmed) if frame.method.multiple else tag - 1, tag))
        if self._victim >= 0 and len(self.confirmed) >= KILL_AFTER:
            self._cluster.kill(self._victim)
            self._victim = -1
        self._fill()
        self._look()

    def _take(self, channel: Channel, method: Any, _: Any, body: bytes) -> None:
        self.got.append((int(body), method.redelivered))
        channel.basic_ack(method.delivery_tag)
        self._look()

    def _look(self) -> None:
        if self._is_over():
            for connection in self._connections:
                connection.close()
            self.loop.stop()


def test_an_asynchronous_publisher_and_consumer_outlive_the_leader_of_their_queue(
    cluster: LocalCluster, name: str
) -> None:
    declare(cluster, name)
    leader, one, another = led(cluster, name)
    both = Both(cluster, name, publish_at=one, consume_at=another, victim=leader)
    both.run()
    assert both.confirmed == set(range(MESSAGES))
    # Nothing was lost and nothing came twice: both clients' nodes live, and their channels hold what they hold. What
    # was on its way when the leader died may have been delivered for all that the next one knows, and says so.
    assert [number for number, _ in both.got] == list(range(MESSAGES))
    assert not any(redelivered for number, redelivered in both.got if number >= KILL_AFTER + 2 * WINDOW)
    assert cluster.children[leader] is None
    cluster.connect(one).channel().queue_delete(name)
