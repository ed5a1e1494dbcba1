"""Nodes with less room than the others: one, that is filled by what goes on without it, and two, whose shards nobody
fills any more, nor puts more under way than they have room for; and all with too little for what is in their logs. What
is drained gives everything back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker

from cluster.clusterctl.main import main
from tests.cluster.clients import PATIENCE_SECONDS, PERSISTENT, declare
from tests.cluster.harness import LocalCluster, wait_until
from tests.cluster.publisher import Publisher

PADDING = b" " * (128 << 10)
STORE = "96MiB"
MESSAGES = 1000
"""More than fit."""
RETENTION_TICKS = 60
"""3 s instead of a minute."""
HEAL_SECONDS = 40.0
PUBLISHING_SECONDS = 120.0


@contextmanager
def cluster_with_small(nodes: tuple[int, ...], store: str = STORE) -> Iterator[LocalCluster]:
    made = LocalCluster()
    for index, node in enumerate(made.nodes):
        with node.config_path.open("a", encoding="utf-8") as config:
            config.write(f"\n[raft]\nretention_ticks = {RETENTION_TICKS}\n[limits]\ndisk_free_min = '1MiB'\n")
            if index in nodes:
                config.write(f"store_size_max = '{store}'\n")
    with made:
        yield made


def status_of(cluster: LocalCluster, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    main(["--url", cluster.url(0), "status", "-o", "json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def drained(cluster: LocalCluster, node: int, queue: str, count: int, first: int = 0) -> None:
    """Take so many messages, in their order."""
    if not count:
        return
    connection = cluster.connect(node)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=10)
    for number, (method, _, body) in enumerate(channel.consume(queue, inactivity_timeout=PATIENCE_SECONDS)):
        assert method is not None, f"{number} of {count} messages came"
        assert int(body) == first + number
        channel.basic_ack(method.delivery_tag)
        if number == count - 1:
            break
    channel.cancel()
    connection.close()


def taken(cluster: LocalCluster, node: int, queue: str, is_over: Event) -> int:
    """Messages that come until nothing more does when it `is_over`."""
    connection = cluster.connect(node)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=10)
    count = 0
    for method, _, _ in channel.consume(queue, inactivity_timeout=1.0):
        if method is not None:
            channel.basic_ack(method.delivery_tag)
            count += 1
        elif is_over.is_set():
            break
    channel.cancel()
    connection.close()
    return count


def test_a_replica_that_has_no_room_is_not_counted_and_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    with cluster_with_small((2,)) as cluster:
        declare(cluster, "backlog")
        connection = cluster.connect(0)
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(MESSAGES):
            channel.basic_publish("", "backlog", b"%d" % number + PADDING, PERSISTENT)
        small = cluster.nodes[2].name
        wait_until(lambda: "no room" in json.dumps(status_of(cluster, capsys)["groups"]), "a replica without room")
        status = status_of(cluster, capsys)
        assert [(alarm["node"], alarm["alarm"]) for alarm in status["alarms"]] == [(small, "disk")]
        assert status["verdict"]["can_lose"] == 0
        check = ["--url", cluster.url(0), "check", "quorum-critical"]
        assert main(check) == 69
        drained(cluster, 1, "backlog", MESSAGES)
        wait_until(lambda: main(["--url", cluster.url(0), "status"]) == 0, "healthy again", HEAL_SECONDS)
        assert main(check) == 0
        assert main(["--url", cluster.url(0), "verify"]) == 0
        # It is one of two now.
        cluster.kill(1)
        channel.basic_publish("", "backlog", b"0", PERSISTENT)
        connection.close()
        drained(cluster, 2, "backlog", 1)


def test_nobody_fills_nodes_that_a_shard_cannot_do_without(capsys: pytest.CaptureFixture[str]) -> None:
    with cluster_with_small((1, 2)) as cluster:
        declare(cluster, "backlog")
        publisher = Publisher(cluster, 0, "backlog", PADDING)
        publisher.start()

        def alarms() -> set[tuple[str, str]]:
            return {(alarm["node"], alarm["alarm"]) for alarm in status_of(cluster, capsys)["alarms"]}

        first, second, third = [node.name for node in cluster.nodes]
        blocked = {(first, "disk-of-others"), (second, "disk"), (third, "disk")}
        wait_until(lambda: alarms() == blocked, "publishers blocked everywhere")
        before = len(publisher.confirmed)
        with ThreadPoolExecutor(1) as threads:
            # More than was there, so that publishing has to go on meanwhile.
            consumer = threads.submit(drained, cluster, 1, "backlog", before + MESSAGES)
            publisher.more(MESSAGES)
            publisher.stop()
            consumer.result()
        drained(cluster, 2, "backlog", len(publisher.confirmed) - before - MESSAGES, before + MESSAGES)
        wait_until(lambda: main(["--url", cluster.url(0), "status"]) == 0, "healthy again", HEAL_SECONDS)
        assert not alarms()


def unconfirmed_max(cluster: LocalCluster, capsys: pytest.CaptureFixture[str]) -> int:
    """Of the first node."""
    bound: int = status_of(cluster, capsys)["nodes"][0]["unconfirmed_bytes_max"]
    return bound


def sent(cluster: LocalCluster, queue: str, count: int) -> None:
    """So many messages to the first node, as fast as it takes them: none waits for the one before."""
    connection = cluster.connect(0)
    channel = connection.channel()
    for _ in range(count):
        channel.basic_publish("", queue, b" " * 500_000, PERSISTENT)
    connection.close()


def test_what_is_under_way_at_a_large_store_has_room_in_small_ones(capsys: pytest.CaptureFixture[str]) -> None:
    # The cluster ends first: who waits for it for ever is let go.
    with ThreadPoolExecutor(9) as threads, cluster_with_small((1, 2), "32MiB") as cluster:
        assert unconfirmed_max(cluster, capsys) == 512 << 10
        declare(cluster, "backlog")
        # 16 MiB each could be under way: more in all than the small ones take as a last resort.
        publishers = [threads.submit(sent, cluster, "backlog", 40) for _ in range(8)]
        wait_until(lambda: len(status_of(cluster, capsys)["alarms"]) == 3, "publishers blocked everywhere")
        is_over = Event()
        consumer = threads.submit(taken, cluster, 1, "backlog", is_over)
        try:
            for publisher in publishers:
                publisher.result(PUBLISHING_SECONDS)
        finally:
            is_over.set()
        assert consumer.result() == 8 * 40
        wait_until(lambda: main(["--url", cluster.url(0), "status"]) == 0, "healthy again", HEAL_SECONDS)
        assert not status_of(cluster, capsys)["alarms"]
        channel = cluster.connect(0).channel()
        channel.confirm_delivery()
        channel.basic_publish("", "backlog", b"0", PERSISTENT)


def test_a_node_admits_by_a_store_that_is_away_and_by_its_new_size(capsys: pytest.CaptureFixture[str]) -> None:
    with cluster_with_small((2,), "96MiB") as cluster:
        declare(cluster, "backlog")
        channel = cluster.connect(0).channel()
        channel.confirm_delivery()
        channel.basic_publish("", "backlog", b" " * 1_500_000, PERSISTENT)
        cluster.terminate(2)
        small = cluster.nodes[2]
        assert unconfirmed_max(cluster, capsys) == 1536 << 10
        config = small.config_path.read_text(encoding="utf-8")
        small.config_path.write_text(config.replace("'96MiB'", "'64MiB'"), encoding="utf-8")
        cluster.start(2)
        cluster.wait_ready(2)
        wait_until(lambda: unconfirmed_max(cluster, capsys) == 1 << 20, "the new size is known")
        with pytest.raises(ChannelClosedByBroker, match="larger than configured max size 1048576"):
            channel.basic_publish("", "backlog", b" " * 1_500_000, PERSISTENT)
        warning = f'event="the store of {small.name} is too small for larger messages than this" bytes='
        said = [line for line in cluster.log(0).splitlines() if warning in line]
        assert [line.rsplit("=", 1)[1] for line in said] == ["1572864", "1048576"]


def test_what_is_under_way_has_room_and_what_never_would_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with cluster_with_small((0, 1, 2), "24MiB") as cluster:
        declare(cluster, "backlog")
        channel = cluster.connect(0).channel()
        channel.confirm_delivery()
        with pytest.raises(ChannelClosedByBroker) as caught:
            channel.basic_publish("", "backlog", b" " * (10 << 20), PERSISTENT)
        text = "PRECONDITION_FAILED - message size 10485760 is larger than configured max size 393216"
        assert (caught.value.reply_code, caught.value.reply_text) == (406, text)
        channel = cluster.connect(1).channel()
        channel.tx_select()
        for _ in range(2):
            channel.basic_publish("", "backlog", b" " * 300_000, PERSISTENT)
        with pytest.raises(AMQPError, match="RESOURCE_ERROR - a transaction of more than 393216 bytes"):
            channel.tx_commit()
        crowd = [Publisher(cluster, node, "backlog", b" " * 390_000) for node in (0, 1, 2) * 6]
        for publisher in crowd:
            publisher.start()
        wait_until(lambda: len(status_of(cluster, capsys)["alarms"]) == 3, "publishers blocked everywhere")
        is_over = Event()
        with ThreadPoolExecutor(1) as threads:
            consumer = threads.submit(taken, cluster, 1, "backlog", is_over)
            for publisher in crowd:
                publisher.stop()
            is_over.set()
            assert consumer.result() == sum(len(publisher.confirmed) for publisher in crowd)
        wait_until(lambda: main(["--url", cluster.url(0), "status"]) == 0, "healthy again", HEAL_SECONDS)
        assert not status_of(cluster, capsys)["alarms"]
