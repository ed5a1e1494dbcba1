"""A catalog of any size is written down bit by bit, and how often does not depend on its size."""

from __future__ import annotations

import random

import pytest

from cluster.broker.catalog import snapshot
from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.commands import BindQueue, DeclareQueue, DeleteQueue, Several, SingleCommand
from cluster.node.catalog import snapshots
from cluster.raft.types import Configuration, LogIndex, SnapshotMeta
from tests.broker.catalog.build import Founded
from tests.node.catalog.world import ME, OTHER, TERM, Replica


def declare(number: int) -> DeclareQueue:
    return DeclareQueue("/", f"queue-{number:06}", True, False, False, ())


def bind(number: int) -> BindQueue:
    return BindQueue("/", "amq.topic", f"queue-{number:06}", f"key.{number}.*")


def grow(founded: Founded, first: int, end: int) -> None:
    """In any order: what is sorted is the snapshot's matter."""
    numbers = list(range(first, end))
    random.Random(first).shuffle(numbers)
    for at in range(0, len(numbers), 500):
        part = numbers[at : at + 500]
        founded.ok(Several(tuple([declare(n) for n in part] + [bind(n) for n in part])))


def test_what_is_applied_while_a_snapshot_is_written_is_not_in_it() -> None:
    founded = Founded()
    grow(founded, 0, 6000)
    before = founded.catalog.snapshot()
    pieces = founded.catalog.draft().pieces()
    written = [next(pieces)]
    changes: list[SingleCommand] = [declare(9000), bind(9000), DeleteQueue("/", "queue-000007")]
    for command in changes:
        founded.ok(command)
        written.append(next(pieces))
    written += pieces
    assert b"".join(written) == before
    other = Catalog()
    other.restore(before)
    assert other.snapshot() == before


def test_no_piece_of_a_snapshot_grows_with_the_catalog() -> None:
    founded = Founded()
    grow(founded, 0, 2000)
    few = [len(piece) for piece in founded.catalog.draft().pieces()]
    grow(founded, 2000, 12_000)
    many = [len(piece) for piece in founded.catalog.draft().pieces()]
    assert max(many) <= max(few) * 1.2
    rows = 2 * 12_000
    assert len(many) <= rows // snapshot.PIECE_ROWS + rows // snapshot.SORTED_ROWS + 10


def test_snapshots_cost_a_command_the_same_however_large_the_catalog_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_BYTES", 1 << 14)
    replica = Replica()
    log_bytes = 0
    for first in range(0, 20_000, 250):
        commands = tuple([declare(n) for n in range(first, first + 250)])
        replica.command(Several(commands))
        log_bytes += len(replica.log[-1].data)
        for _ in range(200):
            replica.host.tick()
    written = sum(len(data) for _, data, _ in replica.snapshots)
    assert len(replica.snapshots) >= 5
    assert written <= 12 * log_bytes, f"{written} bytes of snapshots for {log_bytes} of log"
    unwritten = sum(len(e.data) for e in replica.log if e.index > replica.snapshots[-1][0])
    assert unwritten <= len(replica.snapshots[-1][1]) // 2, "a node that starts replays it"


def test_each_entry_is_made_superfluous_once_and_by_a_snapshot_that_covers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_BYTES", 1 << 14)
    replica = Replica()
    for first in range(0, 10_000, 250):
        replica.command(Several(tuple([declare(n) for n in range(first, first + 250)])))
        replica.host.tick()
    for _ in range(1000):
        replica.host.tick()
    dead = [index for _, _, entries in replica.snapshots for index in entries]
    assert dead == list(range(1, len(dead) + 1))
    assert all(max(entries) <= index for index, _, entries in replica.snapshots)
    last, data, _ = replica.snapshots[-1]
    other = Catalog()
    other.restore(data)
    assert other.applied_index == last


def written(replica: Replica) -> list[int]:
    """Time passes. The indexes of all snapshots."""
    for _ in range(3):
        replica.host.tidy()
        for _ in range(100):
            replica.host.tick()
    return [index for index, _, _ in replica.snapshots]


def test_a_leader_whose_log_a_peer_has_no_room_for_makes_a_snapshot_of_what_is_new() -> None:
    replica = Replica()
    replica.command(declare(1))
    assert written(replica) == []
    replica.wants_snapshot = True
    assert written(replica) == [2], "another would say the same"
    assert replica.snapshots[-1][2] == [1, 2]
    replica.command(DeleteQueue("/", "queue-000001"))
    assert written(replica) == [2, 3]
    replica.wants_snapshot = False
    replica.command(declare(2))
    assert written(replica) == [2, 3]


def test_a_snapshot_that_was_installed_is_not_made_once_more() -> None:
    replica, other = Replica(), Replica()
    for number in range(3):
        other.command(declare(number))
    meta = SnapshotMeta(LogIndex(other.host.applied_index), TERM, Configuration((ME, OTHER)))
    replica.host.restore(meta, other.host.catalog.snapshot())
    replica.wants_snapshot = True
    assert written(replica) == []
