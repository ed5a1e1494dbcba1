"""Published bytes that are not yet committed: of a connection, and of all of a node together.

Law: what is under way when publishers are blocked has to find room in the store, because what gives space back comes
behind it in the logs. So all connections share a pool. While it is used up, only those are read that have nothing under
way and are not in the middle of a message; and no message or transaction is larger than the pool. So never more than
twice the pool is under way, and what was taken in with the last reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol


class Pool:
    """Of one node."""

    __slots__ = ("_waiting", "size", "size_max")

    def __init__(self, size_max: float = math.inf) -> None:
        self.size = 0
        self.size_max = size_max
        self._waiting: dict[Callable[[], None], None] = {}
        """Told when there is room again. At most one of each connection."""

    @property
    def is_used_up(self) -> bool:
        return self.size > self.size_max

    def taken(self, size: int) -> None:
        self.size += size

    def returned(self, size: int) -> None:
        self.size -= size
        if self._waiting and not self.is_used_up:
            waiting, self._waiting = self._waiting, {}
            for tell in waiting:
                tell()

    def wait(self, tell: Callable[[], None]) -> None:
        """`tell` once, when there is room again."""
        self._waiting[tell] = None

    def leave(self, tell: Callable[[], None]) -> None:
        """Do not."""
        self._waiting.pop(tell, None)


class Content(Protocol):
    """What of its client's messages a connection has."""

    @property
    def is_publishing(self) -> bool:
        """Has the client begun one that is not complete?"""


class Budget:
    """Of one connection."""

    __slots__ = ("_content", "_pool", "_tell", "size", "size_max")

    def __init__(self, size_max: int, pool: Pool, content: Content, tell: Callable[[], None]) -> None:
        """`tell` it that it may be read again."""
        self.size_max = size_max
        self.size = 0
        self._pool = pool
        self._content = content
        self._tell = tell

    @property
    def largest(self) -> int:
        """Bytes that a transaction may have."""
        return int(min(self.size_max, self._pool.size_max))

    def taken(self, size: int) -> None:
        self.size += size
        self._pool.taken(size)

    def returned(self, size: int) -> None:
        self.size -= size
        self._pool.returned(size)

    def close(self) -> None:
        """The connection is over: others need not wait for what of it is still under way."""
        self._pool.leave(self._tell)
        self._pool.returned(self.size)
        self._pool = Pool()

    @property
    def exhausted(self) -> bool:
        """Shall the connection not be read?"""
        if self.size > self.size_max:
            return True
        if not self._pool.is_used_up:
            return False
        if self.size:
            return True
        if self._content.is_publishing:
            self._pool.wait(self._tell)
            return True
        return False
