"""What comes back: order, counts, limits, parking, recover, and deliveries that outlive their leader."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cluster.extensions.play import Stage, plays, until


def unacked_deliveries(stage: Stage) -> Iterator[None]:
    """They stay with their consumer, their acks count, and nothing of them comes again."""
    queue = stage.queue()
    came: list[tuple[str, bytes]] = []
    channel = stage.consume(queue, "c", came, prefetch=3)
    stage.publish(queue, b"1", b"2", b"3", b"4")
    stage.wait(lambda: len(came) == 3, "three deliveries")
    yield
    channel.basic_ack(2, multiple=True)
    stage.publish(queue, b"5")
    stage.wait(lambda: len(came) == 5, "two more")
    assert [body for _, body in came] == [b"1", b"2", b"3", b"4", b"5"]
    channel.basic_ack(0, multiple=True)
    channel.close()
    assert stage.count(queue) == 0


def order_of_what_is_given_back(stage: Stage) -> Iterator[None]:
    queue = stage.queue()
    stage.publish(queue, b"1", b"2", b"3", b"4")
    tags = [stage.get(queue, auto_ack=False)[0].delivery_tag for _ in range(3)]
    stage.far.basic_nack(tags[1], requeue=True)
    yield
    stage.far.basic_nack(0, multiple=True, requeue=True)
    until(lambda: stage.count(queue) == 4, "all are ready")
    got = [stage.get(queue) for _ in range(4)]
    assert [body for _, _, body in got] == [b"1", b"2", b"3", b"4"]
    assert all(method.redelivered for method, _, _ in got[:3])


def recover(stage: Stage) -> Iterator[None]:
    queue = stage.queue()
    stage.publish(queue, b"1", b"2")
    for _ in range(2):
        stage.get(queue, auto_ack=False)
    yield
    stage.far.basic_recover(requeue=True)
    for body in (b"1", b"2"):
        method, _, got = stage.get(queue)
        assert (got, method.redelivered) == (body, True)


def get_and_ack(stage: Stage) -> Iterator[None]:
    queue = stage.queue()
    stage.publish(queue, b"1", b"2")
    method, _, _ = stage.get(queue, auto_ack=False)
    assert (method.message_count, method.redelivered) == (1, False)
    yield
    stage.far.basic_ack(method.delivery_tag)
    assert stage.bodies(queue, 1) == [b"2"]
    assert stage.far.basic_get(queue) == (None, None, None)
    assert stage.count(queue) == 0


def parking_and_retry(stage: Stage) -> Iterator[None]:
    queue = stage.queue(queue_type="quorum", delivery_limit=1)
    stage.publish(queue, b"poison", b"good")
    for number in range(2):
        method, _, _ = stage.get(queue, auto_ack=False)
        if number == 0:
            yield  # while it is held: what waits again counts once more under the next leader
        stage.far.basic_reject(method.delivery_tag, requeue=True)
    assert stage.bodies(queue, 1) == [b"good"]
    api, node = stage.field.api, stage.others[0]
    assert api("GET", f"/queues/%2F/{queue}", node=node)["messages_parked"] == 1
    assert api("POST", f"/queues/%2F/{queue}/retry", node=node) == {"retried": 1}
    _, properties, body = stage.get(queue)
    assert (body, properties.headers["x-delivery-count"]) == (b"poison", 0)
    assert stage.count(queue) == 0


bereaved, test_redelivery = plays(
    unacked_deliveries, order_of_what_is_given_back, recover, get_and_ack, parking_and_retry
)
