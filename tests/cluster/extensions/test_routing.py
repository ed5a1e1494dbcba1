"""Ways of a message that RabbitMQ adds to AMQP: e2e bindings, alternates, copies, hashes, chance, direct reply-to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from tests.cluster.extensions.play import Stage, plays


def exchange_to_exchange(stage: Stage) -> Iterator[None]:
    queue, source, target = stage.queue(), stage.exchange("topic"), stage.exchange("fanout")
    stage.near.exchange_bind(target, source, "a.#")
    stage.near.queue_bind(queue, target)
    stage.publish("a.b", b"1", exchange=source)
    yield
    stage.publish("a.c", b"2", exchange=source)
    assert stage.bodies(queue, 2) == [b"1", b"2"]


def alternate_exchange(stage: Stage) -> Iterator[None]:
    queue, alternate = stage.queue(), stage.exchange("fanout")
    exchange = stage.exchange("direct", alternate_exchange=alternate)
    stage.near.queue_bind(queue, alternate)
    stage.publish("nowhere", b"1", exchange=exchange)
    yield
    stage.publish("nowhere", b"2", exchange=exchange)
    assert stage.bodies(queue, 2) == [b"1", b"2"]


def carbon_copies(stage: Stage) -> Iterator[None]:
    first, open_copy, blind_copy = stage.queue(), stage.queue(), stage.queue()
    copies = {"CC": [open_copy], "BCC": [blind_copy]}
    stage.publish(first, b"1", headers=copies)
    yield
    stage.publish(first, b"2", headers=copies)
    for queue in (first, open_copy, blind_copy):
        for body in (b"1", b"2"):
            _, properties, got = stage.get(queue)
            assert (got, properties.headers) == (body, {"CC": [open_copy]})


def consistent_hash(stage: Stage) -> Iterator[None]:
    """By the key, by a header and by a property: what belongs together stays together, from every node."""
    for arguments in ({}, {"hash_header": "of"}, {"hash_property": "message_id"}):
        exchange = stage.exchange("x-consistent-hash", **arguments)
        queues = [stage.queue() for _ in range(2)]
        for queue in queues:
            stage.near.queue_bind(queue, exchange, "10")

        def send(number: int, exchange: str = exchange, by_key: bool = not arguments) -> None:
            group = f"group-{number % 5}"
            key = group if by_key else str(number)
            stage.publish(key, group.encode(), exchange=exchange, headers={"of": group}, message_id=group)

        for number in range(10):
            send(number)
        if "hash_property" in arguments:
            yield
        for number in range(10):
            send(number)
        held = [stage.bodies(queue, stage.count(queue)) for queue in queues]
        assert sum(map(len, held)) == 20
        assert not set(held[0]) & set(held[1])


def chance(stage: Stage) -> Iterator[None]:
    exchange = stage.exchange("x-random")
    queues = [stage.queue() for _ in range(2)]
    for queue in queues:
        stage.near.queue_bind(queue, exchange, queue)
    stage.publish("", *[b"x"] * 20, exchange=exchange)
    yield
    stage.publish("", *[b"x"] * 20, exchange=exchange)
    counts = [stage.count(queue) for queue in queues]
    assert sum(counts) == 40
    assert min(counts) > 0


def user_id(stage: Stage) -> Iterator[None]:
    queue = stage.queue()
    stage.publish(queue, b"1", user_id="guest")
    yield
    with pytest.raises(ChannelClosedByBroker, match="user_id property set to 'bob' but authenticated user was 'guest'"):
        stage.publish(queue, b"2", user_id="bob")
    assert stage.get(queue)[1].user_id == "guest"
    assert stage.count(queue) == 0


def direct_reply_to(stage: Stage) -> Iterator[None]:
    """The server holds the request when the leader of the requests' queue dies."""
    requests, pseudo_queue = stage.queue(), "amq.rabbitmq.reply-to"
    asking: Any = stage.connections[0].channel()
    answers: list[bytes] = []
    asking.basic_consume(pseudo_queue, lambda _, __, ___, body: answers.append(body), auto_ack=True)
    asking.basic_publish("", requests, b"question", pika.BasicProperties(reply_to=pseudo_queue))
    method, properties, _ = stage.get(requests, auto_ack=False)
    yield
    stage.far.basic_publish("", properties.reply_to, b"answer")
    stage.far.basic_ack(method.delivery_tag)
    stage.wait(lambda: stage.connections[0].process_data_events(0.02) is None and bool(answers), "the answer")
    assert answers == [b"answer"]
    assert stage.count(requests) == 0


bereaved, test_routing = plays(
    exchange_to_exchange, alternate_exchange, carbon_copies, consistent_hash, chance, user_id, direct_reply_to
)
