"""What bounds a queue: length, bytes, time, and the keys that it has seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker, NackError

from tests.cluster.extensions.play import Stage, plays, until


def bytes_with_drop_head(stage: Stage) -> Iterator[None]:
    queue = stage.queue(max_length_bytes=100)
    stage.publish(queue, b"a" * 60)
    yield
    stage.publish(queue, b"b" * 60, b"c" * 30)
    until(lambda: stage.count(queue) == 2, "the first is dropped")
    assert [body[:1] for body in stage.bodies(queue, 2)] == [b"b", b"c"]


def bytes_with_reject_publish(stage: Stage) -> Iterator[None]:
    queue = stage.queue(max_length_bytes=50, overflow="reject-publish", queue_type="quorum")
    stage.publish(queue, b"a" * 40)
    yield
    with pytest.raises(NackError):
        stage.publish(queue, b"b" * 11)
    stage.publish(queue, b"c" * 10)
    assert stage.bodies(queue, 2) == [b"a" * 40, b"c" * 10]
    with pytest.raises(NackError):
        stage.publish(queue, b"d" * 51)


def reject_publish_dlx(stage: Stage) -> Iterator[None]:
    grave = stage.queue()
    queue = stage.queue(
        max_length=1, overflow="reject-publish-dlx", dead_letter_exchange="", dead_letter_routing_key=grave
    )
    stage.publish(queue, b"1")
    with pytest.raises(NackError):
        stage.publish(queue, b"2")
    yield
    with pytest.raises(NackError):
        stage.publish(queue, b"3")
    assert stage.bodies(grave, 2) == [b"2", b"3"]
    assert stage.bodies(queue, 1) == [b"1"]


def time_to_live(stage: Stage) -> Iterator[None]:
    """The queue's and the message's own."""
    graves = [stage.queue() for _ in range(2)]
    letters: dict[str, Any] = {"dead_letter_exchange": ""}
    by_queue = stage.queue(message_ttl=1500, **letters, dead_letter_routing_key=graves[0])
    by_message = stage.queue(**letters, dead_letter_routing_key=graves[1])
    began = time.monotonic()
    stage.publish(by_queue, b"q")
    stage.publish(by_message, b"m", expiration="1500")
    yield
    for grave, body in zip(graves, (b"q", b"m"), strict=True):
        _, properties, got = stage.get(grave)
        assert (got, properties.headers["x-death"][0]["reason"]) == (body, "expired")
    assert time.monotonic() - began >= 1.5
    assert stage.count(by_queue) == stage.count(by_message) == 0


def no_time_at_all(stage: Stage) -> Iterator[None]:
    """A TTL of 0: only a consumer that waits gets the message."""
    queue = stage.queue(message_ttl=0)
    stage.publish(queue, b"nobody waits")
    yield
    stage.wait(lambda: stage.count(queue) == 0, "the message expires")
    came: list[tuple[str, bytes]] = []
    stage.consume(queue, "c", came)
    stage.publish(queue, b"somebody waits")
    stage.wait(lambda: bool(came), "the message comes")
    assert came == [("c", b"somebody waits")]


def expiry_of_an_unused_queue(stage: Stage) -> Iterator[None]:
    unused, used = stage.queue(expires=2500), stage.queue(expires=2500)
    came: list[tuple[str, bytes]] = []
    stage.consume(used, "user", came)
    yield

    def gone() -> bool:
        channel = stage.connections[0].channel()
        try:
            channel.queue_bind(unused, "amq.fanout")
        except ChannelClosedByBroker as error:
            return bool(error.reply_code == 404)
        channel.close()
        return False

    until(gone, "the unused queue is deleted")
    stage.publish(used, b"x")
    stage.wait(lambda: came == [("user", b"x")], "the used one is there")


def delay(stage: Stage) -> Iterator[None]:
    queue, exchange = stage.queue(), stage.exchange("x-delayed-message", x_delayed_type="direct")
    stage.near.queue_bind(queue, exchange, "k")
    began = time.monotonic()
    stage.publish("k", b"late", exchange=exchange, headers={"x-delay": 1500})
    stage.publish("k", b"soon", exchange=exchange)
    yield
    came = {stage.get(queue)[2]: time.monotonic() - began for _ in range(2)}
    assert came.keys() == {b"soon", b"late"}
    assert came[b"late"] >= 1.5


def delay_of_what_is_published_to_the_exchange_itself(stage: Stage) -> Iterator[None]:
    """Not of what a binding or a death brings there; and the header stays as it was."""
    queue, exchange = stage.queue(), stage.exchange("x-delayed-message", x_delayed_type="direct")
    front = stage.exchange("direct")
    first = stage.queue(dead_letter_exchange=exchange, dead_letter_routing_key="k")
    stage.near.queue_bind(queue, exchange, "k")
    stage.near.exchange_bind(exchange, front, "k")
    an_hour = {"x-delay": 3_600_000}
    stage.publish("k", b"bound", exchange=front, headers=an_hour)
    stage.publish(first, b"dead", headers=an_hour)
    yield
    method, _, _ = stage.get(first, auto_ack=False)
    stage.far.basic_reject(method.delivery_tag, requeue=False)
    for body in (b"bound", b"dead"):
        _, properties, found = stage.get(queue)
        assert (found, properties.headers["x-delay"]) == (body, 3_600_000)


def deduplication(stage: Stage) -> Iterator[None]:
    queue = stage.queue(message_deduplication=True, cache_size=2)
    for key in ("a", "b"):
        stage.publish(queue, key.encode(), headers={"x-deduplication-header": key})
    yield
    for key in ("a", "b", "c", "a"):
        stage.publish(queue, key.encode(), headers={"x-deduplication-header": key})
    assert stage.bodies(queue, 4) == [b"a", b"b", b"c", b"a"]
    assert stage.count(queue) == 0


def deduplication_by_an_exchange(stage: Stage) -> Iterator[None]:
    exchange = stage.exchange("x-message-deduplication", x_cache_size=100, x_cache_ttl=600_000)
    queues = [stage.queue() for _ in range(3)]
    for queue in queues:
        stage.near.queue_bind(queue, exchange)
    stage.publish("", b"a", exchange=exchange, headers={"x-deduplication-header": "a"})
    yield
    for key in ("a", "b", "a", "b"):
        stage.publish("", key.encode(), exchange=exchange, headers={"x-deduplication-header": key})
    stage.publish("", b"no key", exchange=exchange)
    for queue in queues:
        assert stage.bodies(queue, 3) == [b"a", b"b", b"no key"]
        assert stage.count(queue) == 0


def priorities(stage: Stage) -> Iterator[None]:
    queue = stage.queue(max_priority=5)
    for priority, body in [(0, b"a"), (5, b"b"), (1, b"c")]:
        stage.publish(queue, body, priority=priority)
    yield
    for priority, body in [(5, b"d"), (9, b"e")]:
        stage.publish(queue, body, priority=priority)
    stage.publish(queue, b"f")
    assert b"".join(stage.bodies(queue, 6)) == b"bdecaf"


bereaved, test_limits = plays(
    bytes_with_drop_head,
    bytes_with_reject_publish,
    reject_publish_dlx,
    time_to_live,
    no_time_at_all,
    expiry_of_an_unused_queue,
    delay,
    delay_of_what_is_published_to_the_exchange_itself,
    deduplication,
    deduplication_by_an_exchange,
    priorities,
)
