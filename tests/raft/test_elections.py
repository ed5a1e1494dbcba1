"""Elections: Raft paper §5.2, §5.4.1; thesis §4.2.3, §9.6."""

from __future__ import annotations

import pytest

from cluster.raft.group import NotLeader, RaftGroup, Role
from cluster.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    PreVoteReply,
    PreVoteRequest,
    VoteReply,
    VoteRequest,
)
from cluster.raft.types import GroupId, LogIndex, NodeId, Term
from tests.raft.ensemble import GROUP, Ensemble, fill

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def test_a_follower_without_a_leader_stands_after_one_to_two_election_timeouts() -> None:
    waits = set()
    for _ in range(3):
        ensemble = Ensemble()
        for node, group in ensemble.groups.items():
            ticks = 0
            while group.role is Role.FOLLOWER:
                group.tick()
                ticks += 1
            assert 10 <= ticks < 20
            waits.add((node, ticks))
    assert len({ticks for _, ticks in waits}) > 1, "all members wait equally long"
    assert len(waits) == 3, "the same source of randomness gives different waits"


def test_a_pre_vote_opens_no_term() -> None:
    ensemble = Ensemble()
    ensemble.do(1, RaftGroup.campaign)
    assert ensemble.role(1) is Role.PRE_CANDIDATE
    assert ensemble.groups[1].term == 0
    [request, _] = ensemble.take(1)
    assert isinstance(request, PreVoteRequest)
    assert request.term == 1
    assert not ensemble.writes


def test_a_majority_of_pre_votes_opens_the_term_and_a_majority_of_votes_wins_it() -> None:
    ensemble = Ensemble()
    ensemble.do(1, RaftGroup.campaign)
    ensemble.deliver(1, 2)
    ensemble.deliver(2, 1)
    assert ensemble.role(1) is Role.CANDIDATE
    ensemble.write(1)
    assert ensemble.role(1) is Role.CANDIDATE
    ensemble.deliver(1, 2, VoteRequest)
    ensemble.write(2)
    ensemble.deliver(2, 1)
    assert ensemble.role(1) is Role.LEADER


def test_a_candidate_does_not_win_before_its_own_vote_is_durable() -> None:
    ensemble = Ensemble()
    ensemble.do(1, RaftGroup.campaign)
    ensemble.settle(without_writes_of=[1])
    assert ensemble.disks[2].hard_state().vote == 1
    assert ensemble.disks[3].hard_state().vote == 1
    assert ensemble.role(1) is Role.CANDIDATE
    ensemble.write(1)
    assert ensemble.role(1) is Role.LEADER


def test_a_vote_is_durable_before_it_is_told() -> None:
    ensemble = Ensemble()
    ensemble.do(2, lambda group: group.step(VoteRequest(GROUP, ONE, TWO, Term(1), LogIndex(0), Term(0), False)))
    assert not ensemble.take(2)
    ensemble.write(2)
    [reply] = ensemble.take(2)
    assert reply == VoteReply(GROUP, TWO, ONE, Term(1), True)
    assert ensemble.disks[2].hard_state().vote == 1


def test_a_vote_goes_once_per_term_even_after_a_restart() -> None:
    ensemble = Ensemble()
    first = VoteRequest(GROUP, ONE, TWO, Term(1), LogIndex(0), Term(0), False)
    second = VoteRequest(GROUP, THREE, TWO, Term(1), LogIndex(0), Term(0), False)
    ensemble.do(2, lambda group: group.step(first))
    ensemble.write(2)
    ensemble.take()
    ensemble.do(2, lambda group: group.step(second))
    assert ensemble.take(2) == [VoteReply(GROUP, TWO, THREE, Term(1), False)]
    ensemble.crash(2)
    ensemble.start(2)
    ensemble.do(2, lambda group: group.step(second))
    assert ensemble.take(2) == [VoteReply(GROUP, TWO, THREE, Term(1), False)]
    ensemble.do(2, lambda group: group.step(first))
    assert ensemble.take(2) == [VoteReply(GROUP, TWO, ONE, Term(1), True)]


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [(3, 2, True), (4, 2, True), (1, 3, True), (2, 2, False), (9, 1, False)],
)
def test_a_vote_goes_only_to_a_log_at_least_as_up_to_date(last_index: int, last_term: int, granted: bool) -> None:
    """Raft paper §5.4.1: the later last term wins, then the longer log."""
    ensemble = Ensemble()
    fill(ensemble.disks[2], [1, 1, 2])
    group = ensemble.start(2)
    group.step(VoteRequest(GROUP, ONE, TWO, Term(5), LogIndex(last_index), Term(last_term), False))
    ensemble.collect()
    ensemble.write(2)
    assert ensemble.take(2) == [VoteReply(GROUP, TWO, ONE, Term(5), granted)]


def test_a_voter_that_hears_from_its_leader_ignores_candidates() -> None:
    """Raft thesis §4.2.3: a removed or cut off member cannot disrupt the group."""
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.do(2, lambda group: group.step(PreVoteRequest(GROUP, THREE, TWO, Term(9), LogIndex(99), Term(9))))
    ensemble.do(2, lambda group: group.step(VoteRequest(GROUP, THREE, TWO, Term(9), LogIndex(99), Term(9), False)))
    assert ensemble.take(2) == []
    assert ensemble.groups[2].term == 1
    ensemble.do(1, lambda group: group.step(VoteRequest(GROUP, THREE, ONE, Term(9), LogIndex(99), Term(9), False)))
    assert ensemble.role(1) is Role.LEADER


def test_a_voter_that_was_left_alone_long_enough_votes_again() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    for _ in range(9):
        ensemble.groups[2].tick()
    ensemble.do(2, lambda group: group.step(PreVoteRequest(GROUP, THREE, TWO, Term(2), LogIndex(99), Term(1))))
    assert ensemble.take(2) == []
    ensemble.groups[2].tick()
    ensemble.take()
    ensemble.do(2, lambda group: group.step(PreVoteRequest(GROUP, THREE, TWO, Term(2), LogIndex(99), Term(1))))
    assert ensemble.take(2, 3, PreVoteReply) == [PreVoteReply(GROUP, TWO, THREE, Term(2), True)]


def test_a_leader_of_an_earlier_term_is_told_so() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.isolate(1)
    ensemble.do(2, lambda group: group.peer_disconnected(ONE))
    ensemble.do(3, lambda group: group.peer_disconnected(ONE))
    ensemble.tick(2, 4)
    ensemble.tick(3, 4)
    ensemble.settle()
    assert {ensemble.groups[2].term, ensemble.groups[3].term} == {2}
    assert ensemble.role(1) is Role.LEADER
    ensemble.heal()
    ensemble.tick(1, 2)
    ensemble.settle()
    assert ensemble.role(1) is Role.FOLLOWER
    assert ensemble.groups[1].term == 2


def test_a_member_of_a_later_term_is_brought_back_although_nobody_hears_candidates() -> None:
    """Without an answer to stale appends, pre-vote and loyalty together would leave it outside for good."""
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.crash(3)
    fill(ensemble.disks[3], [], term=7)
    ensemble.start(3)
    ensemble.tick(1, 2)
    ensemble.settle()
    assert ensemble.groups[1].term == 7
    ensemble.elect(1)
    assert {group.term for group in ensemble.groups.values()} == {8}
    assert ensemble.groups[3].leader == 1


def test_a_leader_without_a_quorum_steps_down_within_an_election_timeout() -> None:
    """Raft thesis §6.2."""
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    ensemble.isolate(1)
    ensemble.tick(1, 12)
    assert ensemble.role(1) is Role.FOLLOWER
    assert leader.term == 1
    with pytest.raises(NotLeader) as refusal:
        leader.propose(b"x")
    assert refusal.value.leader == 0
    assert str(refusal.value) == "there is no leader"


def test_one_voter_of_two_others_is_enough_to_stay_leader() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.crash(3)
    for _ in range(40):
        ensemble.tick(1)
        ensemble.settle()
    assert ensemble.role(1) is Role.LEADER


def test_a_single_voter_elects_itself_with_its_own_write() -> None:
    ensemble = Ensemble([1])
    ensemble.do(1, RaftGroup.campaign)
    assert ensemble.role(1) is Role.CANDIDATE
    ensemble.write(1)
    assert ensemble.role(1) is Role.LEADER
    assert ensemble.groups[1].commit_index == 0
    ensemble.write(1)
    assert ensemble.groups[1].commit_index == 1


def test_a_candidate_that_meets_the_leader_of_its_term_follows_it() -> None:
    ensemble = Ensemble()
    ensemble.do(2, RaftGroup.campaign)
    ensemble.deliver(2, 1)
    ensemble.deliver(1, 2)
    assert ensemble.role(2) is Role.CANDIDATE
    ensemble.do(2, lambda group: group.step(Heartbeat(GROUP, THREE, TWO, Term(1), LogIndex(0), 1)))
    assert ensemble.role(2) is Role.FOLLOWER
    assert ensemble.groups[2].leader == 3


def test_refused_by_a_majority_a_candidate_becomes_a_follower() -> None:
    ensemble = Ensemble()
    fill(ensemble.disks[2], [1, 1])
    fill(ensemble.disks[3], [1, 1])
    for node in (2, 3):
        ensemble.start(node)
    ensemble.do(1, RaftGroup.campaign)
    ensemble.settle()
    assert ensemble.role(1) is Role.FOLLOWER
    assert ensemble.groups[1].term == 1


def test_nobody_stands_anew_before_a_slow_disk_has_what_was_promised_last() -> None:
    ensemble = Ensemble()
    ensemble.do(1, RaftGroup.campaign)
    ensemble.deliver(1, 2)
    ensemble.deliver(2, 1)
    ensemble.deliver(1, 2, VoteRequest)
    for node in (1, 2):
        ensemble.tick(node, 60)
    assert (ensemble.role(1), ensemble.role(2)) == (Role.CANDIDATE, Role.FOLLOWER)
    assert {ensemble.groups[node].term for node in (1, 2)} == {1}
    ensemble.write(2)
    ensemble.deliver(2, 1)
    ensemble.write(1)
    assert ensemble.role(1) is Role.LEADER
    assert ensemble.groups[1].term == 1


def test_a_candidate_that_nobody_refused_asks_again_in_its_term_and_grants_no_other() -> None:
    ensemble = Ensemble()
    ensemble.do(1, RaftGroup.campaign)
    ensemble.deliver(1, 2)
    ensemble.deliver(2, 1)
    ensemble.write(1)
    ensemble.take()
    ensemble.tick(1, 20)
    again = [message for message in ensemble.take(1) if type(message) is VoteRequest]
    assert {(message.term, message.transfer) for message in again} == {(1, False)}
    ensemble.do(3, RaftGroup.campaign)
    ensemble.take(3)
    ensemble.hand(PreVoteRequest(GROUP, THREE, ONE, Term(2), LogIndex(0), Term(0)))
    assert [message.granted for message in ensemble.take(1, 3) if type(message) is PreVoteReply] == [False]
    ensemble.hand(VoteReply(GROUP, TWO, ONE, Term(1), False))
    ensemble.tick(1, 20)
    assert ensemble.role(1) is Role.PRE_CANDIDATE


def test_a_learner_never_stands() -> None:
    ensemble = Ensemble([1, 2], others=[3])
    ensemble.do(3, RaftGroup.campaign)
    ensemble.tick(3, 60)
    assert ensemble.role(3) is Role.FOLLOWER
    assert ensemble.take(3) == []


# -- broken connections


def test_the_survivor_of_the_first_rank_stands_at_once_and_wins() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.crash(1)
    ensemble.do(2, lambda group: group.peer_disconnected(ONE))
    ensemble.do(3, lambda group: group.peer_disconnected(ONE))
    ensemble.settle()
    assert ensemble.role(2) is Role.LEADER
    assert ensemble.groups[3].leader == 2


def test_ranks_differ_between_groups() -> None:
    firsts = set()
    for number in range(2):
        ensemble = Ensemble()
        ensemble.elect(1)
        for node in (2, 3):
            ensemble.groups[node]._state.group = GroupId(number)
            ensemble.groups[node].peer_disconnected(ONE)
            if ensemble.role(node) is Role.PRE_CANDIDATE:
                firsts.add(node)
    assert firsts == {2, 3}


def test_the_second_rank_stands_two_ticks_later() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.do(3, lambda group: group.peer_disconnected(ONE))
    assert ensemble.role(3) is Role.FOLLOWER
    ensemble.tick(3)
    assert ensemble.role(3) is Role.FOLLOWER
    ensemble.tick(3)
    assert ensemble.role(3) is Role.PRE_CANDIDATE


def test_a_voter_that_has_not_noticed_yet_votes_when_it_does() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.crash(1)
    ensemble.do(2, lambda group: group.peer_disconnected(ONE))
    ensemble.settle()
    assert ensemble.role(2) is Role.PRE_CANDIDATE
    ensemble.do(3, lambda group: group.peer_disconnected(ONE))
    ensemble.settle()
    assert ensemble.role(2) is Role.LEADER


def test_what_a_dead_leader_said_before_does_not_bring_it_back() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.crash(1)
    ensemble.do(2, lambda group: group.peer_disconnected(ONE))
    stale = Append(GROUP, ONE, TWO, Term(1), LogIndex(1), Term(1), LogIndex(1), [])
    ensemble.do(2, lambda group: group.step(stale))
    assert ensemble.role(2) is Role.PRE_CANDIDATE
    ensemble.do(2, lambda group: group.peer_connected(ONE))
    ensemble.do(2, lambda group: group.step(stale))
    assert ensemble.groups[2].leader == 1


def test_the_better_log_stands_at_once_when_the_first_rank_cannot_win() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.cut = {(1, 2)}
    ensemble.do(1, lambda group: group.propose(b"only three has it"))
    ensemble.settle()
    ensemble.heal()
    ensemble.crash(1)
    ensemble.do(3, lambda group: group.peer_disconnected(ONE))
    ensemble.do(2, lambda group: group.peer_disconnected(ONE))
    ensemble.settle()
    assert ensemble.role(3) is Role.LEADER


def test_losing_another_follower_changes_nothing() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.do(2, lambda group: group.peer_disconnected(THREE))
    assert ensemble.groups[2].leader == 1
    assert not ensemble.queue


def test_a_refusal_of_a_later_term_makes_a_leader_follow() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    reply = AppendReply(GROUP, TWO, ONE, Term(4), LogIndex(0), True, LogIndex(0), Term(0))
    ensemble.do(1, lambda group: group.step(reply))
    assert (leader.role, leader.term) == (Role.FOLLOWER, 4)
