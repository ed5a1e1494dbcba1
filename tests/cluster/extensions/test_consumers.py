"""Who gets a message: priorities, single active and exclusive consumers, prefetch counts, timeouts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker

from tests.cluster.extensions.play import Stage, plays

Came = list[tuple[str, bytes]]


def priority(stage: Stage) -> Iterator[None]:
    queue, came = stage.queue(), Came()
    stage.consume(queue, "low", came)
    stage.consume(queue, "high", came, prefetch=2, priority=10)
    stage.publish(queue, b"1")
    stage.wait(lambda: len(came) == 1, "the first")
    yield
    stage.publish(queue, b"2", b"3")
    stage.wait(lambda: len(came) == 3, "all")
    assert sorted(came) == [("high", b"1"), ("high", b"2"), ("low", b"3")]


def single_active_consumer(stage: Stage) -> Iterator[None]:
    queue, came = stage.queue(single_active_consumer=True), Came()
    first = stage.consume(queue, "first", came)
    stage.consume(queue, "second", came)
    stage.publish(queue, b"1")
    stage.wait(lambda: len(came) == 1, "the first")
    yield
    stage.publish(queue, b"2")
    stage.wait(lambda: len(came) == 2, "the second")
    first.basic_cancel("first")
    stage.publish(queue, b"3")
    stage.wait(lambda: len(came) == 3, "the third")
    assert came == [("first", b"1"), ("first", b"2"), ("second", b"3")]
    with pytest.raises(ChannelClosedByBroker, match="in exclusive use"):
        stage.connections[1].channel().basic_consume(queue, lambda *_: None, exclusive=True)


def exclusive_consumer(stage: Stage) -> Iterator[None]:
    queue = stage.queue()
    channel: Any = stage.connections[0].channel()
    tag = channel.basic_consume(queue, lambda *_: None, exclusive=True)
    refusal = f"queue '{queue}' in vhost '/' in exclusive use"
    with pytest.raises(ChannelClosedByBroker, match=refusal):
        stage.connections[1].channel().basic_consume(queue, lambda *_: None)
    yield
    with pytest.raises(ChannelClosedByBroker, match=refusal):
        stage.connections[1].channel().basic_consume(queue, lambda *_: None)
    channel.basic_cancel(tag)
    stage.connections[1].channel().basic_consume(queue, lambda *_: None)


def prefetch_count_of_a_channel(stage: Stage) -> Iterator[None]:
    """basic.qos global: over all consumers, and it counts at once for those that are there."""
    queues, came = [stage.queue() for _ in range(2)], Came()
    channel: Any = stage.connections[1].channel()
    channel.basic_qos(prefetch_count=1, global_qos=True)
    for queue in queues:
        channel.basic_consume(queue, lambda _, __, ___, body: came.append(("c", body)))
        stage.publish(queue, b"1", b"2", b"3")
    stage.wait(lambda: len(came) == 1, "one delivery")
    yield
    channel.basic_qos(prefetch_count=4, global_qos=True)
    stage.wait(lambda: len(came) == 4, "four deliveries")
    channel.basic_ack(0, multiple=True)
    stage.wait(lambda: len(came) == 6, "the rest")
    assert sorted(body for _, body in came) == [b"1", b"1", b"2", b"2", b"3", b"3"]


def timeout(stage: Stage) -> Iterator[None]:
    """Of the queue: who holds a delivery for longer loses the channel, and the message comes back."""
    queue, came = stage.queue(consumer_timeout=2000), Came()
    reasons: list[Exception] = []
    channel = stage.consume(queue, "slow", came)
    channel._impl.add_on_close_callback(lambda _, reason: reasons.append(reason))
    stage.publish(queue, b"x")
    stage.wait(lambda: len(came) == 1, "the delivery")
    yield
    stage.wait(lambda: bool(reasons), "the channel is closed")
    (reason,) = reasons
    assert isinstance(reason, ChannelClosedByBroker)
    assert (reason.reply_code, reason.reply_text) == (
        406,
        f"PRECONDITION_FAILED - delivery acknowledgement on channel {channel.channel_number} timed out. Timeout value"
        " used: 2000 ms. This timeout value can be configured, see consumers doc guide to learn more",
    )
    method, _, body = stage.get(queue)
    assert (method.redelivered, body) == (True, b"x")


bereaved, test_consumers = plays(
    priority, single_active_consumer, exclusive_consumer, prefetch_count_of_a_channel, timeout
)
