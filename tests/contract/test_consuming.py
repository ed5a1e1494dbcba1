"""basic.consume, get, cancel and qos: who gets what, how much at once, and what is refused."""

from __future__ import annotations

from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from cluster.amqp import methods as m
from tests.cluster.harness import wait_until
from tests.contract.clients import (
    Clients,
    bodies,
    channel_refused,
    connection_refused,
    filled,
    label,
    pump_until,
    ready_count,
    settle,
    take,
)
from tests.contract.wire import CAPABILITIES, Wire, publish


class Received(list[tuple[Any, bytes]]):
    """A consumer that collects: (method, body)."""

    def __call__(self, _channel: object, method: Any, _properties: object, body: bytes) -> None:
        self.append((method, body))

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body in self]


def consuming(channel: BlockingChannel, queue: str, count: int, **options: Any) -> Received:
    """Start a consumer, and wait for its first `count` messages."""
    received = Received()
    channel.basic_consume(queue, received, **options)
    pump_until(channel.connection, lambda: len(received) >= count, f"{count} messages")
    return received


def test_a_consumer_tag_in_use_closes_the_connection_with_530(wire: Wire, name: str) -> None:
    wire.call(m.QueueDeclare(name, False, False, True, False, False, {}))
    wire.expect(m.QueueDeclareOk)
    wire.call(m.BasicConsume(name, "t", False, False, False, False, {}))
    assert wire.expect(m.BasicConsumeOk).consumer_tag == "t"
    wire.call(m.BasicConsume(name, "t", False, False, False, False, {}))
    wire.assert_connection_closed(530, "NOT_ALLOWED - attempt to reuse consumer tag 't'")


def test_a_queue_that_nobody_named_is_missed_before_a_consumer_tag_in_use(
    clients: Clients, wire: Wire, name: str
) -> None:
    clients.channel().queue_declare(name, auto_delete=True)
    wire.call(m.BasicConsume(name, "t", False, False, False, False, {}))
    wire.expect(m.BasicConsumeOk)
    wire.call(m.BasicConsume("", "t", False, False, False, False, {}))
    wire.assert_channel_closed(404, "NOT_FOUND - no previously declared queue")


@pytest.mark.parametrize("first", [True, False])
def test_an_exclusive_consumer_stands_no_other(clients: Clients, name: str, first: bool) -> None:
    channel, other = clients.channel(), clients.channel()
    channel.queue_declare(name, durable=True)
    tag = channel.basic_consume(name, lambda *_: None, exclusive=first)
    text = f"ACCESS_REFUSED - queue '{name}' in vhost '/' in exclusive use"
    with channel_refused(other, 403, text):
        other.basic_consume(name, lambda *_: None, exclusive=not first)
    channel.basic_cancel(tag)
    clients.channel().basic_consume(name, lambda *_: None, exclusive=True)


def test_cancelling_an_unknown_tag_is_answered_with_cancel_ok(wire: Wire) -> None:
    wire.call(m.BasicCancel("nobody", False))
    assert wire.expect(m.BasicCancelOk).consumer_tag == "nobody"


@pytest.mark.parametrize("notify", [True, False])
def test_the_consumer_is_told_when_its_queue_is_deleted_if_it_can_be(
    clients: Clients, stranger: Wire, name: str, notify: bool
) -> None:
    channel = clients.channel()
    channel.queue_declare(name, durable=True)
    stranger.open(1, capabilities={**CAPABILITIES, "consumer_cancel_notify": notify})
    stranger.call(m.BasicConsume(name, "t", False, False, False, False, {}))
    stranger.expect(m.BasicConsumeOk)
    channel.queue_delete(name)
    if notify:
        assert stranger.expect(m.BasicCancel) == m.BasicCancel("t", True)
    channel.queue_declare(name, durable=True)
    stranger.call(m.BasicConsume(name, "t2", False, False, False, False, {}))
    assert stranger.expect(m.BasicConsumeOk).consumer_tag == "t2"


@pytest.mark.parametrize("queue", ["durable", "transient", "exclusive"])
@pytest.mark.parametrize("notifying", ["own channel", "other channel"])
def test_deleting_a_queue_on_the_own_connection_cancels_its_consumer_too(
    wire: Wire, name: str, queue: str, notifying: str
) -> None:
    wire.call(m.QueueDeclare(name, False, queue == "durable", queue == "exclusive", False, False, {}))
    wire.expect(m.QueueDeclareOk)
    wire.open_channel(2)
    wire.call(m.BasicConsume(name, "t", False, False, False, False, {}))
    wire.expect(m.BasicConsumeOk)
    wire.call(m.QueueDelete(name, False, False, False), 1 if notifying == "own channel" else 2)
    seen = {wire.method()[1].NAME for _ in range(2)}
    assert seen == {"basic.cancel", "queue.delete-ok"}


def test_get_on_an_empty_queue_is_get_empty(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name)
    assert channel.basic_get(name) == (None, None, None)


def test_get_tells_how_many_are_left(channel: BlockingChannel, name: str) -> None:
    filled(channel, name, 3)
    assert [take(channel, name)[0].message_count for _ in range(3)] == [2, 1, 0]


def test_nobody_gets_what_expired_behind_what_did_not(channel: BlockingChannel, name: str) -> None:
    clock = channel.queue_declare("", exclusive=True).method.queue
    filled(channel, name, 1)
    for queue in (name, name, clock):
        channel.basic_publish("", queue, b"late", pika.BasicProperties(expiration="1"))
    channel.basic_publish("", name, b"1")
    wait_until(lambda: ready_count(channel, clock) == 0, "so old is too old")
    method, _, body = take(channel, name)
    assert (method.message_count, body) == (1, b"0")
    assert bodies(channel, name) == [b"1"]


def test_prefetch_count_limits_each_consumer_that_comes_after_it(clients: Clients, name: str) -> None:
    channel = clients.channel()
    filled(channel, name, 10)
    channel.basic_qos(prefetch_count=2)
    first = consuming(channel, name, 2)
    channel.basic_qos(prefetch_count=3)
    second = consuming(channel, name, 3)
    observer = clients.channel()
    assert ready_count(observer, name) == 5
    channel.basic_ack(second[0][0].delivery_tag)
    pump_until(channel.connection, lambda: len(second) == 4, "one ack, one more")
    assert (first.bodies, second.bodies) == ([b"0", b"1"], [b"2", b"3", b"4", b"5"])
    assert ready_count(observer, name) == 4


def test_what_waits_behind_a_limit_of_the_channel_comes_back_with_its_connection(
    clients: Clients, wire: Wire, name: str
) -> None:
    channel = clients.channel()
    filled(channel, name, 6)
    wire.call(m.BasicQos(0, 2, True))
    wire.expect(m.BasicQosOk)
    for tag in ("a", "b"):
        wire.call(m.BasicConsume(name, tag, False, False, False, False, {}))
    wait_until(lambda: ready_count(channel, name) == 2, "four are on the node")
    wire.close()
    wait_until(lambda: ready_count(channel, name) == 6, "all are back")


def test_global_prefetch_limits_the_channel_as_a_whole(clients: Clients, name: str) -> None:
    channel = clients.channel()
    filled(channel, name, 6)
    filled(channel, f"{name}-2", 6)
    channel.basic_qos(prefetch_count=4, global_qos=True)
    received = Received()
    channel.basic_consume(name, received)
    channel.basic_consume(f"{name}-2", received)
    pump_until(channel.connection, lambda: len(received) == 4, "four messages")
    ready_count(channel, name)
    channel.connection.process_data_events(time_limit=0.1)
    assert len(received) == 4
    for round_ in range(1, 3):
        channel.basic_ack(received[-1][0].delivery_tag, multiple=True)
        pump_until(channel.connection, lambda n=4 + 4 * round_: len(received) == n, "four more")  # type: ignore[misc]
    assert sorted(received.bodies) == sorted([b"%d" % n for n in range(6)] * 2)


def test_a_prefetch_count_for_consumers_lifts_that_of_the_channel(clients: Clients, name: str) -> None:
    """Measured, on consumers that are there and on those that come; a quorum queue takes such a channel again."""
    channel = clients.channel()
    filled(channel, name, 6, arguments={"x-queue-type": "classic"})
    filled(channel, f"{name}-2", 6, arguments={"x-queue-type": "quorum"})
    channel.basic_qos(prefetch_count=1, global_qos=True)
    before = consuming(channel, name, 1)
    channel.basic_qos(prefetch_count=4, global_qos=False)
    pump_until(channel.connection, lambda: len(before) == 6, "all")
    assert len(consuming(channel, f"{name}-2", 4)) == 4


def test_a_consumer_without_acks_gets_everything_and_leaves_nothing(clients: Clients, name: str) -> None:
    channel = clients.channel()
    filled(channel, name, 20)
    received = consuming(clients.channel(), name, 20, auto_ack=True)
    assert received.bodies == [b"%d" % n for n in range(20)]
    wait_until(lambda: channel.queue_declare(name, durable=True).method.message_count == 0, "empty")
    channel.queue_delete(name, if_empty=True)


def test_after_cancel_ok_nothing_comes_and_what_was_delivered_can_be_acked(clients: Clients, name: str) -> None:
    channel, publisher = clients.channel(), clients.channel()
    filled(publisher, name, 2)
    received = consuming(channel, name, 2, consumer_tag="t")
    channel.basic_cancel("t")
    publisher.basic_publish("", name, b"late")
    settle(channel)
    channel.connection.process_data_events(time_limit=0.1)
    assert received.bodies == [b"0", b"1"]
    assert ready_count(publisher, name) == 1
    channel.basic_ack(received[1][0].delivery_tag, multiple=True)
    channel.close()
    assert bodies(publisher, name) == [b"late"]


def test_consumers_of_one_queue_on_different_nodes_share_its_messages(clients: Clients, name: str) -> None:
    publisher = clients.channel()
    filled(publisher, name, 0)
    consumers = []
    for node in range(3):
        channel = clients.channel(node)
        channel.basic_qos(prefetch_count=1)
        received = Received()
        channel.basic_consume(name, received)
        consumers.append((channel, received))
    for number in range(3):
        publisher.basic_publish("", name, b"%d" % number)
    for channel, received in consumers:
        pump_until(channel.connection, lambda r=received: len(r) == 1, "a share")  # type: ignore[misc]
    assert sorted(received.bodies[0] for _, received in consumers) == [b"0", b"1", b"2"]


def test_a_server_named_consumer_tag_is_told_in_consume_ok(wire: Wire, name: str) -> None:
    wire.call(m.QueueDeclare(name, False, False, True, False, False, {}))
    wire.expect(m.QueueDeclareOk)
    wire.call(m.BasicConsume(name, "", False, False, False, False, {}))
    tag = wire.expect(m.BasicConsumeOk).consumer_tag
    assert tag.startswith("amq.ctag-")
    assert len(tag) == len("amq.ctag-") + 22
    wire.send(publish("", name, b"x"))
    delivered = wire.message(m.BasicDeliver)
    assert delivered.method == m.BasicDeliver(tag, 1, False, "", name)


@pytest.mark.parametrize("kind", ["transient", "exclusive", "durable"])
def test_a_queue_is_worked_with_through_any_node(clients: Clients, name: str, kind: str) -> None:
    owner = clients.channel(0)
    owner.queue_declare(name, durable=kind == "durable", exclusive=kind == "exclusive")
    owner.queue_bind(name, "amq.topic", f"{name}.#")
    other = clients.channel(1)
    other.confirm_delivery()
    for number in range(5):
        other.basic_publish("amq.topic", f"{name}.{number}", b"%d" % number, mandatory=True)
    reader = owner if kind == "exclusive" else clients.channel(2)
    received = consuming(reader, name, 5)
    assert received.bodies == [b"0", b"1", b"2", b"3", b"4"]
    reader.basic_ack(0, multiple=True)
    settle(reader)
    assert ready_count(owner, name) == 0


def test_qos_with_a_prefetch_size_closes_the_connection_with_540(channel: BlockingChannel) -> None:
    with connection_refused(channel, 540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)"):
        channel.basic_qos(prefetch_size=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x-priority": "5"}, "'x-priority' for {}: \"expected integer, got longstr\""),
        ({"x-priority": True}, "'x-priority' for {}: \"expected integer, got bool\""),
        ({"x-cancel-on-ha-failover": "yes"}, "'x-cancel-on-ha-failover' for {}: {{unacceptable_type,longstr}}"),
        ({"x-stream-offset": "first"}, "'x-stream-offset' for {} of queue type rabbit_classic_queue"),
    ],
)
def test_bad_arguments_of_a_consumer_close_the_channel_with_406(
    channel: BlockingChannel, name: str, arguments: dict[str, object], words: str
) -> None:
    channel.queue_declare(name, exclusive=True)
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - invalid arg {words.format(label(name))}"):
        channel.basic_consume(name, lambda *_: None, arguments=arguments)


def test_nobody_consumes_exclusively_where_one_consumer_is_active(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, durable=True, arguments={"x-single-active-consumer": True})
    with channel_refused(channel, 403, f"ACCESS_REFUSED - queue '{name}' in vhost '/' in exclusive use"):
        channel.basic_consume(name, lambda *_: None, exclusive=True)


def test_a_changed_prefetch_count_of_the_channel_counts_at_once(wire: Wire, name: str) -> None:
    wire.call(m.QueueDeclare(name, False, True, False, False, False, {}))
    wire.expect(m.QueueDeclareOk)
    wire.send(b"".join([publish("", name, b"%d" % number) for number in range(8)]))
    wire.call(m.BasicQos(0, 1, True))
    wire.expect(m.BasicQosOk)
    wire.call(m.BasicConsume(name, "c", False, False, False, False, {}))
    wire.expect(m.BasicConsumeOk)
    wire.message(m.BasicDeliver)
    for prefetch_count, more in ((3, 2), (0, 5)):
        wire.call(m.BasicQos(0, prefetch_count, True))
        wire.expect(m.BasicQosOk)
        for _ in range(more):
            wire.message(m.BasicDeliver)
