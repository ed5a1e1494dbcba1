"""Nodes join, leave and are replaced while clients publish, and nothing that was confirmed is lost."""

from __future__ import annotations

import io
import json
import re
import shutil
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from pika.exceptions import AMQPError

from chaos.look import ask
from cluster.clusterctl.main import main as clusterctl
from cluster.node.dev.layout import DevNode, plan, write
from tests.cluster.clients import PERSISTENT, consume, drain
from tests.cluster.harness import LocalCluster, free_ports, wait_until
from tests.cluster.leaders import leader_of

QUEUES = [f"moved-{n}" for n in range(6)]
MOVE_SECONDS = 120.0
GAP_SECONDS = 10.0
"""The longest pause of a publisher whose node lives; ten times what an idle machine takes."""


class Growing(LocalCluster):
    """Three founders, and two nodes that none of them knows of."""

    def __init__(self) -> None:
        super().__init__(5)

    def plan(self, directory: Path, nodes: int) -> list[DevNode]:
        self.first_port = free_ports(nodes)
        return plan(directory, nodes=nodes, amqp_port=self.first_port)

    def __enter__(self) -> Growing:
        write(self.directory, self.nodes[:3], self.nodes[3:])
        for index in range(3):
            self.start(index)
        self.wait_ready(0, 1, 2)
        return self

    def members(self) -> dict[str, dict[str, Any]]:
        """Name -> row of `clusterctl nodes`."""
        return {row["name"]: row for row in ask(self, "/api/cluster/nodes") or []}

    def wait_members(self, *names: str) -> None:
        """Until these are all the members, active and up, and every group is whole."""

        def settled() -> bool:
            rows = self.members()
            status = ask(self, "/api/cluster/status")
            return (
                sorted(rows) == sorted(names)
                and all(row["membership"] == "active" and row["up"] for row in rows.values())
                and bool(status)
                and all(
                    len(group["members"]) == (len(names) if group["id"] == 0 else min(3, len(names)))
                    and all(member["voter"] and member["up"] for member in group["members"])
                    for group in status["groups"]
                )
            )

        wait_until(settled, f"the members are {names}", MOVE_SECONDS)

    def ctl(self, *words: str, through: int = 0) -> tuple[int, str]:
        """Exit code and output of clusterctl."""
        told = io.StringIO()
        with redirect_stdout(told), redirect_stderr(told):
            code = clusterctl(["--url", self.url(through), *words])
        return code, told.getvalue().strip()

    def lose_volume(self, index: int) -> None:
        self.kill(index)
        shutil.rmtree(self.nodes[index].directory / "data")


class Publishing:
    """One publisher in a thread: numbers, one queue after the other, each confirmed before the next."""

    def __init__(self, cluster: LocalCluster, node: int) -> None:
        self.confirmed: list[tuple[str, int]] = []
        self.longest_gap = 0.0
        self.node = node
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Publishing:
        connection = self._cluster.connect(self.node)
        for queue in QUEUES:
            connection.channel().queue_declare(queue, durable=True)
        connection.close()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        number, confirmed_at = 0, time.monotonic()
        while not self._stop.is_set():
            try:
                channel = self._cluster.connect(self.node, blocked_connection_timeout=10).channel()
                channel.confirm_delivery()
                while not self._stop.is_set():
                    number += 1
                    queue = QUEUES[number % len(QUEUES)]
                    channel.basic_publish("", queue, b"%d" % number, PERSISTENT, mandatory=True)
                    self.confirmed.append((queue, number))
                    now = time.monotonic()
                    self.longest_gap = max(self.longest_gap, now - confirmed_at)
                    confirmed_at = now
                    time.sleep(0.005)
                channel.connection.close()
            except (AMQPError, OSError):
                time.sleep(0.1)

    def assert_all_there(self, node: int) -> None:
        """Take every message out: what was confirmed is among them."""
        connection = self._cluster.connect(node)
        for queue in QUEUES:
            wanted = {number for name, number in self.confirmed if name == queue}
            held = connection.channel().queue_declare(queue, passive=True).method.message_count
            found = {number for number, _ in drain(consume(connection, queue, prefetch_count=0), held)}
            assert not wanted - found, f"{len(wanted - found)} confirmed messages of {queue} are lost"


def test_a_cluster_grows_to_five_and_shrinks_to_three_under_load_and_loses_nothing() -> None:
    with Growing() as cluster, Publishing(cluster, 1) as publishing:
        names = [node.name for node in cluster.nodes]
        cluster.start(3)
        cluster.start(4)
        cluster.wait_ready(3, 4)
        wait_until(lambda: cluster.members()[names[3]]["groups"] > 1, "the first shard moves")
        # Whoever leads the catalog now goes on with what was begun.
        cluster.kill(0)
        cluster.start(0)
        cluster.wait_ready(0)
        cluster.wait_members(*names)
        wait_until(lambda: all(4 <= row["groups"] <= 6 for row in cluster.members().values()), "an even spread", 60)
        held = {name: row["groups"] for name, row in cluster.members().items()}
        confirmed = len(publishing.confirmed)
        code, told = cluster.ctl("nodes", "scale", "3")
        assert (code, told.splitlines()[-1]) == (0, f"2 have left; 3 stay: {', '.join(names[:3])}")
        lines = [line for line in told.splitlines() if "has left" in line]
        assert lines == [f"{names[4]} has left the cluster", f"{names[3]} has left the cluster"]
        cluster.wait_members(*names[:3])
        for left in (3, 4):
            child = cluster.children[left]
            assert child is not None
            wait_until(lambda child=child: "has left the cluster" in str(child.readiness()), "it says so")  # type: ignore[misc]
        wait_until(lambda: len(publishing.confirmed) > confirmed + 20, "publishing goes on")
        publishing.__exit__(None, None, None)
        print(f"groups {held}, {len(publishing.confirmed)} confirmed, longest pause {publishing.longest_gap:.2f} s")
        assert publishing.longest_gap < GAP_SECONDS
        publishing.assert_all_there(1)


def test_a_queues_leader_loses_its_volume_and_neither_what_was_confirmed_nor_what_was_acked_is_lost() -> None:
    with Growing() as cluster:
        names = [node.name for node in cluster.nodes[:3]]
        declared = cluster.connect(0)
        declared.channel().queue_declare(QUEUES[0], durable=True)
        victim = leader_of(cluster, QUEUES[0])
        others = [index for index in range(3) if index != victim]
        with Publishing(cluster, others[0]) as publishing:
            consumer = cluster.connect(others[1])
            consuming = consume(consumer, QUEUES[0], prefetch_count=5)
            held = [number for number, _ in drain(consuming, 5)]
            confirmed = len(publishing.confirmed)
            cluster.lose_volume(victim)
            wait_until(lambda: len(publishing.confirmed) > confirmed + 20, "the others go on")
            # What was delivered before is acked at the next leader, and does not come again.
            consuming.channel.basic_ack(0, multiple=True)
            assert not {number for number, _ in drain(consuming, 5)} & {*held}
            consumer.close()
            cluster.start(victim)
            cluster.wait_ready(victim)
            cluster.wait_members(*names)
        assert publishing.longest_gap < GAP_SECONDS
        publishing.confirmed = [(queue, n) for queue, n in publishing.confirmed if queue != QUEUES[0] or n not in held]
        # The lost leader has everything again.
        publishing.assert_all_there(victim)


def test_the_founders_volume_is_lost_and_it_comes_back_by_itself_whoever_is_there() -> None:
    with Growing() as cluster:
        names = [node.name for node in cluster.nodes[:3]]
        ids = {name: row["id"] for name, row in cluster.members().items()}
        with Publishing(cluster, 1) as publishing:
            wait_until(lambda: len(publishing.confirmed) > 30, "publishing")
            cluster.lose_volume(0)
            cluster.start(0)
            cluster.wait_ready(0)
            cluster.wait_members(*names)
        assert publishing.longest_gap < GAP_SECONDS
        now = {name: row["id"] for name, row in cluster.members().items()}
        assert now[names[0]] > max(ids.values()), "it is another member"

        # All are gone, the founder's volume too, and it is the first that comes back.
        for index in range(3):
            cluster.kill(index)
        shutil.rmtree(cluster.nodes[0].directory / "data")
        cluster.start(0)
        child = cluster.children[0]
        assert child is not None
        wait_until(lambda: child.readiness() == "waiting for a member of the cluster", "it says what it waits for")
        cluster.start(2)
        cluster.start(1)
        cluster.wait_ready(0, 1, 2)
        cluster.wait_members(*names)
        publishing.assert_all_there(0)


def test_a_member_under_an_address_that_nobody_knows_is_found_and_none_takes_that_of_another() -> None:
    with Growing() as cluster:
        names = [node.name for node in cluster.nodes]
        fourth, fifth = cluster.nodes[3:]
        cluster.start(3)
        cluster.wait_ready(3)
        cluster.wait_members(*names[:4])
        for port in (free_ports(1), free_ports(1)):
            cluster.kill(3)
            own = f"{fourth.host}:{port}"
            text = re.sub(r"(?m)^advertise = .*", f'advertise = "{own}"', fourth.config_path.read_text())
            text = re.sub(r"(?m)(^.peer.\nhost = .*\n)port = .*", rf"\g<1>port = {port}", text)
            fourth.config_path.write_text(text)
            cluster.start(3)
            cluster.wait_ready(3)
            assert cluster.members()[fourth.name]["address"] == own
        # One that claims the address of another is not let in, and disturbs nobody.
        taken = f"{cluster.nodes[0].host}:{cluster.nodes[0].peer_port}"
        text = fifth.config_path.read_text()
        fifth.config_path.write_text(re.sub(r"(?m)^advertise = .*", f'advertise = "{taken}"', text))
        cluster.start(4)
        wait_until(lambda: f"{taken} is the address of {names[0]}" in cluster.log(4), "it says why it waits")
        cluster.wait_members(*names[:4])


def test_a_dead_node_is_removed_where_the_others_are_a_quorum_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Growing() as cluster, Publishing(cluster, 0) as publishing:
        names = [node.name for node in cluster.nodes[:3]]
        wait_until(lambda: len(publishing.confirmed) > 30, "publishing")
        cluster.kill(2)
        wait_until(lambda: not cluster.members()[names[2]]["up"], "it is seen to be down")
        code, told = cluster.ctl("nodes", "remove", names[1])
        assert (code, "would have no quorum without" in told) == (2, True), told
        assert cluster.ctl("nodes", "remove", "nobody") == (2, "clusterctl: there is no member nobody")
        code, told = cluster.ctl("nodes", "remove", names[2], "--wait")
        assert (code, told) == (0, f"{names[2]} has left the cluster")
        cluster.wait_members(*names[:2])
        assert json.loads(cluster.ctl("nodes", "--json")[1])[0]["groups"] == 9

        # Its directory is that of a former member: it is told, and serves nobody.
        cluster.start(2)
        child = cluster.children[2]
        assert child is not None
        wait_until(lambda: "has left the cluster" in str(child.readiness()), "it is told")
        # Where that is wanted, it drops what it has and joins anew, as soon as it is started again.
        cluster.kill(2)
        monkeypatch.setenv("CLUSTER_MQ_CLUSTER__REJOIN", "true")
        cluster.start(2)
        former = cluster.children[2]
        assert former is not None
        wait_until(lambda: former.end() is not None, "it ends to begin anew")
        assert "joins anew when it is started again" in cluster.log(2)
        cluster.start(2)
        cluster.wait_ready(2)
        assert not (cluster.nodes[2].directory / "data" / "store.left").exists()
        cluster.wait_members(*names)
        publishing.__exit__(None, None, None)
        publishing.assert_all_there(2)
