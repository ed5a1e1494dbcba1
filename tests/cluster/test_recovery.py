"""Two of three volumes are lost for good: the third becomes a cluster of its own, and the others join that."""

from __future__ import annotations

import shutil

import pytest

from cluster.node.main import main as clusterd
from tests.cluster.clients import PERSISTENT, consume, drain
from tests.cluster.harness import LocalCluster, wait_until

QUEUES = [f"kept-{n}" for n in range(6)]


def test_one_survivor_of_three_becomes_a_cluster_that_others_join_and_the_past_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with LocalCluster() as cluster:
        data = [str(node.directory / "data") for node in cluster.nodes]
        # With two of three alive, whatever is confirmed is on both.
        cluster.kill(0)
        connection = cluster.connect(2)
        channel = connection.channel()
        channel.confirm_delivery()
        for queue in QUEUES:
            channel.queue_declare(queue, durable=True)
            for number in range(5):
                channel.basic_publish("", queue, b"%d" % number, PERSISTENT, mandatory=True)
        connection.close()
        assert clusterd(["recover", "--only-survivor", "--data", data[2]]) == 1
        assert "is in use by process" in capsys.readouterr().err

        cluster.kill(1)
        cluster.kill(2)
        shutil.rmtree(data[0])
        assert clusterd(["recover", "--only-survivor", "--data", data[2]]) == 2
        told = capsys.readouterr()
        assert "Lost for good: whatever node-0, node-1 had confirmed and node-2 had not received" in told.out
        assert "Nothing was changed." in told.err
        assert clusterd(["recover", "--only-survivor", "--data", data[2], "--accept-loss"]) == 0
        assert "node-2 is the only member of cluster " in capsys.readouterr().out

        cluster.start(2)
        cluster.wait_ready(2)
        cluster.start(0)
        # This one has its old volume: it is of another cluster, for ever.
        cluster.start(1)
        cluster.wait_ready(0)
        wait_until(lambda: "cluster id mismatch" in cluster.log(1), "the past is refused")
        cluster.kill(1)
        shutil.rmtree(data[1])
        cluster.start(1)
        cluster.wait_ready(1)
        reader = cluster.connect(0)
        for queue in QUEUES:
            assert [number for number, _ in drain(consume(reader, queue, prefetch_count=0), 5)] == list(range(5))
        reader.close()
