"""What the README shows, on real processes."""

from __future__ import annotations

import pika

from tests.cluster.harness import LocalCluster

PERSISTENT = pika.BasicProperties(delivery_mode=2)


def test_what_is_published_on_one_node_is_consumed_on_another_in_order(cluster: LocalCluster) -> None:
    publisher = cluster.connect(0).channel()
    publisher.queue_declare("first-contact", durable=True)
    publisher.confirm_delivery()
    for number in range(50):
        publisher.basic_publish("", "first-contact", b"%d" % number, PERSISTENT)
    consumer = cluster.connect(2).channel()
    assert consumer.queue_declare("first-contact", passive=True).method.message_count == 50
    received = []
    for method, _, body in consumer.consume("first-contact", inactivity_timeout=10):
        assert method is not None
        assert not method.redelivered
        received.append(int(body))
        consumer.basic_ack(method.delivery_tag)
        if len(received) == 50:
            break
    consumer.cancel()
    assert received == list(range(50))
    assert consumer.queue_delete("first-contact").method.message_count == 0
    consumer.connection.close()
    publisher.connection.close()
