"""queue.declare: what a queue may be, and that it stays what it is."""

from __future__ import annotations

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from cluster.amqp import methods as m
from tests.cluster.harness import LocalCluster, wait_until
from tests.contract.admin import Admin
from tests.contract.clients import Clients, channel_refused, label, ready_count
from tests.contract.wire import Wire


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"durable": True}, {}, "'durable' for {}: received 'false' but current is 'true'"),
        ({}, {"auto_delete": True}, "'auto_delete' for {}: received 'true' but current is 'false'"),
        (
            {"arguments": {"x-message-ttl": 1000}},
            {"arguments": {"x-message-ttl": 5}},
            "'x-message-ttl' for {}: received '5' but current is '1000'",
        ),
        (
            {},
            {"arguments": {"x-message-ttl": 5}},
            "'x-message-ttl' for {}: received the value '5' of type 'signedint' but current is none",
        ),
        (
            {"arguments": {"x-message-ttl": 1000}},
            {},
            "'x-message-ttl' for {}: received none but current is the value '1000' of type 'signedint'",
        ),
        (
            {"durable": True, "arguments": {"x-queue-type": "quorum"}},
            {"durable": True},
            "'x-queue-type' for {}: received none but current is the value 'quorum' of type 'longstr'",
        ),
        (
            {"durable": True, "arguments": {"x-queue-type": "quorum", "x-message-ttl": 1000}},
            {"durable": True},
            "'x-queue-type' for {}: received none but current is the value 'quorum' of type 'longstr'",
        ),
    ],
)
def test_a_redeclaration_that_differs_closes_the_channel_with_406(
    clients: Clients, name: str, before: dict[str, object], after: dict[str, object], words: str
) -> None:
    clients.channel().queue_declare(name, **before)  # type: ignore[arg-type]
    channel = clients.channel()
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - inequivalent arg {words.format(label(name))}"):
        channel.queue_declare(name, **after)  # type: ignore[arg-type]


def test_an_equal_redeclaration_tells_messages_and_consumers(clients: Clients, name: str) -> None:
    channel = clients.channel()
    channel.queue_declare(name, durable=True)
    channel.confirm_delivery()
    for _ in range(3):
        channel.basic_publish("", name, b"x")
    other = clients.channel()
    again = other.queue_declare(name, durable=True).method
    assert (again.queue, again.message_count, again.consumer_count) == (name, 3, 0)
    other.basic_qos(prefetch_count=1)
    other.basic_consume(name, lambda *_: None)
    again = clients.channel().queue_declare(name, passive=True).method
    assert again.consumer_count == 1
    wait_until(lambda: ready_count(channel, name) == 2, "one message is out")


@pytest.mark.parametrize("passive", [False, True])
def test_the_reserved_prefix_is_refused_and_only_missed_when_passive(channel: BlockingChannel, passive: bool) -> None:
    code, text = 403, "ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix 'amq.*'"
    if passive:
        code, text = 404, "NOT_FOUND - no queue 'amq.foo' in vhost '/'"
    with channel_refused(channel, code, text):
        channel.queue_declare("amq.foo", passive=passive)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x-message-ttl": -1}, "'x-message-ttl' for {}: {{value_negative,-1}}"),
        ({"x-message-ttl": "1"}, "'x-message-ttl' for {}: \"expected integer, got longstr\""),
        ({"x-expires": 0}, "'x-expires' for {}: {{value_zero,0}}"),
        ({"x-max-priority": 256}, "'x-max-priority' for {}: {{max_value_exceeded,256}}"),
        ({"x-message-ttl": 2**40}, "'x-message-ttl' for {}: {{value_too_large,1099511627776}}"),
        ({"x-consumer-timeout": 0}, "'x-consumer-timeout' for {}: {{value_zero,0}}"),
        ({"x-queue-mode": "eager"}, "'x-queue-mode' for {}: \"unsupported queue mode 'eager'\""),
        ({"x-overflow": "spill"}, "'x-overflow' for {}: invalid_overflow"),
        ({"x-queue-leader-locator": "moon"}, "'x-queue-leader-locator' for {}: invalid_queue_locator_arg"),
        ({"x-dead-letter-routing-key": "k"}, "'x-dead-letter-routing-key' for {}: routing_key_but_no_dlx_defined"),
        ({"x-queue-type": "bogus"}, "'x-queue-type' for {}: \"unsupported queue type 'bogus'\""),
    ],
)
def test_bad_arguments_close_the_channel_with_406(
    channel: BlockingChannel, name: str, arguments: dict[str, object], words: str
) -> None:
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - invalid arg {words.format(label(name))}"):
        channel.queue_declare(name, arguments=arguments)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"durable": False}, "invalid property 'non-durable' for {}"),
        ({"durable": True, "exclusive": True}, "invalid property 'exclusive-owner' for {}"),
        ({"durable": True, "auto_delete": True}, "invalid property 'auto-delete' for {}"),
        (
            {"durable": True, "arguments": {"x-max-priority": 5}},
            "invalid arg 'x-max-priority' for {} of queue type rabbit_quorum_queue",
        ),
        (
            {"durable": True, "arguments": {"x-queue-mode": "lazy"}},
            "invalid arg 'x-queue-mode' for {} of queue type rabbit_quorum_queue",
        ),
        (
            {"durable": True, "arguments": {"x-max-priority": 5, "x-message-ttl": -1}},
            "invalid arg 'x-message-ttl' for {}: {{value_negative,-1}}",
        ),
        (
            {"durable": True, "arguments": {"x-max-priority": "high"}},
            "invalid arg 'x-max-priority' for {} of queue type rabbit_quorum_queue",
        ),
        (
            {"durable": True, "arguments": {"x-max-age": "1D"}},
            "invalid arg 'x-max-age' for {} of queue type rabbit_quorum_queue",
        ),
    ],
)
def test_what_a_quorum_queue_cannot_be_closes_the_channel_with_406(
    channel: BlockingChannel, name: str, options: dict[str, object], words: str
) -> None:
    options = {**options, "arguments": {"x-queue-type": "quorum", **options.get("arguments", {})}}  # type: ignore[dict-item]
    with channel_refused(channel, 406, f"PRECONDITION_FAILED - {words.format(label(name))}"):
        channel.queue_declare(name, **options)  # type: ignore[arg-type]


def test_a_quorum_queue_cannot_be_server_named(channel: BlockingChannel) -> None:
    text = "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue"
    with channel_refused(channel, 406, text):
        channel.queue_declare("", durable=True, arguments={"x-queue-type": "quorum"})


def test_a_quorum_queue_takes_the_overflow_that_it_cannot_follow(channel: BlockingChannel, name: str) -> None:
    arguments = {"x-queue-type": "quorum", "x-overflow": "reject-publish-dlx", "x-max-length": 5}
    channel.queue_declare(name, durable=True, arguments=arguments)


@pytest.mark.parametrize(("before", "after"), [({}, {"x-queue-type": "classic"}), ({"x-queue-type": "classic"}, {})])
def test_the_type_classic_goes_without_saying(
    clients: Clients, name: str, before: dict[str, object], after: dict[str, object]
) -> None:
    clients.channel().queue_declare(name, durable=True, arguments=before)
    clients.channel().queue_declare(name, durable=True, arguments=after)


def test_the_empty_name_means_no_queue_in_a_passive_declaration(wire: Wire) -> None:
    wire.call(m.QueueDeclare("", False, False, True, False, False, {}))
    wire.expect(m.QueueDeclareOk)
    wire.call(m.QueueDeclare("", True, False, False, False, False, {}))
    wire.assert_channel_closed(404, "NOT_FOUND - no queue '' in vhost '/'")


def test_a_queue_with_a_client_local_leader_is_led_by_the_clients_node(
    clients: Clients, admin: Admin, nodes: LocalCluster, name: str
) -> None:
    node = clients.next_node()
    arguments = {"x-queue-leader-locator": "client-local", "x-queue-type": "quorum"}
    clients.channel(node).queue_declare(name, durable=True, arguments=arguments)
    wait_until(lambda: admin.get("queues", "/", name)["leader"] == nodes.nodes[node].name, "led by the client's node")
