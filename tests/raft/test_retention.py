"""What of the log is kept for a peer that is behind (see `cluster.raft.retention`)."""

from __future__ import annotations

import pytest

from cluster.raft.group import RaftConfig
from cluster.raft.messages import SnapshotChunkMessage
from cluster.raft.types import LogIndex, NodeId
from tests.raft.ensemble import Ensemble

THREE = NodeId(3)
FORGETFUL = RaftConfig(tail_bytes=0, snapshot_chunk_bytes=1, max_append_bytes=1)
"""Memory serves nobody, and entries go one by one."""


def snapshot(ensemble: Ensemble) -> LogIndex:
    """Member 1 makes one of all it has applied, and writes what it may."""
    index = ensemble.groups[1].status().applied_index
    ensemble.do(1, lambda group: group.snapshot_created(index, b"index"))
    ensemble.settle()
    return index


def with_the_third_away(config: RaftConfig = FORGETFUL) -> Ensemble:
    ensemble = Ensemble(config=config)
    ensemble.elect(1)
    ensemble.settle()
    ensemble.isolate(3)
    return ensemble


def pass_by(ensemble: Ensemble, snapshots: int, entries: int = 3) -> None:
    for _ in range(snapshots):
        ensemble.propose(1, *"abcdefgh"[:entries])
        ensemble.settle()
        snapshot(ensemble)


def come_back(ensemble: Ensemble) -> None:
    ensemble.heal()
    ensemble.do(1, lambda group: group.peer_connected(THREE))
    ensemble.settle()
    ensemble.tick(1)
    ensemble.settle()


def chunks(ensemble: Ensemble) -> int:
    return sum(SnapshotChunkMessage.__name__ in line for line in ensemble.lines)


@pytest.mark.parametrize("snapshots", [1, 3])
def test_who_was_away_while_snapshots_were_made_goes_on_with_the_log(snapshots: int) -> None:
    ensemble = with_the_third_away()
    pass_by(ensemble, snapshots)
    assert ensemble.groups[1].status().first_index == 1
    come_back(ensemble)
    assert ensemble.groups[3].last_index == ensemble.groups[1].last_index
    assert not chunks(ensemble)
    assert ensemble.groups[1].status().first_index == ensemble.groups[1].last_index + 1, "the snapshot waits still"


def test_who_lets_snapshot_after_snapshot_pass_is_sent_one() -> None:
    ensemble = with_the_third_away()
    pass_by(ensemble, 4)
    assert ensemble.groups[1].status().first_index == ensemble.groups[1].last_index + 1
    come_back(ensemble)
    assert chunks(ensemble)
    assert ensemble.groups[3].commit_index == ensemble.groups[1].commit_index


def test_who_has_been_away_too_long_is_sent_a_snapshot() -> None:
    ensemble = with_the_third_away(RaftConfig(tail_bytes=0, retention_ticks=20))
    pass_by(ensemble, 1)
    assert ensemble.groups[1].status().first_index == 1
    for _ in range(20):
        ensemble.tick(1)
        ensemble.settle()
    assert ensemble.groups[1].status().first_index == ensemble.groups[1].last_index + 1


def test_a_snapshot_that_was_made_while_another_was_sent_takes_away_nothing_that_comes_after_that() -> None:
    ensemble = with_the_third_away()
    pass_by(ensemble, 4)
    ensemble.heal()
    ensemble.do(1, lambda group: group.peer_connected(THREE))
    ensemble.settle(without_writes_of=[3])
    sent = ensemble.groups[1].status().first_index - 1
    for _ in range(5):
        ensemble.propose(1, "more")
        ensemble.settle(without_writes_of=[3])
        index = ensemble.groups[1].status().applied_index
        ensemble.do(1, lambda group, index=index: group.snapshot_created(index, b"newer"))
        ensemble.settle(without_writes_of=[3])
    assert ensemble.groups[1].status().first_index == sent + 1
    ensemble.settle()
    assert [line for line in ensemble.lines if "3 restores" in line] == [f"3 restores the snapshot up to {sent}"]
    assert ensemble.groups[3].commit_index == ensemble.groups[1].commit_index
    ensemble.tick(1)
    ensemble.settle()
    assert ensemble.groups[1].status().first_index > sent + 1, "the log is given up when nobody needs it"


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_who_stands_still_for_seconds_while_it_is_sent_a_snapshot_goes_on_with_that(*, is_cut_off: bool) -> None:
    ensemble = with_the_third_away()
    pass_by(ensemble, 4)
    ensemble.heal()
    ensemble.do(1, lambda group: group.peer_connected(THREE))
    ensemble.settle(without_writes_of=[3])
    for _ in range(2):
        ensemble.write(3)
        ensemble.settle(without_writes_of=[3])
    sent = ensemble.groups[1].status().first_index - 1
    if is_cut_off:
        ensemble.isolate(3)
        ensemble.do(1, lambda group: group.peer_disconnected(THREE))
    for _ in range(100):
        ensemble.tick(1)
        ensemble.settle(without_writes_of=[3])
    ensemble.propose(1, "more")
    ensemble.settle(without_writes_of=[3])
    index = ensemble.groups[1].status().applied_index
    ensemble.do(1, lambda group: group.snapshot_created(index, b"newer"))
    ensemble.settle(without_writes_of=[3])
    come_back(ensemble)
    assert [line for line in ensemble.lines if "3 restores" in line] == [f"3 restores the snapshot up to {sent}"]
    assert ensemble.groups[3].commit_index == ensemble.groups[1].commit_index


def test_who_comes_closer_is_waited_for_however_many_snapshots_pass() -> None:
    ensemble = with_the_third_away(RaftConfig(tail_bytes=0, max_append_bytes=1, max_inflight_appends=1))
    pass_by(ensemble, 3, entries=8)
    ensemble.heal()
    ensemble.do(1, lambda group: group.peer_connected(THREE))
    for _ in range(6):
        ensemble.propose(1, "x")
        for _ in range(3):  # three entries arrive for each that is added
            ensemble.settle(without_writes_of=[3])
            ensemble.write(3)
        ensemble.settle(without_writes_of=[3])
        index = ensemble.groups[1].status().applied_index
        ensemble.do(1, lambda group, index=index: group.snapshot_created(index, b"newer"))
    assert ensemble.groups[1].status().first_index == 1
    ensemble.settle()
    assert not chunks(ensemble)
    assert ensemble.groups[3].last_index == ensemble.groups[1].last_index


def test_who_was_away_goes_on_with_the_log_where_an_earlier_snapshot_took_the_beginning() -> None:
    ensemble = Ensemble(config=FORGETFUL)
    ensemble.elect(1)
    pass_by(ensemble, 1)
    ensemble.tick(1)
    ensemble.settle()
    first_index = ensemble.groups[1].status().first_index
    assert first_index > 1
    ensemble.isolate(3)
    ensemble.do(1, lambda group: group.peer_disconnected(THREE))
    pass_by(ensemble, 1)
    ensemble.do(1, lambda group: group.append_dropped(THREE))
    assert ensemble.groups[1].status().first_index == first_index
    come_back(ensemble)
    assert ensemble.groups[3].last_index == ensemble.groups[1].last_index
    assert not chunks(ensemble)
    assert ensemble.groups[1].status().first_index == ensemble.groups[1].last_index + 1


def test_who_is_there_and_takes_nothing_in_is_not_waited_for_longer_than_who_is_away() -> None:
    ensemble = Ensemble(config=RaftConfig(tail_bytes=0, retention_ticks=20))
    ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.settle(without_writes_of=[3])
    index = ensemble.groups[1].status().applied_index
    ensemble.do(1, lambda group: group.snapshot_created(index, b"index"))
    for _ in range(20):
        assert ensemble.groups[1].status().first_index == 1
        ensemble.tick(1)
        ensemble.settle(without_writes_of=[3])
    assert ensemble.groups[1].status().progress[THREE].active
    assert ensemble.groups[1].status().first_index == index + 1


def test_a_group_that_was_quiet_for_long_keeps_its_log_for_who_goes_away_then() -> None:
    ensemble = Ensemble(config=RaftConfig(tail_bytes=0, retention_ticks=20))
    ensemble.elect(1)
    for _ in range(40):
        ensemble.tick(1)
        ensemble.settle()
    ensemble.isolate(3)
    pass_by(ensemble, 1)
    assert ensemble.groups[1].status().first_index == 1


def test_who_comes_closer_by_next_to_nothing_is_sent_a_snapshot() -> None:
    ensemble = with_the_third_away(RaftConfig(tail_bytes=0, max_append_bytes=1, max_inflight_appends=1))
    pass_by(ensemble, 3, entries=8)
    ensemble.heal()
    ensemble.do(1, lambda group: group.peer_connected(THREE))
    ensemble.settle(without_writes_of=[3])
    passed = 0
    while ensemble.groups[1].status().first_index == 1:
        passed += 1
        assert passed < 5
        for number in range(8):  # nine arrive for eight that are added
            ensemble.propose(1, "x")
            for _ in range(2 if number == 0 else 1):
                ensemble.settle(without_writes_of=[3])
                ensemble.write(3)
        ensemble.settle(without_writes_of=[3])
        index = ensemble.groups[1].status().applied_index
        ensemble.do(1, lambda group, index=index: group.snapshot_created(index, b"newer"))
        ensemble.settle(without_writes_of=[3])
    ensemble.settle()
    assert ensemble.groups[3].last_index == ensemble.groups[1].last_index


@pytest.mark.parametrize("is_there", [True, False])
def test_a_snapshot_is_wanted_for_who_is_there_and_takes_nothing_in(*, is_there: bool) -> None:
    """And not for who is away: it would be made again and again."""
    config = RaftConfig(retention_ticks=20)
    ensemble = with_the_third_away(config)
    ensemble.propose(1, "a")
    ensemble.settle()
    if is_there:
        ensemble.heal()
    leader = ensemble.groups[1]
    for _ in range(config.retention_ticks):
        assert not leader.wants_snapshot
        ensemble.tick(1)
        ensemble.settle(without_writes_of=[3])
    assert leader.wants_snapshot is is_there
