"""When a replica may be deleted: its leader says, by a later configuration, that it is none."""

from __future__ import annotations

import pytest

from cluster.node.membership.standing import Standing
from cluster.raft.group import GroupStatus, Role
from cluster.raft.types import Configuration, GroupId, LogIndex, NodeId, Term

ONE, TWO, THREE, FOUR = NodeId(1), NodeId(2), NodeId(3), NodeId(4)


def standing(index: int, *members: NodeId, settled: bool = True) -> Standing:
    return Standing(GroupId(1), Term(5), ONE, settled, LogIndex(index), members, members)


def replica(index: int, *voters: NodeId) -> GroupStatus:
    zero = LogIndex(0)
    now = Configuration(voters)
    return GroupStatus(GroupId(1), Role.FOLLOWER, Term(5), ONE, zero, zero, zero, zero, now, {}, LogIndex(index))


@pytest.mark.parametrize(
    ("said", "own", "is_left_out"),
    [
        (standing(8, ONE, TWO, FOUR), replica(7, ONE, TWO, THREE, FOUR), True),
        (standing(8, ONE, TWO, FOUR, settled=False), replica(7, ONE, TWO, THREE, FOUR), False),
        (standing(8, ONE, TWO, THREE), replica(7, ONE, TWO, THREE), False),
        # It was left out and has come back since; a leader of the past does not know.
        (standing(8, ONE, TWO, FOUR), replica(12, ONE, TWO, THREE), False),
        # The configuration that leaves it out has reached it.
        (standing(8, ONE, TWO, FOUR), replica(8, ONE, TWO, FOUR), True),
        (standing(8, ONE, TWO, FOUR), replica(9, ONE, TWO, FOUR), False),
    ],
)
def test_a_replica_is_deleted_only_when_it_is_surely_none(said: Standing, own: GroupStatus, is_left_out: bool) -> None:
    assert said.leaves_out(THREE, own) is is_left_out


def test_a_standing_survives_its_way() -> None:
    assert Standing.from_wire(standing(8, ONE, TWO).to_wire()) == standing(8, ONE, TWO)


def test_a_group_has_arrived_when_its_voters_are_those_wanted_and_nobody_else_is_in_it() -> None:
    assert standing(8, ONE, TWO, THREE).is_at((THREE, ONE, TWO))
    assert not standing(8, ONE, TWO, THREE, settled=False).is_at((ONE, TWO, THREE))
    learning = Standing(GroupId(1), Term(5), ONE, True, LogIndex(8), (ONE, TWO), (ONE, TWO, THREE))
    assert not learning.is_at((ONE, TWO))
