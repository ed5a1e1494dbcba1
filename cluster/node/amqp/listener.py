"""Accepts AMQP clients.

Law: a connection of its own task each; what one of them does, even an unexpected fault in serving it, ends no other.
"""

from __future__ import annotations

import errno
import socket

import trio

from cluster.node.amqp.broker import Broker
from cluster.node.amqp.connection import Connection

_PAUSE_SECONDS = 0.1
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


async def accept_clients(listener: socket.socket, broker: Broker, accepting: trio.CancelScope) -> None:
    """Until cancelled; then all connections end too. Closes the listener.

    When `accepting` alone is cancelled, nobody else is let in, and it returns when the last connection is over.
    """
    async with trio.open_nursery() as nursery:
        with listener, accepting:
            await _accept(listener, broker, nursery)


async def _accept(listener: socket.socket, broker: Broker, nursery: trio.Nursery) -> None:
    number = 0
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            sock, address = listener.accept()
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                broker.log.warning("cannot accept clients", reason=error.strerror)
                await trio.sleep(_PAUSE_SECONDS)
            continue
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number += 1
        try:
            ours = sock.getsockname()
        except OSError:
            sock.close()
            continue
        name = f"{address[0]}:{address[1]} -> {ours[0]}:{ours[1]}"
        connection = Connection(sock, address[0], f"{broker.node}.{broker.incarnation}.{number}", broker, name)
        broker.connections[connection.id] = connection
        nursery.start_soon(connection.run)
