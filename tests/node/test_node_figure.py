from __future__ import annotations

import pytest

from cluster.node.kinds import Kind
from cluster.node.links import VERSION_OF_SIZES, ProtocolViolation
from cluster.node.node_figure import NodeFigure
from cluster.raft.types import NodeId

from .peers import ONE, THREE, TWO, Peers


def nobody_left(node: NodeId) -> bool:
    return False


def test_a_node_says_its_figure_when_it_is_another_and_to_whom_it_is_linked_anew() -> None:
    peers = Peers(VERSION_OF_SIZES)
    kept = NodeFigure(ONE, peers, Kind.KEPT_BYTES)
    kept.link_up(TWO)
    assert peers.sent == []
    for figure in (7, 7, 8):
        kept.announce(figure)
    kept.link_up(TWO)
    assert peers.sent == [(TWO, Kind.KEPT_BYTES, figure) for figure in (7, 8, 8)]


def test_the_least_is_of_all_that_said_one_and_names_this_node_rather_than_another() -> None:
    kept = NodeFigure(ONE, Peers(VERSION_OF_SIZES), Kind.KEPT_BYTES)
    kept.announce(10)
    assert kept.least(nobody_left) == (10, ONE)
    kept.note(TWO, 9)
    kept.note(THREE, 11)
    assert kept.least(nobody_left) == (9, TWO)
    kept.note(TWO, 10)
    assert kept.least(nobody_left) == (10, ONE)
    kept.announce(12)
    assert kept.least(nobody_left) == (10, TWO)


def test_what_a_node_said_holds_while_it_is_away_and_until_it_says_something_else() -> None:
    peers = Peers(VERSION_OF_SIZES)
    kept = NodeFigure(ONE, peers, Kind.KEPT_BYTES)
    kept.announce(10)
    kept.note(TWO, 5)
    kept.link_up(TWO)
    assert kept.least(nobody_left) == (5, TWO)
    kept.note(TWO, 20)
    assert kept.least(nobody_left) == (10, ONE)


def test_who_is_no_member_any_more_counts_no_longer() -> None:
    kept = NodeFigure(ONE, Peers(VERSION_OF_SIZES), Kind.KEPT_BYTES)
    kept.announce(10)
    kept.note(TWO, 5)
    assert kept.least(lambda node: node == TWO) == (10, ONE)


def test_who_is_linked_with_an_older_version_counts_no_longer_and_is_told_nothing() -> None:
    peers = Peers(VERSION_OF_SIZES)
    kept = NodeFigure(ONE, peers, Kind.KEPT_BYTES)
    kept.announce(10)
    kept.note(THREE, 5)
    peers.sent.clear()
    kept.link_up(THREE)
    assert kept.least(nobody_left) == (10, ONE)
    assert peers.sent == []


@pytest.mark.parametrize("figure", [0, -1, True, None, 1.5, "7", [7]])
def test_a_figure_that_is_no_whole_number_above_0_is_a_violation_and_changes_nothing(figure: object) -> None:
    kept = NodeFigure(ONE, Peers(VERSION_OF_SIZES), Kind.KEPT_BYTES)
    kept.announce(10)
    with pytest.raises(ProtocolViolation, match=r"^KEPT_BYTES is a whole number above 0$"):
        kept.note(TWO, figure)
    assert kept.least(nobody_left) == (10, ONE)
