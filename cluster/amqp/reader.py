"""The part of the byte stream that is not yet a whole frame.

Law: octets are kept only until what they begin is complete, and joined once, however small the pieces are that
they come in. The caller may reuse its buffer: nothing of it is referred to after `add`.
"""

from __future__ import annotations


class FrameReader:
    """`rest` is never longer than one frame, except while input is held back."""

    __slots__ = ("_needed", "_rest", "skip")

    def __init__(self) -> None:
        self._rest: bytes | bytearray = b""
        self._needed = 0
        self.skip = 0
        """Octets to come that are dropped unseen: the payload of a frame that was refused for its size."""

    def __len__(self) -> int:
        return len(self._rest)

    def add(self, data: bytes | bytearray | memoryview) -> bytes | None:
        """Everything kept and `data` behind it, or None while that is not enough for what is being waited for."""
        if self.skip:
            skipped = min(self.skip, len(data))
            self.skip -= skipped
            data = memoryview(data)[skipped:]
        if not self._rest:
            return data if type(data) is bytes else bytes(data)
        if len(self._rest) + len(data) < self._needed:
            self.hold(data)
            return None
        buffer = b"".join((self._rest, data))
        self._rest = b""
        return buffer

    def hold(self, data: bytes | bytearray | memoryview) -> None:
        """Keep `data` behind the rest without looking at it."""
        if not isinstance(self._rest, bytearray):
            self._rest = bytearray(self._rest)
        self._rest += data

    def keep(self, buffer: bytes, position: int, needed: int) -> None:
        """Keep what stands at `position`; `needed` octets from there are worth another look."""
        self._rest = buffer[position:]
        self._needed = needed

    def take(self) -> bytes:
        """All that is kept; nothing is kept any more."""
        buffer = bytes(self._rest)
        self._rest = b""
        return buffer

    def clear(self) -> None:
        self._rest = b""
        self.skip = 0
