"""The ready messages of a queue that has priorities, or a limit of bytes; and others of it, where they are weighed.

Law: as an `IntervalSet`, but what goes next is the lowest seq of the highest priority; `starts[0]` is that one. What
stands below the watermark does not overtake what is more urgent and stands above it. `bytes` is the sum of what is
inside and weighed, 0 where nobody weighs. A backlog that is put in as a whole is sorted and weighed piece by piece: a
node is one thread, and a million messages take longer than an election. Until it `is_sorted`, nothing goes next. What
comes is weighed as it comes, unless it has to be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge

from cluster.broker.shard.intervals import IntervalSet, Range

_ALL = 1 << 62
_WEIGHED_AT_ONCE = 20_000
_COMING_PATIENCE = 16 << 20
"""For what is weighed as it comes."""


class SortedReady:
    """`priorities` tells a message's priority by its seq; None where that does not count.

    `sizes_of(first, end, patience)` gives sizes from `first` on and what is left of the patience: at least one size,
    and no more of them when the patience is used up. None: nobody weighs. `backlog` waits to be sorted and weighed.
    """

    __slots__ = (
        "_lanes",
        "_order",
        "_priorities",
        "_sizes",
        "_sizes_of",
        "_unsorted",
        "_unweighed",
        "bytes",
        "count",
        "grown",
    )

    def __init__(
        self,
        priorities: Callable[[int], int] | None,
        sizes_of: Callable[[int, int, int], tuple[list[int], int]] | None,
        backlog: Iterable[Range] = (),
    ) -> None:
        self.count = 0
        self.bytes = 0
        self.grown = 0
        """Bytes that came while not everything was weighed."""
        self._priorities = priorities
        self._sizes_of = sizes_of
        self._sizes: dict[int, int] = {}
        """Of what is inside, where it is weighed: what leaves may not be there to be weighed any more."""
        self._lanes: dict[int, IntervalSet] = {}
        self._order: list[int] = []
        """Priorities in use, the highest first."""
        self._unsorted = IntervalSet()
        """Inside, and in no lane yet."""
        self._unweighed = IntervalSet()
        """Inside, and not counted in `bytes` yet."""
        for first, end in backlog:
            (self._lane(0) if priorities is None else self._unsorted).add(first, end)
            self.count += end - first
            if sizes_of is not None:
                self._unweighed.add(first, end)

    @property
    def is_sorted(self) -> bool:
        """May anything go next?"""
        return not self._unsorted

    @property
    def is_weighed(self) -> bool:
        """Is everything in `bytes`?"""
        return not self._unweighed

    def sort(self, count: int) -> None:
        """Find the places of so many more."""
        for first, end in self._unsorted.take(count, _ALL):
            self._place(first, end)

    @property
    def bytes_about(self) -> int:
        """`bytes`, and as much for each message that is not weighed as one weighs on average."""
        weighed = len(self._sizes)
        return self.bytes + (self.bytes * self._unweighed.count // weighed if weighed else 0)

    def weigh(self, patience: int) -> None:
        """Some more: what they cost is the patience of `sizes_of`."""
        self._weigh(self._unweighed.take(_WEIGHED_AT_ONCE, _ALL), patience)
        if self.is_weighed:
            self.grown = 0

    def _weigh(self, parts: Iterable[Range], patience: int) -> int:
        """What is left of them waits. Returns the bytes of those that are weighed."""
        assert self._sizes_of is not None
        before = self.bytes
        for first, end in parts:
            position = first
            while position < end and patience > 0:
                sizes, patience = self._sizes_of(position, end, patience)
                self._sizes.update(zip(range(position, end), sizes, strict=False))
                self.bytes += sum(sizes)
                position += len(sizes)
            self._unweighed.add(position, end)
        return self.bytes - before

    def __bool__(self) -> bool:
        return self.count > 0

    def __contains__(self, number: int) -> bool:
        return number in self._unsorted or any(number in lane for lane in self._lanes.values())

    def __iter__(self) -> Iterator[Range]:
        return merge(self._unsorted, *self._lanes.values())

    def __reversed__(self) -> Iterator[Range]:
        return merge(reversed(self._unsorted), *map(reversed, self._lanes.values()), reverse=True)

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
        return self._added(self._put(first, end))

    def remove(self, first: int, end: int) -> list[Range]:
        return self.remove_all(((first, end),))

    def remove_all(self, parts: Sequence[Range]) -> list[Range]:
        gone: list[Range] = []
        for place in (*self._lanes.values(), self._unsorted):
            gone += place.remove_all(parts)
        return self._removed(sorted(gone))

    def move(self, first: int, end: int, to: SortedReady) -> list[Range]:
        """What is inside of `[first, end)` goes there, as heavy as it is known to be: nothing is weighed for it."""
        sizes = {seq: size for seq in range(first, end) if (size := self._sizes.get(seq)) is not None}
        gone = self.remove(first, end)
        for a, b in gone:
            to._put(a, b)
            to.count += b - a
            if to._sizes_of is not None:
                to._unweighed.add(a, b)
        if to._sizes_of is not None:
            for seq in sizes:
                to._unweighed.remove(seq, seq + 1)
            to._sizes |= sizes
            to.bytes += sum(sizes.values())
        return gone

    def meets(self, first: int, end: int) -> bool:
        return self._unsorted.meets(first, end) or any(lane.meets(first, end) for lane in self._lanes.values())

    def clear(self) -> None:
        for first, end in list(self):
            self.remove(first, end)

    def take(self, count: int, below: int) -> list[Range]:
        taken: list[Range] = []
        for priority in self._order:
            lane = self._lanes[priority]
            parts = lane.take(count, below)
            taken += parts
            count -= sum([b - a for a, b in parts])
            if lane or not count:
                break
        if count and self._unsorted:
            taken += self._unsorted.take(count, below)
        return self._removed(taken)

    def _lane(self, priority: int) -> IntervalSet:
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = IntervalSet()
            self._order = sorted(self._lanes, reverse=True)
        return lane

    def _put(self, first: int, end: int) -> list[Range]:
        """To where it is sorted, unless others wait for that. Returns the parts that were not there."""
        return self._unsorted.add(first, end) if self._unsorted else self._place(first, end)

    def _place(self, first: int, end: int) -> list[Range]:
        """Into the lanes. Returns the parts that were in none."""
        priorities = self._priorities
        if priorities is None:
            return self._lane(0).add(first, end)
        new: list[Range] = []
        begin, priority = first, priorities(first)
        for seq in range(first + 1, end):
            if (other := priorities(seq)) != priority:
                new += self._lane(priority).add(begin, seq)
                begin, priority = seq, other
        return new + self._lane(priority).add(begin, end)

    def _added(self, parts: list[Range]) -> list[Range]:
        self.count += sum([b - a for a, b in parts])
        if self._sizes_of is not None:
            others_wait = not self.is_weighed
            size = self._weigh(parts, _COMING_PATIENCE)
            if others_wait:
                self.grown += size
        return parts

    def _removed(self, parts: list[Range]) -> list[Range]:
        self.count -= sum([b - a for a, b in parts])
        if self._sizes_of is not None:
            for a, b in parts:
                self._unweighed.remove(a, b)
            self.bytes -= sum([self._sizes.pop(seq, 0) for a, b in parts for seq in range(a, b)])
        return parts


Ready = IntervalSet | SortedReady


def move(source: Ready, target: Ready, first: int, end: int) -> list[Range]:
    """What is inside of `[first, end)` goes from one to the other. Returns those parts."""
    if isinstance(source, SortedReady) and isinstance(target, SortedReady):
        return source.move(first, end, target)
    gone = source.remove(first, end)
    for a, b in gone:
        target.add(a, b)
    return gone


def heads(ready: Ready) -> list[int]:
    """The messages that stand first: one, or one for each priority."""
    return ready.heads if isinstance(ready, SortedReady) else ready.starts[:1]
