"""Accepts AMQP clients.

Law: a connection of its own task each; what one of them does, even an unexpected fault in serving it, ends no other.
What stands before AMQP, a proxy's header and the handshake of TLS, is over in time, or the connection is.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from cluster.node.amqp.broker import Broker
from cluster.node.amqp.busy_poll import BusyPoll
from cluster.node.amqp.connection import LOGIN_TIMEOUT_SECONDS, Connection
from cluster.node.amqp.proxy_header import BadProxyHeader, Ends, receive_header
from cluster.node.tls import Certificates, Socket

_PAUSE_SECONDS = 0.1
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Door:
    """A port for clients. `certificates` None is plain AMQP; `proxied` if every client comes with a proxy's header."""

    listener: socket.socket
    proxied: bool = False
    certificates: Certificates | None = None


async def accept_clients(
    doors: Sequence[Door], broker: Broker, accepting: trio.CancelScope, busy_poll: BusyPoll
) -> None:
    """Until cancelled; then all connections end too. Closes the listeners.

    When `accepting` alone is cancelled, nobody else is let in, and it returns when the last connection is over.
    """
    reception = _Reception(broker, busy_poll)
    async with trio.open_nursery() as nursery:
        try:
            with accepting:
                async with trio.open_nursery() as doorways:
                    for door in doors:
                        doorways.start_soon(reception.accept, door, doorways, nursery)
        finally:
            for door in doors:
                door.listener.close()


class _Reception:
    """Makes connections out of sockets."""

    def __init__(self, broker: Broker, busy_poll: BusyPoll) -> None:
        self._broker = broker
        self._busy_poll = busy_poll

    async def accept(self, door: Door, doorways: trio.Nursery, nursery: trio.Nursery) -> None:
        self._busy_poll.watch(door.listener)
        while True:
            await trio.lowlevel.wait_readable(door.listener)
            try:
                sock, address = door.listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._broker.log.warning("cannot accept clients", reason=error.strerror)
                    await trio.sleep(_PAUSE_SECONDS)
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                ours = sock.getsockname()
            except OSError:
                sock.close()
                continue
            ends = Ends(address[0], address[1], ours[0], ours[1])
            if door.proxied or door.certificates is not None:
                doorways.start_soon(self._introduce, door, sock, ends, nursery)
            else:
                self._serve(sock, ends, nursery)

    async def _introduce(self, door: Door, sock: socket.socket, ends: Ends, nursery: trio.Nursery) -> None:
        """What stands before AMQP. Owns the socket until it is a connection's."""
        served = False
        try:
            with trio.fail_after(LOGIN_TIMEOUT_SECONDS):
                if door.proxied:
                    ends = await receive_header(sock) or ends
                if door.certificates is None:
                    self._serve(sock, ends, nursery)
                else:
                    self._serve(await door.certificates.welcomed(sock), ends, nursery)
            served = True
        except BadProxyHeader as error:
            self._broker.log.warning("client refused: no header of a proxy", peer=_peer(ends), reason=str(error))
        except trio.TooSlowError:
            self._broker.log.warning("client refused: nothing heard of it in time", peer=_peer(ends))
        except ConnectionError:
            # Gone again, as the checks of load balancers are.
            return
        except OSError as error:
            self._broker.log.warning("client refused: no TLS with it", peer=_peer(ends), reason=error.strerror or error)
        finally:
            if not served:
                sock.close()

    def _serve(self, sock: Socket, ends: Ends, nursery: trio.Nursery) -> None:
        self._busy_poll.watch(sock)
        nursery.start_soon(_begin(sock, ends, self._broker).run)


def own_client(broker: Broker) -> socket.socket:
    """The client's end of a connection that comes through no door: the node's own, as from its own machine."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    broker.serve(_begin(ours, Ends("127.0.0.1", theirs.fileno(), "127.0.0.1", 0), broker))
    return theirs


def _begin(sock: Socket, ends: Ends, broker: Broker) -> Connection:
    name = f"{ends.client_host}:{ends.client_port} -> {ends.host}:{ends.port}"
    number = f"{broker.node}.{broker.incarnation}.{next(broker.connection_numbers)}"
    connection = broker.connections[number] = Connection(sock, ends.client_host, number, broker, name)
    broker.counters.connections_opened += 1
    return connection


def _peer(ends: Ends) -> str:
    return f"{ends.client_host}:{ends.client_port}"
