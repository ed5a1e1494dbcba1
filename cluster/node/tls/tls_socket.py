"""A TLS connection that is used as a non-blocking socket is.

Law: what is readable is what the kernel has: `recv` gives all that is decrypted, and the handshake reads no further
than its last record, so whoever waits for the file descriptor misses nothing. What is writable is the same: while
sealed bytes wait for the kernel, at least one byte of the caller's counts as not taken. So the caller keeps at it, as
it would with a plain socket, and puts nothing else in that byte's place.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import trio

PIECE_BYTES: Final = 128 << 10
"""Sealed in one go."""
_RECORD_HEAD_BYTES: Final = 5
"""Type, version, length (RFC 8446 §5.1)."""
_RECORD_TYPES: Final = frozenset({20, 21, 22, 23})
Buffer: TypeAlias = bytes | memoryview


class TlsSocket:
    """One connection after its handshake. Errors of TLS are OSErrors, as those of the socket are."""

    __slots__ = ("_incoming", "_outgoing", "_owed", "_sealed", "_sock", "_tls")

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        self._sock = sock
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._sealed = memoryview(b"")
        """What the kernel has not taken."""
        self._owed = 0
        """1: the first byte that the caller will give is sealed already."""

    @property
    def version(self) -> str:
        """`"TLSv1.3"`."""
        return self._tls.version() or ""

    @property
    def suite(self) -> str:
        """OpenSSL's name of the cipher suite."""
        agreed = self._tls.cipher()
        return agreed[0] if agreed is not None else ""

    @property
    def suites(self) -> list[Any]:
        """What there is to choose from, as `SSLContext.get_ciphers`."""
        return list(self._tls.context.get_ciphers())

    @property
    def peer_certificate(self) -> Any:
        """The other side's, as `SSLObject.getpeercert`; {} without a verified one."""
        return self._tls.getpeercert() or {}

    @property
    def peer_name(self) -> str:
        """The common name in the other side's certificate; "" without a verified one."""
        names = [
            value for part in self.peer_certificate.get("subject", ()) for key, value in part if key == "commonName"
        ]
        return str(names[-1]) if names else ""

    def fileno(self) -> int:
        return self._sock.fileno()

    def recv(self, size: int) -> bytes:
        """All that `size` more sealed bytes, at most, make whole; b"" at the end. Raises BlockingIOError."""
        sealed = self._sock.recv(size)
        if not sealed:
            return b""
        self._incoming.write(sealed)
        plain = []
        try:
            while part := self._tls.read(size):
                plain.append(part)
        except ssl.SSLWantReadError:
            if not plain:
                raise BlockingIOError from None
        except ssl.SSLZeroReturnError:
            # The end, also for whoever waits until this is readable again.
            self._sock.shutdown(socket.SHUT_RD)
        finally:
            # An answer to a change of keys.
            self._push()
        return b"".join(plain)

    def send(self, data: Buffer) -> int:
        return self.sendmsg((data,))

    def sendmsg(self, buffers: Sequence[Buffer]) -> int:
        """How many bytes, from the first on, need not be given again. Raises BlockingIOError."""
        if not self._push():
            raise BlockingIOError
        piece = _piece(buffers)
        if len(piece) > self._owed:
            self._tls.write(piece[self._owed :])
        self._owed = 0 if self._push() else 1
        if self._owed == len(piece):
            raise BlockingIOError
        return len(piece) - self._owed

    def _push(self) -> bool:
        """Give the kernel what is sealed. Has it taken everything?"""
        while True:
            if not self._sealed:
                self._sealed = memoryview(self._outgoing.read())
                if not self._sealed:
                    return True
            try:
                self._sealed = self._sealed[self._sock.send(self._sealed) :]
            except BlockingIOError:
                return False

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        """Says that this is the end, if the kernel takes the words."""
        if self._sock.fileno() != -1:
            with suppress(OSError):
                self._tls.unwrap()
            with suppress(OSError):
                self._push()
        self._sock.close()


Socket: TypeAlias = socket.socket | TlsSocket
"""What connections and links read and write."""


def _piece(buffers: Sequence[Buffer]) -> memoryview:
    """The first PIECE_BYTES of the buffers, or all."""
    if len(buffers) == 1:
        return memoryview(buffers[0])[:PIECE_BYTES]
    taken: list[Buffer] = []
    size = 0
    for buffer in buffers:
        taken.append(buffer)
        size += len(buffer)
        if size >= PIECE_BYTES:
            break
    return memoryview(b"".join(taken))[:PIECE_BYTES]


async def handshake(
    sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
) -> TlsSocket:
    """Over a non-blocking socket, which stays the caller's until it is done. Raises OSError."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=server_side, server_hostname=server_hostname)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await _send_all(sock, outgoing.read())
            incoming.write(await _record(sock))
        except ssl.SSLError:
            # The other side is told what is wrong with it.
            await _send_all(sock, outgoing.read())
            raise
        else:
            await _send_all(sock, outgoing.read())
            return TlsSocket(sock, tls, incoming, outgoing)


async def _record(sock: socket.socket) -> bytes:
    head = await receive_exactly(sock, _RECORD_HEAD_BYTES)
    if head[0] not in _RECORD_TYPES:
        # No TLS: what its length would be is not worth waiting for.
        return head
    return head + await receive_exactly(sock, int.from_bytes(head[3:]))


async def receive_exactly(sock: socket.socket, count: int) -> bytes:
    """Not a byte more, for whoever reads on. Raises OSError, ConnectionError at the end."""
    data = b""
    while len(data) < count:
        await trio.lowlevel.wait_readable(sock)
        try:
            part = sock.recv(count - len(data))
        except BlockingIOError:
            continue
        if not part:
            raise ConnectionError("closed during the handshake")
        data += part
    return data


async def _send_all(sock: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        await trio.lowlevel.wait_writable(sock)
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            continue
