"""Who votes in the catalog."""

from __future__ import annotations

from cluster.broker.catalog.ids import NodeId as CatalogNodeId
from cluster.broker.catalog.state import Member, MemberState
from cluster.node.membership.electorate import electorate
from cluster.raft.types import NodeId

EVERYBODY = frozenset(range(1, 9))


def chosen(
    *others: tuple[int, MemberState],
    live: frozenset[int] = EVERYBODY,
    counted: tuple[int, ...] = (),
    bound: tuple[int, ...] = (),
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of nodes 1 to 7, active unless said otherwise."""
    states = dict.fromkeys(range(1, 8), MemberState.ACTIVE) | dict(others)
    members = {NodeId(node): Member(CatalogNodeId(node), f"mq-{node}", "h", 1, state) for node, state in states.items()}
    return electorate(members, live=live, counted=[NodeId(node) for node in counted], bound=bound)


def test_the_five_that_have_been_there_longest_vote_and_the_others_listen() -> None:
    assert chosen() == ((1, 2, 3, 4, 5), (6, 7))


def test_the_next_in_line_votes_when_one_has_nothing_left_to_give_away() -> None:
    assert chosen((2, MemberState.DRAINING), bound=(2,)) == ((1, 2, 3, 4, 5), (6, 7))
    assert chosen((2, MemberState.DRAINING)) == ((1, 3, 4, 5, 6), (7,))
    assert chosen((2, MemberState.GONE), bound=(2,)) == ((1, 3, 4, 5, 6), (7,))


def test_who_is_only_away_keeps_its_vote() -> None:
    assert chosen(live=frozenset({1, 2, 3})) == ((1, 2, 3, 4, 5), (6, 7))


def test_who_joins_is_counted_while_it_answers_or_once_it_votes() -> None:
    joining = (5, MemberState.JOINING)
    assert chosen(joining) == ((1, 2, 3, 4, 5), (6, 7))
    assert chosen(joining, live=frozenset({1})) == ((1, 2, 3, 4, 6), (7,))
    assert chosen(joining, live=frozenset({1}), counted=(5,)) == ((1, 2, 3, 4, 5), (6, 7))
