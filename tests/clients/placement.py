"""Which node leads a queue, so that a test can kill it."""

from __future__ import annotations

from chaos.look import leaders
from tests.cluster.harness import LocalCluster, wait_until


def led(cluster: LocalCluster, queue: str) -> tuple[int, int, int]:
    """Indexes of the node that leads the queue, and of the two others."""
    names = [node.name for node in cluster.nodes]
    wait_until(lambda: leaders(cluster).get(queue, "") in names, f"{queue} has a leader")
    leader = names.index(leaders(cluster)[queue])
    first, second = [index for index in range(3) if index != leader]
    return leader, first, second
