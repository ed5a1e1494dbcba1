"""Dead letters and their history (RabbitMQ's dead letter exchanges)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.cluster.extensions.play import Stage, plays


def death(properties: Any) -> tuple[object, ...]:
    event = properties.headers["x-death"][0]
    return event["reason"], event["queue"], event["count"]


def rejected(stage: Stage) -> Iterator[None]:
    grave = stage.queue()
    source = stage.queue(dead_letter_exchange="", dead_letter_routing_key=grave)
    stage.publish(source, b"x", headers={"kept": 1}, expiration="60000")
    method, _, _ = stage.get(source, auto_ack=False)
    yield
    stage.far.basic_reject(method.delivery_tag, requeue=False)
    _, properties, body = stage.get(grave)
    assert (body, death(properties)) == (b"x", ("rejected", source, 1))
    assert properties.headers["kept"] == 1
    assert properties.headers["x-death"][0]["original-expiration"] == "60000"
    assert properties.headers["x-first-death-reason"] == "rejected"
    assert properties.expiration is None
    assert stage.count(source) == stage.count(grave) == 0


def rejected_where_nothing_takes_them(stage: Stage) -> Iterator[None]:
    queues = [stage.queue(), stage.queue(dead_letter_exchange="no such exchange")]
    for queue in queues:
        stage.publish(queue, b"x")
    yield
    for queue in queues:
        method, _, _ = stage.get(queue, auto_ack=False)
        stage.far.basic_reject(method.delivery_tag, requeue=False)
        assert stage.count(queue) == 0


def expired_in_a_circle(stage: Stage) -> Iterator[None]:
    """Client -> first -> (rejected) -> second -> (expires) -> first: its count goes up each time round."""
    first, second = stage.name(), stage.name()
    names = {
        first: stage.queue(dead_letter_exchange="amq.direct", dead_letter_routing_key=second),
        second: stage.queue(message_ttl=300, dead_letter_exchange="amq.direct", dead_letter_routing_key=first),
    }
    for key, queue in names.items():
        stage.near.queue_bind(queue, "amq.direct", key)
    stage.publish(first, b"x", exchange="amq.direct")
    for count in (1, 2):
        if count == 2:
            yield
        method, _, _ = stage.get(names[first], auto_ack=False)
        stage.far.basic_reject(method.delivery_tag, requeue=False)
    _, properties, _ = stage.get(names[first])
    history = [(event["reason"], event["queue"], event["count"]) for event in properties.headers["x-death"]]
    assert history == [("expired", names[second], 2), ("rejected", names[first], 2)]


def expired_and_circling_by_itself(stage: Stage) -> Iterator[None]:
    key = stage.name()
    queue = stage.queue(message_ttl=400, dead_letter_exchange="amq.direct", dead_letter_routing_key=key)
    stage.near.queue_bind(queue, "amq.direct", key)
    stage.publish(queue, b"x")
    yield
    stage.wait(lambda: stage.count(queue) == 0, "the message is dropped")


def over_the_length(stage: Stage) -> Iterator[None]:
    grave = stage.queue()
    queue = stage.queue(max_length=2, dead_letter_exchange="", dead_letter_routing_key=grave)
    stage.publish(queue, b"1", b"2")
    yield
    stage.publish(queue, b"3")
    _, properties, body = stage.get(grave)
    assert (body, death(properties)) == (b"1", ("maxlen", queue, 1))
    assert stage.bodies(queue, 2) == [b"2", b"3"]


def over_the_delivery_limit(stage: Stage) -> Iterator[None]:
    grave = stage.queue()
    queue = stage.queue(queue_type="quorum", delivery_limit=2, dead_letter_exchange="", dead_letter_routing_key=grave)
    stage.publish(queue, b"x")
    for count in range(3):
        method, properties, _ = stage.get(queue, auto_ack=False)
        if count == 1:
            yield  # while it is held: what waits again counts once more under the next leader
        assert properties.headers["x-delivery-count"] == count
        assert method.redelivered == (count > 0)
        stage.far.basic_nack(method.delivery_tag, requeue=True)
    _, properties, _ = stage.get(grave)
    assert death(properties) == ("delivery_limit", queue, 1)


bereaved, test_dead_letters = plays(
    rejected,
    rejected_where_nothing_takes_them,
    expired_in_a_circle,
    expired_and_circling_by_itself,
    over_the_length,
    over_the_delivery_limit,
)
