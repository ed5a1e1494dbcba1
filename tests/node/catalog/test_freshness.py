"""When a node may say that something is not there without asking the catalog's leader."""

from __future__ import annotations

import trio

from cluster.broker.catalog.state import Member, MemberState
from cluster.node.catalog.client import FRESH_SECONDS, CatalogClient
from tests.node.catalog.network import Network, client_of
from tests.node.catalog.world import ME, OTHER, THIRD, Replica


async def asked(client: CatalogClient, network: Network, replica: Replica) -> None:
    """Have it catch up; the answer takes a tenth of a second."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.catch_up)
        await trio.sleep(0.1)
        replica.host.read_ready(network.reads[-1])


def followed_by(network: Network) -> tuple[CatalogClient, Replica]:
    network.leader = OTHER
    replica = Replica()
    return client_of(replica, network), replica


async def test_a_copy_is_fresh_for_a_while_after_it_was_asked_whether_it_is(autojump_clock: object) -> None:
    network = Network(OTHER, THIRD)
    client, replica = followed_by(network)
    assert not client.is_fresh
    await asked(client, network, replica)
    await trio.sleep(FRESH_SECONDS - 0.11)
    assert client.is_fresh
    await trio.sleep(0.02)
    assert not client.is_fresh, "what was declared since it was asked, not since it was told, may be missing"


async def test_a_copy_is_not_fresh_while_a_member_is_not_linked_which_would_not_wait_for_it(
    autojump_clock: object,
) -> None:
    network = Network(OTHER)
    client, replica = followed_by(network)
    members = replica.host.catalog.members
    for node, state in ((ME, MemberState.ACTIVE), (OTHER, MemberState.ACTIVE), (THIRD, MemberState.GONE)):
        members[node] = Member(node, f"mq-{node}", "localhost", 1, state)
    await asked(client, network, replica)
    assert client.is_fresh
    members[THIRD] = Member(THIRD, "mq-3", "localhost", 1, MemberState.JOINING)
    assert not client.is_fresh
    network.peers = (OTHER, THIRD)
    assert client.is_fresh


async def test_a_copy_is_not_fresh_by_what_was_asked_before_a_link_came_or_went(autojump_clock: object) -> None:
    network = Network(OTHER, THIRD)
    client, replica = followed_by(network)
    for change in (client.link_down, client.link_up):
        await asked(client, network, replica)
        assert client.is_fresh
        await trio.sleep(0.01)
        change(THIRD)
        assert not client.is_fresh
        await trio.sleep(0.01)
