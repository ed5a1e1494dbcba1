"""How commands reach the log, and who hears that they are applied."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from cluster.broker.catalog.codec import encode_command
from cluster.broker.catalog.commands import DeclareExchange, DeclareQueue, DeleteQueue, SingleCommand
from cluster.broker.errors import BrokerError
from cluster.node.catalog.client import (
    SUBMIT_TIMEOUT_SECONDS,
    VISIBLE_TIMEOUT_SECONDS,
    NoQuorum,
)
from cluster.node.catalog.host import COMMANDS_PER_ENTRY_MAX, Taken
from cluster.node.catalog.marks import mark_of, pack_marks
from cluster.node.kinds import Kind
from cluster.node.links.handshake import VERSION_OF_MARKS
from cluster.raft.types import NOBODY, LogIndex, NodeId
from tests.node.catalog.network import Network, client_of
from tests.node.catalog.world import ME, OTHER, TERM, THIRD, Replica


def declare(number: int) -> DeclareQueue:
    return DeclareQueue("/", f"queue-{number}", True, False, False)


def taken(number: int, asker: NodeId = ME) -> Taken:
    return Taken(declare(number), asker, mark_of(asker, 1, number))


def test_commands_under_way_together_share_entries() -> None:
    replica = Replica()
    replica.lead()
    count = 3 * COMMANDS_PER_ENTRY_MAX
    for number in range(count):
        assert replica.host.take(taken(number))
    assert replica.commit() == 3
    assert len(replica.host.catalog.queues) == count


def test_what_comes_while_an_entry_is_under_way_shares_the_next() -> None:
    replica = Replica()
    replica.lead()
    replica.host.take(taken(1))
    first = replica.host.take_proposal(1 << 20)
    assert first is not None
    replica.host.proposed(LogIndex(2), TERM)
    for number in (2, 3):
        replica.host.take(taken(number))
    assert replica.host.take_proposal(1 << 20) is None
    replica.append(first)
    assert replica.commit() == 1


async def test_one_refused_command_of_an_entry_refuses_no_other() -> None:
    replica = Replica()
    replica.lead()
    client = client_of(replica, Network())
    bad = DeclareExchange("/", "amq.direct", "fanout", True, False, False)
    refused: list[BrokerError] = []

    async def ask_for_the_impossible() -> None:
        try:
            await client.submit(bad)
        except BrokerError as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.submit, declare(1))
        nursery.start_soon(ask_for_the_impossible)
        await trio.testing.wait_all_tasks_blocked()
        assert replica.commit() == 1
    assert len(refused) == 1
    assert len(replica.host.catalog.queues) == 1


async def test_who_deletes_a_queue_is_told_whether_it_was_still_that_one() -> None:
    replica = Replica()
    replica.lead()
    client = client_of(replica, Network())
    replica.command(declare(1))
    (first,) = replica.host.catalog.queues.values()
    deletion = DeleteQueue(first.vhost, first.name, first.id)
    told: list[object] = []

    async def delete() -> None:
        told.append(await client.submit(deletion))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(delete)
        await trio.testing.wait_all_tasks_blocked()
        # Somebody else is faster, and declares another under the name.
        replica.command(deletion)
        replica.command(declare(1))
        replica.commit()
    assert told == [None]
    (second,) = replica.host.catalog.queues.values()
    deletion = DeleteQueue(second.vhost, second.name, second.id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delete)
        await trio.testing.wait_all_tasks_blocked()
        replica.commit()
    assert told[1:] == [second]
    assert not replica.host.catalog.queues


def test_a_replica_tells_only_who_asked() -> None:
    leader, follower = Replica(), Replica()
    leader.lead()
    for number in (1, 2):
        leader.host.take(taken(number, OTHER))
    leader.commit()
    assert leader.told[-1] == {OTHER}
    follower.append(leader.log[-1].data)
    assert follower.told[-1] == {OTHER}
    network = Network(OTHER, THIRD)
    client_of(follower, network).applied(7, follower.told[-1])
    assert network.sent == [(OTHER, Kind.CATALOG_APPLIED, 7)]
    assert network.written == 1


async def test_the_leader_is_asked_without_waiting_for_a_turn() -> None:
    network = Network(OTHER)
    network.leader = OTHER
    client = client_of(Replica(), network)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.submit, declare(1))
        await trio.testing.wait_all_tasks_blocked()
        assert [kind for _, kind, _ in network.sent] == [Kind.CATALOG_ASK]
        assert network.written == 1
        nursery.cancel_scope.cancel()


def test_of_an_entry_that_does_not_say_who_asked_everybody_is_told() -> None:
    replica = Replica()
    replica.append(encode_command(declare(1)))
    network = Network(OTHER, THIRD)
    client_of(replica, network).applied(7, replica.told[-1])
    assert [peer for peer, _, _ in network.sent] == [OTHER, THIRD]


async def test_who_asked_a_leader_hears_of_the_outcome_from_its_own_copy(autojump_clock: object) -> None:
    leader, here = Replica(), Replica()
    leader.lead()
    away = client_of(leader, Network(OTHER))
    network = Network(THIRD)
    network.leader = THIRD
    client = client_of(here, network, OTHER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.submit, declare(1))
        await trio.testing.wait_all_tasks_blocked()
        ((_, kind, body),) = network.sent
        assert kind == Kind.CATALOG_ASK
        away.asked(OTHER, body)
        assert leader.commit() == 1
        here.append(leader.log[-1].data)
        client.peer_applied(THIRD, len(here.log))
    assert here.host.catalog.queue("/", "queue-1") is not None


async def test_what_was_asked_of_a_leader_that_is_none_any_more_is_asked_of_the_next_and_counts_once(
    autojump_clock: object,
) -> None:
    here = Replica()
    network = Network(OTHER, THIRD)
    network.leader = OTHER
    client = client_of(here, network)
    ended = trio.Event()

    async def change() -> None:
        await client.submit(declare(1))
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        await trio.testing.wait_all_tasks_blocked()
        network.leader = NOBODY
        client.leader_changed()
        network.leader = THIRD
        client.leader_changed()
        marks = [body[0] for _, kind, body in network.sent if kind == Kind.CATALOG_ASK]
        assert [peer for peer, _, _ in network.sent] == [OTHER, THIRD]
        for mark in marks:
            await trio.testing.wait_all_tasks_blocked()
            assert not ended.is_set(), "what an earlier attempt did may be done again yet"
            here.append(encode_command(declare(1), pack_marks([ME], [mark])))
            for peer in (OTHER, THIRD):
                client.peer_applied(peer, len(here.log))
    assert ended.is_set()


async def test_what_a_node_has_not_taken_is_asked_for_again_with_the_next_tick(autojump_clock: object) -> None:
    here, network = Replica(), Network(OTHER)
    network.leader = OTHER
    client = client_of(here, network)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.submit, declare(1))
        await trio.testing.wait_all_tasks_blocked()
        client.declined(network.sent[-1][2][0])
        client.tick()
        assert len(network.sent) == 2
        client.tick()
        assert len(network.sent) == 2
        nursery.cancel_scope.cancel()


async def test_a_leader_of_an_older_version_is_called_and_answers(autojump_clock: object) -> None:
    here, network = Replica(), Network(OTHER)
    network.leader, network.version = OTHER, VERSION_OF_MARKS - 1
    network.answer = [2, None]
    client = client_of(here, network)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.submit, declare(1))
        await trio.testing.wait_all_tasks_blocked()
        here.append(encode_command(declare(1)))
    assert [kind for _, kind, _ in network.sent if kind != Kind.CATALOG_APPLIED] == [Kind.CATALOG_COMMAND]


async def test_a_node_of_an_older_version_is_answered_when_the_leader_has_applied_it() -> None:
    replica = Replica()
    replica.lead()
    client = client_of(replica, Network(OTHER))
    client.peer_applied(OTHER, 1)
    answers: list[object] = []

    async def serve(command: SingleCommand) -> None:
        answers.append(await client.serve(OTHER, encode_command(command)))

    for command in (declare(1), DeclareExchange("/", "amq.direct", "fanout", True, False, False)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, command)
            await trio.testing.wait_all_tasks_blocked()
            replica.commit()
    assert answers[0] == [2, None]
    assert isinstance(answers[1], list)
    assert answers[1][1][0] == 406


async def test_without_a_leader_a_change_ends_in_time(autojump_clock: object) -> None:
    network = Network()
    network.leader = NOBODY
    client = client_of(Replica(), network)
    refused: list[str] = []

    async def change() -> None:
        try:
            await client.submit(declare(1))
        except NoQuorum as error:
            refused.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        await trio.sleep(SUBMIT_TIMEOUT_SECONDS - 0.1)
        client.tick()
        assert not refused
        await trio.sleep(0.1)
        client.tick()
    assert refused == ["the catalog has no leader with a quorum: nothing can be declared, bound or deleted now"]


async def test_a_read_is_answered_by_a_leader_that_takes_a_second_for_it(autojump_clock: object) -> None:
    replica, network = Replica(), Network(OTHER)
    network.leader = OTHER
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client_of(replica, network).catch_up)
        await trio.sleep(1.0)
        assert len(network.reads) > 1
        replica.host.read_ready(network.reads[0])
    assert trio.current_time() == began + 1.0


async def test_a_read_that_nobody_answers_ends_in_time(autojump_clock: object) -> None:
    network = Network(OTHER)
    network.leader = OTHER
    began = trio.current_time()
    with pytest.raises(NoQuorum, match="cannot tell whether it is up to date"):
        await client_of(Replica(), network).catch_up()
    assert trio.current_time() == began + SUBMIT_TIMEOUT_SECONDS


async def test_a_node_that_does_not_say_what_it_has_applied_is_waited_for_only_so_long(autojump_clock: object) -> None:
    replica = Replica()
    replica.lead()
    client = client_of(replica, Network(OTHER))
    client.peer_applied(OTHER, 1)
    with trio.fail_after(VISIBLE_TIMEOUT_SECONDS + 1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.submit, declare(1))
            await trio.testing.wait_all_tasks_blocked()
            replica.commit()
            await trio.sleep(VISIBLE_TIMEOUT_SECONDS)
            client.tick()
            client.peer_applied(OTHER, 2)


async def test_a_change_is_answered_when_every_reachable_node_has_applied_it(autojump_clock: object) -> None:
    replica = Replica()
    replica.lead()
    network = Network(OTHER, THIRD)
    client = client_of(replica, network)
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
