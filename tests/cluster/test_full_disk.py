"""Data directories on file systems that are filled to the last byte: one follower, the leader, all of them. What
can go on does, nothing confirmed is lost, and when space is back everything goes on without a restart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chaos.machine.volume import Volume, missing_for_volumes
from cluster.clusterctl.main import main
from tests.cluster.clients import PATIENCE_SECONDS, declare
from tests.cluster.harness import LocalCluster, wait_until
from tests.cluster.leaders import leader_of
from tests.cluster.publisher import Publisher

pytestmark = pytest.mark.skipif(bool(missing_for_volumes()), reason=f"file systems: {missing_for_volumes()}")

HEAL_SECONDS = 40.0
PADDING = b" " * (32 << 10)
"""Numbers are parsed with it."""


class Disks:
    """A cluster, each node of which has a file system of its own."""

    def __init__(self, directory: Path) -> None:
        self.cluster = LocalCluster(directory=directory)
        self.volumes = [Volume(node.directory / "data", directory / f"{node.name}.img") for node in self.cluster.nodes]

    def heal(self) -> None:
        for volume in self.volumes:
            volume.relieve()
        codes = ["--url", self.cluster.url(0), "status"]
        wait_until(lambda: main(codes) == 0, "healthy again", HEAL_SECONDS)
        assert main(["--url", self.cluster.url(0), "verify"]) == 0


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disks]:
    made = Disks(tmp_path_factory.mktemp("disks"))
    try:
        with made.cluster:
            yield made
    finally:
        for volume in made.volumes:
            with suppress(RuntimeError):
                volume.unmount()


def declared(disks: Disks, queue: str) -> int:
    """Its leader."""
    declare(disks.cluster, queue)
    return leader_of(disks.cluster, queue)


def take(disks: Disks, node: int, queue: str, numbers: list[int]) -> None:
    """Take messages until all of these have come; nothing is lost, and what comes twice says so."""
    connection = disks.cluster.connect(node)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=20)
    missing, seen = set(numbers), set()
    for method, _, body in channel.consume(queue, inactivity_timeout=PATIENCE_SECONDS):
        assert method is not None, f"{len(missing)} of {len(numbers)} messages did not come"
        number = int(body)
        assert number not in seen or method.redelivered
        seen.add(number)
        missing.discard(number)
        channel.basic_ack(method.delivery_tag)
        if not missing:
            break
    channel.cancel()
    connection.close()


def test_one_follower_that_is_full_holds_nobody_up(disks: Disks) -> None:
    leader = declared(disks, "full-follower")
    full = (leader + 1) % 3
    publisher = Publisher(disks.cluster, leader, "full-follower", PADDING)
    publisher.start()
    publisher.more(20)
    disks.volumes[full].fill(0)
    publisher.more(100)
    wait_until(lambda: "low on disk" in disks.cluster.log(full), "an alarm")
    take(disks, (leader + 2) % 3, "full-follower", list(range(50)))
    disks.volumes[full].relieve()
    publisher.more(20)
    publisher.stop()
    disks.heal()
    assert publisher.longest_gap < 10
    # What the full one missed it has now: it is one of two.
    disks.cluster.kill(leader)
    take(disks, full, "full-follower", publisher.confirmed[50:])
    disks.cluster.start_all()
    disks.heal()


def test_a_leader_that_is_full_gives_way(disks: Disks) -> None:
    leader = declared(disks, "full-leader")
    other = (leader + 1) % 3
    publisher = Publisher(disks.cluster, other, "full-leader", PADDING)
    publisher.start()
    publisher.more(20)
    disks.volumes[leader].fill(0)
    publisher.more(150)
    publisher.stop()
    assert publisher.longest_gap < 15
    take(disks, (leader + 2) % 3, "full-leader", publisher.confirmed)
    disks.heal()


def test_when_all_are_full_publishers_wait_and_go_on_without_a_restart(disks: Disks) -> None:
    declared(disks, "full-all")
    publisher = Publisher(disks.cluster, 0, "full-all", PADDING)
    publisher.start()
    publisher.more(40)
    for volume in disks.volumes:
        volume.fill(0)
    wait_until(lambda: _stands_still(publisher), "publishers blocked", HEAL_SECONDS)
    before = len(publisher.confirmed)
    # Consumers go on meanwhile.
    take(disks, 1, "full-all", publisher.confirmed[:30])
    assert len(publisher.confirmed) - before <= 1
    for volume in disks.volumes:
        volume.relieve()
    publisher.more(40)
    publisher.stop()
    take(disks, 2, "full-all", publisher.confirmed[30:])
    disks.heal()


def _stands_still(publisher: Publisher) -> bool:
    before = len(publisher.confirmed)
    time.sleep(1.5)  # a moment in which nothing is confirmed: that is what is waited for
    return len(publisher.confirmed) == before
