"""Figures of the management interface on real processes: a situation is made, and every node tells of it alike."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pika
import pytest

from tests.cluster.harness import LocalCluster, wait_until
from tests.cluster.test_management import GUEST, PERSISTENT, ask, connect_as

VHOST = "figures"
FLOW = ("publish", "confirm", "return_unroutable", "drop_unroutable")
TAKEN = ("deliver", "deliver_no_ack", "get", "get_no_ack", "get_empty", "deliver_get", "redeliver", "ack")


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[pika.BlockingConnection]:
    """Of node 1, in a vhost of its own."""
    assert ask(cluster, 0, "PUT", f"vhosts/{VHOST}", {})[0] == 201
    user, password = GUEST.split(":")
    connection = connect_as(cluster, 1, user, password, VHOST)
    yield connection
    if connection.is_open:
        connection.close()
    assert ask(cluster, 0, "DELETE", f"vhosts/{VHOST}")[0] == 204


def got(cluster: LocalCluster, path: str, node: int = 2) -> Any:
    status, document = ask(cluster, node, "GET", path)
    assert status == 200, document
    return document


def counts(document: dict[str, Any], words: tuple[str, ...]) -> list[int]:
    return [document["message_stats"][word] for word in words]


def channel_path(cluster: LocalCluster, number: int) -> str:
    (name,) = [c["name"] for c in got(cluster, f"vhosts/{VHOST}/channels") if c["number"] == number]
    return f"channels/{quote(name, safe='')}"


def test_what_goes_through_channels_is_counted_where_it_goes(
    cluster: LocalCluster, client: pika.BlockingConnection
) -> None:
    publishing = client.channel()
    publishing.confirm_delivery()
    publishing.exchange_declare("ex", "fanout", durable=True)
    for queue in ("one", "two"):
        publishing.queue_declare(queue, durable=True)
        publishing.queue_bind(queue, "ex")
    publishing.queue_declare("memory")
    for number in range(4):
        publishing.basic_publish("ex", "", b"x" * (10 + number), pika.BasicProperties(delivery_mode=2, timestamp=7))
    publishing.basic_publish("", "memory", b"12345")
    publishing.basic_publish("amq.direct", "nowhere", b"")
    with pytest.raises(pika.exceptions.UnroutableError):
        publishing.basic_publish("amq.direct", "nowhere", b"", mandatory=True)
    getting = client.channel()
    tag = getting.basic_get("one")[0].delivery_tag
    getting.basic_nack(tag, requeue=True)
    assert getting.basic_get("one")[0].redelivered
    getting.basic_get("one", auto_ack=True)
    getting.basic_ack(getting.basic_get("one")[0].delivery_tag)
    assert getting.basic_get("memory", auto_ack=True)[2] == b"12345"
    assert getting.basic_get("memory")[0] is None
    consuming = client.channel()
    consuming.basic_qos(prefetch_count=2)
    consuming.basic_consume("two", lambda *_: None, consumer_tag="two", arguments={"x-priority": 5})
    client.process_data_events(0)
    wait_until(lambda: got(cluster, "queues/figures/two")["messages_unacknowledged"] == 2, "two are held")

    assert counts(got(cluster, channel_path(cluster, 1)), FLOW) == [7, 7, 1, 1]
    assert counts(got(cluster, channel_path(cluster, 2)), TAKEN) == [0, 0, 3, 2, 1, 5, 1, 1]
    channel = got(cluster, channel_path(cluster, 3))
    assert counts(channel, TAKEN) == [2, 0, 0, 0, 0, 2, 0, 0]
    (consumer,) = channel["consumer_details"]
    assert (consumer["arguments"], consumer["active"], consumer["activity_status"]) == ({"x-priority": 5}, True, "up")

    one = got(cluster, "queues/figures/one")
    assert counts(one, ("publish", *TAKEN)) == [4, 0, 0, 3, 1, 0, 4, 1, 1]
    weights = ("message_bytes", "message_bytes_ready", "message_bytes_unacknowledged", "message_bytes_persistent")
    assert [one[word] for word in weights] == [23, 13, 10, 23]
    assert (one["messages_persistent"], one["messages_ram"], one["head_message_timestamp"]) == (2, 2, 7)
    assert sorted(one["online"]) == sorted(one["members"]) == ["node-0", "node-1", "node-2"]
    two = got(cluster, "queues/figures/two")
    assert (two["message_bytes_ready"], two["message_bytes_unacknowledged"]) == (25, 21)
    (shown,) = [q for q in got(cluster, "queues/figures?columns=name,message_bytes") if q["name"] == "two"]
    assert shown == {"name": "two", "message_bytes": 46}
    plain = got(cluster, "queues/figures?disable_stats=true&enable_queue_totals=true")
    assert [(q["name"], q["messages"]) for q in plain] == [("memory", 0), ("one", 2), ("two", 4)]
    assert "message_stats" not in plain[0]

    exchange = got(cluster, "exchanges/figures/ex")
    assert counts(exchange, ("publish_in", "publish_out")) == [4, 8]
    assert (exchange["incoming"], exchange["outgoing"]) == ([], [])
    assert counts(got(cluster, "exchanges/figures/amq.direct"), ("publish_in", "publish_out")) == [2, 0]
    assert "message_stats" not in got(cluster, "exchanges/figures/amq.topic")

    publishing.close()
    vhost = got(cluster, "vhosts/figures")
    assert counts(vhost, (*FLOW, *TAKEN)) == [7, 7, 1, 1, 2, 0, 3, 2, 1, 7, 1, 1]
    assert vhost["cluster_state"] == {"node-0": "running", "node-1": "running", "node-2": "running"}
    (connection,) = got(cluster, f"vhosts/{VHOST}/connections")
    assert (connection["auth_mechanism"], connection["send_pend"], connection["ssl"]) == ("PLAIN", 0, False)
    assert 0 < connection["recv_oct"] <= vhost["recv_oct"] + 1000
    assert connection["recv_cnt"] > 0 < connection["send_oct"]


def test_of_consumers_that_are_served_one_at_a_time_the_others_wait(
    cluster: LocalCluster, client: pika.BlockingConnection
) -> None:
    channel = client.channel()
    channel.queue_declare("alone", durable=True, arguments={"x-single-active-consumer": True})
    channel.queue_declare("mine", exclusive=True)
    for tag in ("first", "second"):
        channel.basic_consume("alone", lambda *_: None, consumer_tag=tag)
    channel.basic_consume("mine", lambda *_: None, consumer_tag="only", exclusive=True)

    def states() -> list[tuple[str, bool, str]]:
        consumers = got(cluster, f"consumers/{VHOST}")
        return sorted([(c["consumer_tag"], c["active"], c["activity_status"]) for c in consumers])

    only = ("only", True, "up")
    assert states() == [("first", True, "single_active"), only, ("second", False, "waiting")]
    tags = ("single_active_consumer_tag", "exclusive_consumer_tag")
    found = {q["name"]: tuple(q[tag] for tag in tags) for q in got(cluster, f"queues/{VHOST}", node=0)}
    assert found == {"alone": ("first", None), "mine": (None, "only")}
    mine = got(cluster, "queues/figures/mine")
    assert mine["owner_pid_details"]["name"] == got(cluster, f"vhosts/{VHOST}/connections")[0]["name"]
    assert (mine["node"], mine["consumer_utilisation"]) == ("node-1", 1.0)
    channel.basic_cancel("first")
    assert states() == [only, ("second", True, "single_active")]
    details = got(cluster, "queues/figures/alone")["consumer_details"]
    assert [(c["consumer_tag"], c["activity_status"]) for c in details] == [("second", "single_active")]


def test_a_channel_says_what_it_has_not_committed_and_since_when_it_is_idle(
    cluster: LocalCluster, client: pika.BlockingConnection
) -> None:
    channel = client.channel()
    channel.queue_declare("tx", durable=True)
    channel.basic_publish("", "tx", b"1", PERSISTENT)
    channel.tx_select()
    channel.basic_ack(channel.basic_get("tx")[0].delivery_tag)
    channel.basic_publish("", "tx", b"2", PERSISTENT)
    channel.basic_publish("", "tx", b"3", PERSISTENT)
    client.process_data_events(0)
    path = channel_path(cluster, 1)
    wait_until(lambda: got(cluster, path)["messages_uncommitted"] == 2, "the publishes have come")
    document = got(cluster, path)
    assert (document["transactional"], document["acks_uncommitted"], document["confirm"]) == (True, 1, False)
    assert document["message_stats"]["publish"] == 1
    channel.tx_commit()
    document = got(cluster, path)
    assert [document[word] for word in ("messages_uncommitted", "acks_uncommitted", "pending_raft_commands")] == [
        0,
        0,
        0,
    ]
    assert counts(document, ("publish", "ack")) == [3, 1]
    wait_until(lambda: "idle_since" in got(cluster, path), "nothing happens on the channel")
    wait_until(lambda: "idle_since" in got(cluster, "queues/figures/tx"), "nothing happens in the queue")
    assert datetime.fromisoformat(got(cluster, "queues/figures/tx")["idle_since"]).utcoffset() is not None


def test_nodes_and_the_overview_say_what_monitoring_reads(
    cluster: LocalCluster, client: pika.BlockingConnection
) -> None:
    before = got(cluster, "overview")["churn_rates"]
    channel = client.channel()
    for _ in range(2):
        channel.queue_declare("churn", durable=True)
    channel.queue_delete("churn")

    def grown() -> list[int]:
        churned = got(cluster, "overview")["churn_rates"]
        return [churned[f"queue_{word}"] - before[f"queue_{word}"] for word in ("declared", "created", "deleted")]

    wait_until(lambda: grown() == [2, 1, 1], "queues are counted where they are led")
    overview = got(cluster, "overview")
    assert {*FLOW, *TAKEN, "disk_reads", "disk_writes"} <= set(overview["message_stats"])
    assert {"amqp", "clustering", "http"} == {listener["protocol"] for listener in overview["listeners"]}
    for node in got(cluster, "nodes"):
        for used, most in (("fd_used", "fd_total"), ("proc_used", "proc_total"), ("mem_used", "mem_limit")):
            assert 0 < node[used] < node[most], (used, node)
            assert node[f"{used}_details"]["rate"] is not None
        assert node["sockets_used"] < node["sockets_total"]
        assert node["disk_free"] > node["disk_free_limit"] > 0
        assert (node["partitions"], node["processors"] > 0, node["io_sync_count"] > 0) == ([], True, True)
        assert len(node["cluster_links"]) == 2
    refused = ask(cluster, 0, "GET", "overview", user="guest:wrong")
    assert refused[0] == 401
    attempts = {row["protocol"]: row for row in got(cluster, "auth/attempts/node-0")}
    assert attempts["http"]["auth_attempts_failed"] > 0
    assert attempts["http"]["auth_attempts"] > attempts["http"]["auth_attempts_failed"]
    assert got(cluster, "auth/attempts/node-1")[1]["auth_attempts_succeeded"] > 0
    assert "quorum_queue" in [flag["name"] for flag in got(cluster, "feature-flags")]
