"""Connected sockets in memory, for the real sessions of a node.

Law: they behave as the non-blocking TCP sockets that a session uses: a read gives any part of what is there, a write
takes any part of what fits, and an end is seen only after everything that came before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import trio

BUFFER_MAX = 16 << 10
"""Octets on their way in one direction; a write beyond it has to wait."""


class MemorySocket:
    """One end. Made in pairs by `socket_pair`."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._inbound = bytearray()
        self._ended = False
        self._broken = False
        self._closed = False
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._peer: MemorySocket = self

    # ---- what a session calls

    def recv(self, size: int) -> bytes:
        if self._broken:
            raise ConnectionResetError("connection reset")
        if self._inbound:
            size = min(size, len(self._inbound))
            if self._random.random() < 0.2:
                size = self._random.randint(1, size)
            data = bytes(self._inbound[:size])
            was_full = len(self._inbound) >= BUFFER_MAX
            del self._inbound[:size]
            if was_full:
                self._peer._writers.unpark_all()
            return data
        if self._ended or self._closed:
            return b""
        raise BlockingIOError

    def sendmsg(self, buffers: Sequence[bytes]) -> int:
        peer = self._peer
        if self._broken or self._closed or peer._closed or peer._broken:
            raise BrokenPipeError("broken pipe")
        data = b"".join(buffers)
        space = BUFFER_MAX - len(peer._inbound)
        if space <= 0:
            raise BlockingIOError
        peer._inbound += data[:space]
        peer._readers.unpark_all()
        return min(space, len(data))

    def shutdown(self, how: int) -> None:
        self._ended = True
        self._stir()
        self._peer._ended = True
        self._peer._stir()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._stir()
            self._peer._ended = True
            self._peer._stir()

    # ---- what the simulation calls

    @property
    def broken(self) -> bool:
        return self._broken

    def reset(self) -> None:
        """Both ends are gone, with what was on its way."""
        for end in (self, self._peer):
            end._broken = True
            end._inbound.clear()
            end._stir()

    async def readable(self) -> None:
        if self._can_read():
            await trio.lowlevel.checkpoint()
        while not self._can_read():
            await self._readers.park()

    async def writable(self) -> None:
        if self._can_write():
            await trio.lowlevel.checkpoint()
        while not self._can_write():
            await self._writers.park()

    async def given_up(self) -> None:
        """Until the other end is closed, or gone; what came before that is not taken."""
        while not (self._ended or self._broken):
            await self._readers.park()

    def _can_read(self) -> bool:
        return bool(self._inbound) or self._ended or self._broken or self._closed

    def _can_write(self) -> bool:
        peer = self._peer
        return len(peer._inbound) < BUFFER_MAX or self._broken or self._closed or peer._closed

    def _stir(self) -> None:
        """Whoever waits here looks again."""
        self._readers.unpark_all()
        self._writers.unpark_all()


def socket_pair(random: Random) -> tuple[MemorySocket, MemorySocket]:
    here, there = MemorySocket(random), MemorySocket(random)
    here._peer, there._peer = there, here
    return here, there


@contextmanager
def waiting_for_memory_sockets() -> Iterator[None]:
    """Meanwhile `trio.lowlevel.wait_readable` and `wait_writable` know them too."""
    lowlevel: Any = trio.lowlevel
    readable, writable = lowlevel.wait_readable, lowlevel.wait_writable

    async def wait_readable(sock: Any) -> None:
        await (sock.readable() if isinstance(sock, MemorySocket) else readable(sock))

    async def wait_writable(sock: Any) -> None:
        await (sock.writable() if isinstance(sock, MemorySocket) else writable(sock))

    lowlevel.wait_readable, lowlevel.wait_writable = wait_readable, wait_writable
    try:
        yield
    finally:
        lowlevel.wait_readable, lowlevel.wait_writable = readable, writable
