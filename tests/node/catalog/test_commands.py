"""How commands reach the log, and who hears that they are applied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from cluster.broker.catalog.codec import encode_command
from cluster.broker.catalog.commands import DeclareExchange, DeclareQueue
from cluster.broker.errors import BrokerError
from cluster.node.catalog.client import CatalogClient
from cluster.node.catalog.host import COMMANDS_PER_ENTRY_MAX
from cluster.node.kinds import Kind
from cluster.raft.types import GroupId, NodeId
from tests.node.catalog.world import ME, OTHER, THIRD, Replica


def declare(number: int) -> DeclareQueue:
    return DeclareQueue("/", f"queue-{number}", True, False, False, ())


class Network:
    """Links and consensus of a node that leads the catalog itself."""

    def __init__(self, *peers: NodeId) -> None:
        self.peers = peers
        self.sent: list[tuple[NodeId, int, Any]] = []

    async def call(self, peer: NodeId, kind: int, body: Any, timeout_seconds: float) -> Any:
        raise AssertionError("it leads itself")

    def send(self, peer: NodeId, kind: int, body: Any) -> bool:
        self.sent.append((peer, kind, body))
        return True

    def up_peers(self) -> Sequence[NodeId]:
        return self.peers

    def leader_of(self, group: GroupId) -> NodeId:
        return ME

    def read_index(self, group: GroupId, context: int) -> None:
        raise AssertionError("nobody reads")


async def test_commands_under_way_together_share_entries() -> None:
    replica = Replica()
    replica.lead()
    count = 3 * COMMANDS_PER_ENTRY_MAX
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(replica.host.submit, declare(number), ME)
        await trio.testing.wait_all_tasks_blocked()
        assert replica.commit() == 3
    assert len(replica.host.catalog.queues) == count


async def test_one_refused_command_of_an_entry_refuses_no_other() -> None:
    replica = Replica()
    replica.lead()
    bad = DeclareExchange("/", "amq.direct", "fanout", True, False, False)
    refused: list[BrokerError] = []

    async def ask_for_the_impossible() -> None:
        try:
            await replica.host.submit(bad, ME)
        except BrokerError as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(replica.host.submit, declare(1), ME)
        nursery.start_soon(ask_for_the_impossible)
        await trio.testing.wait_all_tasks_blocked()
        assert replica.commit() == 1
    assert len(refused) == 1
    assert len(replica.host.catalog.queues) == 1


async def test_a_follower_tells_only_who_asked() -> None:
    leader, follower = Replica(), Replica()
    leader.lead()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leader.host.submit, declare(1), OTHER)
        nursery.start_soon(leader.host.submit, declare(2), OTHER)
        await trio.testing.wait_all_tasks_blocked()
        leader.commit()
    assert leader.told[-1] == set(), "its answer says it"
    follower.append(leader.log[-1].data)
    assert follower.told[-1] == {OTHER}
    network = Network(OTHER, THIRD)
    client = CatalogClient(ME, follower.host, network, network)
    client.applied(7, follower.told[-1])
    assert network.sent == [(OTHER, Kind.CATALOG_APPLIED, 7)]


async def test_of_an_entry_that_does_not_say_who_asked_everybody_is_told() -> None:
    replica = Replica()
    replica.append(encode_command(declare(1)))
    network = Network(OTHER, THIRD)
    client = CatalogClient(ME, replica.host, network, network)
    client.applied(7, replica.told[-1])
    assert [peer for peer, _, _ in network.sent] == [OTHER, THIRD]


async def test_a_change_is_answered_when_every_reachable_node_has_applied_it(autojump_clock: object) -> None:
    replica = Replica()
    replica.lead()
    network = Network(OTHER, THIRD)
    client = CatalogClient(ME, replica.host, network, network)
    client.peer_applied(OTHER, 1)
    client.peer_applied(THIRD, 1)
    answered_at = math.inf

    async def change() -> None:
        nonlocal answered_at
        await client.submit(declare(1))
        answered_at = trio.current_time()

    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(change)
        await trio.testing.wait_all_tasks_blocked()
        replica.commit()
        client.peer_applied(OTHER, 2)
        await trio.sleep(0.1)
        assert answered_at == math.inf
        client.peer_applied(THIRD, 2)
    assert answered_at - began == pytest.approx(0.1)


async def test_a_node_that_is_cut_off_is_not_waited_for(autojump_clock: object) -> None:
    replica = Replica()
    replica.lead()
    network = Network(OTHER)
    client = CatalogClient(ME, replica.host, network, network)
    client.peer_applied(OTHER, 1)
    with trio.fail_after(0.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.submit, declare(1))
            await trio.testing.wait_all_tasks_blocked()
            replica.commit()
            network.peers = ()
            client.link_down(OTHER)
