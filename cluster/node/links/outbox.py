"""The outbox of one connection: what waits to be written, in two lanes.

Law: a frame that has begun is finished first; then every control frame, then bulk. Within a lane the order is
that of `put`. Each lane is bounded in bytes; over the bound `put` refuses and changes nothing. The bulk lane is full
some way below its bound: while nobody adds what may be dropped to a full one, what may not be dropped has room.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from itertools import chain
from typing import Final

from cluster.node.links.frames import Buffer, Frame, frame_size
from cluster.node.tls import Socket

PIECE_BYTES: Final = 256 << 10
"""A sendmsg is given no further frame once it carries so much: nothing overtakes what the kernel has."""
BUFFERS_MAX: Final = 512
"""Buffers in one sendmsg; Linux refuses more than 1024."""
TURN_BYTES: Final = 1 << 20
"""Written in one go before other tasks have their turn."""


class Flushed(enum.Enum):
    """How a flush ended: nothing waits, the socket is full, or more waits and the turn is over."""

    EMPTY = enum.auto()
    BLOCKED = enum.auto()
    TURN_OVER = enum.auto()


class Outbox:
    """Two bounded lanes of frames, and the rest of the frame that has begun."""

    __slots__ = (
        "_begun",
        "_bulk",
        "_bulk_bytes",
        "_bulk_bytes_max",
        "_bulk_full_bytes",
        "_control",
        "_control_bytes",
        "_control_bytes_max",
    )

    def __init__(self, *, bulk_bytes_max: int, control_bytes_max: int, bulk_full_bytes: int | None = None) -> None:
        """`bulk_full_bytes` None: the bulk lane is full at its bound."""
        self._begun: list[Buffer] = []
        self._control: deque[tuple[Frame, int]] = deque()
        self._bulk: deque[tuple[Frame, int]] = deque()
        self._control_bytes = 0
        self._bulk_bytes = 0
        self._control_bytes_max = control_bytes_max
        self._bulk_bytes_max = bulk_bytes_max
        self._bulk_full_bytes = bulk_bytes_max if bulk_full_bytes is None else bulk_full_bytes

    @property
    def waiting_bytes(self) -> int:
        """Bytes not yet taken by the socket."""
        return self._control_bytes + self._bulk_bytes + frame_size(self._begun)

    @property
    def is_bulk_full(self) -> bool:
        """True if no bulk message that may be dropped shall be put."""
        return 0 < self._bulk_bytes >= self._bulk_full_bytes

    def put(self, frames: Sequence[Frame], *, control: bool) -> bool:
        """All frames of one message, or none: False when the lane is over its bound."""
        sized = [(frame, frame_size(frame)) for frame in frames]
        total = sum(size for _, size in sized)
        if control:
            if self._control_bytes and self._control_bytes + total > self._control_bytes_max:
                return False
            self._control.extend(sized)
            self._control_bytes += total
        else:
            if self._bulk_bytes and self._bulk_bytes + total > self._bulk_bytes_max:
                return False
            self._bulk.extend(sized)
            self._bulk_bytes += total
        return True

    def flush(self, sock: Socket) -> tuple[Flushed, int]:
        """Write until the socket is full, nothing waits, or TURN_BYTES are gone.

        Also returns how many bytes went. Raises OSError when the connection is broken.
        """
        written = 0
        while True:
            buffers = self._next_piece()
            if not buffers:
                return Flushed.EMPTY, written
            if written >= TURN_BYTES:
                return Flushed.TURN_OVER, written
            try:
                count = sock.sendmsg(buffers)
            except (BlockingIOError, InterruptedError):
                return Flushed.BLOCKED, written
            self._advance(count)
            written += count

    def _next_piece(self) -> list[Buffer]:
        buffers = list(self._begun)
        size = frame_size(buffers)
        for frame, frame_bytes in chain(self._control, self._bulk):
            if size >= PIECE_BYTES or len(buffers) >= BUFFERS_MAX:
                break
            buffers += frame
            size += frame_bytes
        return buffers[:BUFFERS_MAX]

    def _advance(self, count: int) -> None:
        if self._begun:
            begun_bytes = frame_size(self._begun)
            if count < begun_bytes:
                self._begun = _skip(self._begun, count)
                return
            count -= begun_bytes
            self._begun = []
        while count:
            if self._control:
                frame, size = self._control.popleft()
                self._control_bytes -= size
            else:
                frame, size = self._bulk.popleft()
                self._bulk_bytes -= size
            if count < size:
                self._begun = _skip(frame, count)
                return
            count -= size


def _skip(frame: Sequence[Buffer], count: int) -> list[Buffer]:
    """What is left of a frame after its first `count` bytes."""
    rest: list[Buffer] = []
    for buffer in frame:
        if count >= len(buffer):
            count -= len(buffer)
        else:
            rest.append(memoryview(buffer)[count:])
            count = 0
    return rest
