"""Heartbeats: Raft paper §5.2; which of them a quorum answered is told in test_reads."""

from __future__ import annotations

from cluster.raft.group import Role
from cluster.raft.messages import Heartbeat, HeartbeatReply
from tests.raft.ensemble import Ensemble


def test_an_idle_leader_says_nothing_between_heartbeats() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.tick(1)
    assert not ensemble.groups[1].has_ready()
    assert not ensemble.queue


def test_a_heartbeat_to_an_idle_follower_costs_one_reply_and_no_write() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.tick(1, 2)
    assert [type(m) for m in ensemble.deliver(1)] == [Heartbeat, Heartbeat]
    assert [type(m) for m in ensemble.take()] == [HeartbeatReply, HeartbeatReply]
    assert not ensemble.writes


def test_a_heartbeat_carries_no_commit_index_above_what_the_follower_acknowledged() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.crash(3)
    ensemble.propose(1, "a")
    ensemble.settle()
    ensemble.tick(1, 2)
    commits = {m.target: m.commit_index for m in ensemble.take(1) if isinstance(m, Heartbeat)}
    assert commits == {2: 2, 3: 1}


def test_a_quiet_leader_says_half_as_often_that_it_is_there() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.settle()
    assert _heartbeats(ensemble, ticks=8) == 8
    for _ in range(ensemble.config.election_ticks):
        ensemble.tick(1)
        ensemble.settle()
    assert _heartbeats(ensemble, ticks=8) == 4
    ensemble.propose(1, "b")
    ensemble.settle()
    assert _heartbeats(ensemble, ticks=8) == 8


def test_a_leader_whose_ticks_come_late_says_with_each_that_it_is_there() -> None:
    """Its followers count their own ticks: what it has to do is nothing that they would wait for."""
    ensemble = Ensemble()
    ensemble.elect(1)
    for _ in range(2 * ensemble.config.election_ticks):
        ensemble.tick(1)
        ensemble.settle()
    ensemble.take(1)
    for _ in range(3):
        ensemble.do(1, lambda group: group.tick(4))
        assert {m.target for m in ensemble.take(1) if isinstance(m, Heartbeat)} == {2, 3}
    assert ensemble.role(1) is Role.LEADER


def test_a_leader_is_not_quiet_while_a_peer_lacks_something() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.cut = {(1, 3), (3, 1)}
    ensemble.propose(1, "a")
    for _ in range(2 * ensemble.config.election_ticks):
        ensemble.tick(1)
        ensemble.settle()
    assert _heartbeats(ensemble, ticks=8) == 8


def _heartbeats(ensemble: Ensemble, ticks: int) -> int:
    """How many node 1 sends within so many ticks."""
    count = 0
    for _ in range(ticks):
        ensemble.tick(1)
        count += sum(type(message) is Heartbeat for message in ensemble.queue)
        ensemble.settle()
    return count
