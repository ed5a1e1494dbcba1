"""Non-blocking sockets under Trio.

Law: a socket here is a stdlib one in non-blocking mode, or a `TlsSocket` over one, which behaves alike; whoever closes
it first tells Trio, so that tasks that wait on it wake with `Disconnected`, which is also what every error of an open
connection becomes.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Sequence
from typing import Final

import trio

from cluster.node.tls import Socket

RECEIVE_BYTES: Final = 256 << 10
"""Asked of the socket in one recv."""
_NOTSENT_BYTES: Final = 512 << 10
"""The kernel holds about so much that is not yet on the wire: control frames cannot overtake that."""
_BACKLOG: Final = 128


class Disconnected(Exception):
    """The connection broke, or was closed here; the text says which, in a few words."""


def open_listener(host: str, port: int, *, listening: bool = True) -> socket.socket:
    """A listening socket; port 0 lets the system choose. Raises OSError, whose text names the address.

    Not `listening`: the address is taken, and who connects is refused until somebody calls `listen`.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        if listening:
            listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
    return listener


async def connect(host: str, port: int) -> socket.socket:
    """The first address of the host that answers. Raises OSError of the last one that did not."""
    failure = OSError(errno.EHOSTUNREACH, f"no address for {host}")
    addresses: Sequence[tuple[int, int, int, str, tuple[object, ...]]]
    addresses = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code == errno.EINPROGRESS:
                await trio.lowlevel.wait_writable(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                return sock
            failure = OSError(code, os.strerror(code))
        except OSError as error:
            failure = error
        except BaseException:
            close(sock)
            raise
        close(sock)
    raise failure


def tune(sock: socket.socket, *, user_timeout_seconds: float) -> None:
    """Options of a link's connection; those a platform lacks are left out."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(user_timeout_seconds * 1000))
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_BYTES)


def close(sock: Socket) -> None:
    """Close, waking whoever waits on the socket. Closing twice is harmless."""
    if sock.fileno() != -1:
        trio.lowlevel.notify_closing(sock)
        sock.close()


def is_closed_by_peer(sock: Socket) -> bool:
    """Has the other side hung up, or the connection broken, whatever is still to be read?"""
    if sock.fileno() == -1:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


async def receive(sock: Socket) -> bytes:
    """Up to RECEIVE_BYTES, b"" at the end; always yields to other tasks. Raises Disconnected."""
    return await _received(sock, sock.recv, RECEIVE_BYTES)


async def peek(sock: socket.socket) -> bytes:
    """The first byte that comes, which stays where it is; b"" at the end. Raises Disconnected."""
    return await _received(sock, sock.recv, 1, socket.MSG_PEEK)


async def _received(sock: Socket, take: Callable[..., bytes], *how: int) -> bytes:
    """What `take(*how)` gives, once there is something. Raises Disconnected."""
    while True:
        try:
            if sock.fileno() == -1:
                raise Disconnected("closed here")
            await trio.lowlevel.wait_readable(sock)
            return take(*how)
        except (BlockingIOError, InterruptedError):
            continue
        except trio.ClosedResourceError:
            raise Disconnected("closed here") from None
        except OSError as error:
            raise Disconnected(error.strerror or str(error)) from None


async def until_writable(sock: Socket) -> None:
    """Raises Disconnected."""
    if sock.fileno() == -1:
        raise Disconnected("closed here")
    try:
        await trio.lowlevel.wait_writable(sock)
    except trio.ClosedResourceError:
        raise Disconnected("closed here") from None


async def send_all(sock: Socket, data: bytes) -> None:
    """For the few bytes of a handshake. Raises Disconnected."""
    view = memoryview(data)
    while view:
        await until_writable(sock)
        try:
            view = view[sock.send(view) :]
        except (BlockingIOError, InterruptedError):
            continue
        except OSError as error:
            raise Disconnected(error.strerror or str(error)) from None
