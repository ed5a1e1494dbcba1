"""basic.ack, nack, reject and recover: what is answered for good, and what comes back, also from who has gone."""

from __future__ import annotations

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from cluster.amqp import methods as m
from cluster.amqp.properties import decode_header
from tests.cluster.harness import wait_until
from tests.contract.clients import Clients, bodies, channel_refused, filled, pump_until, ready_count, settle, take
from tests.contract.wire import Wire, publish

UNKNOWN_TAG = "PRECONDITION_FAILED - unknown delivery tag"


@pytest.mark.parametrize("act", ["ack", "nack", "reject", "ack multiple"])
def test_an_unknown_delivery_tag_closes_the_channel_with_406(channel: BlockingChannel, act: str) -> None:
    with channel_refused(channel, 406, f"{UNKNOWN_TAG} 99"):
        match act:
            case "ack":
                channel.basic_ack(99)
            case "nack":
                channel.basic_nack(99)
            case "reject":
                channel.basic_reject(99)
            case _:
                channel.basic_ack(99, multiple=True)
        settle(channel)


def test_a_double_ack_closes_the_channel_with_406(channel: BlockingChannel, name: str) -> None:
    filled(channel, name, 1)
    tag = take(channel, name)[0].delivery_tag
    channel.basic_ack(tag)
    with channel_refused(channel, 406, f"{UNKNOWN_TAG} {tag}"):
        channel.basic_ack(tag)
        settle(channel)


def test_an_automatically_acked_delivery_has_no_tag_to_ack(channel: BlockingChannel, name: str) -> None:
    filled(channel, name, 1)
    method, _, _ = channel.basic_get(name, auto_ack=True)
    with channel_refused(channel, 406, f"{UNKNOWN_TAG} {method.delivery_tag}"):
        channel.basic_ack(method.delivery_tag)
        settle(channel)


def test_tag_0_stands_for_all_and_only_with_multiple(channel: BlockingChannel, name: str) -> None:
    channel.basic_ack(0, multiple=True)
    filled(channel, name, 2)
    take(channel, name)
    take(channel, name)
    channel.basic_ack(0, multiple=True)
    settle(channel)
    channel.basic_recover(requeue=True)
    assert ready_count(channel, name) == 0
    with channel_refused(channel, 406, f"{UNKNOWN_TAG} 0"):
        channel.basic_ack(0)
        settle(channel)


def test_an_acked_message_is_gone_for_all(clients: Clients, name: str) -> None:
    channel = clients.channel()
    filled(channel, name, 3)
    tags = [take(channel, name)[0].delivery_tag for _ in range(3)]
    channel.basic_ack(tags[1], multiple=True)
    channel.close()
    method, _, body = take(clients.channel(), name)
    assert (body, method.redelivered) == (b"2", True)


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("how", ["nack", "reject", "recover"])
def test_what_a_consumer_with_a_prefetch_count_gives_back_comes_before_what_is_behind_it(
    clients: Clients, name: str, how: str, durable: bool
) -> None:
    channel = clients.channel()
    filled(clients.channel(), name, 3, durable=durable)
    channel.basic_qos(prefetch_count=1)
    got: list[tuple[bytes, bool]] = []

    def give_back(_: BlockingChannel, method: pika.spec.Basic.Deliver, __: pika.BasicProperties, body: bytes) -> None:
        got.append((body, method.redelivered))
        if len(got) == 1 and how == "nack":
            channel.basic_nack(method.delivery_tag)
        if len(got) == 1 and how == "reject":
            channel.basic_reject(method.delivery_tag)

    channel.basic_consume(name, give_back)
    pump_until(channel.connection, lambda: bool(got), "the first delivery")
    if how == "recover":
        channel.basic_recover(requeue=True)
    pump_until(channel.connection, lambda: len(got) == 2, "the second delivery")
    assert got == [(b"0", False), (b"0", True)]


def test_recover_ok_comes_when_everything_is_back(clients: Clients, name: str) -> None:
    holding, looking = clients.channel(), clients.channel()
    filled(looking, name, 50)
    for _ in range(10):
        take(holding, name)
        holding.basic_recover(requeue=True)
        assert ready_count(looking, name) == 50


@pytest.mark.parametrize("how", ["nack", "nack multiple", "reject", "recover", "recover-async"])
@pytest.mark.parametrize("durable", [True, False])
def test_what_is_given_back_takes_its_place_again_and_says_so(
    clients: Clients, name: str, how: str, durable: bool
) -> None:
    channel = clients.channel()
    filled(channel, name, 4, durable=durable)
    taken = [take(channel, name)[0] for _ in range(3)]
    assert not any(method.redelivered for method in taken)
    match how:
        case "nack":
            for method in reversed(taken):
                channel.basic_nack(method.delivery_tag)
        case "nack multiple":
            channel.basic_nack(taken[-1].delivery_tag, multiple=True)
        case "reject":
            for method in taken:
                channel.basic_reject(method.delivery_tag)
        case "recover":
            channel.basic_recover(requeue=True)
        case _:
            channel._impl._send_method(pika.spec.Basic.RecoverAsync(requeue=True))
    settle(channel)
    again = [take(channel, name) for _ in range(4)]
    assert [body for _, _, body in again] == [b"0", b"1", b"2", b"3"]
    assert [method.redelivered for method, _, _ in again] == [True, True, True, False]


@pytest.mark.parametrize("how", ["nack", "reject"])
def test_what_is_refused_for_good_is_gone(channel: BlockingChannel, name: str, how: str) -> None:
    filled(channel, name, 2)
    tag = take(channel, name)[0].delivery_tag
    (channel.basic_nack if how == "nack" else channel.basic_reject)(tag, requeue=False)
    assert bodies(channel, name) == [b"1"]


@pytest.mark.parametrize("end", ["channel", "connection", "break", "error"])
@pytest.mark.parametrize("durable", [True, False])
def test_what_a_lost_consumer_held_takes_its_place_again_and_says_so(
    clients: Clients, wire: Wire, name: str, end: str, durable: bool
) -> None:
    channel = clients.channel()
    filled(channel, name, 5, durable=durable)
    wire.call(m.BasicQos(0, 3, False))
    wire.expect(m.BasicQosOk)
    wire.call(m.BasicConsume(name, "t", False, False, False, False, {}))
    wire.expect(m.BasicConsumeOk)
    for _ in range(3):
        wire.message(m.BasicDeliver)
    assert ready_count(channel, name) == 2
    match end:
        case "channel":
            wire.close_channel()
        case "connection":
            wire.close_connection()
        case "break":
            wire.close()
            wait_until(lambda: ready_count(channel, name) == 5, "all are back")
        case _:
            wire.call(m.BasicAck(99, False))
            wire.assert_channel_closed(406, f"{UNKNOWN_TAG} 99")
            wait_until(lambda: ready_count(channel, name) == 5, "all are back")
    assert ready_count(channel, name) == 5
    again = [take(channel, name) for _ in range(5)]
    assert [body for _, _, body in again] == [b"0", b"1", b"2", b"3", b"4"]
    assert [method.redelivered for method, _, _ in again] == [True, True, True, False, False]


def test_a_refusal_in_the_middle_of_many_acks_carries_out_those_before_it(wire: Wire, name: str) -> None:
    wire.call(m.QueueDeclare(name, False, True, False, False, False, {}))
    wire.expect(m.QueueDeclareOk)
    wire.send(publish("", name, b"1") + publish("", name, b"2"))
    wire.call(m.BasicConsume(name, "t", False, False, False, False, {}))
    wire.expect(m.BasicConsumeOk)
    for _ in range(2):
        wire.message(m.BasicDeliver)
    for tag in (1, 7, 2):
        wire.call(m.BasicAck(tag, False))
    wire.assert_channel_closed(406, f"{UNKNOWN_TAG} 7")

    def left() -> int:
        wire.call(m.QueueDeclare(name, True, False, False, False, False, {}))
        return wire.expect(m.QueueDeclareOk).message_count

    wait_until(lambda: left() == 1, "the second message is back")


def test_a_first_delivery_of_a_quorum_queue_has_no_count_and_a_second_one_has(wire: Wire, name: str) -> None:
    wire.call(m.QueueDeclare(name, False, True, False, False, False, {"x-queue-type": "quorum"}))
    wire.expect(m.QueueDeclareOk)
    wire.send(publish("", name, b"x"))
    wire.call(m.BasicConsume(name, "c", False, False, False, False, {}))
    wire.expect(m.BasicConsumeOk)
    first = wire.message(m.BasicDeliver)
    assert decode_header(first.header).properties.headers is None
    wire.call(m.BasicNack(1, False, True))
    second = wire.message(m.BasicDeliver)
    assert decode_header(second.header).properties.headers == {"x-delivery-count": 1}
