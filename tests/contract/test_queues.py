"""Queues as RabbitMQ answers about them: what they are called and bound to, whose they are, and what ends them."""

from __future__ import annotations

import re

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from cluster.amqp import methods as m
from tests.cluster.harness import wait_until
from tests.contract.admin import Admin
from tests.contract.clients import Clients, bodies, channel_refused, label, take
from tests.contract.wire import Wire, publish

NO_PREVIOUS = "NOT_FOUND - no previously declared queue"


def locked(name: str) -> str:
    return (
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked {label(name)}. "
        "It could be originally declared on another connection or the exclusive property value "
        "does not match that of the original declaration."
    )


def answer(channel: BlockingChannel, name: str, **options: bool) -> int:
    """200 when the queue can be declared so, else the code with which the channel made for it is closed."""
    probe = channel.connection.channel()
    try:
        probe.queue_declare(name, **options)
    except ChannelClosedByBroker as error:
        return int(error.reply_code)
    probe.close()
    return 200


def is_there(channel: BlockingChannel, name: str) -> bool:
    return {200: True, 404: False}[answer(channel, name, passive=True)]


@pytest.mark.parametrize("act", ["declare", "declare not exclusive", "passive", "consume", "get", "purge", "delete"])
def test_an_exclusive_queue_is_locked_for_other_connections(clients: Clients, name: str, act: str) -> None:
    clients.channel().queue_declare(name, exclusive=True)
    other = clients.channel()
    with channel_refused(other, 405, locked(name)):
        match act:
            case "declare":
                other.queue_declare(name, exclusive=True)
            case "declare not exclusive":
                other.queue_declare(name)
            case "passive":
                other.queue_declare(name, passive=True)
            case "consume":
                other.basic_consume(name, lambda *_: None)
            case "get":
                other.basic_get(name)
            case "purge":
                other.queue_purge(name)
            case _:
                other.queue_delete(name)


def test_an_exclusive_queue_must_be_redeclared_exclusive_by_its_owner_too(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, exclusive=True)
    channel.queue_declare(name, exclusive=True)
    with channel_refused(channel, 405, locked(name)):
        channel.queue_declare(name)


def test_anybody_may_publish_to_an_exclusive_queue(clients: Clients, name: str) -> None:
    owner, other = clients.channel(0), clients.channel(1)
    owner.queue_declare(name, exclusive=True)
    other.confirm_delivery()
    other.basic_publish("", name, b"hello", mandatory=True)
    assert take(owner, name)[2] == b"hello"


@pytest.mark.parametrize("end", ["close", "break"])
def test_an_exclusive_queue_goes_with_its_connection(clients: Clients, wire: Wire, name: str, end: str) -> None:
    wire.call(m.QueueDeclare(name, False, False, True, False, False, {}))
    wire.expect(m.QueueDeclareOk)
    channel = clients.channel()
    if end == "close":
        wire.close_connection()
    else:
        wire.close()
        wait_until(lambda: answer(channel, name, passive=True) != 405, "the queue is gone")
    assert not is_there(channel, name)
    assert answer(channel, name, exclusive=True) == 200


def test_a_server_named_queue_is_what_the_empty_name_means_from_then_on(channel: BlockingChannel) -> None:
    name = channel.queue_declare("", exclusive=True).method.queue
    assert re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", name)
    channel.queue_bind("", "amq.direct", "key")
    channel.confirm_delivery()
    channel.basic_publish("amq.direct", "key", b"x", mandatory=True)
    assert take(channel, "")[2] == b"x"
    assert channel.queue_purge("").method.message_count == 0
    channel.queue_unbind("", "amq.direct", "key")
    channel.basic_consume("", lambda *_: None)
    channel.queue_delete("")
    assert not is_there(channel, name)


def test_an_empty_queue_and_routing_key_bind_the_last_queue_by_its_name(channel: BlockingChannel) -> None:
    name = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind("", "amq.direct", "")
    channel.confirm_delivery()
    channel.basic_publish("amq.direct", name, b"x", mandatory=True)
    assert bodies(channel, name) == [b"x"]


@pytest.mark.parametrize("act", ["bind", "unbind", "purge", "get", "consume", "delete"])
def test_the_empty_name_means_nothing_before_a_declaration(channel: BlockingChannel, act: str) -> None:
    with channel_refused(channel, 404, NO_PREVIOUS):
        match act:
            case "bind":
                channel.queue_bind("", "amq.direct", "key")
            case "unbind":
                channel.queue_unbind("", "amq.direct", "key")
            case "purge":
                channel.queue_purge("")
            case "get":
                channel.basic_get("")
            case "consume":
                channel.basic_consume("", lambda *_: None)
            case _:
                channel.queue_delete("")


@pytest.mark.parametrize("act", ["passive", "purge", "get", "consume", "bind"])
def test_a_missing_queue_closes_the_channel_with_404(channel: BlockingChannel, name: str, act: str) -> None:
    with channel_refused(channel, 404, f"NOT_FOUND - no {label(name)}"):
        match act:
            case "passive":
                channel.queue_declare(name, passive=True)
            case "purge":
                channel.queue_purge(name)
            case "get":
                channel.basic_get(name)
            case "consume":
                channel.basic_consume(name, lambda *_: None)
            case _:
                channel.queue_bind(name, "amq.direct", "key")


def test_binding_to_a_missing_exchange_closes_the_channel_with_404(channel: BlockingChannel, name: str) -> None:
    queue = channel.queue_declare("", exclusive=True).method.queue
    with channel_refused(channel, 404, f"NOT_FOUND - no exchange '{name}' in vhost '/'"):
        channel.queue_bind(queue, name, "key")


def test_deleting_a_missing_queue_is_answered_with_delete_ok_and_0(channel: BlockingChannel, name: str) -> None:
    assert channel.queue_delete(name).method.message_count == 0


def test_purge_and_delete_tell_how_many_messages_went(clients: Clients, name: str) -> None:
    channel, other = clients.channel(), clients.channel()
    channel.queue_declare(name, durable=True)
    channel.confirm_delivery()
    for _ in range(3):
        channel.basic_publish("", name, b"x")
    take(channel, name)
    assert other.queue_purge(name).method.message_count == 2
    channel.basic_publish("", name, b"y")
    assert other.queue_delete(name).method.message_count == 1


def refused_as_not_empty(clients: Clients, name: str) -> None:
    """Deleting the queue if it is empty."""
    channel = clients.channel()
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - {label(name)} not empty"):
        channel.queue_delete(name, if_empty=True)


def test_a_queue_with_messages_is_not_deleted_if_empty(clients: Clients, name: str) -> None:
    channel = clients.channel()
    channel.queue_declare(name, durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", name, b"x")
    refused_as_not_empty(clients, name)
    channel.queue_purge(name)
    channel.queue_delete(name, if_empty=True)
    assert not is_there(channel, name)


def test_a_queue_with_parked_messages_is_not_deleted_if_empty(clients: Clients, name: str, admin: Admin) -> None:
    """RabbitMQ parks nothing: a quorum queue without a dead letter exchange drops what comes back too often."""
    channel = clients.channel()
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 0})
    channel.confirm_delivery()
    channel.basic_publish("", name, b"x")
    method, _, _ = channel.basic_get(name)
    channel.basic_reject(method.delivery_tag, requeue=True)
    wait_until(lambda: admin.get("queues", "/", name)["messages_parked"] == 1, "parked")
    refused_as_not_empty(clients, name)
    channel.queue_purge(name)
    channel.queue_delete(name, if_empty=True)
    assert not is_there(channel, name)


def test_a_queue_with_delayed_messages_is_not_deleted_if_empty(clients: Clients, name: str) -> None:
    channel = clients.channel()
    channel.exchange_declare(name, "x-delayed-message", durable=True, arguments={"x-delayed-type": "fanout"})
    channel.queue_declare(name, durable=True)
    channel.queue_bind(name, name)
    channel.confirm_delivery()
    channel.basic_publish(name, "", b"x", pika.BasicProperties(headers={"x-delay": 600_000}))
    refused_as_not_empty(clients, name)
    channel.queue_delete(name)
    channel.exchange_delete(name)


def test_a_queue_with_consumers_is_not_deleted_if_unused(clients: Clients, name: str) -> None:
    channel = clients.channel()
    channel.queue_declare(name, durable=True)
    tag = channel.basic_consume(name, lambda *_: None)
    other = clients.channel()
    with channel_refused(other, 406, f"PRECONDITION_FAILED - {label(name)} in use"):
        other.queue_delete(name, if_unused=True)
    channel.basic_cancel(tag)
    channel.queue_delete(name, if_unused=True)
    assert not is_there(channel, name)


def test_unbinding_what_is_not_bound_is_answered_with_unbind_ok(channel: BlockingChannel, name: str) -> None:
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_unbind(queue, "amq.direct", "never")
    channel.queue_unbind(queue, name, "no such exchange")
    channel.queue_unbind(name, "amq.direct", "no such queue")


def test_no_wait_methods_are_carried_out_in_order_and_not_answered(wire: Wire, name: str) -> None:
    wire.call(m.ExchangeDeclare(name, "fanout", False, False, False, False, True, {}))
    wire.call(m.QueueDeclare(name, False, True, False, False, True, {}))
    wire.call(m.QueueBind(name, name, "", True, {}))
    wire.call(m.ConfirmSelect(True))
    wire.send(publish(name, "", b"one") + publish(name, "", b"two"))
    wire.call(m.BasicConsume(name, "tag", False, False, False, True, {}))
    seen = []
    while len(seen) < 3:
        channel, method = wire.method()
        if isinstance(method, m.BasicDeliver):
            for _ in range(2):
                wire.frame()
            seen.append(method)
        else:
            assert isinstance(method, m.BasicAck), method
            seen += [method] if method.delivery_tag == 2 else []
        assert channel == 1
    wire.call(m.BasicCancel("tag", True))
    wire.call(m.QueuePurge(name, True))
    wire.call(m.ExchangeDelete(name, False, True))
    wire.call(m.QueueDelete(name, False, False, True))
    wire.call(m.QueueDeclare(name, True, False, False, False, False, {}))
    wire.assert_channel_closed(404, f"NOT_FOUND - no {label(name)}")


def test_no_wait_does_not_hide_an_error(wire: Wire, name: str) -> None:
    wire.call(m.QueueBind(name, "amq.direct", "key", True, {}))
    wire.assert_channel_closed(404, f"NOT_FOUND - no {label(name)}")


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("end", ["cancel", "channel", "connection", "break"])
def test_an_auto_delete_queue_goes_with_its_last_consumer(
    clients: Clients, wire: Wire, name: str, durable: bool, end: str
) -> None:
    channel = clients.channel()
    channel.queue_declare(name, durable=durable, auto_delete=True)
    tag = channel.basic_consume(name, lambda *_: None)
    wire.call(m.BasicConsume(name, "t", False, False, False, False, {}))
    wire.expect(m.BasicConsumeOk)
    channel.basic_cancel(tag)
    assert is_there(channel, name)
    match end:
        case "cancel":
            wire.call(m.BasicCancel("t", False))
            wire.expect(m.BasicCancelOk)
        case "channel":
            wire.close_channel()
        case "connection":
            wire.close_connection()
        case _:
            wire.close()
    wait_until(lambda: not is_there(channel, name), "the queue is gone")


def test_an_auto_delete_queue_that_nobody_consumed_stays(clients: Clients, name: str) -> None:
    declarer = clients.connect()
    declarer.channel().queue_declare(name, auto_delete=True)
    declarer.close()
    channel = clients.channel()
    assert is_there(channel, name)
    channel.queue_delete(name)


def test_line_breaks_in_names_count_for_nothing_where_names_are_made_and_bound(wire: Wire, name: str) -> None:
    broken = name[:2] + "\n" + name[2:4] + "\r\n" + name[4:]
    wire.call(m.ExchangeDeclare(broken, "direct", False, True, False, False, False, {}))
    wire.expect(m.ExchangeDeclareOk)
    wire.call(m.QueueDeclare(broken, False, True, False, False, False, {}))
    assert wire.expect(m.QueueDeclareOk).queue == name
    wire.call(m.QueueBind(broken, broken, "key", False, {}))
    wire.expect(m.QueueBindOk)
    wire.send(publish(name, "key", b"x", mandatory=True))
    wire.call(m.QueueUnbind(broken, broken, "key", {}))
    wire.expect(m.QueueUnbindOk)
    wire.call(m.ExchangeDelete(broken, False, False))
    wire.expect(m.ExchangeDeleteOk)
    wire.call(m.QueueDelete(broken, False, False, False))
    assert wire.expect(m.QueueDeleteOk).message_count == 1
    wire.call(m.QueuePurge(broken, False))
    wire.assert_channel_closed(404, f"NOT_FOUND - no {label(broken)}")
