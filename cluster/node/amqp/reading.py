"""How much of a client's words is taken in at once.

Law: those who say much share, in one pass of the scheduler, what a single one of them may say alone: nobody waits
longer for his turn the more of them there are. Who says little is not counted. Whether somebody says much is known
from the last `WINDOW_SECONDS`; everybody is always given `RECEIVE_BYTES_MIN`.
"""

from __future__ import annotations

RECEIVE_BYTES = 256 << 10
"""In one pass, of all who say much."""
RECEIVE_BYTES_MIN = 16 << 10
"""Who says so much at once says much."""
EVENTS_AT_ONCE = 500
"""Whoever says more than so many things in what is taken in at once lets others have their turn between them. What
follows each other and is of one kind, as publishes and acks, is one thing."""
WINDOW_SECONDS = 0.1


class Reading:
    """One node's. Times are monotonic seconds."""

    __slots__ = ("_loud", "_share", "_window_end")

    def __init__(self) -> None:
        self._loud: set[str] = set()
        """Connections that said much in this window. Bounded by the connections there are."""
        self._share = RECEIVE_BYTES
        self._window_end = 0.0

    def share(self, now: float) -> int:
        """Bytes that a connection may say now."""
        if now >= self._window_end:
            self._share = max(RECEIVE_BYTES_MIN, RECEIVE_BYTES // max(1, len(self._loud)))
            self._loud.clear()
            self._window_end = now + WINDOW_SECONDS
        return self._share

    def heard(self, connection_id: str, size: int) -> None:
        """It has said so much."""
        if size >= RECEIVE_BYTES_MIN:
            self._loud.add(connection_id)
