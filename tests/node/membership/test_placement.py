"""Where replicas shall be: every step is small, moves no more than it must, and the end is even."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from cluster.node.bootstrap import Charter
from cluster.node.config import PeerSpec
from cluster.node.membership.placement import MOVES_MAX, REPLICAS, Nodes, next_places
from cluster.raft.types import GroupId, NodeId


def founded(nodes: int, shards: int = 8) -> dict[GroupId, Nodes]:
    members = tuple(PeerSpec(f"n{n}", "h", 1) for n in range(nodes))
    return {group: placed for group, placed in Charter("c", members, shards).placement().items() if group}


def ids(*nodes: int) -> list[NodeId]:
    return [NodeId(node) for node in nodes]


def settle(places: dict[GroupId, Nodes], usable: list[NodeId], live: list[NodeId]) -> tuple[dict[GroupId, Nodes], int]:
    """What it comes to, and how many replicas were brought somewhere."""
    brought = 0
    for _ in range(10_000):
        changed = next_places(places, usable=usable, live=live, moving=())
        if not changed:
            return places, brought
        moves = {group: set(nodes) ^ set(places[group]) for group, nodes in changed.items()}
        assert len([moved for moved in moves.values() if moved]) <= MOVES_MAX
        for group, moved in moves.items():
            assert len(moved - set(places[group])) <= 1
            assert len(set(changed[group])) == len(changed[group])
            assert moved - set(places[group]) <= set(live)
            brought += len(moved - set(places[group]))
        places = {**places, **changed}
    raise AssertionError("it does not settle")


def loads(places: dict[GroupId, Nodes], usable: list[NodeId]) -> list[int]:
    count = Counter(node for nodes in places.values() for node in nodes)
    return sorted(count[node] for node in usable)


def heads(places: dict[GroupId, Nodes], usable: list[NodeId]) -> list[int]:
    count = Counter(nodes[0] for nodes in places.values())
    return sorted(count[node] for node in usable)


def test_three_founders_are_even_from_the_start() -> None:
    assert next_places(founded(3), usable=ids(1, 2, 3), live=ids(1, 2, 3), moving=()) == {}


def test_two_more_nodes_get_their_share_and_nothing_else_moves() -> None:
    usable = ids(1, 2, 3, 4, 5)
    places, brought = settle(founded(3), usable, usable)
    assert loads(places, usable) == [4, 5, 5, 5, 5]
    assert brought == 9, "no more than what the newcomers have now"
    assert heads(places, usable) == [1, 1, 2, 2, 2]


def test_a_node_that_leaves_gives_each_of_its_replicas_to_another() -> None:
    five = ids(1, 2, 3, 4, 5)
    places, _ = settle(founded(3), five, five)
    held = sum(NodeId(5) in nodes for nodes in places.values())
    four = ids(1, 2, 3, 4)
    after, brought = settle(places, four, five)
    assert brought <= held + 1, "whoever was the emptiest may hold the shard already"
    assert loads(after, four) == [6, 6, 6, 6]
    back, _ = settle(after, ids(1, 2, 3), four)
    assert all(set(nodes) == {1, 2, 3} for nodes in back.values())
    assert heads(back, ids(1, 2, 3)) == [2, 3, 3]


def test_with_nobody_to_take_its_place_a_replica_goes_and_two_are_left() -> None:
    places, brought = settle(founded(3), ids(1, 2), ids(1, 2))
    assert brought == 0
    assert all(set(nodes) == {1, 2} for nodes in places.values())


def test_one_founder_grows_to_three_replicas_a_shard() -> None:
    usable = ids(1, 2, 3)
    places, brought = settle(founded(1), usable, usable)
    assert brought == 16
    assert all(len(nodes) == 3 for nodes in places.values())
    assert heads(places, usable) == [2, 3, 3]


def test_nothing_is_brought_to_a_node_that_does_not_answer() -> None:
    assert next_places(founded(3), usable=ids(1, 2, 3, 4), live=ids(1, 2, 3), moving=()) == {}
    assert next_places(founded(3), usable=ids(1, 2, 4), live=ids(1, 2), moving=()) == {}


def test_a_shard_on_its_way_is_left_alone_and_counts() -> None:
    places, usable = founded(3), ids(1, 2, 3, 4, 5)
    moving = [GroupId(1)]
    changed = next_places(places, usable=usable, live=usable, moving=moving)
    assert len(changed) == MOVES_MAX - 1
    assert GroupId(1) not in changed
    assert next_places(places, usable=usable, live=usable, moving=[GroupId(1), GroupId(2)]) == {}


def test_a_shard_on_its_way_to_a_node_that_is_gone_goes_elsewhere_however_many_are_moving() -> None:
    wanted = ((3, 1, 4), (1, 2, 5), (1, 2, 4))
    places = {GroupId(group): tuple(ids(*nodes)) for group, nodes in enumerate(wanted, start=1)}
    changed = next_places(places, usable=ids(1, 2, 4, 5), live=ids(1, 2, 4, 5), moving=[*places])
    assert changed == {GroupId(1): (1, 4, 5)}


def test_a_shard_on_its_way_to_a_node_that_is_dead_and_may_come_back_waits_for_it() -> None:
    places = {GroupId(1): tuple(ids(3, 1, 4))}
    assert next_places(places, usable=ids(1, 2, 3, 4), live=ids(1, 2, 4), moving=[GroupId(1)]) == {}


def test_a_dead_node_is_left_before_a_living_one() -> None:
    changed = next_places(founded(3), usable=ids(1, 4, 5), live=ids(1, 2, 4, 5), moving=())
    assert all(NodeId(3) not in nodes for nodes in changed.values())


@pytest.mark.parametrize("round_number", range(20))
def test_whatever_comes_and_goes_it_settles_evenly_with_no_move_too_many(round_number: int) -> None:
    seed = Random().randrange(1 << 32)
    print(f"seed {seed}")
    chance = Random(seed)
    shards = chance.choice((1, 2, 7, 8, 16))
    nodes = chance.randrange(1, 7)
    places, usable, highest = founded(nodes, shards), ids(*range(1, nodes + 1)), nodes
    places, _ = settle(places, usable, usable)
    for _ in range(8):
        before, live = places, list(usable)
        if chance.random() < 0.6 or len(usable) == 1:
            highest += 1
            usable = [*usable, NodeId(highest)]
            live = [*usable]
        else:
            usable = [node for node in usable if node != chance.choice(usable)] or usable[:1]
        places, brought = settle(places, usable, live)
        assert all(len(placed) == min(REPLICAS, len(usable)) for placed in places.values())
        spread = loads(places, usable)
        assert spread[-1] - spread[0] <= 1
        count = Counter(node for placed in before.values() for node in placed)
        least = len(places) * min(REPLICAS, len(usable)) // len(usable)
        kept_at_most = sum(min(count[node], least + 1) for node in usable)
        assert brought <= len(places) * min(REPLICAS, len(usable)) - kept_at_most + len(usable)
        led = heads(places, usable)
        assert led[-1] - led[0] <= 1 or len(usable) > REPLICAS
