"""When a node may say that something is not there without asking the catalog's leader."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from cluster.broker.catalog.state import Member, MemberState
from cluster.node.catalog.awaited import FRESH_SECONDS
from cluster.node.catalog.client import CatalogClient
from cluster.node.kinds import Kind
from cluster.node.links.handshake import VERSION_OF_FRESHNESS
from cluster.node.links.interface import ProtocolViolation
from cluster.raft.types import NodeId
from tests.node.catalog.network import Network, client_of
from tests.node.catalog.test_awaited import Declaration, ticking
from tests.node.catalog.test_commands import declare
from tests.node.catalog.world import ME, OTHER, THIRD, Replica


async def asked(client: CatalogClient, network: Network, replica: Replica) -> None:
    """Have it freshen; the leader's answer takes a tenth of a second."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.freshen)
        await trio.sleep(0.1)
        replica.host.read_ready(network.reads[-1])


def wishes(network: Network) -> list[tuple[NodeId, Any]]:
    """Who was asked to wait for this node's copy, and how."""
    return [(peer, body) for peer, kind, body in network.sent if kind == Kind.CATALOG_AWAIT]


def answer(client: CatalogClient, network: Network, *peers: NodeId, index: int = 1) -> None:
    """The latest wish; the copies of `peers` have applied `index`."""
    number, _ = wishes(network)[-1][1]
    for peer in peers:
        client.message(peer, Kind.CATALOG_AWAITED, [number, index])


async def freshened(client: CatalogClient, network: Network, replica: Replica) -> None:
    await asked(client, network, replica)
    answer(client, network, *network.peers)


def followed_by(network: Network, aside: set[NodeId] | None = None) -> tuple[CatalogClient, Replica]:
    network.leader = OTHER
    replica = Replica()
    return client_of(replica, network, aside=() if aside is None else aside), replica


async def test_a_copy_is_fresh_for_a_while_after_it_was_asked_whether_it_is(autojump_clock: object) -> None:
    network = Network(OTHER, THIRD)
    client, replica = followed_by(network)
    assert not client.freshness.is_fresh
    await freshened(client, network, replica)
    await trio.sleep(FRESH_SECONDS - 0.11)
    assert client.freshness.is_fresh
    await trio.sleep(0.02)
    assert not client.freshness.is_fresh, "what was declared since it was asked, not since it was told, may be missing"


async def test_a_copy_is_not_fresh_before_every_member_says_that_it_waits_for_it(autojump_clock: object) -> None:
    network = Network(OTHER, THIRD)
    client, replica = followed_by(network)
    await asked(client, network, replica)
    assert wishes(network) == [(peer, [1, len(replica.log)]) for peer in (OTHER, THIRD)]
    answer(client, network, OTHER)
    assert not client.freshness.is_fresh
    answer(client, network, THIRD)
    assert client.freshness.is_fresh


async def test_a_copy_is_not_fresh_before_the_leader_says_that_it_has_everything(autojump_clock: object) -> None:
    network = Network(OTHER, THIRD)
    client, replica = followed_by(network)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.freshen)
        await trio.testing.wait_all_tasks_blocked()
        answer(client, network, OTHER, THIRD)
        assert not client.freshness.is_fresh
        replica.host.read_ready(network.reads[-1])
        await trio.testing.wait_all_tasks_blocked()
        assert client.freshness.is_fresh


async def test_a_copy_is_not_fresh_before_it_has_what_the_others_had_when_they_began_to_wait(
    autojump_clock: object,
) -> None:
    """The leader was asked before that; who has just been linked may have answered something without this node."""
    network = Network(OTHER, THIRD)
    client, replica = followed_by(network)
    await asked(client, network, replica)
    answer(client, network, THIRD, index=len(replica.log) + 1)
    answer(client, network, OTHER)
    assert not client.freshness.is_fresh
    replica.command(declare(1))
    assert client.freshness.is_fresh


async def test_an_answer_to_what_was_asked_before_does_not_count(autojump_clock: object) -> None:
    network = Network(OTHER, THIRD)
    client, replica = followed_by(network)
    await asked(client, network, replica)
    answer(client, network, OTHER)
    (_, late), *_ = wishes(network)
    await trio.sleep(FRESH_SECONDS)
    await asked(client, network, replica)
    answer(client, network, OTHER)
    client.message(THIRD, Kind.CATALOG_AWAITED, late)
    assert not client.freshness.is_fresh
    answer(client, network, THIRD)
    assert client.freshness.is_fresh


async def test_the_members_are_asked_once_in_a_while_however_much_has_nowhere_to_go(autojump_clock: object) -> None:
    network = Network(OTHER, THIRD)
    client, replica = followed_by(network)
    began = trio.current_time()
    while trio.current_time() < began + 4.5 * FRESH_SECONDS:
        await asked(client, network, replica)
    assert len(wishes(network)) == 5 * 2, "nobody answers: the same as when somebody does"


async def test_who_only_catches_up_asks_no_member(autojump_clock: object) -> None:
    network = Network(OTHER, THIRD)
    client, replica = followed_by(network)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.catch_up)
        await trio.testing.wait_all_tasks_blocked()
        replica.host.read_ready(network.reads[-1])
    assert not network.sent
    assert not client.freshness.is_fresh


async def test_a_member_that_is_too_old_to_be_asked_is_not(autojump_clock: object) -> None:
    network = Network(OTHER, THIRD)
    network.version = VERSION_OF_FRESHNESS - 1
    client, replica = followed_by(network)
    await asked(client, network, replica)
    assert not network.sent
    assert client.freshness.is_fresh


async def test_a_copy_is_not_fresh_while_a_member_is_not_linked_which_would_not_wait_for_it(
    autojump_clock: object,
) -> None:
    network = Network(OTHER)
    client, replica = followed_by(network)
    members = replica.host.catalog.members
    for node, state in ((ME, MemberState.ACTIVE), (OTHER, MemberState.ACTIVE), (THIRD, MemberState.GONE)):
        members[node] = Member(node, f"mq-{node}", "localhost", 1, state)
    await freshened(client, network, replica)
    assert client.freshness.is_fresh
    members[THIRD] = Member(THIRD, "mq-3", "localhost", 1, MemberState.JOINING)
    assert not client.freshness.is_fresh
    await trio.sleep(FRESH_SECONDS)
    await asked(client, network, replica)
    assert len(wishes(network)) == 1, "whatever the others answer"


async def test_a_copy_is_not_fresh_by_what_was_asked_before_a_link_came_or_went(autojump_clock: object) -> None:
    network = Network(OTHER, THIRD)
    client, replica = followed_by(network)
    for change in (client.link_down, client.link_up):
        await freshened(client, network, replica)
        assert client.freshness.is_fresh
        await trio.sleep(0.01)
        change(THIRD)
        assert not client.freshness.is_fresh
        await trio.sleep(0.01)


async def test_a_node_that_leaves_service_is_not_fresh_and_asks_anew_when_it_is_back(autojump_clock: object) -> None:
    network, aside = Network(OTHER, THIRD), set[NodeId]()
    client, replica = followed_by(network, aside)
    await freshened(client, network, replica)
    client.freshness.void()
    aside.add(ME)
    await asked(client, network, replica)
    assert not client.freshness.is_fresh
    assert len(wishes(network)) == 2
    aside.clear()
    assert not client.freshness.is_fresh
    await freshened(client, network, replica)
    assert client.freshness.is_fresh


async def test_who_is_asked_to_waits_from_then_on_and_says_what_it_has_applied(autojump_clock: object) -> None:
    replica, network = Replica(), Network(OTHER)
    replica.lead()
    client = client_of(replica, network)
    client.message(OTHER, Kind.CATALOG_AWAIT, [7, 1])
    assert network.sent == [(OTHER, Kind.CATALOG_AWAITED, [7, len(replica.log)])]
    declaration = Declaration(client, replica)
    async with trio.open_nursery() as nursery:
        await nursery.start(declaration.run)
        await trio.sleep(0.1)
        assert declaration.answered_at > trio.current_time()
        client.peer_applied(OTHER, len(replica.log))


@pytest.mark.parametrize("kind", [Kind.CATALOG_AWAIT, Kind.CATALOG_AWAITED])
@pytest.mark.parametrize("body", [None, [1], ["1", 2]])
def test_words_that_nobody_says_are_a_violation(kind: Kind, body: object) -> None:
    client, _ = followed_by(Network(OTHER))
    with pytest.raises(ProtocolViolation, match="malformed"):
        client.message(OTHER, kind, body)


async def test_what_is_answered_without_a_node_is_answered_when_that_one_is_not_fresh_any_more(
    autojump_clock: object,
) -> None:
    """The end of a link breaks at which the change is made; the other end hears nothing of that."""
    here, there = Network(OTHER), Network(ME)
    leader, copy = Replica(), Replica()
    leader.lead()
    leader.host.catalog.members.pop(THIRD)
    copy.host.catalog.members.pop(THIRD)
    changing, publishing = client_of(leader, here), client_of(copy, there, OTHER)
    changing.peer_applied(OTHER, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publishing.freshen)
        await trio.testing.wait_all_tasks_blocked()
        for _, kind, body in list(there.sent):
            changing.message(OTHER, kind, body)
        for _, kind, body in list(here.sent):
            publishing.message(ME, kind, body)
        copy.host.read_ready(there.reads[-1])
    assert publishing.freshness.is_fresh
    here.peers = ()
    changing.link_down(OTHER)
    declaration = Declaration(changing, leader)
    async with trio.open_nursery() as nursery:
        await nursery.start(declaration.run)
        nursery.start_soon(ticking, changing)
        was_fresh_until = trio.current_time()
        while trio.current_time() < declaration.answered_at:
            await trio.sleep(0.01)
            if publishing.freshness.is_fresh:
                was_fresh_until = trio.current_time()
        nursery.cancel_scope.cancel()
    assert was_fresh_until < declaration.answered_at
