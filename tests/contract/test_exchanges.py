"""exchange.declare, delete, bind and unbind as RabbitMQ answers them."""

from __future__ import annotations

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from cluster.amqp import methods as m
from cluster.amqp.field_table import Binary, FieldValue, Timestamp
from cluster.amqp.properties import BasicProperties
from tests.contract.clients import Clients, bodies, channel_refused, connection_refused, ready_count, take
from tests.contract.wire import Wire, publish

DEFAULT_REFUSED = "ACCESS_REFUSED - operation not permitted on the default exchange"
PREDECLARED = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}


def queue_of(channel: BlockingChannel) -> str:
    """A queue that goes with the connection."""
    return channel.queue_declare("", exclusive=True).method.queue


@pytest.mark.parametrize(("kind", "word"), [("bogus", "unknown"), ("", "invalid")])
def test_an_unknown_type_closes_the_connection_with_503(
    channel: BlockingChannel, name: str, kind: str, word: str
) -> None:
    with connection_refused(channel, 503, f"COMMAND_INVALID - {word} exchange type '{kind}'"):
        channel.exchange_declare(name, kind)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exchange_type": "topic"}, "'type' for {}: received 'topic' but current is 'direct'"),
        ({"durable": True}, "'durable' for {}: received 'true' but current is 'false'"),
        ({"auto_delete": True}, "'auto_delete' for {}: received 'true' but current is 'false'"),
        ({"internal": True}, "'internal' for {}: received 'true' but current is 'false'"),
        (
            {"arguments": {"alternate-exchange": "z"}},
            "'alternate-exchange' for {}: received the value 'z' of type 'longstr' but current is none",
        ),
    ],
)
def test_a_redeclaration_that_differs_closes_the_channel_with_406(
    clients: Clients, name: str, change: dict[str, object], words: str
) -> None:
    clients.channel().exchange_declare(name)
    channel = clients.channel()
    channel.exchange_declare(name)
    label = f"exchange '{name}' in vhost '/'"
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - inequivalent arg {words.format(label)}"):
        channel.exchange_declare(name, **change)  # type: ignore[arg-type]


def test_a_name_with_the_reserved_prefix_closes_the_channel_with_403(channel: BlockingChannel) -> None:
    with channel_refused(channel, 403, "ACCESS_REFUSED - exchange name 'amq.foo' contains reserved prefix 'amq.*'"):
        channel.exchange_declare("amq.foo")


@pytest.mark.parametrize(("exchange", "kind"), PREDECLARED.items())
def test_a_predeclared_exchange_can_be_declared_as_it_is(channel: BlockingChannel, exchange: str, kind: str) -> None:
    channel.exchange_declare(exchange, kind, durable=True)
    channel.exchange_declare(exchange, passive=True)


def test_the_trace_exchange_is_a_predeclared_internal_topic_exchange(channel: BlockingChannel) -> None:
    channel.exchange_declare("amq.rabbitmq.trace", "topic", durable=True, internal=True)


@pytest.mark.parametrize("act", ["declare", "delete", "bind", "unbind", "bind to", "bind exchange"])
def test_the_default_exchange_cannot_be_touched(channel: BlockingChannel, act: str) -> None:
    queue = queue_of(channel)
    with channel_refused(channel, 403, DEFAULT_REFUSED):
        match act:
            case "declare":
                channel.exchange_declare("")
            case "delete":
                channel.exchange_delete("")
            case "bind":
                channel.queue_bind(queue, "", "key")
            case "unbind":
                channel.queue_unbind(queue, "", "key")
            case "bind to":
                channel.exchange_bind("", "amq.direct", "key")
            case _:
                channel.exchange_bind("amq.direct", "", "key")


def test_a_passive_declaration_of_a_missing_exchange_closes_the_channel_with_404(
    channel: BlockingChannel, name: str
) -> None:
    with channel_refused(channel, 404, f"NOT_FOUND - no exchange '{name}' in vhost '/'"):
        channel.exchange_declare(name, passive=True)


def test_deleting_a_missing_exchange_is_answered_with_delete_ok(channel: BlockingChannel, name: str) -> None:
    channel.exchange_delete(name)


def test_a_system_exchange_cannot_be_deleted(channel: BlockingChannel) -> None:
    text = "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed"
    with channel_refused(channel, 403, text):
        channel.exchange_delete("amq.direct")


def test_an_exchange_in_use_is_not_deleted_if_unused(clients: Clients, name: str) -> None:
    channel = clients.channel()
    channel.exchange_declare(name)
    queue = queue_of(channel)
    channel.queue_bind(queue, name, "key")
    other = clients.channel()
    with channel_refused(other, 406, f"PRECONDITION_FAILED - exchange '{name}' in vhost '/' in use"):
        other.exchange_delete(name, if_unused=True)
    channel.queue_unbind(queue, name, "key")
    clients.channel().exchange_delete(name, if_unused=True)
    with channel_refused(channel, 404, f"NOT_FOUND - no exchange '{name}' in vhost '/'"):
        channel.exchange_declare(name, passive=True)


@pytest.mark.parametrize("missing", ["source", "destination"])
def test_exchanges_are_bound_only_where_both_are_there(channel: BlockingChannel, name: str, missing: str) -> None:
    channel.exchange_declare(name, "fanout")
    ends = (name, f"{name}-missing") if missing == "source" else (f"{name}-missing", name)
    with channel_refused(channel, 404, f"NOT_FOUND - no exchange '{name}-missing' in vhost '/'"):
        channel.exchange_bind(*ends, "key")


def test_messages_flow_through_bound_exchanges_until_they_are_unbound(clients: Clients, name: str) -> None:
    channel, publisher = clients.channel(), clients.channel()
    channel.exchange_declare(name, "fanout")
    channel.exchange_declare(f"{name}-source", "topic")
    queue = queue_of(channel)
    channel.queue_bind(queue, name)
    channel.exchange_bind(name, f"{name}-source", "a.*")
    publisher.confirm_delivery()
    publisher.basic_publish(f"{name}-source", "a.b", b"through")
    publisher.basic_publish(f"{name}-source", "b.b", b"astray")
    assert bodies(channel, queue) == [b"through"]
    channel.exchange_unbind(name, f"{name}-source", "a.*")
    publisher.basic_publish(f"{name}-source", "a.b", b"unbound")
    assert bodies(channel, queue) == []


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_each_type_routes_by_its_own_rule_from_any_node(clients: Clients, name: str, kind: str) -> None:
    channel, publisher = clients.channel(), clients.channel()
    channel.exchange_declare(name, kind, durable=True)
    queue = queue_of(channel)
    arguments = {"x-match": "any", "colour": "red", "size": 1}
    channel.queue_bind(queue, name, "a.#" if kind == "topic" else "a.b", arguments if kind == "headers" else None)
    publisher.confirm_delivery()
    red = pika.BasicProperties(headers={"colour": "red"})
    publisher.basic_publish(name, "a.b", b"1", red)
    publisher.basic_publish(name, "a.b.c", b"2")
    publisher.basic_publish(name, "b", b"3", pika.BasicProperties(headers={"colour": "blue"}))
    expected = {"direct": [b"1"], "fanout": [b"1", b"2", b"3"], "topic": [b"1", b"2"], "headers": [b"1"]}
    assert bodies(channel, queue) == expected[kind]


def test_without_x_match_a_headers_binding_asks_for_all(channel: BlockingChannel) -> None:
    queue = queue_of(channel)
    channel.queue_bind(queue, "amq.headers", "", {"a": 1, "b": "x"})
    channel.confirm_delivery()
    for headers in ({"a": 1}, {"a": 1, "b": "x", "c": True}, {"b": "x"}):
        channel.basic_publish("amq.headers", "", repr(headers).encode(), pika.BasicProperties(headers=headers))
    assert bodies(channel, queue) == [b"{'a': 1, 'b': 'x', 'c': True}"]


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("bogus", 'value <<"bogus">>; expected all, any, all-with-x, or any-with-x'),
        (b"all", 'type binary (value <<"all">>); expected longstr'),
    ],
)
def test_an_unknown_x_match_closes_the_channel_with_406(
    channel: BlockingChannel, word: str | bytes, complaint: str
) -> None:
    queue = queue_of(channel)
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - Invalid x-match field {complaint}"):
        channel.queue_bind(queue, "amq.headers", "", {"x-match": word})


def test_an_auto_delete_exchange_goes_with_its_last_binding(clients: Clients, name: str) -> None:
    channel, other = clients.channel(), clients.channel()
    channel.exchange_declare(name, "fanout", auto_delete=True)
    first, second = queue_of(channel), queue_of(channel)
    channel.queue_bind(first, name)
    channel.queue_bind(second, name)
    channel.queue_unbind(first, name)
    other.exchange_declare(name, passive=True)
    channel.queue_delete(second)
    with channel_refused(other, 404, f"NOT_FOUND - no exchange '{name}' in vhost '/'"):
        other.exchange_declare(name, passive=True)


def test_what_an_exchange_cannot_route_goes_to_its_alternate(clients: Clients, name: str) -> None:
    channel, publisher = clients.channel(), clients.channel()
    channel.exchange_declare(f"{name}-rest", "fanout")
    channel.exchange_declare(name, arguments={"alternate-exchange": f"{name}-rest"})
    known, rest = queue_of(channel), queue_of(channel)
    channel.queue_bind(known, name, "known")
    channel.queue_bind(rest, f"{name}-rest")
    publisher.confirm_delivery()
    publisher.basic_publish(name, "known", b"1", mandatory=True)
    publisher.basic_publish(name, "other", b"2", mandatory=True)
    assert (bodies(channel, known), bodies(channel, rest)) == ([b"1"], [b"2"])


def test_nobody_publishes_to_an_internal_exchange_but_exchanges(clients: Clients, name: str) -> None:
    channel = clients.channel()
    channel.exchange_declare(name, "fanout", internal=True)
    channel.exchange_declare(f"{name}-door", "fanout")
    channel.exchange_bind(name, f"{name}-door")
    queue = queue_of(channel)
    channel.queue_bind(queue, name)
    channel.confirm_delivery()
    channel.basic_publish(f"{name}-door", "", b"in")
    assert take(channel, queue)[2] == b"in"
    outsider = clients.channel()
    outsider.confirm_delivery()
    text = f"ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'"
    with channel_refused(outsider, 403, text):
        outsider.basic_publish(name, "", b"no")


def test_what_is_declared_or_bound_on_one_node_holds_on_all_at_once(clients: Clients, name: str) -> None:
    channels = [clients.channel(node) for node in range(3)]
    for node, channel in enumerate(channels):
        exchange, queue = f"{name}-{node}", f"{name}-{node}"
        channel.exchange_declare(exchange, "fanout")
        channel.queue_declare(queue)
        channel.queue_bind(queue, exchange)
        for other in channels:
            other.exchange_declare(exchange, passive=True)
            other.confirm_delivery() if node == 0 else None
            other.basic_publish(exchange, "", b"x", mandatory=True)
        assert ready_count(channel, queue) == 3
        channel.queue_delete(queue)


@pytest.mark.parametrize(("destination", "source"), [("missing", "amq.topic"), ("amq.topic", "missing")])
def test_unbinding_exchanges_that_are_not_there_is_answered_with_unbind_ok(
    channel: BlockingChannel, destination: str, source: str
) -> None:
    channel.exchange_unbind(destination, source, "key")


@pytest.mark.parametrize(("wanted", "sent"), [(5, 5.0), (5, Timestamp(5)), ("x", Binary(b"x")), ([], {})])
def test_a_header_is_compared_with_what_a_binding_asks_for_without_their_types(
    wire: Wire, name: str, wanted: FieldValue, sent: FieldValue
) -> None:
    wire.call(m.QueueDeclare(name, False, False, True, False, False, {}))
    wire.expect(m.QueueDeclareOk)
    wire.call(m.QueueBind(name, "amq.headers", "", False, {"value": wanted}))
    wire.expect(m.QueueBindOk)
    wire.send(publish("amq.headers", "", b"x", BasicProperties(headers={"value": sent})))
    wire.call(m.BasicGet(name, True))
    assert wire.message(m.BasicGetOk).body == b"x"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"hash-property": "app_id"}, "Unsupported property: app_id"),
        (
            {"hash-header": "h", "hash-property": "message_id"},
            "hash-header and hash-property are mutually exclusive",
        ),
    ],
)
def test_what_a_consistent_hash_cannot_be_of_closes_the_channel_with_406(
    channel: BlockingChannel, name: str, arguments: dict[str, object], text: str
) -> None:
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - {text}"):
        channel.exchange_declare(name, "x-consistent-hash", arguments=arguments)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
        ("heavy", 'The binding key must be an integer: <<"heavy">>'),
        ("", "The binding key must be an integer: <<>>"),
    ],
)
def test_a_weight_that_is_none_closes_the_channel_with_406(
    channel: BlockingChannel, name: str, key: str, text: str
) -> None:
    channel.exchange_declare(name, "x-consistent-hash", auto_delete=True)
    queue = channel.queue_declare("", exclusive=True).method.queue
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - {text}"):
        channel.queue_bind(queue, name, key)


def test_a_delaying_exchange_must_say_how_it_routes(channel: BlockingChannel, name: str) -> None:
    text = "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing exchange type"
    with channel_refused(channel, 406, text):
        channel.exchange_declare(name, "x-delayed-message", durable=True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        ({"x-cache-size": 0}, "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        ({"x-cache-size": "9", "x-cache-ttl": []}, "Invalid argument, 'x-cache-ttl' must be an integer greater than 0"),
        (
            {"x-cache-size": 9, "x-cache-persistence": ["disk"]},
            "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'",
        ),
    ],
)
def test_an_exchange_that_deduplicates_says_how_much_it_remembers(
    channel: BlockingChannel, name: str, arguments: dict[str, object], text: str
) -> None:
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - {text}"):
        channel.exchange_declare(name, "x-message-deduplication", arguments=arguments)
