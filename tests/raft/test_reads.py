"""Linearizable reads and handing over: Raft thesis §6.4, §3.10."""

from __future__ import annotations

import pytest

from cluster.raft.group import NotLeader, ProposalDropped, RaftConfig, RaftGroup, ReadState, Role
from cluster.raft.messages import Heartbeat, HeartbeatReply, TimeoutNow, VoteRequest
from cluster.raft.types import LogIndex, NodeId
from tests.raft.ensemble import Ensemble

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def read(ensemble: Ensemble, node: int, context: int) -> None:
    ensemble.do(node, lambda group: group.read_index(context))


def test_a_leader_answers_a_read_when_a_heartbeat_round_confirmed_it() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    read(ensemble, 1, 7)
    assert ensemble.read_states[1] == []
    ensemble.deliver(1, 2, Heartbeat)
    ensemble.deliver(2, 1, HeartbeatReply)
    assert ensemble.read_states[1] == [ReadState(7, LogIndex(1))]


def test_reads_asked_for_together_share_a_round() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    for context in range(50):
        leader.read_index(context)
    ensemble.collect()
    assert len(ensemble.take()) == 2


def test_a_round_that_began_before_a_read_does_not_confirm_it() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.tick(1, 2)
    early = ensemble.take(1)
    read(ensemble, 1, 7)
    ensemble.take(1)
    for message in early:
        ensemble.hand(message)
    ensemble.settle()
    assert ensemble.read_states[1] == []


def test_a_read_is_of_the_commit_index_when_it_was_asked_for() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    read(ensemble, 1, 7)
    waiting = ensemble.take(1)
    ensemble.propose(1, "a")
    ensemble.settle()
    for message in waiting:
        ensemble.hand(message)
    ensemble.settle()
    assert ensemble.read_states[1] == [ReadState(7, LogIndex(1))]


def test_a_follower_asks_its_leader() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    read(ensemble, 2, 9)
    ensemble.settle()
    assert ensemble.read_states[2] == [ReadState(9, LogIndex(1))]
    assert ensemble.read_states[1] == []


def test_a_read_without_a_leader_is_dropped() -> None:
    ensemble = Ensemble()
    read(ensemble, 2, 9)
    ensemble.settle()
    assert ensemble.read_states[2] == []


def test_a_new_leader_answers_no_read_before_it_has_committed_in_its_term() -> None:
    """Raft thesis §6.4, step 1."""
    ensemble = Ensemble()
    ensemble.do(1, RaftGroup.campaign)
    while ensemble.role(1) is not Role.LEADER:
        if ensemble.writes:
            ensemble.write(min(ensemble.writes))
        else:
            ensemble.hand(ensemble.queue.pop(0))
    read(ensemble, 1, 7)
    assert ensemble.read_states[1] == []
    ensemble.settle()
    assert ensemble.read_states[1] == [ReadState(7, LogIndex(1))]


def test_a_leader_that_was_replaced_answers_no_read() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.isolate(1)
    for node in (2, 3):
        ensemble.do(node, lambda group: group.peer_disconnected(ONE))
    ensemble.settle()
    ensemble.tick(3, 3)
    ensemble.settle()
    assert ensemble.role(1) is Role.LEADER
    read(ensemble, 1, 7)
    ensemble.settle()
    assert ensemble.read_states[1] == []


def test_a_single_voter_answers_at_once() -> None:
    ensemble = Ensemble([1])
    ensemble.elect(1)
    read(ensemble, 1, 7)
    assert ensemble.read_states[1] == [ReadState(7, LogIndex(1))]


def test_waiting_reads_are_bounded() -> None:
    ensemble = Ensemble(config=RaftConfig(max_waiting_reads=3))
    leader = ensemble.elect(1)
    for context in range(10):
        leader.read_index(context)
    ensemble.collect()
    ensemble.settle()
    assert [state.context for state in ensemble.read_states[1]] == [0, 1, 2]


# -- handing over


def test_leadership_moves_to_the_target_without_waiting_for_anyones_timeout() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.do(1, lambda group: group.transfer_leadership(THREE))
    ensemble.settle()
    assert ensemble.role(3) is Role.LEADER
    assert ensemble.groups[1].leader == 3


def test_the_target_is_brought_up_to_date_first() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.do(1, lambda group: group.transfer_leadership(TWO))
    assert ensemble.take(kind=TimeoutNow) == []
    assert ensemble.groups[1].is_handing_over
    ensemble.settle()
    assert ensemble.role(2) is Role.LEADER
    assert not ensemble.groups[1].is_handing_over
    assert ensemble.groups[2].commit_index == 3


def test_proposals_are_dropped_while_leadership_moves_and_taken_again_when_it_did_not() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    ensemble.isolate(2)
    ensemble.propose(1, "a")
    ensemble.do(1, lambda group: group.transfer_leadership(TWO))
    with pytest.raises(ProposalDropped, match=r"^leadership is being transferred to node 2$"):
        leader.propose(b"x")
    with pytest.raises(ProposalDropped, match=r"^leadership is being transferred to node 2$"):
        leader.propose_configuration(leader.configuration)
    for _ in range(10):
        ensemble.tick(1)
        ensemble.settle()
    assert ensemble.role(1) is Role.LEADER
    leader.propose(b"x")


def test_leadership_goes_to_voters_only() -> None:
    ensemble = Ensemble([1, 2, 3], others=[4])
    leader = ensemble.elect(1)
    with pytest.raises(ProposalDropped, match=r"^node 4 is not a voter of group 0$"):
        leader.transfer_leadership(NodeId(4))
    with pytest.raises(NotLeader):
        ensemble.groups[2].transfer_leadership(THREE)
    leader.transfer_leadership(ONE)
    leader.propose(b"still the leader")


def test_an_election_that_the_leader_asked_for_is_not_refused_out_of_loyalty() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.do(1, lambda group: group.transfer_leadership(TWO))
    ensemble.deliver(1, 2)
    [request] = ensemble.take(2, 3, VoteRequest)
    assert isinstance(request, VoteRequest)
    assert request.transfer
    ensemble.hand(request)
    ensemble.write(3)
    assert ensemble.disks[3].hard_state().vote == 2
