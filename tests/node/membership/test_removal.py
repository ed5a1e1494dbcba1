"""Who may be removed: nobody whose going could cost a quorum."""

from __future__ import annotations

from cluster.broker.catalog.ids import NodeId as CatalogNodeId
from cluster.broker.catalog.state import Member, MemberState
from cluster.node.membership.removal import objection
from cluster.node.membership.standing import Standing
from cluster.raft.types import GroupId, LogIndex, NodeId, Term

CATALOG, SHARD = GroupId(0), GroupId(1)


def members(*nodes: int, **states: MemberState) -> dict[NodeId, Member]:
    return {
        NodeId(n): Member(CatalogNodeId(n), f"mq-{n}", "h", 1, states.get(f"mq{n}", MemberState.ACTIVE)) for n in nodes
    }


def standing(group: GroupId, *voters: int) -> Standing:
    ids = tuple(NodeId(voter) for voter in voters)
    return Standing(group, Term(1), ids[0], True, LogIndex(1), ids, ids)


def asked(leaving: int, known: dict[NodeId, Member], *standings: Standing, live: tuple[int, ...]) -> str | None:
    return objection(
        NodeId(leaving),
        known,
        [CATALOG, SHARD],
        {each.group: each for each in standings},
        [NodeId(node) for node in live],
    )


def test_one_of_three_may_go_while_the_others_live_dead_or_not() -> None:
    groups = standing(CATALOG, 1, 2, 3), standing(SHARD, 1, 2, 3)
    assert asked(3, members(1, 2, 3), *groups, live=(1, 2, 3)) is None
    assert asked(3, members(1, 2, 3), *groups, live=(1, 2)) is None


def test_a_living_one_stays_while_another_is_down_and_nobody_can_take_its_place() -> None:
    groups = standing(CATALOG, 1, 2, 3), standing(SHARD, 1, 2, 3)
    assert asked(2, members(1, 2, 3), *groups, live=(1, 2)) == (
        "group 0 would have no quorum without mq-2: mq-3 is down. Bring it back first"
    )


def test_where_another_can_take_its_place_it_may_go() -> None:
    groups = standing(CATALOG, 1, 2, 3, 4, 5), standing(SHARD, 1, 2, 3)
    assert asked(2, members(1, 2, 3, 4, 5), *groups, live=(1, 2, 4, 5)) is None


def test_nothing_is_decided_about_a_group_that_nobody_speaks_for() -> None:
    assert asked(3, members(1, 2, 3), standing(CATALOG, 1, 2, 3), live=(1, 2, 3)) == (
        "group 1 has no leader that answers: bring its members back first"
    )


def test_the_last_that_serves_stays() -> None:
    known = members(1, 2, mq2=MemberState.DRAINING)
    groups = standing(CATALOG, 1, 2), standing(SHARD, 1, 2)
    assert asked(1, known, *groups, live=(1, 2)) == ("mq-1 is the last member that could serve: nobody could take over")
