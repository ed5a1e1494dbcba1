"""The ready messages of a queue that has priorities, or a limit of bytes.

Law: as an `IntervalSet`, but what goes next is the lowest seq of the highest priority; `starts[0]` is that one. What
stands below the watermark does not overtake what is more urgent and stands above it. `bytes` is the sum of what is
inside, 0 where nobody weighs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cluster.broker.shard.intervals import IntervalSet, Range


class SortedReady:
    """`priorities` tells a message's priority by its seq, `size_of` its size; None where that does not count."""

    __slots__ = ("_lanes", "_order", "_priorities", "_size_of", "_sizes", "bytes", "count")

    def __init__(self, priorities: Callable[[int], int] | None, size_of: Callable[[int], int] | None) -> None:
        self.count = 0
        self.bytes = 0
        self._priorities = priorities
        self._size_of = size_of
        self._sizes: dict[int, int] = {}
        """Of what is inside, where it is weighed: what leaves may not be there to be weighed any more."""
        self._lanes: dict[int, IntervalSet] = {}
        self._order: list[int] = []
        """Priorities in use, the highest first."""

    def __bool__(self) -> bool:
        return self.count > 0

    def __contains__(self, number: int) -> bool:
        return any(number in lane for lane in self._lanes.values())

    def __iter__(self) -> Iterator[Range]:
        return iter(sorted([part for lane in self._lanes.values() for part in lane]))

    @property
    def starts(self) -> list[int]:
        """The next to go, or nothing."""
        for priority in self._order:
            if self._lanes[priority]:
                return self._lanes[priority].starts[:1]
        return []

    @property
    def heads(self) -> list[int]:
        """The next to go of each priority."""
        return [self._lanes[priority].starts[0] for priority in self._order if self._lanes[priority]]

    def add(self, first: int, end: int) -> list[Range]:
        priorities = self._priorities
        if priorities is None:
            return self._added(self._lane(0).add(first, end))
        new: list[Range] = []
        for seq in range(first, end):
            new += self._added(self._lane(priorities(seq)).add(seq, seq + 1))
        return new

    def remove(self, first: int, end: int) -> list[Range]:
        gone: list[Range] = []
        for lane in self._lanes.values():
            gone += lane.remove(first, end)
        return self._removed(sorted(gone))

    def take(self, count: int, below: int) -> list[Range]:
        taken: list[Range] = []
        for priority in self._order:
            lane = self._lanes[priority]
            parts = lane.take(count, below)
            taken += parts
            count -= sum([b - a for a, b in parts])
            if lane or not count:
                break
        return self._removed(taken)

    def _lane(self, priority: int) -> IntervalSet:
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = IntervalSet()
            self._order = sorted(self._lanes, reverse=True)
        return lane

    def _added(self, parts: list[Range]) -> list[Range]:
        self.count += sum([b - a for a, b in parts])
        if self._size_of is not None:
            sizes = {seq: self._size_of(seq) for a, b in parts for seq in range(a, b)}
            self._sizes.update(sizes)
            self.bytes += sum(sizes.values())
        return parts

    def _removed(self, parts: list[Range]) -> list[Range]:
        self.count -= sum([b - a for a, b in parts])
        if self._size_of is not None:
            self.bytes -= sum([self._sizes.pop(seq) for a, b in parts for seq in range(a, b)])
        return parts


Ready = IntervalSet | SortedReady


def heads(ready: Ready) -> list[int]:
    """The messages that stand first: one, or one for each priority."""
    return ready.heads if isinstance(ready, SortedReady) else ready.starts[:1]
