"""Policies, and the ends of queues and their contents."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.error import HTTPError

import pytest
from pika.exceptions import ChannelClosedByBroker

from tests.cluster.extensions.play import Stage, plays, until


def _put(stage: Stage, kind: str, queue: str, **definition: object) -> None:
    document = {"pattern": f"^{queue}$", "apply-to": "queues", "priority": 1, "definition": definition}
    stage.field.api("PUT", f"/{kind}/%2F/{queue}", document, node=stage.others[0])


def policies(stage: Stage) -> Iterator[None]:
    """One that was there before the leader died, an operator's that is stricter, and what holds without them."""
    queue = stage.queue()
    _put(stage, "policies", queue, **{"max-length": 3})
    stage.publish(queue, b"1", b"2", b"3", b"4")
    until(lambda: stage.count(queue) == 3, "the policy holds")
    yield
    stage.publish(queue, b"5")
    until(lambda: stage.count(queue) == 3, "the policy still holds")
    _put(stage, "operator-policies", queue, **{"max-length": 1})
    until(lambda: stage.count(queue) == 1, "the operator's holds")
    for kind in ("policies", "operator-policies"):
        stage.field.api("DELETE", f"/{kind}/%2F/{queue}", node=stage.others[0])
    stage.publish(queue, b"6")
    assert stage.bodies(queue, 2) == [b"5", b"6"]


def purge(stage: Stage) -> Iterator[None]:
    """What is ready goes, what is held stays."""
    queue = stage.queue()
    stage.publish(queue, b"1", b"2", b"3")
    method, _, _ = stage.get(queue, auto_ack=False)
    yield
    assert stage.near.queue_purge(queue).method.message_count == 2
    assert stage.count(queue) == 0
    stage.far.basic_nack(method.delivery_tag, requeue=True)
    assert stage.bodies(queue, 1) == [b"1"]


def deletion(stage: Stage) -> Iterator[None]:
    """With its conditions, and with what is told to consumers of it on another node."""
    queue = stage.queue()
    stage.publish(queue, b"1", b"2")
    came: list[tuple[str, bytes]] = []
    cancelled: list[object] = []
    stage.consume(queue, "c", came, prefetch=1).add_on_cancel_callback(cancelled.append)
    stage.wait(lambda: len(came) == 1, "a delivery")
    yield
    for conditions, words in (({"if_empty": True}, "not empty"), ({"if_unused": True}, "in use")):
        channel = stage.connections[0].channel()
        with pytest.raises(ChannelClosedByBroker, match=f"queue '{queue}' in vhost '/' {words}"):
            channel.queue_delete(queue, **conditions)
    assert stage.near.queue_delete(queue).method.message_count == 1
    stage.wait(lambda: len(cancelled) == 1, "the consumer hears of it")
    with pytest.raises(HTTPError, match="404"):
        stage.field.leader_of(queue, stage.others[0])
    assert stage.near.queue_declare(queue, durable=True).method.message_count == 0


bereaved, test_administration = plays(policies, purge, deletion)
