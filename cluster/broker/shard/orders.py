"""Purges and retries of a queue that are on their way through the log.

Law: who has asked for one is answered when the log has carried out all of it, and purges in the order in which they
came. What a node that is gone has asked for is carried out, and nobody is answered.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cluster.broker.shard.intervals import Range
from cluster.broker.shard.queue_state import QueueState
from cluster.broker.shard.ready import Ready


@dataclass(frozen=True, slots=True)
class Order:
    """A purge or a retry: who asked, and what is to be settled, or ready again."""

    node: int
    request: int
    count: int
    ranges: list[Range]


class Orders:
    """Not answered yet, oldest first. Bounded by the channels, and by the requests of operators."""

    __slots__ = ("purges", "retries")

    def __init__(self) -> None:
        self.purges: deque[Order] = deque()
        self.retries: deque[Order] = deque()

    def purges_done(self, state: QueueState) -> list[Order]:
        """Purges that the log has carried out since."""
        done: list[Order] = []
        while self.purges and not any(state.alive_parts(a, b) for a, b in self.purges[0].ranges):
            done.append(self.purges.popleft())
        return done

    def retries_done(self, parked: Ready) -> list[Order]:
        """Retries of which nothing is parked any more."""
        done: list[Order] = []
        waiting: deque[Order] = deque()
        for retry in self.retries:
            (waiting if any(parked.meets(a, b) for a, b in retry.ranges) else done).append(retry)
        self.retries = waiting
        return done

    def part(self, node: int) -> None:
        """What the node has asked for is not answered."""
        self.purges = deque([p for p in self.purges if p.node != node])
        self.retries = deque([r for r in self.retries if r.node != node])

    def take_all(self) -> list[Order]:
        """All of them: the queue goes."""
        orders = [*self.purges, *self.retries]
        self.purges.clear()
        self.retries.clear()
        return orders
