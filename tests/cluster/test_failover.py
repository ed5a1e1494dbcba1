"""A node dies under its clients: what they hold, what they were promised, and who gets it next."""

from __future__ import annotations

from collections.abc import Iterator

import pika
import pytest

from chaos.look import ask, hand_over, is_healthy, leaders
from tests.cluster.clients import consume, declare, drain, publish
from tests.cluster.harness import LocalCluster, wait_until


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def whole(running: LocalCluster) -> LocalCluster:
    """All nodes up, whatever the test before has done."""
    running.start_all()
    wait_until(lambda: is_healthy(running), "the cluster healthy")
    return running


def led(cluster: LocalCluster, queue: str) -> tuple[int, list[int]]:
    """The index of the node that leads the queue, and those of the others."""
    names = [node.name for node in cluster.nodes]
    wait_until(lambda: leaders(cluster).get(queue, "") in names, f"{queue} has a leader")
    leader = names.index(leaders(cluster)[queue])
    return leader, [index for index in range(len(names)) if index != leader]


def test_a_consumer_on_a_surviving_node_keeps_its_unacked_messages_and_its_acks_count(whole: LocalCluster) -> None:
    declare(whole, "held")
    leader, (home, other) = led(whole, "held")
    publish(whole.connect(other), "held", range(20))
    consumer = consume(whole.connect(home), "held", prefetch_count=50)
    assert drain(consumer, 20) == [(n, False) for n in range(20)]
    whole.kill(leader)
    consumer.channel.basic_ack(10, multiple=True)
    # Answered only once the acks are committed, so by the next leader.
    assert consumer.channel.queue_declare("held", passive=True).method.message_count == 0
    consumer.channel.basic_publish("", "held", b"20", pika.BasicProperties(delivery_mode=2))
    assert drain(consumer, 1) == [(20, False)], "what the consumer holds was delivered to it again"
    consumer.channel.close()
    rest = consume(whole.connect(other), "held", prefetch_count=50)
    assert drain(rest, 11) == [(n, True) for n in range(10, 21)]


def test_what_a_consumer_on_the_killed_node_held_is_redelivered_in_order_and_says_so(whole: LocalCluster) -> None:
    declare(whole, "bereft")
    leader, (home, _) = led(whole, "bereft")
    publish(whole.connect(home), "bereft", range(20))
    doomed = consume(whole.connect(leader), "bereft", prefetch_count=10)
    assert drain(doomed, 10) == [(n, False) for n in range(10)]
    whole.kill(leader)
    heir = consume(whole.connect(home), "bereft", prefetch_count=50)
    arrived = drain(heir, 20)
    assert sorted(n for n, _ in arrived) == list(range(20))
    assert all(redelivered for n, redelivered in arrived if n < 10)
    held = [n for n, _ in arrived if n < 10]
    assert held == sorted(held)


def test_what_a_closed_channel_held_returns_to_its_place(whole: LocalCluster) -> None:
    declare(whole, "returned")
    publish(whole.connect(0), "returned", range(10))
    first = consume(whole.connect(1), "returned", prefetch_count=5)
    assert drain(first, 5) == [(n, False) for n in range(5)]
    first.channel.close()
    second = consume(whole.connect(2), "returned", prefetch_count=20)
    assert [n for n, _ in drain(second, 10)] == list(range(10))


def test_a_publisher_on_another_node_goes_on_and_is_confirmed_when_the_leader_dies(whole: LocalCluster) -> None:
    declare(whole, "going-on")
    leader, (home, other) = led(whole, "going-on")
    publisher = whole.connect(home)
    publish(publisher, "going-on", range(50))
    whole.kill(leader)
    publish(publisher, "going-on", range(50, 100))
    consumer = consume(whole.connect(other), "going-on", prefetch_count=200)
    assert [n for n, _ in drain(consumer, 100)] == list(range(100))
    assert consumer.channel.queue_declare("going-on", passive=True).method.message_count == 0


def test_leaders_asked_to_hand_over_faster_than_they_can_end_no_node_and_lose_no_message(whole: LocalCluster) -> None:
    declare(whole, "moved")
    consumer = consume(whole.connect(0), "moved", prefetch_count=100)
    group = next(row["group"] for row in ask(whole, "/api/queues") if row["name"] == "moved")
    publisher = whole.connect(1)
    for lap in range(6):
        for node in whole.nodes:
            hand_over(whole, group, node.name)
        publish(publisher, "moved", range(5 * lap, 5 * lap + 5))
    assert drain(consumer, 30) == [(n, False) for n in range(30)]
    assert [child.end() for child in whole.children if child is not None] == [None, None, None]
