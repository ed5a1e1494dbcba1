"""Membership: joint consensus, learners, and who may stand (Raft thesis §4.2, §4.3)."""

from __future__ import annotations

import pytest

from cluster.raft.group import NotLeader, ProposalDropped, RaftGroup, Role
from cluster.raft.membership import (
    Ballot,
    MembershipHistory,
    decode_configuration,
    encode_configuration,
    enter_change,
    leave_joint,
    quorum_value,
)
from cluster.raft.messages import Append, AppendReply
from cluster.raft.types import Configuration, Entry, EntryKind, LogIndex, NodeId, Term
from tests.raft.disk import members
from tests.raft.ensemble import GROUP, Ensemble

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def configuration(voters: str, outgoing: str = "", learners: str = "", next_learners: str = "") -> Configuration:
    return Configuration(
        *(tuple(NodeId(int(node)) for node in half) for half in (voters, outgoing, learners, next_learners))
    )


def change(ensemble: Ensemble, node: int, target: Configuration) -> None:
    ensemble.do(node, lambda group: group.propose_configuration(target))


# -- the values


@pytest.mark.parametrize(
    ("current", "target", "entered", "left"),
    [
        (("123",), ("1234",), ("1234", "123"), ("1234",)),
        (("123",), ("12",), ("12", "123"), ("12",)),
        (("123",), ("145", "", "2"), ("145", "123", "", "2"), ("145", "", "2")),
        (("123",), ("124", "", "5"), ("124", "123", "5"), ("124", "", "5")),
        (("123", "", "4"), ("1234",), ("1234", "123"), ("1234",)),
    ],
)
def test_other_voters_are_reached_through_a_joint_configuration(
    current: tuple[str, ...], target: tuple[str, ...], entered: tuple[str, ...], left: tuple[str, ...]
) -> None:
    joint = enter_change(configuration(*current), configuration(*target))
    assert joint == configuration(*entered)
    assert leave_joint(joint) == configuration(*left)


def test_with_the_same_voters_learners_change_in_one_step() -> None:
    assert enter_change(configuration("123"), configuration("123", "", "4")) == configuration("123", "", "4")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (configuration(""), "a configuration needs a voter"),
        (configuration("12", "", "2"), "a configuration names every member once, by an id from 1"),
        (configuration("112"), "a configuration names every member once, by an id from 1"),
        (configuration("01"), "a configuration names every member once, by an id from 1"),
        (configuration("12", "3"), "a joint configuration cannot be asked for"),
    ],
)
def test_a_configuration_that_no_group_can_have_is_refused(target: Configuration, text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        enter_change(configuration("123"), target)
    assert str(refusal.value) == text


def test_a_configuration_survives_its_encoding() -> None:
    joint = configuration("124", "123", "5", "3")
    assert decode_configuration(encode_configuration(joint)) == joint


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x95\x02\x90\x90\x90\x90", b"\x91\x01", b"\x01"])
def test_a_configuration_that_cannot_be_read_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_configuration(data)


@pytest.mark.parametrize(
    ("voters", "values", "reached"),
    [("1", "5", 5), ("12", "57", 5), ("123", "579", 7), ("1234", "5799", 7), ("12345", "13579", 5), ("", "", 0)],
)
def test_a_quorum_value_is_what_a_majority_has_reached(voters: str, values: str, reached: int) -> None:
    of = {NodeId(int(node)): int(value) for node, value in zip(voters, values, strict=True)}
    assert quorum_value(configuration(voters), of.__getitem__) == reached


def test_a_joint_quorum_needs_both_majorities() -> None:
    of = {NodeId(node): value for node, value in {1: 9, 2: 9, 3: 9, 4: 1, 5: 2}.items()}
    assert quorum_value(configuration("145", "123"), of.__getitem__) == 2


def test_a_ballot_counts_each_voter_once_and_needs_both_halves() -> None:
    ballot = Ballot(configuration("345", "123"))
    for voter in (1, 2, 2, 3):
        ballot.record(NodeId(voter), True)
    assert not ballot.won()
    ballot.record(NodeId(9), True)
    ballot.record(NodeId(4), False)
    assert not ballot.won()
    assert not ballot.lost()
    ballot.record(NodeId(5), False)
    assert ballot.lost()


def test_a_truncated_configuration_is_no_longer_in_force() -> None:
    history = MembershipHistory(LogIndex(0), configuration("123"))
    history.append(LogIndex(5), configuration("1234", "123"))
    assert history.at(LogIndex(4)) == configuration("123")
    assert history.truncate_from(LogIndex(5))
    assert history.current == configuration("123")
    assert not history.truncate_from(LogIndex(1))


# -- the group


def test_a_change_takes_effect_when_it_is_appended_and_leaves_the_joint_phase_by_itself() -> None:
    ensemble = Ensemble([1, 2, 3], others=[4])
    leader = ensemble.elect(1)
    change(ensemble, 1, members(1, 2, 4))
    assert leader.configuration == configuration("124", "123")
    ensemble.settle()
    assert {ensemble.groups[node].configuration for node in (1, 2, 4)} == {configuration("124")}
    assert ensemble.groups[4].commit_index == 3
    assert set(leader.status().progress) == {2, 4}


def test_during_the_joint_phase_both_majorities_must_have_an_entry() -> None:
    ensemble = Ensemble([1, 2, 3], others=[4, 5])
    leader = ensemble.elect(1)
    ensemble.isolate(4)
    ensemble.cut |= {(5, 1), (1, 5)}
    change(ensemble, 1, members(1, 4, 5))
    ensemble.settle()
    assert leader.commit_index == 1, "the old majority has it, the new one has not"
    ensemble.heal()
    ensemble.do(1, lambda group: group.peer_connected(NodeId(5)))
    ensemble.settle()
    assert leader.configuration == configuration("145")


def test_during_the_joint_phase_a_candidate_needs_both_majorities() -> None:
    ensemble = Ensemble([1, 2, 3], others=[4, 5])
    ensemble.elect(1)
    change(ensemble, 1, members(1, 4, 5))
    ensemble.deliver(1, 2)
    ensemble.deliver(1, 3)
    ensemble.take()
    ensemble.write(2)
    ensemble.write(3)
    ensemble.take()
    ensemble.crash(1)
    ensemble.do(2, lambda group: group.peer_disconnected(ONE))
    ensemble.do(3, lambda group: group.peer_disconnected(ONE))
    ensemble.isolate(4)
    ensemble.do(2, RaftGroup.campaign)
    ensemble.settle()
    assert ensemble.role(2) is Role.PRE_CANDIDATE, "2, 3 and 5 are no majority of 1, 4 and 5"
    ensemble.heal()
    ensemble.do(2, RaftGroup.campaign)
    ensemble.settle()
    assert "2 is leader in term 2, leader 2" in ensemble.lines
    assert ensemble.groups[2].configuration == configuration("145"), "and it finished the change"


def test_one_change_at_a_time() -> None:
    ensemble = Ensemble([1, 2, 3], others=[4])
    leader = ensemble.elect(1)
    change(ensemble, 1, members(1, 2, 4))
    with pytest.raises(ProposalDropped, match=r"^a configuration change is in progress$"):
        leader.propose_configuration(members(1, 2))
    ensemble.settle()
    change(ensemble, 1, members(1, 2))
    ensemble.settle()
    assert leader.configuration == configuration("12")


def test_a_leader_changes_nothing_before_it_has_committed_in_its_term() -> None:
    """The known hole of membership changes (Ongaro, raft-dev, July 2015)."""
    ensemble = Ensemble()
    ensemble.do(1, RaftGroup.campaign)
    leader = ensemble.groups[1]
    while ensemble.role(1) is not Role.LEADER:
        if ensemble.writes:
            ensemble.write(min(ensemble.writes))
        else:
            ensemble.hand(ensemble.queue.pop(0))
    with pytest.raises(ProposalDropped, match=r"^the leader has not committed an entry of its term yet$"):
        leader.propose_configuration(members(1, 2))


def test_only_a_leader_changes_members() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    with pytest.raises(NotLeader):
        ensemble.groups[2].propose_configuration(members(1, 2))


def test_a_learner_receives_the_log_and_does_not_count() -> None:
    ensemble = Ensemble([1, 2, 3], others=[4])
    leader = ensemble.elect(1)
    change(ensemble, 1, configuration("123", "", "4"))
    ensemble.settle()
    assert ensemble.groups[4].commit_index == leader.commit_index
    ensemble.isolate(2)
    ensemble.isolate(3)
    commit_index = leader.commit_index
    ensemble.propose(1, "x")
    ensemble.settle()
    assert ensemble.groups[4].last_index == leader.last_index
    assert leader.commit_index == commit_index


def test_a_voter_that_becomes_a_learner_votes_until_the_joint_phase_ends() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    change(ensemble, 1, configuration("12", "", "3"))
    assert leader.configuration == configuration("12", "123", "", "3")
    ensemble.settle()
    assert leader.configuration == configuration("12", "", "3")
    assert ensemble.groups[3].configuration == leader.configuration


def test_a_leader_that_is_left_out_leads_until_the_change_is_committed_and_hands_over() -> None:
    """Raft thesis §4.2.2."""
    ensemble = Ensemble()
    ensemble.elect(1)
    change(ensemble, 1, members(2, 3))
    ensemble.settle()
    assert ensemble.role(1) is Role.FOLLOWER
    assert [node for node in (2, 3) if ensemble.role(node) is Role.LEADER]
    ensemble.tick(1, 50)
    assert ensemble.take(1) == []


def test_a_leader_that_is_left_out_does_not_count_itself() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    change(ensemble, 1, members(2, 3))
    joint_index = leader.last_index
    ensemble.isolate(3)
    ensemble.settle()
    assert leader.commit_index < joint_index


def test_a_member_left_out_by_an_uncommitted_change_still_stands() -> None:
    """Raft thesis §4.2.2: it may be the only one that can win. Found by simulation seed 985."""
    ensemble = Ensemble([1], others=[2, 3, 4])
    leader = ensemble.elect(1)
    change(ensemble, 1, configuration("234", "", "1"))
    while leader.configuration.outgoing_voters:
        if ensemble.writes:
            ensemble.write(min(ensemble.writes))
        else:
            ensemble.hand(ensemble.queue.pop(0))
    ensemble.take()
    ensemble.settle()
    ensemble.take()
    ensemble.do(1, lambda group: group._election.follow(group.term, NodeId(0)))
    assert leader.configuration == configuration("234", "", "1")
    for _ in range(40):
        for node in (1, 2, 3, 4):
            ensemble.tick(node)
            ensemble.settle()
    assert {group.configuration for group in ensemble.groups.values()} == {configuration("234", "", "1")}
    assert [node for node in (2, 3, 4) if ensemble.role(node) is Role.LEADER]


def test_a_follower_goes_back_to_the_configuration_before_when_the_change_is_replaced() -> None:
    ensemble = Ensemble()
    group = ensemble.groups[2]
    entry = Entry(Term(1), LogIndex(1), EntryKind.CONFIG, encode_configuration(configuration("124", "123")))
    group.step(Append(GROUP, ONE, TWO, Term(1), LogIndex(0), Term(0), LogIndex(0), [entry]))
    assert group.configuration == configuration("124", "123")
    other = Entry(Term(2), LogIndex(1), EntryKind.NOOP, b"")
    group.step(Append(GROUP, THREE, TWO, Term(2), LogIndex(0), Term(0), LogIndex(0), [other]))
    assert group.configuration == configuration("123")


def test_a_restart_finds_the_configuration_in_the_log() -> None:
    ensemble = Ensemble([1, 2, 3], others=[4])
    ensemble.elect(1)
    change(ensemble, 1, members(1, 2, 4))
    ensemble.settle()
    ensemble.crash(2)
    assert ensemble.start(2).configuration == configuration("124")


def test_a_new_leader_finishes_the_change_of_the_one_before() -> None:
    ensemble = Ensemble([1, 2, 3], others=[4])
    ensemble.elect(1)
    change(ensemble, 1, members(1, 2, 4))
    ensemble.deliver(1, 2)
    ensemble.deliver(1, 4)
    ensemble.take()
    for node in sorted(ensemble.writes):
        ensemble.write(node)
    ensemble.take(kind=AppendReply)
    ensemble.crash(1)
    for node in (2, 3, 4):
        ensemble.do(node, lambda group: group.peer_disconnected(ONE))
    ensemble.do(2, RaftGroup.campaign)
    ensemble.settle()
    assert ensemble.role(2) is Role.LEADER
    assert ensemble.groups[2].configuration == configuration("124")
