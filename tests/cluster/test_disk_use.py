"""Disk use follows what is alive: whatever clients do again and again, it is bounded, and after a drain it is what it
was before."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.cluster.clients import PATIENCE_SECONDS
from tests.cluster.harness import LocalCluster, wait_until

BODY = bytes(8 << 10)
LARGE_BODY = bytes(64 << 10)
SLACK_BYTES = 6 << 20
"""What may be on the disk without being alive: below a resting shard's share, times the eight shards."""
SETTLE_SECONDS = 30.0


def disk_used(cluster: LocalCluster) -> list[int]:
    """Bytes that each node's store holds."""
    request = urllib.request.Request(
        cluster.url(0) + "/api/cluster/status", headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return [int(node["disk_used_bytes"]) for node in json.load(answer)["nodes"]]


@pytest.fixture
def channel(cluster: LocalCluster) -> Iterator[BlockingChannel]:
    """Of which everything is gone from the disk a while after the test."""
    before = disk_used(cluster)
    connection = cluster.connect(1)
    yield connection.channel()
    connection.close()
    wait_until(lambda: is_back(cluster, before), f"disk use back from {disk_used(cluster)} to {before}", SETTLE_SECONDS)


def is_back(cluster: LocalCluster, before: list[int], more: int = 0) -> bool:
    return all(now <= then + SLACK_BYTES + more for now, then in zip(disk_used(cluster), before, strict=True))


def fill(channel: BlockingChannel, queue: str, count: int, body: bytes = BODY) -> None:
    for _ in range(count):
        channel.basic_publish("", queue, body)
    channel.queue_declare(queue, passive=True)


def take(channel: BlockingChannel, queue: str, count: int) -> list[int]:
    """Delivery tags of the next messages."""
    tags: list[int] = []
    while len(tags) < count:
        method, _, _ = channel.basic_get(queue)
        assert method is not None
        tags.append(method.delivery_tag)
    return tags


def test_publishing_and_consuming_for_long_leaves_nothing(cluster: LocalCluster, channel: BlockingChannel) -> None:
    channel.queue_declare("disk-steady", durable=True)
    before = disk_used(cluster)
    for _ in range(12):
        fill(channel, "disk-steady", 250)
        for method, _, _ in channel.consume("disk-steady", inactivity_timeout=PATIENCE_SECONDS):
            channel.basic_ack(method.delivery_tag)
            if method.delivery_tag % 250 == 0:
                break
    # 24 MB went through each replica; a shard's log may hold 64 MiB, a resting one does not.
    wait_until(lambda: is_back(cluster, before), "disk use of a drained queue", SETTLE_SECONDS)
    channel.queue_delete("disk-steady")


def test_a_message_that_is_held_for_long_keeps_only_itself(cluster: LocalCluster, channel: BlockingChannel) -> None:
    channel.queue_declare("disk-held", durable=True)
    before = disk_used(cluster)
    held: list[int] = []
    for _ in range(8):
        fill(channel, "disk-held", 50, LARGE_BODY)
        tags = take(channel, "disk-held", 50)
        held.append(tags[25])
        for tag in tags:
            if tag != tags[25]:
                channel.basic_ack(tag)
    # 26 MB are settled, in the same entries as what is held.
    wait_until(lambda: is_back(cluster, before, len(held) * len(LARGE_BODY)), "settled neighbours gone", SETTLE_SECONDS)
    for tag in held:
        channel.basic_ack(tag)
    channel.queue_delete("disk-held")


def test_messages_that_go_back_again_and_again_take_no_space(cluster: LocalCluster, channel: BlockingChannel) -> None:
    channel.queue_declare("disk-requeue", durable=True)
    fill(channel, "disk-requeue", 20)
    before = disk_used(cluster)
    for _ in range(40):
        for tag in take(channel, "disk-requeue", 20):
            channel.basic_reject(tag, requeue=True)
    assert is_back(cluster, before)
    channel.queue_delete("disk-requeue")


def test_queues_that_come_and_go_leave_nothing(cluster: LocalCluster, channel: BlockingChannel) -> None:
    for number in range(25):
        name = f"disk-passing-{number}"
        channel.queue_declare(name, durable=True)
        tag = channel.basic_consume(name, lambda *_: None)
        fill(channel, name, 10)
        channel.basic_cancel(tag)
        channel.queue_delete(name)


def test_what_expires_into_a_dead_letter_queue_is_there_once(cluster: LocalCluster, channel: BlockingChannel) -> None:
    channel.queue_declare("disk-dead", durable=True)
    arguments = {"x-message-ttl": 200, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "disk-dead"}
    channel.queue_declare("disk-expiring", durable=True, arguments=arguments)
    before = disk_used(cluster)
    fill(channel, "disk-expiring", 1000)

    def have_died() -> bool:
        return int(channel.queue_declare("disk-dead", passive=True).method.message_count) == 1000

    wait_until(have_died, "all messages dead", SETTLE_SECONDS)
    wait_until(lambda: is_back(cluster, before, 1100 * len(BODY)), "each dead letter once", SETTLE_SECONDS)
    channel.queue_purge("disk-dead")
    channel.queue_delete("disk-dead")
    channel.queue_delete("disk-expiring")


def test_the_fixture_would_notice(cluster: LocalCluster) -> None:
    """Eight megabytes that stay are more than the slack."""
    connection = cluster.connect(1)
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", cluster.port(0))) as other:
        other.channel().queue_declare("disk-noticed", durable=True)
    before = disk_used(cluster)
    fill(connection.channel(), "disk-noticed", 1000)
    assert not is_back(cluster, before)
    connection.channel().queue_delete("disk-noticed")
    connection.close()
