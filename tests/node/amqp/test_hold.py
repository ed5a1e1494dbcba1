"""Who publishes while memory is short: how much of it is taken in, and how what is half sent comes to its end."""

from __future__ import annotations

import gc

import trio
import trio.testing

from cluster.amqp import methods as m
from cluster.amqp.events import PublishBatch
from cluster.node.amqp.hold import SILENT_SECONDS, TURN_SECONDS, Turn
from cluster.node.amqp.reading import RECEIVE_BYTES
from tests.amqp.client import method, publish
from tests.node.amqp.alone import Client, Node

MESSAGE = publish(1, bytes(4 << 20))
HALF = len(MESSAGE) // 2
ACK = method(1, m.BasicAck(1, False))
BLOCKED = m.ConnectionBlocked("low on memory")


async def test_a_message_that_was_taken_in_is_not_held_until_its_client_says_something_else() -> None:
    async with trio.open_nursery() as nursery:
        client = Client(Node(), nursery)
        await client.open()
        before = {id(thing) for thing in gc.get_objects() if type(thing) is PublishBatch}
        await client.say(MESSAGE)
        assert client.taker.messages == 1
        assert before.issuperset(id(thing) for thing in gc.get_objects() if type(thing) is PublishBatch)
        nursery.cancel_scope.cancel()


async def test_during_an_alarm_who_has_begun_a_message_is_told_and_not_read_and_who_only_acks_is() -> None:
    node = Node()
    async with trio.open_nursery() as nursery:
        client = Client(node, nursery)
        await client.open()
        node.alarm = "low on memory"
        await client.say(ACK)
        await client.say(ACK)
        assert (client.taker.acks, client.methods()) == (2, [])
        before = client.connection.received_bytes
        await client.say(MESSAGE)
        assert client.connection.received_bytes - before <= RECEIVE_BYTES
        assert client.methods() == [BLOCKED]
        node.alarm = ""
        client.connection.hold.over()
        await trio.testing.wait_all_tasks_blocked()
        assert client.taker.messages == 1
        assert client.methods() == [BLOCKED, m.ConnectionUnblocked()]
        nursery.cancel_scope.cancel()


async def test_while_memory_is_short_what_is_half_sent_is_ended_one_message_after_the_other() -> None:
    node, turn = Node(), Turn()
    async with trio.open_nursery() as nursery:
        clients = [Client(node, nursery) for _ in range(3)]
        connections = [client.connection for client in clients]
        for client in clients:
            await client.open()
            await client.say(MESSAGE[:HALF])
        node.alarm = "low on memory"
        first, lazy, gone = clients
        await first.say(MESSAGE[HALF:] + MESSAGE)
        await lazy.say(MESSAGE[HALF : HALF + 1])
        await gone.say(MESSAGE[HALF : HALF + 1])
        assert all(connection.hold.is_half_way for connection in connections)
        assert [client.taker.messages for client in clients] == [0, 0, 0]

        now = trio.current_time() + 1.0
        turn.look(connections, now)
        await trio.testing.wait_all_tasks_blocked()
        assert [client.taker.messages for client in clients] == [1, 0, 0]
        taken_in = first.connection.received_bytes
        turn.look(connections, now + 1)
        turn.look(connections, now + 1 + SILENT_SECONDS / 2)
        gone.hang_up()
        await trio.testing.wait_all_tasks_blocked()
        assert [connection.hold.may_end for connection in connections] == [False, True, False]
        assert gone.connection.hold.is_half_way, "nobody has looked whether it is there"
        turn.look(connections, now + 1 + SILENT_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        assert not gone.connection.hold.is_half_way
        assert first.connection.received_bytes == taken_in
        turn.look(connections, now + 2 + SILENT_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        assert first.taker.messages == 2
        assert lazy.connection.hold.is_half_way
        nursery.cancel_scope.cancel()


async def test_who_sends_the_rest_of_a_message_slowly_gives_way_all_the_same() -> None:
    node, turn = Node(), Turn()
    async with trio.open_nursery() as nursery:
        slow, _ = clients = [Client(node, nursery) for _ in range(2)]
        connections = [client.connection for client in clients]
        node.alarm = "low on memory"
        for client in clients:
            await client.open()
            await client.say(MESSAGE[: HALF // 2])
        began = trio.current_time() + 1.0
        for tenths in range(int(10 * TURN_SECONDS)):
            slow.connection.heard_at = began + tenths / 10
            turn.look(connections, began + tenths / 10)
            assert [connection.hold.may_end for connection in connections] == [True, False]
        turn.look(connections, began + TURN_SECONDS)
        assert [connection.hold.may_end for connection in connections] == [False, True]
        nursery.cancel_scope.cancel()
