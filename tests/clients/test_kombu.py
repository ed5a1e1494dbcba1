"""kombu: its messaging by hand, as programs without Celery use it."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from kombu import Connection, Consumer, Exchange, Message, Producer, Queue
from kombu.simple import SimpleQueue

from tests.clients.conftest import Urls, url_of
from tests.clients.placement import led
from tests.cluster.harness import LocalCluster

DEADLINE_SECONDS = 10.0
CONFIRMED = {"confirm_publish": True}


def test_simple_queues_put_get_requeue_and_reject_through_two_nodes(urls: Urls, name: str) -> None:
    with Connection(urls[0], transport_options=CONFIRMED) as here, Connection(urls[1]) as there:
        with here.SimpleQueue(name) as putting, there.SimpleQueue(name) as getting:
            for number in range(3):
                putting.put({"n": number}, compression="zlib")
            first = getting.get(timeout=DEADLINE_SECONDS)
            assert (first.payload, first.delivery_info["redelivered"]) == ({"n": 0}, False)
            first.requeue()
            seen = {}
            for _ in range(3):
                message = getting.get(timeout=DEADLINE_SECONDS)
                seen[message.payload["n"]] = message.delivery_info["redelivered"]
                if message.payload["n"] == 2:
                    message.reject()
                else:
                    message.ack()
            assert seen == {0: True, 1: False, 2: False}
            assert putting.qsize() == 0
            with pytest.raises(SimpleQueue.Empty):
                getting.get_nowait()
        Queue(name, channel=here.channel()).delete()


def test_exchanges_are_bound_to_exchanges_and_temporary_queues_go_with_their_users(urls: Urls, name: str) -> None:
    with Connection(urls[0]) as here, Connection(urls[1], transport_options=CONFIRMED) as there:
        source = Exchange(f"{name}-source", "fanout", durable=False, auto_delete=True)(here.channel())
        target = Exchange(f"{name}-target", "direct", durable=False, auto_delete=True)(here.channel())
        source.declare()
        target.declare()
        target.bind_to(source, routing_key="")
        queue = Queue("", target, routing_key="key", exclusive=True)(here.channel())
        assert queue.declare().startswith("amq.gen-")
        received: list[object] = []

        def take(body: str, _: Message) -> None:
            received.append(body)

        with Consumer(here.channel(), [queue], callbacks=[take], no_ack=True, auto_declare=False):
            Producer(there.channel()).publish("heard", exchange=source.name, routing_key="key")
            Producer(there.channel()).publish("not heard", exchange=source.name, routing_key="other")
            Producer(there.channel()).publish("heard, too", exchange=target.name, routing_key="key")
            while len(received) < 2:
                here.drain_events(timeout=DEADLINE_SECONDS)
        assert received == ["heard", "heard, too"]
        assert not here.channel().queue_delete(queue.name)
        with pytest.raises(there.channel_errors, match="404"):
            there.channel().exchange_declare(target.name, "direct", passive=True)
        with pytest.raises(there.channel_errors, match="404"):
            there.channel().exchange_declare(source.name, "fanout", passive=True)


def test_heartbeats_are_sent_and_seen_while_nothing_happens(urls: Urls, name: str) -> None:
    with Connection(urls[0], heartbeat=2) as idle:
        idle.connect()
        assert idle.get_heartbeat_interval() == 2
        seen = idle.connection.bytes_recv
        while idle.connection.bytes_recv < seen + 2:
            with suppress(socket.timeout):
                idle.drain_events(timeout=0.25)
            idle.heartbeat_check(rate=4)
        Queue(name, channel=idle.channel(), auto_delete=True).declare()
        idle.channel().queue_delete(name)


def test_a_producer_and_a_consumer_with_several_nodes_go_on_when_their_node_and_leader_is_killed(
    cluster: LocalCluster, name: str
) -> None:
    queue = Queue(name, Exchange(name, "direct"), routing_key=name)
    with Connection(url_of(cluster, 0)) as declaring:
        queue(declaring.channel()).declare()
    home, second, third = led(cluster, name)
    brokers = ";".join([url_of(cluster, node) for node in (home, second, third)])
    received: list[int] = []

    def take(body: int, message: Message) -> None:
        received.append(body)
        message.ack()

    with Connection(brokers, transport_options=CONFIRMED) as producing, Connection(brokers) as consuming:
        producer = Producer(producing.channel(), queue.exchange, serializer="json")
        consumer = Consumer(consuming.channel(), [queue], callbacks=[take], accept=["json"], prefetch_count=2)
        consumer.consume()

        def drain(goal: int) -> None:
            while len(set(received)) < goal:
                drained = consuming.ensure(
                    consuming, lambda: consuming.drain_events(timeout=DEADLINE_SECONDS), on_revive=revived
                )
                drained()

        def revived(channel: object) -> None:
            consumer.revive(channel)
            consumer.consume()

        for number in range(5):
            producer.publish(number, routing_key=name, retry=True)
        drain(5)
        cluster.kill(home)
        for number in range(5, 10):
            producer.publish(number, routing_key=name, retry=True)
        drain(10)
        consumer.cancel()
        assert sorted(set(received)) == list(range(10))
        queue(producing.channel()).delete()
