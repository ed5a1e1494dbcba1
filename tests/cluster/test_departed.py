"""Queues that go with their last consumer, when it goes with the node that led them."""

from __future__ import annotations

from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from cluster.node.departed import REVIEW_AFTER_SECONDS
from tests.cluster.harness import LocalCluster, wait_until

QUEUES = 16
"""Over eight shards: the node that is killed leads some of them."""


def exists(connection: pika.BlockingConnection, queue: str) -> bool:
    channel = connection.channel()
    try:
        channel.queue_declare(queue, passive=True)
    except ChannelClosedByBroker:
        return False
    channel.close()
    return True


def test_an_auto_delete_queue_goes_with_its_last_consumer_also_when_the_leader_goes_with_it() -> None:
    with LocalCluster() as cluster:
        dying: Any = cluster.connect(0).channel()
        surviving: Any = cluster.connect(1)
        channel = surviving.channel()
        for n in range(QUEUES):
            for name in (f"left-{n}", f"consumed-{n}", f"unused-{n}"):
                dying.queue_declare(name, durable=True, auto_delete=True)
            dying.basic_consume(f"left-{n}", print)
            channel.basic_consume(f"consumed-{n}", print)
        cluster.kill(0)

        def are_gone() -> bool:
            surviving.process_data_events(0)
            return not any(exists(surviving, f"left-{n}") for n in range(QUEUES))

        wait_until(are_gone, "the queues of the lost consumers gone", REVIEW_AFTER_SECONDS + 30)
        for n in range(QUEUES):
            assert exists(surviving, f"consumed-{n}"), "has a consumer"
            assert exists(surviving, f"unused-{n}"), "never had one"
        surviving.close()
