"""What a client is written: what its socket has not taken yet.

Law: buffers leave in order, many with one call. A client is written so much in one go, then others have their turn.
"""

from __future__ import annotations

from cluster.node.tls import Socket

WRITTEN_BYTES_MAX = 1 << 20
"""Written to one client in one go, about: then others have their turn."""
_BUFFERS_MAX = 512
"""Buffers given to one sendmsg (IOV_MAX is 1024 on Linux)."""


class Outgoing:
    """Of one connection. `sent_bytes` and `sent_count`, of calls, only grow."""

    __slots__ = ("_buffers", "_socket", "sent_bytes", "sent_count", "unwritten_bytes")

    def __init__(self, sock: Socket) -> None:
        self._socket = sock
        self._buffers: list[bytes | memoryview] = []
        self.unwritten_bytes = 0
        self.sent_bytes = 0
        self.sent_count = 0

    def __bool__(self) -> bool:
        """Is there something that the socket has not taken?"""
        return bool(self._buffers)

    def put(self, buffers: list[bytes | memoryview]) -> None:
        """Behind all others."""
        self._buffers += buffers
        self.unwritten_bytes += sum(map(len, buffers))

    def write(self) -> None:
        """As much as the socket takes, and one go may have. Raises OSError, and has nothing left then, if it broke."""
        left = WRITTEN_BYTES_MAX
        while self._buffers and left > 0:
            try:
                left -= self._send_some(left)
            except BlockingIOError:
                return
            except OSError:
                self._buffers.clear()
                self.unwritten_bytes = 0
                raise

    def _send_some(self, size: int) -> int:
        """One sendmsg of about so many bytes. Returns how many went."""
        buffers = self._buffers
        is_all = self.unwritten_bytes <= size and len(buffers) <= _BUFFERS_MAX
        sent = total = self._socket.sendmsg(buffers if is_all else self._first(size))
        self.unwritten_bytes -= sent
        self.sent_bytes += sent
        self.sent_count += 1
        if not self.unwritten_bytes:
            buffers.clear()
            return total
        done = 0
        while done < len(buffers) and sent >= len(buffers[done]):
            sent -= len(buffers[done])
            done += 1
        del buffers[:done]
        if sent:
            buffers[0] = memoryview(buffers[0])[sent:]
        return total

    def _first(self, size: int) -> list[bytes | memoryview]:
        """Buffers of about so many bytes."""
        count = 0
        for buffer in self._buffers[:_BUFFERS_MAX]:
            if size <= 0:
                break
            size -= len(buffer)
            count += 1
        return self._buffers[:count]
