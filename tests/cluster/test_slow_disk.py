"""Disks that stall and disks that are slow, by a library under the node that holds its syncs back."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.local_cluster import PROGRAM
from chaos.machine.shim import Disk, build, missing_for_shim, of_store
from cluster.node.dev.child import Child
from tests.cluster.clients import declare
from tests.cluster.harness import LocalCluster, wait_until
from tests.cluster.leaders import catalog_leader, leader_of
from tests.cluster.publisher import Publisher

pytestmark = pytest.mark.skipif(bool(missing_for_shim()), reason=f"shim: {missing_for_shim()}")

STALL_LIMIT_SECONDS = 1.0
"""Of the default configuration."""


class SlowCluster(LocalCluster):
    """`disks[n]` is what node n stands on."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        library = build(directory)
        self.disks = [
            Disk(library, of_store(node.directory / "data" / "store"), directory / f"{node.name}.disk")
            for node in self.nodes
        ]

    def start(self, index: int) -> None:
        self.children[index] = Child(self.nodes[index], (*self.disks[index].environment(), *PROGRAM))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlowCluster]:
    with SlowCluster(tmp_path_factory.mktemp("slow")) as cluster:
        yield cluster


def test_a_leader_whose_disk_stalls_gives_way(slow: SlowCluster) -> None:
    declare(slow, "stalled")
    leader = leader_of(slow, "stalled")
    publisher = Publisher(slow, (leader + 1) % 3, "stalled")
    publisher.start()
    publisher.more(20)
    slow.disks[leader].stall(stalled=True)
    publisher.more(20)
    wait_until(lambda: leader_of(slow, "stalled", asked=(leader + 1) % 3) != leader, "another leader")
    slow.disks[leader].stall(stalled=False)
    publisher.more(20)
    publisher.stop()
    assert publisher.longest_gap < STALL_LIMIT_SECONDS + 8
    slow.wait_ready()


def test_a_slow_follower_holds_nobody_up(slow: SlowCluster) -> None:
    declare(slow, "slow-follower")
    leader = leader_of(slow, "slow-follower")
    publisher = Publisher(slow, leader, "slow-follower")
    publisher.start()
    publisher.more(50)
    quick = statistics.median(publisher.seconds)
    slow.disks[(leader + 1) % 3].slow(0.5)
    before = len(publisher.seconds)
    publisher.more(50)
    beside = statistics.median(publisher.seconds[before:])
    slow.disks[(leader + 1) % 3].slow(0.0)
    publisher.stop()
    print(f"median confirm: {quick * 1000:.1f} ms, beside a slow follower {beside * 1000:.1f} ms")
    assert beside < 0.25, "half of what every confirm would take if the slow one were waited for"


def test_what_is_declared_does_not_wait_for_a_slow_follower(slow: SlowCluster) -> None:
    """It has to know of it, and it does: its disk may follow."""
    leader = catalog_leader(slow)
    connection = slow.connect(leader)
    channel = connection.channel()
    slow.disks[(leader + 1) % 3].slow(0.5)
    seconds = []
    for number in range(10):
        begun = time.monotonic()
        channel.queue_declare(f"quick-{number}", durable=True)
        seconds.append(time.monotonic() - begun)
    elsewhere = slow.connect((leader + 1) % 3)
    elsewhere.channel().queue_declare("quick-9", passive=True)
    slow.disks[(leader + 1) % 3].slow(0.0)
    connection.close()
    elsewhere.close()
    assert statistics.median(seconds) < 0.25, f"median declaration: {statistics.median(seconds):.3f} s"
