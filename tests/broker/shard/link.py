"""A link between a home node and a replica of a shard, as the random shard has it.

Law: it keeps its order, delays at will, and breaks with everything on it; what is said while it is broken is lost. Each
end notices by itself, and it comes back only after both have.
"""

from __future__ import annotations

from collections import deque

import msgpack

from cluster.broker.shard.messages import FromHome
from tests.broker.shard.oracle import Place


class Link:
    """`home_up`, `leader_up`: has this end not noticed that it is broken?"""

    def __init__(self) -> None:
        self.home_up = True
        self.leader_up = True
        self.broken = False
        self.to_home: deque[tuple[str, bytes, set[Place]]] = deque()
        """Kind, wire form, and the messages in it."""
        self.to_leader: deque[bytes] = deque()

    def tell_home(self, kind: str, data: bytes, places: set[Place]) -> None:
        if not self.broken:
            self.to_home.append((kind, data, places))

    def tell_leader(self, data: bytes) -> None:
        if not self.broken:
            self.to_leader.append(data)

    def snap(self) -> None:
        self.broken = True
        self.to_home.clear()
        self.to_leader.clear()

    def mend(self) -> bool:
        """Where it can come back. Does it?"""
        if not self.broken or self.home_up or self.leader_up:
            return False
        self.broken = False
        self.home_up = self.leader_up = True
        return True


def heard(words: FromHome, shard: int, term: int, *, is_at_home: bool) -> FromHome:
    """What the leader gets of what a home node says: the very same `is_at_home`, on the leader's node, else a copy."""
    return words if is_at_home else FromHome.from_wire(msgpack.unpackb(msgpack.packb(words.to_wire(shard, term))))
