"""basic.publish: what is refused, what is returned, where copies go, and when it is confirmed."""

from __future__ import annotations

from decimal import Decimal

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import UnroutableError

from cluster.amqp import methods as m
from cluster.amqp.frames import method_frame
from cluster.amqp.properties import BasicProperties, decode_header
from tests.cluster.harness import wait_until
from tests.contract.clients import (
    Clients,
    bodies,
    channel_refused,
    connection_refused,
    pump_until,
    ready_count,
    settle,
    take,
)
from tests.contract.wire import Wire, publish


def queue_of(channel: BlockingChannel) -> str:
    return channel.queue_declare("", exclusive=True).method.queue


def test_an_unknown_exchange_closes_the_channel_with_404(channel: BlockingChannel, name: str) -> None:
    with channel_refused(channel, 404, f"NOT_FOUND - no exchange '{name}' in vhost '/'"):
        channel.basic_publish(name, "key", b"")
        settle(channel)


def test_immediate_closes_the_connection_with_540(wire: Wire) -> None:
    wire.send(publish("", "nowhere", immediate=True))
    wire.assert_connection_closed(540, "NOT_IMPLEMENTED - immediate=true")


def test_an_unroutable_mandatory_message_is_returned_whole_and_then_confirmed(wire: Wire, name: str) -> None:
    wire.call(m.ConfirmSelect(False))
    wire.expect(m.ConfirmSelectOk)
    properties = BasicProperties(content_type="text/plain", headers={"a": 1}, correlation_id="7")
    wire.send(publish("amq.direct", name, b"body", properties, mandatory=True))
    returned = wire.message(m.BasicReturn)
    assert returned.method == m.BasicReturn(312, "NO_ROUTE", "amq.direct", name)
    assert decode_header(returned.header).properties == properties
    assert returned.body == b"body"
    assert wire.expect(m.BasicAck) == m.BasicAck(1, False)


def test_what_can_be_confirmed_when_the_channel_is_closed_is_confirmed_first(wire: Wire, name: str) -> None:
    wire.call(m.ConfirmSelect(False))
    wire.expect(m.ConfirmSelectOk)
    wire.send(publish("", name, mandatory=True) + method_frame(1, m.ChannelClose(200, "", 0, 0).encode()))
    wire.message(m.BasicReturn)
    assert wire.expect(m.BasicAck) == m.BasicAck(1, False)
    wire.expect(m.ChannelCloseOk)


def test_an_unroutable_message_that_is_not_mandatory_is_just_confirmed(wire: Wire, name: str) -> None:
    wire.call(m.ConfirmSelect(False))
    wire.expect(m.ConfirmSelectOk)
    wire.send(publish("", name))
    assert wire.expect(m.BasicAck) == m.BasicAck(1, False)


def test_confirm_select_may_be_repeated_and_counts_on(wire: Wire, name: str) -> None:
    for tag in (1, 2):
        wire.call(m.ConfirmSelect(False))
        wire.expect(m.ConfirmSelectOk)
        wire.send(publish("", name))
        assert wire.expect(m.BasicAck).delivery_tag == tag


def test_every_confirmed_message_can_be_seen_from_every_node(clients: Clients, name: str) -> None:
    channel = clients.channel()
    channel.queue_declare(name, durable=True)
    channel.confirm_delivery()
    for number in range(1, 10):
        channel.basic_publish("", name, b"x", mandatory=True)
        assert ready_count(clients.channel() if number < 4 else channel, name) == number


@pytest.mark.parametrize(
    ("expiration", "words"),
    [
        ("abc", "no_integer"),
        ("", "no_integer"),
        ("-1", "{value_negative,-1}"),
        ("5s", '{leftover_string,"s"}'),
        ("315360000001", "{value_too_large,315360000001}"),
    ],
)
def test_an_invalid_expiration_closes_the_channel_with_406(
    channel: BlockingChannel, expiration: str, words: str
) -> None:
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - invalid expiration '{expiration}': {words}"):
        channel.basic_publish("", "nowhere", b"", pika.BasicProperties(expiration=expiration))
        settle(channel)


def test_another_users_id_closes_the_channel_with_406(channel: BlockingChannel) -> None:
    text = "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'guest'"
    with channel_refused(channel, 406, text):
        channel.basic_publish("", "nowhere", b"", pika.BasicProperties(user_id="bob"))
        settle(channel)


def test_what_is_wrong_with_the_exchange_is_said_before_what_is_wrong_with_the_message(
    channel: BlockingChannel, name: str
) -> None:
    channel.exchange_declare(name, internal=True, auto_delete=True)
    for exchange, code, text in (
        ("nowhere", 404, "NOT_FOUND - no exchange 'nowhere' in vhost '/'"),
        (name, 403, f"ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'"),
    ):
        for properties in (
            pika.BasicProperties(user_id="bob"),
            pika.BasicProperties(expiration="soon"),
            pika.BasicProperties(headers={"CC": "q"}),
            pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"),
        ):
            publisher = channel.connection.channel()
            with channel_refused(publisher, code, text):
                publisher.basic_publish(exchange, "key", b"", properties)
                settle(publisher)


def test_the_users_own_id_is_delivered(channel: BlockingChannel) -> None:
    queue = queue_of(channel)
    channel.basic_publish("", queue, b"", pika.BasicProperties(user_id="guest"))
    assert take(channel, queue)[1].user_id == "guest"


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_copies_that_are_no_array_close_the_channel_with_406(channel: BlockingChannel, header: str) -> None:
    text = f'PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,"{header}",longstr}}'
    with channel_refused(channel, 406, text):
        channel.basic_publish("", "nowhere", b"", pika.BasicProperties(headers={header: "q"}))
        settle(channel)


def test_copies_go_to_cc_and_bcc_and_only_bcc_is_taken_out(clients: Clients) -> None:
    channel, publisher = clients.channel(), clients.channel()
    to, cc, bcc = (queue_of(channel) for _ in range(3))
    publisher.confirm_delivery()
    headers = {"CC": [cc], "BCC": [bcc, cc], "other": 1}
    publisher.basic_publish("", to, b"x", pika.BasicProperties(headers=headers))
    for queue in (to, cc, bcc):
        method, properties, body = take(channel, queue)
        assert (method.routing_key, body) == (to, b"x")
        assert properties.headers == {"CC": [cc], "other": 1}
    assert bodies(channel, cc) == []


def test_a_mandatory_message_that_only_a_copy_can_be_routed_is_not_returned(channel: BlockingChannel) -> None:
    queue = queue_of(channel)
    channel.confirm_delivery()
    channel.basic_publish("", "nowhere", b"x", pika.BasicProperties(headers={"CC": [queue]}), mandatory=True)
    with pytest.raises(UnroutableError):
        channel.basic_publish("", "nowhere", b"x", pika.BasicProperties(headers={"CC": []}), mandatory=True)


def test_a_message_larger_than_the_maximum_closes_the_channel_with_406(wire: Wire, name: str) -> None:
    size = 1 << 40
    content = publish("", name, b"")
    header_at = content.index(b"\x02\0\x01") + 7
    wire.send(content[: header_at + 4] + size.to_bytes(8, "big") + content[header_at + 12 :])
    close = wire.expect(m.ChannelClose)
    assert close.reply_code == 406
    prefix = f"PRECONDITION_FAILED - message size {size} is larger than configured max size "
    assert close.reply_text.startswith(prefix)
    assert close.reply_text.removeprefix(prefix).isdecimal()
    wire.call(m.ChannelCloseOk())
    wire.open_channel(1)


def test_every_property_and_header_type_comes_out_as_it_went_in(clients: Clients, name: str) -> None:
    channel = clients.channel()
    channel.queue_declare(name, durable=True)
    properties = pika.BasicProperties(
        content_type="text/plain",
        content_encoding="utf-8",
        headers={
            "text": "ä",
            "int": -5,
            "big": 2**40,
            "bool": True,
            "none": None,
            "list": [1, "a"],
            "map": {"k": Decimal("1.5")},
        },
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        message_id="m",
        timestamp=1234567890,
        type="t",
        user_id="guest",
        app_id="a",
    )
    body = bytes(range(256)) * 2000
    channel.basic_publish("", name, body, properties)
    settle(channel)
    method, received, got = take(clients.channel(), name)
    assert got == body
    assert (method.exchange, method.routing_key, method.message_count) == ("", name, 0)
    assert received == properties


def test_an_empty_body_is_a_message_too(channel: BlockingChannel) -> None:
    queue = queue_of(channel)
    channel.basic_publish("", queue, b"")
    assert bodies(channel, queue) == [b""]


def test_what_a_channel_published_is_there_for_its_next_method(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, durable=True)
    for number in range(1, 6):
        channel.basic_publish("", name, b"%d" % number)
        assert ready_count(channel, name) == number
    assert bodies(channel, name) == [b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("end", ["channel", "connection", "break"])
def test_what_was_published_before_the_end_is_there_after_it(clients: Clients, wire: Wire, name: str, end: str) -> None:
    channel = clients.channel()
    channel.queue_declare(name, durable=True)
    sent = publish("", name, b"x") * 20
    wire.call(m.QueueDeclare(name, False, True, False, False, True, {}))
    wire.send(sent)
    match end:
        case "channel":
            wire.close_channel()
        case "connection":
            wire.close_connection()
        case _:
            wire.close()
            wait_until(lambda: ready_count(channel, name) == 20, "all are there")
    assert ready_count(channel, name) == 20


def test_publishing_to_an_unknown_exchange_between_good_messages_confirms_the_good_ones_before_it(
    wire: Wire, name: str
) -> None:
    wire.call(m.QueueDeclare(name, False, True, False, False, False, {}))
    wire.expect(m.QueueDeclareOk)
    wire.send(publish("", name, b"1") + publish(name, "", b"2") + publish("", name, b"3"))
    wire.assert_channel_closed(404, f"NOT_FOUND - no exchange '{name}' in vhost '/'")
    wire.call(m.QueueDeclare(name, True, False, False, False, False, {}))
    assert wire.expect(m.QueueDeclareOk).message_count <= 1


def test_global_qos_on_a_quorum_queue_closes_the_connection_with_540(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    channel.basic_qos(prefetch_count=5, global_qos=True)
    text = f"NOT_IMPLEMENTED - queue '{name}' in vhost '/' does not support global qos"
    with connection_refused(channel, 540, text):
        channel.basic_consume(name, lambda *_: None)


@pytest.mark.parametrize("mode", [0, 3])
def test_a_message_is_transient_or_persistent_or_refused_with_406(wire: Wire, name: str, mode: int) -> None:
    wire.call(m.QueueDeclare(name, False, True, False, False, False, {}))
    wire.expect(m.QueueDeclareOk)
    wire.call(m.ConfirmSelect(False))
    wire.expect(m.ConfirmSelectOk)
    wire.send(publish("", name, b"1"))
    wire.expect(m.BasicAck)
    wire.send(publish("", name, b"2", BasicProperties(delivery_mode=mode)))
    wire.assert_channel_closed(406, f"PRECONDITION_FAILED - invalid message: {{delivery_mode_unknown,{mode}}}")
    wire.call(m.QueueDeclare(name, True, False, False, False, False, {}))
    assert wire.expect(m.QueueDeclareOk).message_count == 1


def test_copies_that_are_no_keys_are_passed_over(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, exclusive=True)
    channel.basic_publish("", "nowhere", b"x", pika.BasicProperties(headers={"CC": [5, name, None]}))
    assert bodies(channel, name) == [b"x"]


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_with_a_ttl_of_0_a_message_that_nobody_waits_for_is_gone_when_it_is_confirmed(
    channel: BlockingChannel, name: str, own: bool, durable: bool
) -> None:
    channel.queue_declare(name, durable=durable, arguments={} if own else {"x-message-ttl": 0})
    channel.confirm_delivery()
    for _ in range(5):
        channel.basic_publish("", name, b"x", pika.BasicProperties(expiration="0" if own else None))
        assert ready_count(channel, name) == 0
        assert bodies(channel, name) == []


def test_an_expiration_of_up_to_ten_years_is_taken(channel: BlockingChannel) -> None:
    queue = queue_of(channel)
    channel.basic_publish("", queue, b"x", pika.BasicProperties(expiration="315360000000"))
    assert bodies(channel, queue) == [b"x"]


def test_an_answer_to_a_reply_address_is_delivered_and_yet_not_routed(clients: Clients) -> None:
    """RabbitMQ: a direct reply-to address is no queue, so a mandatory answer comes back."""
    pseudo_queue = "amq.rabbitmq.reply-to"
    asking, answering = clients.channel(), clients.channel()
    requests = queue_of(asking)
    answers: list[bytes] = []
    asking.basic_consume(pseudo_queue, lambda _, __, ___, body: answers.append(body), auto_ack=True)
    asking.basic_publish("", requests, b"?", pika.BasicProperties(reply_to=pseudo_queue))
    address = take(asking, requests)[1].reply_to
    assert address is not None
    answering.confirm_delivery()
    with pytest.raises(UnroutableError):
        answering.basic_publish("", address, b"!", mandatory=True)
    pump_until(asking.connection, lambda: answers == [b"!"], "the answer")


@pytest.mark.parametrize("apart", [0, 1], ids=["its own node", "another node"])
def test_a_reply_address_can_be_declared_passively_until_its_client_is_gone(clients: Clients, apart: int) -> None:
    """So a server asks whether somebody still waits, before it begins (RabbitMQ's documentation)."""
    node = clients.next_node()
    asking, answering = clients.channel(node), clients.channel((node + apart) % 3)
    requests = queue_of(asking)
    asking.basic_consume("amq.rabbitmq.reply-to", lambda *_: None, auto_ack=True)
    asking.basic_publish("", requests, b"?", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
    address = take(asking, requests)[1].reply_to
    assert address is not None
    for declared in (answering.queue_declare(address, passive=True), answering.queue_declare(address)):
        assert (declared.method.queue, declared.method.message_count) == (address, 0)
    asking.connection.close()
    with channel_refused(answering, 404, f"NOT_FOUND - no queue '{address}' in vhost '/'"):
        answering.queue_declare(address, passive=True)


@pytest.mark.parametrize("rest", ["", "x", "7.x", "99999999999999999999.x y"])
def test_what_only_looks_like_a_reply_address_is_a_queue_that_is_not_there(channel: BlockingChannel, rest: str) -> None:
    queue = f"amq.rabbitmq.reply-to.{rest}"
    with channel_refused(channel, 404, f"NOT_FOUND - no queue '{queue}' in vhost '/'"):
        channel.queue_declare(queue, passive=True)
