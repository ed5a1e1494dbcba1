"""Nodes taken out of service under load: one after the other ended and started again, or drained and revived."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pika.exceptions import AMQPError, ConnectionClosedByBroker

from tests.cluster.harness import HOST, LocalCluster, wait_until
from tests.cluster.steady_load import Address, SteadyLoad, received, unhurried

GAP_SECONDS = 2.0


def addresses(cluster: LocalCluster) -> list[Address]:
    return [(HOST, node.amqp_port) for node in cluster.nodes]


def clusterctl(cluster: LocalCluster, node: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cluster.clusterctl.main", "--url", cluster.url(node), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def carried_out(cluster: LocalCluster, node: int, *words: str) -> str:
    ended = clusterctl(cluster, node, *words)
    assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
    return ended.stdout


def leads(cluster: LocalCluster, node: int) -> int:
    """How many groups it leads, as another node sees it."""
    table = clusterctl(cluster, (node + 1) % 3, "status").stdout
    (line,) = [line for line in table.splitlines() if line.startswith(cluster.nodes[node].name)]
    return int(line.split()[3].partition("/")[0])


def test_a_rolling_restart_loses_nothing_and_holds_publishers_up_for_less_than_two_seconds_a_step() -> None:
    with LocalCluster() as cluster:
        with SteadyLoad(lambda: addresses(cluster), "rolled") as load:
            gaps = []
            for index in (2, 1, 0):
                load.settle()
                carried_out(cluster, index, "await", "quorum-plus-one")
                carried_out(cluster, index, "drain", "--wait")
                cluster.terminate(index)
                cluster.start(index)
                cluster.wait_ready(index)
                gaps.append(load.gap())
            load.settle()
        print("gaps:", [round(gap, 2) for gap in gaps], "confirmed:", len(load.confirmed))
        assert max(gaps) < unhurried(GAP_SECONDS)
        assert load.confirmed <= received(cluster.connect(0), "rolled", load.confirmed)


def test_a_drained_node_serves_nobody_and_leads_nothing_until_it_is_revived() -> None:
    with LocalCluster() as cluster:
        client = cluster.connect(1)
        wait_until(lambda: leads(cluster, 1) > 0, "leaderships")
        assert carried_out(cluster, 1, "drain", "--wait") == f"{cluster.nodes[1].name} is drained\n"
        with pytest.raises(ConnectionClosedByBroker) as closed:
            client.process_data_events(5)
        assert (closed.value.reply_code, closed.value.reply_text) == (
            320,
            "CONNECTION_FORCED - Node was put into maintenance mode",
        )
        with pytest.raises((AMQPError, OSError)):
            cluster.connect(1)
        assert clusterctl(cluster, 1, "check", "ready").stderr == "clusterctl: not ready: drained\n"
        assert leads(cluster, 1) == 0
        # The others lead what is left, and give nothing back although the node is there and up to date.
        with SteadyLoad(lambda: [addresses(cluster)[2]], "elsewhere") as load:
            load.settle(50)
        # Drained again, it is still drained; a restart would end it too.
        assert carried_out(cluster, 1, "drain") == f"{cluster.nodes[1].name} is drained\n"
        assert clusterctl(cluster, 0, "await", "quorum-plus-one", "--timeout", "1").returncode == 0
        assert carried_out(cluster, 1, "revive") == f"{cluster.nodes[1].name} is in service\n"
        cluster.wait_ready(1)
        assert load.confirmed <= received(cluster.connect(1), "elsewhere", load.confirmed)
        wait_until(lambda: leads(cluster, 1) > 0, "leaderships back")
        cluster.kill(2)
        waited = clusterctl(cluster, 0, "await", "quorum-plus-one", "--timeout", "1")
        assert waited.returncode == 69, waited.stdout
        assert "would lose quorum if" in waited.stderr
