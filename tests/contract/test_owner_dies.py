"""When a node dies or stands still: what only its memory held goes with it, nobody hangs, and nothing is denied."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import pika
import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker

from cluster.amqp import methods as m
from tests.cluster.harness import LocalCluster, wait_until
from tests.contract.clients import Clients, bodies, pump_until, ready_count, take
from tests.contract.wire import Wire, publish

OWNER = 2
GONE_SECONDS = 20.0


@pytest.fixture(scope="module")
def frail() -> Iterator[LocalCluster]:
    with LocalCluster() as running:
        yield running


@pytest.fixture
def mortal(frail: LocalCluster) -> LocalCluster:
    """All nodes run when a test begins."""
    frail.start_all()
    return frail


@pytest.fixture
def survivors(mortal: LocalCluster) -> Iterator[Clients]:
    with Clients(mortal, cycle([0, 1])) as clients:
        yield clients


def test_a_node_that_stood_still_looks_again_before_it_denies_an_exchange(
    mortal: LocalCluster, survivors: Clients
) -> None:
    declarer = survivors.channel(0)
    with Wire(mortal.port(OWNER)) as late:
        late.open(1)
        late.call(m.ConfirmSelect(False))
        late.expect(m.ConfirmSelectOk)
        late.send(publish("", "nowhere"))
        assert late.expect(m.BasicAck).delivery_tag == 1
        for number in range(3):
            mortal.freeze(OWNER)
            declarer.exchange_declare(f"new-{number}", "fanout")
            late.send(publish(f"new-{number}", ""))
            mortal.thaw(OWNER)
            assert late.expect(m.BasicAck).delivery_tag == number + 2
        late.send(publish("never", ""))
        late.assert_channel_closed(404, "NOT_FOUND - no exchange 'never' in vhost '/'")


def code_of(connection: pika.BlockingConnection, queue: str) -> int:
    """200, or the code that a passive declaration is refused with."""
    probe = connection.channel()
    try:
        probe.queue_declare(queue, passive=True)
    except ChannelClosedByBroker as error:
        return int(error.reply_code)
    probe.close()
    return 200


def test_what_only_the_dead_node_had_goes_and_the_rest_works_on(mortal: LocalCluster, survivors: Clients) -> None:
    owner = survivors.channel(OWNER)
    owner.queue_declare("transient")
    owner.queue_declare("exclusive", exclusive=True)
    publisher, consumer, auto = survivors.channel(0), survivors.channel(1), survivors.channel(1)
    consumer.queue_declare("durable", durable=True)
    auto.queue_declare("auto", durable=True, auto_delete=True)
    for queue in ("transient", "exclusive", "durable"):
        owner.queue_bind(queue, "amq.fanout")
    owner.basic_consume("auto", lambda *_: None)
    cancelled: list[object] = []
    consumer.add_on_cancel_callback(cancelled.append)
    consumer.basic_qos(prefetch_count=1)
    received: list[bytes] = []
    consumer.basic_consume("transient", lambda c, m, p, body: received.append(body))
    publisher.confirm_delivery()
    publisher.basic_publish("amq.fanout", "", b"before")
    pump_until(consumer.connection, lambda: received == [b"before"], "delivered through another node")

    mortal.kill(OWNER)
    refused = 0
    for _ in range(3):
        try:
            publisher.basic_publish("amq.fanout", "", b"after")
        except pika.exceptions.NackError:
            refused += 1
    wait_until(lambda: bool(consumer.connection.process_data_events(0.05) or cancelled), "cancelled", GONE_SECONDS)  # type: ignore[func-returns-value]
    for queue in ("transient", "exclusive", "auto"):
        wait_until(lambda q=queue: code_of(publisher.connection, q) == 404, f"{queue} is gone", GONE_SECONDS)  # type: ignore[misc]
    publisher.basic_publish("amq.fanout", "", b"later")
    assert ready_count(publisher, "durable") >= 5 - refused
    assert bodies(publisher, "durable")[-1] == b"later"

    publisher.queue_declare("transient")
    publisher.basic_publish("", "transient", b"new home", mandatory=True)
    assert take(survivors.channel(1), "transient")[2] == b"new home"

    mortal.start(OWNER)
    mortal.wait_ready(OWNER)
    reborn = survivors.channel(OWNER)
    reborn.queue_declare("reborn")
    for number in range(3):
        publisher.basic_publish("", "reborn", b"%d" % number, mandatory=True)
    assert bodies(survivors.channel(1), "reborn") == [b"0", b"1", b"2"]


def test_a_restart_takes_transient_queues_and_leaves_durable_ones(mortal: LocalCluster, survivors: Clients) -> None:
    owner, other = survivors.channel(OWNER), survivors.channel(0)
    for queue in ("brief", "lasting"):
        owner.queue_declare(queue, durable=queue == "lasting")
        owner.confirm_delivery()
        owner.basic_publish("", queue, b"kept?", pika.BasicProperties(delivery_mode=2))
    other.confirm_delivery()
    other.basic_publish("", "brief", b"from afar")
    mortal.kill(OWNER)
    mortal.start(OWNER)
    mortal.wait_ready(OWNER)
    back = survivors.channel(OWNER)
    assert code_of(back.connection, "brief") == 404
    assert take(back, "lasting")[2] == b"kept?"
    back.queue_declare("brief")
    for number in range(3):
        other.basic_publish("", "brief", b"%d" % number, mandatory=True)
    assert bodies(back, "brief") == [b"0", b"1", b"2"]


def test_what_a_dead_node_s_consumer_held_is_delivered_again(mortal: LocalCluster, survivors: Clients) -> None:
    doomed, other = survivors.channel(OWNER), survivors.channel(0)
    other.queue_declare("q", durable=True)
    other.confirm_delivery()
    for number in range(4):
        other.basic_publish("", "q", b"%d" % number)
    assert [take(doomed, "q")[2] for _ in range(2)] == [b"0", b"1"]
    mortal.kill(OWNER)
    wait_until(lambda: ready_count(other, "q") == 4, "all are back")
    again = [take(other, "q") for _ in range(4)]
    assert [body for _, _, body in again] == [b"0", b"1", b"2", b"3"]
    # The dead node may have led the queue: then its successor cannot know of the others that they were not delivered.
    assert all(method.redelivered for method, _, _ in again[:2])
    with pytest.raises(AMQPError):
        doomed.queue_declare("q", passive=True)
