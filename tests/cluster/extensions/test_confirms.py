"""Publisher confirms, returns and transactions."""

from __future__ import annotations

from collections.abc import Iterator

import pika
import pytest
from pika.exceptions import NackError, UnroutableError

from cluster.amqp import methods as m
from tests.cluster.extensions.play import Stage, plays
from tests.contract.wire import Wire, publish

STREAM = 120


def every_publish_of_a_stream(stage: Stage) -> Iterator[None]:
    """Half of it is under way when the leader dies: each is confirmed, and is there once and in order."""
    queue = stage.queue()
    with Wire(stage.field.cluster.port(stage.others[0])) as wire:
        wire.open(1)
        wire.call(m.ConfirmSelect(False))
        wire.expect(m.ConfirmSelectOk)
        stream = [publish("", queue, b"%d" % number) for number in range(STREAM)]
        wire.send(b"".join(stream[: STREAM // 2]))
        yield
        wire.send(b"".join(stream[STREAM // 2 :]))
        confirmed = 0
        while confirmed < STREAM:
            ack = wire.expect(m.BasicAck)
            assert ack.multiple or ack.delivery_tag == confirmed + 1
            confirmed = ack.delivery_tag
    assert stage.bodies(queue, STREAM) == [b"%d" % number for number in range(STREAM)]
    assert stage.count(queue) == 0


def a_refusal_by_a_full_queue(stage: Stage) -> Iterator[None]:
    queue = stage.queue(max_length=2, overflow="reject-publish")
    stage.publish(queue, b"1", b"2")
    with pytest.raises(NackError):
        stage.publish(queue, b"3")
    yield
    with pytest.raises(NackError):
        stage.publish(queue, b"4")
    assert stage.get(queue)[2] == b"1"
    stage.publish(queue, b"5")
    assert stage.bodies(queue, 2) == [b"2", b"5"]


def a_return_of_what_cannot_be_routed(stage: Stage) -> Iterator[None]:
    queue = stage.queue()
    stage.near.queue_bind(queue, "amq.direct", queue)
    stage.publish(queue, b"1", exchange="amq.direct")
    with pytest.raises(UnroutableError):
        stage.publish(queue + "-", b"2", exchange="amq.direct")
    yield
    with pytest.raises(UnroutableError):
        stage.publish(queue + "-", b"3", exchange="amq.direct")
    stage.publish(queue, b"4", exchange="amq.direct")
    assert stage.bodies(queue, 2) == [b"1", b"4"]


def a_transaction(stage: Stage) -> Iterator[None]:
    """Publishes and acks before the leader's death count with the commit after it."""
    queue = stage.queue()
    stage.publish(queue, b"old")
    channel = stage.connections[0].channel()
    channel.tx_select()
    method, _, _ = channel.basic_get(queue)
    channel.basic_ack(method.delivery_tag)
    channel.basic_publish("", queue, b"new", pika.BasicProperties(delivery_mode=2))
    yield
    assert stage.count(queue) == 0
    channel.basic_publish("", queue, b"newer", pika.BasicProperties(delivery_mode=2))
    channel.tx_commit()
    assert stage.bodies(queue, 2) == [b"new", b"newer"]
    channel.basic_publish("", queue, b"never")
    channel.tx_rollback()
    channel.close()
    assert stage.count(queue) == 0


bereaved, test_confirms = plays(
    every_publish_of_a_stream, a_refusal_by_a_full_queue, a_return_of_what_cannot_be_routed, a_transaction
)
