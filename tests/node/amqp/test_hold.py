"""Who publishes while memory is short: how much of it is taken in, and how what is half sent comes to its end."""

from __future__ import annotations

import gc
import socket
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing

from cluster.amqp import methods as m
from cluster.amqp.constants import PROTOCOL_HEADER
from cluster.amqp.events import AckBatch, PublishBatch
from cluster.amqp.method import Method
from cluster.amqp.settings import ConnectionSettings
from cluster.broker.catalog.catalog import Catalog
from cluster.node.amqp.broker import BrokerLimits
from cluster.node.amqp.connection import Connection
from cluster.node.amqp.hold import SILENT_SECONDS, TURN_SECONDS, Turn
from cluster.node.amqp.login import Login
from cluster.node.amqp.reading import RECEIVE_BYTES, Reading
from tests.amqp.client import START_OK, TUNE_OK, method, publish, split_frames

MESSAGE = publish(1, bytes(4 << 20))
HALF = len(MESSAGE) // 2
ACK = method(1, m.BasicAck(1, False))
LOGIN = (
    PROTOCOL_HEADER
    + method(0, START_OK)
    + method(0, TUNE_OK)
    + method(0, m.ConnectionOpen("/"))
    + method(1, m.ChannelOpen())
)
BLOCKED = m.ConnectionBlocked("low on memory")


class Node:
    """A broker that lets everybody in."""

    def __init__(self) -> None:
        self.settings = ConnectionSettings()
        self.catalog = Catalog()
        self.limits = BrokerLimits(1 << 20, 64 << 20)
        self.reading = Reading()
        self.counters = SimpleNamespace(logins=0, logins_refused=0, channels_opened=0)
        self.flows = SimpleNamespace(queue=lambda _: None, channel_over=lambda *_: None)
        self.alarm = ""

    async def judge_login(self, peer: str, username: str, password: bytes) -> Login:
        return Login.ACCEPTED

    async def judge_open(self, connection: Connection, vhost: str) -> None:
        """Every vhost is there."""

    async def judge_channel(self, connection: Connection) -> None:
        """As many as it likes."""

    def limits_channels(self, user: str) -> bool:
        return False

    def flush_soon(self, connection: Connection) -> None:
        connection.flush()

    def connection_over(self, connection: Connection) -> None:
        """Nobody counts them."""

    async def delete_exclusive(self, connection: Connection) -> None:
        """It has none."""


class Taker:
    """Stands for the channel: counts what comes, and keeps nothing of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.backlog: list[object] = []
        self.messages = self.acks = 0

    def receive(self, event: object) -> None:
        if isinstance(event, PublishBatch):
            self.messages += len(event.bodies)
            if self._connection.broker.alarm:
                self._connection.hold.published()
        elif isinstance(event, AckBatch):
            self.acks += len(event.tags)

    def close(self) -> None:
        """It holds nothing."""

    dismiss_consumers = close

    async def idle(self) -> None:
        """It does everything at once."""

    committed = unused_gone = idle


class Client:
    """Logged in, with channel 1 open; sends without waiting until it is taken."""

    def __init__(self, node: Node, nursery: trio.Nursery) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        broker: Any = node
        self.connection = Connection(ours, "10.0.0.5", "1.1.1", broker, "a client")
        self.told = bytearray()
        self._sock = trio.socket.from_stdlib_socket(theirs)
        self._nursery = nursery
        nursery.start_soon(self.connection.run)
        nursery.start_soon(self._hear)

    async def open(self) -> None:
        await self.say(LOGIN)
        self.taker = Taker(self.connection)
        channel: Any = self.taker
        self.connection.channels[1] = channel
        self.told.clear()

    async def say(self, data: bytes | memoryview) -> None:
        """Returns when nobody does anything any more."""
        self._nursery.start_soon(self._send, memoryview(data))
        await trio.testing.wait_all_tasks_blocked()

    async def _send(self, data: memoryview) -> None:
        while data:
            data = data[await self._sock.send(data) :]

    async def _hear(self) -> None:
        while data := await self._sock.recv(4096):
            self.told += data

    def methods(self) -> list[Method]:
        """What it was told since it is open."""
        return [
            m.METHODS[int.from_bytes(payload[:4])].decode(payload) for _, _, payload in split_frames(bytes(self.told))
        ]

    def hang_up(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)


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
