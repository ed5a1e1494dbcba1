"""Class tx on a real cluster: publishes and acks of a channel take effect together, or not at all."""

from __future__ import annotations

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from tests.cluster.harness import LocalCluster, wait_until

PERSISTENT = pika.BasicProperties(delivery_mode=2)


def _count(channel: BlockingChannel, queue: str) -> int:
    count: int = channel.queue_declare(queue, passive=True).method.message_count
    return count


@pytest.mark.parametrize("node", [0, 1, 2])
def test_publishes_appear_at_commit_and_a_rollback_forgets_them(cluster: LocalCluster, node: int) -> None:
    channel = cluster.connect(node).channel()
    other = cluster.connect((node + 1) % 3).channel()
    queues = [f"tx-{node}-{k}" for k in range(3)]
    for queue in queues:
        channel.queue_declare(queue, durable=True)
    channel.tx_select()
    for queue in queues:
        channel.basic_publish("", queue, b"kept", PERSISTENT)
    assert [_count(other, queue) for queue in queues] == [0, 0, 0]
    channel.tx_commit()
    assert [_count(other, queue) for queue in queues] == [1, 1, 1]
    channel.basic_publish("", queues[0], b"forgotten", PERSISTENT)
    channel.tx_rollback()
    channel.tx_commit()
    assert _count(other, queues[0]) == 1
    for queue in queues:
        channel.queue_delete(queue)
    channel.connection.close()
    other.connection.close()


def test_an_ack_counts_at_commit_and_a_rollback_makes_the_delivery_outstanding_again(cluster: LocalCluster) -> None:
    channel = cluster.connect(1).channel()
    channel.queue_declare("tx-acks", durable=True)
    channel.basic_publish("", "tx-acks", b"one", PERSISTENT)
    channel.tx_select()
    method, _, _ = channel.basic_get("tx-acks")
    channel.basic_ack(method.delivery_tag)
    channel.tx_rollback()
    channel.basic_ack(method.delivery_tag)
    channel.tx_commit()
    channel.basic_ack(method.delivery_tag)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.tx_commit()
    assert (closed.value.reply_code, closed.value.reply_text) == (
        406,
        f"PRECONDITION_FAILED - unknown delivery tag {method.delivery_tag}",
    )
    again = channel.connection.channel()
    assert _count(again, "tx-acks") == 0
    again.queue_delete("tx-acks")
    again.connection.close()


def test_what_was_acked_without_a_commit_is_back_when_the_channel_closes(cluster: LocalCluster) -> None:
    connection = cluster.connect(2)
    channel = connection.channel()
    channel.queue_declare("tx-close", durable=True)
    channel.basic_publish("", "tx-close", b"one", PERSISTENT)
    channel.tx_select()
    method, _, _ = channel.basic_get("tx-close")
    channel.basic_ack(method.delivery_tag)
    channel.close()
    again = connection.channel()
    method, _, body = again.basic_get("tx-close", auto_ack=True)
    assert (method.redelivered, body) == (True, b"one")
    again.queue_delete("tx-close")
    connection.close()


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("tx_select", "confirm_delivery", "cannot switch from tx to confirm mode"),
        ("confirm_delivery", "tx_select", "cannot switch from confirm to tx mode"),
        (None, "tx_commit", "channel is not transactional"),
        (None, "tx_rollback", "channel is not transactional"),
    ],
)
def test_modes_do_not_mix(cluster: LocalCluster, first: str | None, second: str, text: str) -> None:
    connection = cluster.connect(0)
    channel = connection.channel()
    if first:
        getattr(channel, first)()
    with pytest.raises(ChannelClosedByBroker) as closed:
        getattr(channel, second)()
    assert (closed.value.reply_code, closed.value.reply_text) == (406, f"PRECONDITION_FAILED - {text}")
    assert connection.is_open
    connection.close()


def test_a_full_queue_refuses_a_transaction_as_a_whole_and_what_it_acked_comes_back(cluster: LocalCluster) -> None:
    connection = cluster.connect(0)
    channel = connection.channel()
    queues = [f"tx-whole-{k}" for k in range(8)]
    for queue in queues:
        channel.queue_declare(queue, durable=True)
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    channel.queue_declare("tx-full", durable=True, arguments=full)
    for queue in (queues[0], "tx-full"):
        channel.basic_publish("", queue, b"there", PERSISTENT)
    channel.tx_select()
    method, _, _ = channel.basic_get(queues[0])
    channel.basic_ack(method.delivery_tag)
    for queue in (*queues, "tx-full"):
        channel.basic_publish("", queue, b"new", PERSISTENT)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.tx_commit()
    assert (closed.value.reply_code, closed.value.reply_text) == (
        406,
        "PRECONDITION_FAILED - transaction not carried out: a queue is full",
    )
    again = connection.channel()
    wait_until(lambda: _count(again, queues[0]) == 1, "what was acked comes back")
    assert [_count(again, queue) for queue in (*queues, "tx-full")] == [1, *[0] * 7, 1]
    method, _, body = again.basic_get(queues[0])
    assert (method.redelivered, body) == (True, b"there")
    for queue in (*queues, "tx-full"):
        again.queue_delete(queue)
    connection.close()


def test_queues_in_memory_and_what_has_no_queue_follow_the_decision(cluster: LocalCluster) -> None:
    connection = cluster.connect(1)
    channel = connection.channel()
    returned: list[bytes] = []
    channel.add_on_return_callback(lambda _, __, ___, body: returned.append(body))
    channel.queue_declare("tx-lasting", durable=True)
    channel.queue_declare("tx-mine", exclusive=True)
    channel.basic_publish("", "tx-mine", b"one")
    channel.tx_select()
    method, _, _ = channel.basic_get("tx-mine")
    channel.basic_ack(method.delivery_tag)
    for queue in ("tx-lasting", "tx-mine", "tx-nowhere"):
        channel.basic_publish("", queue, b"two", PERSISTENT, mandatory=True)
    assert (_count(channel, "tx-lasting"), _count(channel, "tx-mine")) == (0, 0)
    channel.tx_commit()
    connection.process_data_events()
    assert returned == [b"two"]
    assert (_count(channel, "tx-lasting"), _count(channel, "tx-mine")) == (1, 1)
    assert channel.basic_get("tx-mine", auto_ack=True)[2] == b"two"
    channel.queue_delete("tx-lasting")
    connection.close()


def test_what_is_rejected_and_given_back_in_a_transaction_over_several_shards_is_so_after_its_commit(
    cluster: LocalCluster,
) -> None:
    connection = cluster.connect(2)
    channel = connection.channel()
    queues = [f"tx-no-{k}" for k in range(8)]
    for queue in queues:
        channel.queue_declare(
            queue, durable=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "tx-dead"}
        )
        for body in (b"back", b"dead"):
            channel.basic_publish("", queue, body, PERSISTENT)
    channel.queue_declare("tx-dead", durable=True)
    channel.tx_select()
    for queue in queues:
        back, _, _ = channel.basic_get(queue)
        dead, _, _ = channel.basic_get(queue)
        channel.basic_nack(back.delivery_tag, requeue=True)
        channel.basic_nack(dead.delivery_tag, requeue=False)
    assert [_count(channel, queue) for queue in (*queues, "tx-dead")] == [0] * 9
    channel.tx_commit()
    assert [_count(channel, queue) for queue in queues] == [1] * 8
    wait_until(lambda: _count(channel, "tx-dead") == 8, "all are dead")
    for queue in (*queues, "tx-dead"):
        channel.queue_delete(queue)
    connection.close()
