"""From the members a group has to those it shall have, without ever endangering its quorum."""

from __future__ import annotations

from random import Random

import pytest

from cluster.node.membership.steps import HandOver, has_majority, next_step
from cluster.raft.membership import enter_change, leave_joint
from cluster.raft.types import Configuration, NodeId


def ids(*nodes: int) -> tuple[NodeId, ...]:
    return tuple(NodeId(node) for node in nodes)


def settled(voters: tuple[NodeId, ...], *learners: int) -> Configuration:
    return Configuration(voters, (), ids(*learners))


ALL = ids(1, 2, 3, 4, 5)


def test_who_comes_first_only_receives_the_log() -> None:
    step = next_step(settled(ids(1, 2, 3)), ids(1, 2, 4), leader=NodeId(1), ready=ALL, live=ALL)
    assert step == settled(ids(1, 2, 3), 4)


def test_who_has_caught_up_votes_and_the_one_it_replaces_goes_in_the_same_step() -> None:
    current = settled(ids(1, 2, 3), 4)
    assert next_step(current, ids(1, 2, 4), leader=NodeId(1), ready=ids(2, 3), live=ALL) is None
    step = next_step(current, ids(1, 2, 4), leader=NodeId(1), ready=ids(2, 3, 4), live=ALL)
    assert step == settled(ids(1, 2, 4))


def test_a_leader_that_is_replaced_lets_the_newcomer_vote_then_hands_over_then_is_left_out() -> None:
    current = settled(ids(1, 2, 3), 4)
    step = next_step(current, ids(2, 3, 4), leader=NodeId(1), ready=ids(2, 3, 4), live=ALL)
    assert step == settled(ids(1, 2, 3, 4))
    step = next_step(settled(ids(1, 2, 3, 4)), ids(2, 3, 4), leader=NodeId(1), ready=ids(2, 4), live=ALL)
    assert step == HandOver(ids(2, 4))
    step = next_step(settled(ids(1, 2, 3, 4)), ids(2, 3, 4), leader=NodeId(2), ready=ids(1, 3, 4), live=ALL)
    assert step == settled(ids(2, 3, 4))


def test_who_is_lost_is_replaced_without_its_help() -> None:
    live = ids(1, 2, 4)
    step = next_step(settled(ids(1, 2, 3), 4), ids(1, 2, 4), leader=NodeId(2), ready=ids(1, 4), live=live)
    assert step == settled(ids(1, 2, 4))


def test_a_replica_goes_without_being_replaced_only_where_there_are_too_many() -> None:
    live = ids(1, 2, 3)
    assert next_step(settled(ids(1, 2, 3), 4), ids(1, 2, 4), leader=NodeId(1), ready=ids(2, 3), live=live) is None
    step = next_step(settled(ids(1, 2, 3)), ids(1, 2), leader=NodeId(1), ready=ids(2, 3), live=live)
    assert step == settled(ids(1, 2))


def test_nothing_is_done_towards_voters_that_could_not_decide() -> None:
    live = ids(1, 3)
    assert next_step(settled(ids(1, 2, 3)), ids(1, 2), leader=NodeId(1), ready=ids(3), live=live) is None


def test_what_is_reached_stays() -> None:
    assert next_step(settled(ids(1, 2, 3)), ids(3, 1, 2), leader=NodeId(1), ready=ALL, live=ALL) is None


def test_a_learner_that_is_not_wanted_any_more_goes() -> None:
    step = next_step(settled(ids(1, 2, 3), 4, 5), ids(1, 2, 3), leader=NodeId(1), ready=ALL, live=ALL)
    assert step == settled(ids(1, 2, 3))


def test_a_voter_too_many_goes_on_as_a_listener_and_votes_again_for_one_that_leaves() -> None:
    six = ids(1, 2, 3, 4, 5, 6)
    step = next_step(settled(six), ALL, leader=NodeId(1), ready=six, live=six, listeners=ids(6))
    assert step == settled(ALL, 6)
    assert next_step(step, ALL, leader=NodeId(1), ready=six, live=six, listeners=ids(6)) is None
    step = next_step(settled(ALL, 6), ids(1, 2, 4, 5, 6), leader=NodeId(1), ready=six, live=six)
    assert step == settled(ids(1, 2, 4, 5, 6))


@pytest.mark.parametrize("round_number", range(30))
def test_from_anywhere_it_arrives_and_at_each_step_those_alive_can_decide(round_number: int) -> None:
    seed = Random().randrange(1 << 32)
    print(f"seed {seed}")
    chance = Random(seed)
    everyone = ids(*range(1, 9))
    for _ in range(50):
        voters = tuple(sorted(chance.sample(everyone, chance.randrange(1, 6))))
        wanted = tuple(chance.sample(everyone, chance.randrange(1, 6)))
        listeners = tuple([node for node in everyone if node not in wanted and chance.random() < 0.3])
        dead = [node for node in voters if node not in wanted and chance.random() < 0.3]
        live = [node for node in everyone if node not in dead]
        if not has_majority(voters, live):
            continue
        current = Configuration(voters)
        leader = chance.choice([voter for voter in voters if voter in live])
        for _ in range(40):
            ready = [node for node in live if node != leader and chance.random() < 0.7]
            step = next_step(current, wanted, leader=leader, ready=ready, live=live, listeners=listeners)
            if isinstance(step, HandOver):
                leader = chance.choice(step.candidates)
                assert leader in wanted
            elif step is not None:
                entered = enter_change(current, step)
                assert has_majority(entered.voters, live)
                assert not entered.outgoing_voters or has_majority(entered.outgoing_voters, live)
                assert leader in step.voters
                assert len(set(step.voters) ^ set(current.voters)) <= 2
                current = leave_joint(entered) if entered.outgoing_voters else entered
        assert set(current.voters) == set(wanted) or not has_majority(wanted, live)
        assert current.learners == listeners or not has_majority(wanted, live)
