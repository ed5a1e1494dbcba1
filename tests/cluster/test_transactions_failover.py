"""Nodes die in the middle of commits over several shards: what was taken is gone exactly if what was put is there."""

from __future__ import annotations

import threading
from collections import Counter

from pika.exceptions import AMQPError

from chaos.look import ask, is_healthy
from tests.cluster.clients import PERSISTENT, consume, declare, drain
from tests.cluster.harness import LocalCluster, wait_until

MESSAGES = 150
"""For each kill, which comes when MOVED_BEFORE_KILL transactions of two have taken some of them."""
MOVED_BEFORE_KILL = 15


class Mover(threading.Thread):
    """Takes numbers from one queue and puts each into two others, two at a time, through one node while it lives."""

    def __init__(self, cluster: LocalCluster, node: int, queues: list[str]) -> None:
        super().__init__(name=f"mover-{node}")
        self.moved = 0
        """Told by commit-ok."""
        self.over = threading.Event()
        self._cluster = cluster
        self._node = node
        self._source, *self._targets = queues

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._move_all()
            except (AMQPError, OSError, AssertionError):
                self.over.wait(0.1)

    def _move_all(self) -> None:
        channel = self._cluster.connect(self._node).channel()
        channel.tx_select()
        while not self.over.is_set():
            tag = None
            for _ in range(2):
                method, _, body = channel.basic_get(self._source)
                if method is None:
                    break
                tag = method.delivery_tag
                for target in self._targets:
                    channel.basic_publish("", target, body, PERSISTENT)
            if tag is None:
                self.over.wait(0.05)
                continue
            channel.basic_ack(tag, multiple=True)
            channel.tx_commit()
            self.moved += 1
        channel.connection.close()


def _in_three_shards(cluster: LocalCluster) -> list[str]:
    """Three new queues, each in a shard of its own."""
    for k in range(16):
        declare(cluster, f"moving-{k}")
    by_group: dict[int, str] = {}
    for row in ask(cluster, "/api/queues"):
        if row["name"].startswith("moving-"):
            by_group.setdefault(row["group"], row["name"])
    assert len(by_group) >= 3
    return [by_group[group] for group in sorted(by_group)[:3]]


def test_whichever_node_is_killed_every_message_is_moved_once() -> None:
    with LocalCluster() as cluster:
        wait_until(lambda: is_healthy(cluster), "the cluster healthy")
        # The source is now the coordinator's queue, now a participant's.
        queues = _in_three_shards(cluster)
        queues = [queues[1], queues[0], queues[2]]
        movers = [Mover(cluster, node, queues) for node in range(3)]
        for mover in movers:
            mover.start()
        try:
            for node in range(3):
                goal = sum(mover.moved for mover in movers) + MOVED_BEFORE_KILL
                _fill(cluster, queues[0], range(node * MESSAGES, (node + 1) * MESSAGES))
                wait_until(lambda: sum(mover.moved for mover in movers) >= goal, "progress")  # noqa: B023
                cluster.kill(node)
                cluster.start_all()
                wait_until(lambda: is_healthy(cluster), "the cluster healthy")
            wait_until(lambda: _left(cluster, queues[0]) == 0, "everything moved", 60)
        finally:
            for mover in movers:
                mover.over.set()
            for mover in movers:
                mover.join(30)
        assert not any(mover.is_alive() for mover in movers)
        print("transactions, by node:", [mover.moved for mover in movers])
        for target in queues[1:]:
            arrived = drain(consume(cluster.connect(0), target, prefetch_count=0), 3 * MESSAGES)
            assert Counter(number for number, _ in arrived) == Counter(range(3 * MESSAGES)), target
            assert _left(cluster, target) == 3 * MESSAGES, "and nothing more came"


def _fill(cluster: LocalCluster, queue: str, numbers: range) -> None:
    channel = cluster.connect(0).channel()
    channel.tx_select()
    for number in numbers:
        channel.basic_publish("", queue, b"%d" % number, PERSISTENT)
    channel.tx_commit()
    channel.connection.close()


def _left(cluster: LocalCluster, queue: str) -> int:
    """Messages in a queue, ready or held."""
    for row in ask(cluster, "/api/queues") or []:
        if row["name"] == queue:
            return int(row["messages_ready"]) + int(row["messages_unacked"])
    return -1
