"""Direct reply-to across nodes: request on one node, server on another, the answer comes straight back."""

from __future__ import annotations

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from tests.cluster.harness import LocalCluster

PSEUDO_QUEUE = "amq.rabbitmq.reply-to"


@pytest.mark.parametrize(("asks", "serves"), [(0, 0), (0, 1), (2, 1)])
def test_an_answer_reaches_the_channel_that_asked(cluster: LocalCluster, asks: int, serves: int) -> None:
    client, server = cluster.connect(asks), cluster.connect(serves)
    asking, serving = client.channel(), server.channel()
    serving.queue_declare("rpc", durable=True)
    answers: list[tuple[str | None, bytes]] = []
    asking.basic_consume(PSEUDO_QUEUE, lambda c, m, p, body: answers.append((p.correlation_id, body)), auto_ack=True)
    request = pika.BasicProperties(reply_to=PSEUDO_QUEUE, correlation_id="17")
    asking.basic_publish("", "rpc", b"question", request)
    asked = next(serving.consume("rpc", inactivity_timeout=10))
    assert asked[2] == b"question"
    address = asked[1].reply_to
    assert address.startswith(PSEUDO_QUEUE + ".")
    assert serving.queue_declare(address, passive=True).method.consumer_count == 1
    serving.basic_publish("", address, b"answer", pika.BasicProperties(correlation_id=asked[1].correlation_id))
    client.process_data_events(time_limit=0)
    for _ in range(200):
        if answers:
            break
        client.process_data_events(time_limit=0.05)
    assert answers == [("17", b"answer")]
    serving.cancel()
    serving.queue_delete("rpc")
    client.close()
    server.close()


def test_the_reply_consumer_must_not_ask_for_acks(cluster: LocalCluster) -> None:
    connection = cluster.connect(0)
    with pytest.raises(ChannelClosedByBroker) as closed:
        connection.channel().basic_consume(PSEUDO_QUEUE, lambda *_: None)
    text = "PRECONDITION_FAILED - reply consumer cannot acknowledge"
    assert (closed.value.reply_code, closed.value.reply_text) == (406, text)
    connection.close()


def test_a_request_without_a_reply_consumer_is_refused(cluster: LocalCluster) -> None:
    connection = cluster.connect(1)
    channel = connection.channel()
    channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_publish("", "anywhere", b"", pika.BasicProperties(reply_to=PSEUDO_QUEUE))
    text = "PRECONDITION_FAILED - fast reply consumer does not exist"
    assert (closed.value.reply_code, closed.value.reply_text) == (406, text)
    connection.close()
