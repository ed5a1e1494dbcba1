"""What a client does not take, and how its connection ends with that."""

from __future__ import annotations

import socket
from typing import Any

import trio
import trio.testing

from cluster.amqp import methods as m
from cluster.amqp.constants import PROTOCOL_HEADER
from cluster.amqp.frames import method_frame
from cluster.amqp.settings import ConnectionSettings
from cluster.broker.catalog.catalog import Catalog
from cluster.node.amqp.broker import BrokerLimits
from cluster.node.amqp.budget import Pool
from cluster.node.amqp.connection import Connection
from cluster.node.amqp.reading import Reading

MORE_THAN_SOCKETS_HOLD = 8 << 20
CLOSE_OK = method_frame(0, m.ConnectionCloseOk().encode())


class Node:
    """A broker for connections that do not log in."""

    def __init__(self) -> None:
        self.settings = ConnectionSettings(server_properties={"words": "w" * MORE_THAN_SOCKETS_HOLD})
        self.catalog = Catalog()
        self.limits = BrokerLimits(1 << 20, 64 << 20)
        self.unconfirmed = Pool()
        self.reading = Reading()
        self.alarm = ""
        self.over: list[Connection] = []

    def flush_soon(self, connection: Connection) -> None:
        connection.flush()

    def connection_over(self, connection: Connection) -> None:
        self.over.append(connection)

    async def delete_exclusive(self, connection: Connection) -> None:
        """It has none."""


async def close_unread(taken: bool) -> tuple[Node, bytes]:
    """A client closes while what it was told fills the sockets. What it gets, if it takes anything then."""
    node: Any = Node()
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    connection = Connection(ours, "10.0.0.5", "1.1.1", node, "a client")
    got = bytearray()
    client = trio.socket.from_stdlib_socket(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await client.send(PROTOCOL_HEADER + method_frame(0, m.ConnectionClose(200, "", 0, 0).encode()))
        await trio.testing.wait_all_tasks_blocked()
        while taken and (data := await client.recv(1 << 20)):
            got += data
            if got.endswith(CLOSE_OK):
                client.close()
                break
    return node, bytes(got)


async def test_a_client_that_closes_and_takes_nothing_ends_alone() -> None:
    node, _ = await close_unread(taken=False)
    assert len(node.over) == 1


async def test_a_client_that_closes_before_it_has_taken_everything_gets_the_rest_and_the_answer() -> None:
    node, got = await close_unread(taken=True)
    assert len(node.over) == 1
    assert len(got) > MORE_THAN_SOCKETS_HOLD
    assert got.endswith(CLOSE_OK)
