"""Nodes that stop, all or one, and a node that is left alone."""

from __future__ import annotations

import signal
import time

import pytest
from pika.exceptions import AMQPError, ConnectionClosedByBroker, NackError

from chaos.look import leaders
from tests.cluster.clients import PERSISTENT, consume, declare, drain, publish
from tests.cluster.harness import LocalCluster, wait_until

REFUSAL_SECONDS = 10.0
"""How long a node without a quorum may take to say so."""


def test_a_cluster_killed_at_once_has_everything_confirmed_whatever_the_order_of_its_start() -> None:
    with LocalCluster() as cluster:
        declare(cluster, "kept")
        publish(cluster.connect(0), "kept", range(60))
        consumer = consume(cluster.connect(1), "kept", prefetch_count=100)
        drain(consumer, 60)
        consumer.channel.basic_ack(20, multiple=True)
        # Answered once the acks are committed.
        consumer.channel.queue_declare("kept", passive=True)
        for index in range(3):
            cluster.kill(index)
        cluster.start(2)
        child = cluster.children[2]
        assert child is not None
        wait_until(lambda: child.readiness() != "not listening yet", "the first node's admin interface")
        assert child.readiness() is not None, "ready without a quorum"
        with pytest.raises(AMQPError):
            # Refused at once, instead of waiting for a node that cannot serve.
            cluster.connect(2, socket_timeout=2)
        cluster.start(1)
        cluster.wait_ready(2, 1)
        first = consume(cluster.connect(2), "kept", prefetch_count=100)
        assert drain(first, 40) == [(n, True) for n in range(20, 60)]
        first.channel.connection.close()
        cluster.start_all()
        last = consume(cluster.connect(0), "kept", prefetch_count=100)
        assert drain(last, 40) == [(n, True) for n in range(20, 60)]


def test_a_node_told_to_stop_hands_over_says_320_and_ends_with_code_0() -> None:
    with LocalCluster() as cluster:
        declare(cluster, "drained")
        names = [node.name for node in cluster.nodes]
        wait_until(lambda: leaders(cluster).get("drained", "") in names, "a leader")
        leader = names.index(leaders(cluster)["drained"])
        survivor = cluster.connect((leader + 1) % 3)
        client = cluster.connect(leader)
        publish(client, "drained", range(20))
        child = cluster.children[leader]
        assert child is not None
        child.send(signal.SIGTERM)
        let_in: list[object] = []

        def come_back_until_it_is_gone() -> bool:
            try:
                let_in.append(cluster.connect(leader, socket_timeout=2, stack_timeout=2))
            except (AMQPError, OSError):
                return child.end() is not None
            return False

        wait_until(come_back_until_it_is_gone, "the end of the node", 10)
        assert len(let_in) <= 1, "clients were let in by a node that had been told to stop"
        assert child.end() == "exit code 0"
        cluster.terminate(leader)
        began = time.monotonic()
        publish(survivor, "drained", range(20, 40))
        assert time.monotonic() - began < 10
        with pytest.raises(ConnectionClosedByBroker) as closed:
            client.process_data_events(1)
        assert closed.value.reply_code == 320
        consumer = consume(survivor, "drained", prefetch_count=100)
        assert [n for n, _ in drain(consumer, 40)] == list(range(40))


def test_one_of_three_refuses_soon_says_why_and_confirms_nothing_until_it_is_not_alone() -> None:
    with LocalCluster() as cluster:
        declare(cluster, "alone")
        names = [node.name for node in cluster.nodes]
        wait_until(lambda: leaders(cluster).get("alone", "") in names, "a leader")
        leader = names.index(leaders(cluster)["alone"])
        home, other = (leader + 1) % 3, (leader + 2) % 3
        client = cluster.connect(home)
        cluster.kill(other)
        cluster.kill(leader)

        began = time.monotonic()
        with pytest.raises(AMQPError) as refused:
            client.channel().queue_declare("never", durable=True)
        assert time.monotonic() - began < REFUSAL_SECONDS
        assert "no leader with a quorum" in str(refused.value)

        # A connection is let in all the same, so that a client can be told.
        channel = cluster.connect(home).channel()
        channel.confirm_delivery()
        began = time.monotonic()
        with pytest.raises(NackError):
            channel.basic_publish("", "alone", b"1", PERSISTENT)
        assert time.monotonic() - began < REFUSAL_SECONDS

        cluster.start_all()
        channel.basic_publish("", "alone", b"2", PERSISTENT)
        consumer = consume(cluster.connect(other), "alone", prefetch_count=10)
        assert [n for n, _ in drain(consumer, 1)] == [2]
        assert consumer.channel.queue_declare("alone", passive=True).method.message_count == 0
