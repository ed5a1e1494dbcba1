"""How long a change waits for a node whose link has gone."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from cluster.node.catalog.awaited import PARTED_SECONDS
from cluster.node.catalog.client import VISIBLE_TIMEOUT_SECONDS, CatalogClient
from tests.node.catalog.network import Network, client_of
from tests.node.catalog.test_commands import declare
from tests.node.catalog.world import OTHER, THIRD, Replica

TICK_SECONDS = 0.05


def leading(aside: set[int] | None = None, incarnation: int = 1) -> tuple[CatalogClient, Replica]:
    replica = Replica()
    replica.lead()
    network = Network(OTHER, THIRD)
    return client_of(replica, network, aside=aside or (), incarnation=incarnation), replica


class Declaration:
    """A change under way; nobody but its node has applied it."""

    def __init__(self, client: CatalogClient, replica: Replica, number: int = 1) -> None:
        self.answered_at = math.inf
        self._client = client
        self._replica = replica
        self._number = number

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._submit)
            await trio.testing.wait_all_tasks_blocked()
            self._replica.commit()
            task_status.started()

    async def _submit(self) -> None:
        await self._client.submit(declare(self._number))
        self.answered_at = trio.current_time()


async def ticking(client: CatalogClient) -> None:
    while True:
        await trio.sleep(TICK_SECONDS)
        client.tick()


async def seconds_until_answered(client: CatalogClient, replica: Replica, number: int = 1) -> float:
    began = trio.current_time()
    declaration = Declaration(client, replica, number)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticking, client)
        await declaration.run()
        nursery.cancel_scope.cancel()
    return declaration.answered_at - began


async def test_a_node_whose_link_went_down_is_waited_for_a_while_which_all_changes_share(
    autojump_clock: object,
) -> None:
    client, replica = leading()
    client.peer_applied(OTHER, 1)
    client.link_down(OTHER)
    began = trio.current_time()
    await trio.sleep(0.3)
    assert await seconds_until_answered(client, replica) == pytest.approx(PARTED_SECONDS - 0.3)
    assert trio.current_time() == pytest.approx(began + PARTED_SECONDS)
    assert await seconds_until_answered(client, replica, 2) == 0


async def test_a_change_waits_no_longer_because_a_link_goes_down_meanwhile(autojump_clock: object) -> None:
    client, replica = leading()
    client.peer_applied(OTHER, 1)
    declaration, began = Declaration(client, replica), trio.current_time()
    async with trio.open_nursery() as nursery:
        await nursery.start(declaration.run)
        nursery.start_soon(ticking, client)
        await trio.sleep(VISIBLE_TIMEOUT_SECONDS - 0.1)
        client.link_down(OTHER)
        await trio.sleep(0.11)
        assert declaration.answered_at - began == pytest.approx(VISIBLE_TIMEOUT_SECONDS)
        nursery.cancel_scope.cancel()


async def test_a_link_that_breaks_again_before_anything_is_said_prolongs_nothing(autojump_clock: object) -> None:
    client, replica = leading()
    client.peer_applied(OTHER, 1)
    client.link_down(OTHER)
    await trio.sleep(0.4)
    client.link_up(OTHER)
    client.link_down(OTHER)
    assert await seconds_until_answered(client, replica) == pytest.approx(PARTED_SECONDS - 0.4)


async def test_a_node_that_is_linked_again_and_has_it_is_waited_for_no_longer(autojump_clock: object) -> None:
    client, replica = leading()
    client.peer_applied(OTHER, 1)
    client.link_down(OTHER)
    declaration = Declaration(client, replica)
    async with trio.open_nursery() as nursery:
        await nursery.start(declaration.run)
        client.link_up(OTHER)
        await trio.testing.wait_all_tasks_blocked()
        assert declaration.answered_at == math.inf
        client.peer_applied(OTHER, len(replica.log))
        await trio.testing.wait_all_tasks_blocked()
        assert declaration.answered_at == trio.current_time()


async def test_a_node_that_is_linked_again_is_waited_for_as_before(autojump_clock: object) -> None:
    client, replica = leading()
    client.peer_applied(OTHER, 1)
    client.link_down(OTHER)
    client.link_up(OTHER)
    client.peer_applied(OTHER, 1)
    assert await seconds_until_answered(client, replica) == pytest.approx(VISIBLE_TIMEOUT_SECONDS)


async def test_a_node_that_had_said_nothing_or_had_left_service_is_not_waited_for_when_its_link_went_down(
    autojump_clock: object,
) -> None:
    client, replica = leading(aside={THIRD})
    client.peer_applied(THIRD, 1)
    for peer in (OTHER, THIRD):
        client.link_down(peer)
    assert await seconds_until_answered(client, replica) == 0


async def test_a_later_life_waits_for_those_that_the_life_before_may_have_waited_for(autojump_clock: object) -> None:
    client, replica = leading(incarnation=2)
    assert await seconds_until_answered(client, replica) == pytest.approx(PARTED_SECONDS)
    assert await seconds_until_answered(client, replica, 2) == 0


async def test_a_later_life_that_all_members_have_told_what_they_have_waits_for_them_alone(
    autojump_clock: object,
) -> None:
    client, replica = leading(incarnation=2)
    declaration = Declaration(client, replica)
    async with trio.open_nursery() as nursery:
        await nursery.start(declaration.run)
        for peer in (OTHER, THIRD):
            assert declaration.answered_at == math.inf
            client.peer_applied(peer, len(replica.log))
            await trio.testing.wait_all_tasks_blocked()
        assert declaration.answered_at == trio.current_time()
