"""What a queue's arguments ask for, on a real cluster: publisher and consumer are on different nodes."""

from __future__ import annotations

import base64
import itertools
import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions
import pytest

from tests.cluster.clients import PATIENCE_SECONDS
from tests.cluster.harness import HOST, LocalCluster, wait_until

_NUMBERS = itertools.count(1)
Message = tuple[Any, Any, bytes]


class Stage:
    """A channel that publishes on node 0, and one that consumes on node 2."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.connections: list[Any] = [cluster.connect(0), cluster.connect(2)]
        self.publisher: Any = self.connections[0].channel()
        self.publisher.confirm_delivery()
        self.consumer: Any = self.connections[1].channel()

    def queue(self, **arguments: object) -> str:
        name = f"feature-{next(_NUMBERS)}"
        table = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
        self.publisher.queue_declare(name, durable=True, arguments=table)
        return name

    def publish(self, queue: str, *bodies: bytes, exchange: str = "", **properties: Any) -> None:
        for body in bodies:
            self.publisher.basic_publish(exchange, queue, body, pika.BasicProperties(delivery_mode=2, **properties))

    def get(self, queue: str, *, auto_ack: bool = True) -> Message:
        """The next message, which comes within the patience."""
        found: list[Message] = []

        def came() -> bool:
            method, properties, body = self.consumer.basic_get(queue, auto_ack=auto_ack)
            if method is not None:
                found.append((method, properties, body))
            return method is not None

        wait_until(came, f"no message in {queue}", PATIENCE_SECONDS)
        return found[0]

    def count(self, queue: str) -> int:
        return int(self.consumer.queue_declare(queue, passive=True).method.message_count)

    def close(self) -> None:
        for connection in self.connections:
            if connection.is_open:
                connection.close()


@pytest.fixture
def stage(cluster: LocalCluster) -> Any:
    made = Stage(cluster)
    yield made
    made.close()


def until(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, what, PATIENCE_SECONDS)


def death(properties: Any) -> dict[str, Any]:
    return dict(properties.headers["x-death"][0])


def test_a_rejected_message_is_dead_lettered_with_its_history(stage: Stage) -> None:
    graves = [stage.queue() for _ in range(6)]
    for grave in graves:
        source = stage.queue(dead_letter_exchange="", dead_letter_routing_key=grave)
        stage.publish(source, b"x", headers={"kept": 1})
        method, _, _ = stage.get(source, auto_ack=False)
        stage.consumer.basic_reject(method.delivery_tag, requeue=False)
        method, properties, body = stage.get(grave)
        assert body == b"x"
        assert not method.redelivered
        event = death(properties)
        died = event.pop("time")
        assert died.year >= 2020
        assert event == {"count": 1, "reason": "rejected", "queue": source, "exchange": "", "routing-keys": [source]}
        headers = properties.headers
        assert headers["kept"] == 1
        assert (headers["x-first-death-queue"], headers["x-first-death-reason"]) == (source, "rejected")
        assert headers["x-first-death-exchange"] == ""
        assert stage.count(source) == 0


def test_a_rejected_message_of_a_queue_without_dead_letters_is_gone(stage: Stage) -> None:
    queue = stage.queue()
    stage.publish(queue, b"x", b"y")
    for _ in range(2):
        method, _, _ = stage.get(queue, auto_ack=False)
        stage.consumer.basic_nack(method.delivery_tag, requeue=False)
    assert stage.count(queue) == 0


def test_messages_expire_by_the_queues_ttl_and_by_their_own(stage: Stage) -> None:
    grave = stage.queue()
    by_queue = stage.queue(message_ttl=100, dead_letter_exchange="", dead_letter_routing_key=grave)
    stage.publish(by_queue, b"q")
    assert death(stage.get(grave)[1])["reason"] == "expired"
    by_message = stage.queue(dead_letter_exchange="", dead_letter_routing_key=grave)
    stage.publish(by_message, b"m", expiration="80")
    _, properties, body = stage.get(grave)
    assert body == b"m"
    assert properties.expiration is None
    event = death(properties)
    assert (event["reason"], event["original-expiration"], event["queue"]) == ("expired", "80", by_message)
    assert stage.count(by_queue) == stage.count(by_message) == 0


def test_a_message_with_ttl_zero_reaches_a_consumer_that_waits(stage: Stage) -> None:
    queue = stage.queue(message_ttl=0)
    stage.publish(queue, b"nobody waits")
    until(lambda: stage.count(queue) == 0, "the message expires")
    came: list[bytes] = []
    stage.consumer.basic_consume(queue, lambda _, __, ___, body: came.append(body), auto_ack=True)
    stage.publish(queue, b"somebody waits")
    until(lambda: stage.connections[1].process_data_events(0.05) is None and bool(came), "the message comes")
    assert came == [b"somebody waits"]


def test_a_dead_letter_that_would_go_round_by_itself_is_dropped(stage: Stage) -> None:
    name = f"feature-{next(_NUMBERS)}"
    arguments = {"x-message-ttl": 50, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": name}
    stage.publisher.queue_declare(name, durable=True, arguments=arguments)
    stage.publish(name, b"x")
    until(lambda: stage.count(name) == 0, "the message is dropped")


def test_an_unused_queue_is_deleted_after_its_time(stage: Stage) -> None:
    queue = stage.queue(expires=300)

    def gone() -> bool:
        channel = stage.connections[1].channel()
        try:
            channel.queue_bind(queue, "amq.fanout")
        except pika.exceptions.ChannelClosedByBroker as error:
            return bool(error.reply_code == 404)
        channel.close()
        return False

    until(gone, "the queue is deleted")


def test_a_full_queue_drops_its_oldest_messages(stage: Stage) -> None:
    grave = stage.queue()
    queue = stage.queue(max_length=2, dead_letter_exchange="", dead_letter_routing_key=grave)
    stage.publish(queue, b"1", b"2", b"3")
    _, properties, body = stage.get(grave)
    assert (body, death(properties)["reason"]) == (b"1", "maxlen")
    assert [stage.get(queue)[2] for _ in range(2)] == [b"2", b"3"]


def test_a_queue_full_of_bytes_drops_its_oldest_messages(stage: Stage) -> None:
    queue = stage.queue(max_length_bytes=100)
    stage.publish(queue, b"a" * 60, b"b" * 60, b"c" * 30)
    until(lambda: stage.count(queue) == 2, "the first is dropped")
    assert [stage.get(queue)[2][:1] for _ in range(2)] == [b"b", b"c"]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_full_queue_refuses_publishes_if_told_to(stage: Stage, queue_type: str) -> None:
    queue = stage.queue(max_length=2, overflow="reject-publish", queue_type=queue_type)
    stage.publish(queue, b"1", b"2")
    for _ in range(3):
        with pytest.raises(pika.exceptions.NackError):
            stage.publish(queue, b"3")
    assert stage.get(queue)[2] == b"1"
    stage.publish(queue, b"4")
    assert [stage.get(queue)[2] for _ in range(2)] == [b"2", b"4"]


def test_a_refused_publish_goes_to_the_dead_letters_if_told_to(stage: Stage) -> None:
    grave = stage.queue()
    queue = stage.queue(
        max_length=1, overflow="reject-publish-dlx", dead_letter_exchange="", dead_letter_routing_key=grave
    )
    stage.publish(queue, b"1")
    with pytest.raises(pika.exceptions.NackError):
        stage.publish(queue, b"2")
    _, properties, body = stage.get(grave)
    assert (body, death(properties)["reason"]) == (b"2", "maxlen")


def test_a_quorum_queue_counts_deliveries_up_to_its_limit(stage: Stage) -> None:
    grave = stage.queue()
    queue = stage.queue(queue_type="quorum", delivery_limit=2, dead_letter_exchange="", dead_letter_routing_key=grave)
    stage.publish(queue, b"x", content_type="text/plain")
    stage.publish(queue, b"y", headers={"mine": True})
    for expected in range(3):
        for body in (b"x", b"y"):
            method, properties, got = stage.get(queue, auto_ack=False)
            assert got == body
            assert properties.headers["x-delivery-count"] == expected
            assert method.redelivered == (expected > 0)
        stage.consumer.basic_nack(0, multiple=True, requeue=True)
    for body in (b"x", b"y"):
        _, properties, got = stage.get(grave)
        assert got == body
        assert death(properties)["reason"] == "delivery_limit"


def test_higher_priorities_come_first(stage: Stage) -> None:
    queue = stage.queue(max_priority=5)
    for priority, body in [(0, b"a"), (5, b"b"), (1, b"c"), (5, b"d"), (9, b"e")]:
        stage.publish(queue, body, priority=priority)
    stage.publish(queue, b"f")
    assert b"".join([stage.get(queue)[2] for _ in range(6)]) == b"bdecaf"


def test_a_delayed_message_comes_when_its_delay_is_over(stage: Stage) -> None:
    queue = stage.queue()
    stage.publisher.exchange_declare(
        "feature-delays", "x-delayed-message", durable=True, arguments={"x-delayed-type": "topic"}
    )
    stage.publisher.queue_bind(queue, "feature-delays", "a.*")
    began = time.monotonic()
    stage.publish("a.b", b"late", exchange="feature-delays", headers={"x-delay": 800})
    stage.publish("a.c", b"soon", exchange="feature-delays")
    assert stage.get(queue)[2] == b"soon"
    assert stage.get(queue)[2] == b"late"
    assert time.monotonic() - began >= 0.8
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="'x-delayed-type' must be an existing exchange"):
        stage.publisher.exchange_declare("feature-no-type", "x-delayed-message", durable=True)


def test_a_duplicate_is_confirmed_and_not_stored(stage: Stage) -> None:
    queue = stage.queue(message_deduplication=True, cache_size=2)
    for key in ("a", "b", "a", "b", "c", "a"):
        stage.publish(queue, key.encode(), headers={"x-deduplication-header": key})
    stage.publish(queue, b"no key", b"no key")
    assert [stage.get(queue)[2] for _ in range(6)] == [b"a", b"b", b"c", b"a", b"no key", b"no key"]
    assert stage.count(queue) == 0


def collect(stage: Stage, queue: str, into: list[tuple[str, bytes]], name: str, **arguments: Any) -> Any:
    channel = stage.connections[1].channel()
    channel.basic_qos(prefetch_count=arguments.pop("prefetch_count", 0))
    channel.basic_consume(
        queue,
        lambda _, __, ___, body: into.append((name, body)),
        auto_ack=False,
        arguments={"x-" + key: value for key, value in arguments.items()},
        consumer_tag=name,
    )
    return channel


def deliver(stage: Stage, came: list[tuple[str, bytes]], count: int) -> None:
    def enough() -> bool:
        stage.connections[1].process_data_events(0.05)
        return len(came) >= count

    until(enough, f"{count} deliveries")


def test_consumers_with_a_higher_priority_are_served_first(stage: Stage) -> None:
    queue = stage.queue()
    came: list[tuple[str, bytes]] = []
    collect(stage, queue, came, "low")
    collect(stage, queue, came, "high", priority=10, prefetch_count=3)
    stage.publish(queue, *[b"%d" % n for n in range(5)])
    deliver(stage, came, 5)
    assert sorted(came) == [("high", b"0"), ("high", b"1"), ("high", b"2"), ("low", b"3"), ("low", b"4")]


def test_one_consumer_is_active_until_it_leaves(stage: Stage) -> None:
    queue = stage.queue(single_active_consumer=True)
    came: list[tuple[str, bytes]] = []
    first = collect(stage, queue, came, "first")
    collect(stage, queue, came, "second")
    stage.publish(queue, b"1", b"2")
    deliver(stage, came, 2)
    first.basic_cancel("first")
    stage.publish(queue, b"3")
    deliver(stage, came, 3)
    assert came == [("first", b"1"), ("first", b"2"), ("second", b"3")]


def api(cluster: LocalCluster, method: str, path: str, body: object = None) -> Any:
    """Asks node 1, which leads some queues and not others."""
    credentials = base64.b64encode(b"guest:guest").decode()
    request = urllib.request.Request(
        f"http://{HOST}:{cluster.nodes[1].http_port}/api{path}",
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"authorization": f"Basic {credentials}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def test_what_comes_back_too_often_is_parked_and_can_be_tried_again(stage: Stage, cluster: LocalCluster) -> None:
    queue = stage.queue(queue_type="quorum", delivery_limit=1)
    stage.publish(queue, b"poison", b"good")
    for _ in range(2):
        method, _, _ = stage.get(queue, auto_ack=False)
        stage.consumer.basic_reject(method.delivery_tag, requeue=True)
    assert stage.get(queue)[2] == b"good"
    assert stage.count(queue) == 0
    assert api(cluster, "GET", f"/queues/%2F/{queue}")["messages_parked"] == 1
    assert api(cluster, "POST", f"/queues/%2F/{queue}/retry") == {"retried": 1}
    _, properties, body = stage.get(queue)
    assert (body, properties.headers["x-delivery-count"]) == (b"poison", 0)
    assert api(cluster, "GET", f"/queues/%2F/{queue}")["messages_parked"] == 0


def test_a_policy_holds_for_a_queue_that_is_there_and_for_what_is_in_it(stage: Stage, cluster: LocalCluster) -> None:
    grave, queue = stage.queue(), stage.queue()
    stage.publish(queue, b"1", b"2", b"3")
    definition = {"max-length": 1, "dead-letter-exchange": "", "dead-letter-routing-key": grave}
    policy = {"pattern": f"^{queue}$", "apply-to": "queues", "definition": definition}
    api(cluster, "PUT", "/policies/%2F/feature-policy", policy)
    assert [stage.get(grave)[2] for _ in range(2)] == [b"1", b"2"]
    api(cluster, "DELETE", "/policies/%2F/feature-policy")
    stage.publish(queue, b"4")
    assert [stage.get(queue)[2] for _ in range(2)] == [b"3", b"4"]


def test_a_client_that_holds_a_delivery_for_too_long_loses_its_channel() -> None:
    running = LocalCluster(1)
    with running.nodes[0].config_path.open("a") as config:
        config.write("\n[limits]\nconsumer_timeout_seconds = 0.5\n")
    with running:
        connection: Any = running.connect(0)
        channel = connection.channel()
        channel.queue_declare("feature-slow", durable=True)
        channel.basic_publish("", "feature-slow", b"x")
        reasons: list[Exception] = []
        channel.add_on_cancel_callback(lambda _: None)
        channel._impl.add_on_close_callback(lambda _, reason: reasons.append(reason))
        channel.basic_consume("feature-slow", lambda *_: None)

        def closed() -> bool:
            connection.process_data_events(0.05)
            return bool(reasons)

        until(closed, "the channel is closed")
        (reason,) = reasons
        assert isinstance(reason, pika.exceptions.ChannelClosedByBroker)
        assert (reason.reply_code, reason.reply_text) == (
            406,
            "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 500 ms."
            " This timeout value can be configured, see consumers doc guide to learn more",
        )
        again = connection.channel()
        got: list[Any] = []

        def is_back() -> bool:
            got[:] = again.basic_get("feature-slow")
            return got[0] is not None

        until(is_back, "the message comes back")
        assert (got[0].redelivered, got[2]) == (True, b"x")
        connection.close()
