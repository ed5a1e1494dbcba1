"""Dead letters on a real cluster whose nodes die: every message ends in one place, in time."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pika

from tests.cluster.clients import PATIENCE_SECONDS, PERSISTENT
from tests.cluster.harness import LocalCluster

SOURCES = 6
EACH = 100


def drain(connection: Any, queue: str, count: int) -> Counter[bytes]:
    """What comes to `queue` until `count` messages are there, and half a second of silence more."""
    came: Counter[bytes] = Counter()
    channel = connection.channel()
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    for method, _, body in channel.consume(queue, inactivity_timeout=0.5):
        if method is not None:
            came[body] += 1
            channel.basic_ack(method.delivery_tag)
        elif len(came) >= count:
            break
        assert time.monotonic() < deadline, f"only {len(came)} of {count} came to {queue}"
    channel.cancel()
    return came


def test_messages_that_expire_while_a_node_dies_are_dead_lettered_once() -> None:
    with LocalCluster() as cluster:
        connection: Any = cluster.connect(0)
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("grave", durable=True)
        for n in range(SOURCES):
            arguments = {
                "x-message-ttl": 1500,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": "grave",
            }
            channel.queue_declare(f"source-{n}", durable=True, arguments=arguments)
        for number in range(EACH):
            for n in range(SOURCES):
                channel.basic_publish("", f"source-{n}", b"%d.%d" % (n, number), PERSISTENT)
        cluster.kill(2)
        came = drain(connection, "grave", SOURCES * EACH)
        assert set(came) == {b"%d.%d" % (n, number) for n in range(SOURCES) for number in range(EACH)}
        assert [body for body, count in came.items() if count > 1] == [], "dead-lettered twice"
        for n in range(SOURCES):
            assert channel.queue_declare(f"source-{n}", passive=True).method.message_count == 0
        connection.close()


def test_dead_letters_go_between_replicated_queues_and_those_in_the_memory_of_a_node(cluster: LocalCluster) -> None:
    here, there = cluster.connect(0), cluster.connect(2)
    channel: Any = here.channel()
    owner: Any = there.channel()
    owner.queue_declare("memory-grave", exclusive=True)
    channel.queue_declare("durable-grave", durable=True)
    to_memory = {"x-message-ttl": 50, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "memory-grave"}
    to_disk = to_memory | {"x-dead-letter-routing-key": "durable-grave"}
    channel.queue_declare("durable-source", durable=True, arguments=to_memory)
    owner.queue_declare("memory-source", exclusive=True, arguments=to_disk)
    for number in range(5):
        channel.basic_publish("", "durable-source", b"%d" % number, PERSISTENT)
        owner.basic_publish("", "memory-source", b"%d" % number, pika.BasicProperties())
    assert drain(there, "memory-grave", 5) == Counter(b"%d" % n for n in range(5))
    assert drain(here, "durable-grave", 5) == Counter(b"%d" % n for n in range(5))
    there.close()
    channel.queue_delete("durable-source")
    here.close()
