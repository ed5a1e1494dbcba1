"""py-amqp, the library below kombu and Celery, by itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest

from tests.clients.conftest import Urls

DEADLINE_SECONDS = 10.0


def connected(url: str, **options: Any) -> amqp.Connection:
    connection = amqp.Connection(urlsplit(url).netloc.partition("@")[2], confirm_publish=True, **options)
    connection.connect()
    return connection


@pytest.fixture
def pair(urls: Urls) -> Iterator[tuple[amqp.Connection, amqp.Connection]]:
    """Connections to two nodes."""
    with ExitStack() as open_connections:
        connections = [connected(url) for url in urls[:2]]
        for connection in connections:
            open_connections.callback(connection.close)
        yield connections[0], connections[1]


@contextmanager
def refused(error: type[amqp.AMQPError], text: str) -> Iterator[None]:
    with pytest.raises(error) as info:
        yield
    assert info.value.reply_text == text


def numbers(*bodies: int) -> list[amqp.Message]:
    return [amqp.Message(str(body), delivery_mode=2) for body in bodies]


def test_it_publishes_with_confirms_and_consumes_on_another_node_with_prefetch_and_manual_acks(
    pair: tuple[amqp.Connection, amqp.Connection], name: str
) -> None:
    publishing, consuming = pair[0].channel(), pair[1].channel()
    publishing.exchange_declare(f"{name}-x", "topic", durable=True, auto_delete=False)
    assert publishing.queue_declare(name, durable=True, auto_delete=False) == (name, 0, 0)
    publishing.queue_bind(name, f"{name}-x", "a.*")
    for message in numbers(*range(20)):
        publishing.basic_publish_confirm(message, f"{name}-x", "a.b")
    received: list[amqp.Message] = []
    consuming.basic_qos(0, 4, False)
    tag = consuming.basic_consume(name, callback=received.append)
    handled = 0
    while handled < 20:
        pair[1].drain_events(timeout=DEADLINE_SECONDS)
        assert len(received) - handled <= 4
        while handled < len(received):
            assert received[handled].delivery_info["redelivered"] is False
            consuming.basic_ack(received[handled].delivery_tag)
            handled += 1
    assert [int(message.body) for message in received] == list(range(20))
    consuming.basic_cancel(tag)
    consuming.queue_unbind(name, f"{name}-x", "a.*")
    assert consuming.queue_delete(name, if_unused=True, if_empty=True) == 0
    consuming.exchange_delete(f"{name}-x", if_unused=True)


def test_it_gets_rejects_and_recovers_and_redelivered_messages_say_so(
    pair: tuple[amqp.Connection, amqp.Connection], name: str
) -> None:
    publishing, channel = pair[0].channel(), pair[1].channel()
    publishing.queue_declare(name, durable=True, auto_delete=False)
    for message in numbers(0, 1):
        publishing.basic_publish_confirm(message, routing_key=name)
    got = channel.basic_get(name)
    assert (got.body, got.delivery_info["redelivered"], got.delivery_info["message_count"]) == ("0", False, 1)
    channel.basic_reject(got.delivery_tag, requeue=True)
    got = channel.basic_get(name)
    assert (got.body, got.delivery_info["redelivered"]) == ("0", True)
    channel.basic_recover(requeue=True)
    got = channel.basic_get(name)
    assert (got.body, got.delivery_info["redelivered"]) == ("0", True)
    channel.basic_reject(got.delivery_tag, requeue=False)
    assert channel.basic_get(name, no_ack=True).body == "1"
    assert channel.basic_get(name) is None
    assert publishing.queue_delete(name) == 0


def test_its_transactions_commit_and_roll_back(pair: tuple[amqp.Connection, amqp.Connection], name: str) -> None:
    channel = amqp.Connection(pair[0].host)
    channel.connect()
    publishing, watching = channel.channel(), pair[1].channel()
    publishing.queue_declare(name, durable=True, auto_delete=False)
    publishing.tx_select()
    for message in numbers(0, 1):
        publishing.basic_publish(message, routing_key=name)
    publishing.tx_rollback()
    for message in numbers(2, 3):
        publishing.basic_publish(message, routing_key=name)
    assert watching.queue_declare(name, passive=True).message_count == 0
    publishing.tx_commit()
    assert [watching.basic_get(name, no_ack=True).body for _ in range(2)] == ["2", "3"]
    assert watching.basic_get(name) is None
    publishing.queue_delete(name)
    channel.close()


def test_it_shows_returns_and_the_code_and_text_of_refusals(
    pair: tuple[amqp.Connection, amqp.Connection], name: str
) -> None:
    channel = pair[0].channel()
    returned: list[tuple[str, str, str]] = []

    def came_back(_: Exception, exchange: str, routing_key: str, message: amqp.Message) -> None:
        returned.append((exchange, routing_key, message.body))

    channel.events["basic_return"].add(came_back)
    channel.basic_publish_confirm(amqp.Message("lost"), "amq.direct", name, mandatory=True)
    assert returned == [("amq.direct", name, "lost")]
    with refused(amqp.NotFound, f"NOT_FOUND - no queue '{name}' in vhost '/'"):
        pair[1].channel().queue_declare(name, passive=True)
    pair[1].channel().queue_declare(name, durable=True, auto_delete=False)
    with refused(
        amqp.PreconditionFailed,
        f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{name}' in vhost '/': "
        "received 'false' but current is 'true'",
    ):
        pair[0].channel().queue_declare(name, durable=False, auto_delete=False)
    pair[1].channel().queue_delete(name)


def test_who_leaves_an_auto_delete_queue_is_answered_when_it_is_gone_on_every_node(
    pair: tuple[amqp.Connection, amqp.Connection], name: str
) -> None:
    for turn in range(10):
        queue, leaving = f"{name}-{turn}", pair[0].channel()
        leaving.queue_declare(queue, auto_delete=True)
        leaving.basic_consume(queue, consumer_tag="c")
        pair[1].channel().queue_declare(queue, passive=True)
        if turn % 2:
            leaving.basic_cancel("c")
        else:
            leaving.close()
        with refused(amqp.NotFound, f"NOT_FOUND - no queue '{queue}' in vhost '/'"):
            pair[1].channel().queue_declare(queue, passive=True)


def test_heartbeats_keep_an_idle_connection_and_a_silent_one_is_dropped(urls: Urls) -> None:
    kept, silent = connected(urls[0], heartbeat=1), connected(urls[1], heartbeat=1)
    assert kept.heartbeat == 1
    while True:
        kept.heartbeat_tick()
        with suppress(socket.timeout):
            kept.drain_events(timeout=0.25)
        try:
            silent.transport.read_frame()
        except (OSError, amqp.AMQPError):
            break
    kept.heartbeat_tick()
    kept.channel().close()
    kept.close()
    silent.collect()


def test_a_wrong_password_is_refused_as_access(urls: Urls) -> None:
    with pytest.raises(amqp.AccessRefused) as info:
        connected(urls[0], userid="guest", password="wrong")
    assert info.value.reply_code == 403
