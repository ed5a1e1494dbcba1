"""A connection by itself: a broker that lets everybody in, a channel that takes everything, and a client.

Law: nothing waits but the client's socket, so what it says has been dealt with when nobody does anything any more.
"""

from __future__ import annotations

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
from cluster.node.amqp.budget import Pool
from cluster.node.amqp.connection import Connection
from cluster.node.amqp.login import Login
from cluster.node.amqp.reading import Reading
from tests.amqp.client import START_OK, TUNE_OK, method, split_frames

LOGIN = (
    PROTOCOL_HEADER
    + method(0, START_OK)
    + method(0, TUNE_OK)
    + method(0, m.ConnectionOpen("/"))
    + method(1, m.ChannelOpen())
)


class Node:
    """A broker that lets everybody in."""

    def __init__(self) -> None:
        self.settings = ConnectionSettings()
        self.catalog = Catalog()
        self.limits = BrokerLimits(1 << 20, 64 << 20)
        self.unconfirmed = Pool()
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
        self.messages = self.acks = self.others = 0

    def receive(self, event: object) -> None:
        if isinstance(event, PublishBatch):
            self.messages += len(event.bodies)
            if self._connection.broker.alarm:
                self._connection.hold.published()
        elif isinstance(event, AckBatch):
            self.acks += len(event.tags)
        else:
            self.others += 1

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
