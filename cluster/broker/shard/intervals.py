"""Sets and maps of message sequence numbers, kept as half-open intervals.

Law: intervals are sorted, disjoint and never empty; in an `IntervalSet` neighbours do not touch. The cost of
an operation grows with the number of intervals it meets, not with the number of messages.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Generic, TypeVar

Range = tuple[int, int]
"""`(first, end)`, half-open."""

T = TypeVar("T")
_FEW = 500
"""So many intervals at once are dealt with one by one, which moves what lies behind each; more in one pass over all."""


_Piece = tuple[int, int, int]
"""`(which interval it is of, first, end)`."""


def _divide(starts: Sequence[int], ends: Sequence[int], parts: Sequence[Range]) -> tuple[list[_Piece], list[_Piece]]:
    """What of the intervals lies in `parts`, and the rest of them; both are sorted and disjoint."""
    inside: list[_Piece] = []
    rest: list[_Piece] = []
    position = 0
    for which, (first, end) in enumerate(zip(starts, ends, strict=True)):
        while position < len(parts) and parts[position][0] < end:
            a, b = parts[position]
            if first < b:
                if first < a:
                    rest.append((which, first, a))
                    first = a
                if b >= end:
                    break
                inside.append((which, first, b))
                first = b
            position += 1
        is_inside = position < len(parts) and parts[position][0] <= first
        (inside if is_inside else rest).append((which, first, end))
    return inside, rest


class IntervalSet:
    """Integers as intervals. `count` is how many integers are inside; at first those of `parts`."""

    __slots__ = ("count", "ends", "starts")

    def __init__(self, parts: Iterable[Range] = ()) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.count = 0
        for first, end in parts:
            self.add(first, end)

    def __bool__(self) -> bool:
        return bool(self.starts)

    def __iter__(self) -> Iterator[Range]:
        return zip(self.starts, self.ends, strict=True)

    def __reversed__(self) -> Iterator[Range]:
        return zip(reversed(self.starts), reversed(self.ends), strict=True)

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self.starts, number) - 1
        return i >= 0 and number < self.ends[i]

    def meets(self, first: int, end: int) -> bool:
        """Is anything of `[first, end)` inside?"""
        i = bisect_right(self.ends, first)
        return i < len(self.starts) and self.starts[i] < end

    def add(self, first: int, end: int) -> list[Range]:
        """Put `[first, end)` in. Returns the parts that were not inside before."""
        if first >= end:
            return []
        starts, ends = self.starts, self.ends
        if not ends or first > ends[-1]:
            starts.append(first)
            ends.append(end)
            self.count += end - first
            return [(first, end)]
        if first == ends[-1]:
            ends[-1] = end
            self.count += end - first
            return [(first, end)]
        i = bisect_left(ends, first)
        j = bisect_right(starts, end)
        if i == j:
            starts.insert(i, first)
            ends.insert(i, end)
            self.count += end - first
            return [(first, end)]
        new: list[Range] = []
        position = first
        for k in range(i, j):
            if position < starts[k]:
                new.append((position, starts[k]))
            position = max(position, ends[k])
        if position < end:
            new.append((position, end))
        starts[i:j] = [min(first, starts[i])]
        ends[i:j] = [max(end, ends[j - 1])]
        self.count += sum(b - a for a, b in new)
        return new

    def remove(self, first: int, end: int) -> list[Range]:
        """Take `[first, end)` out. Returns the parts that were inside."""
        starts, ends = self.starts, self.ends
        i = bisect_right(ends, first)
        j = bisect_left(starts, end)
        if first >= end or i >= j:
            return []
        gone = [(max(first, starts[k]), min(end, ends[k])) for k in range(i, j)]
        keep_starts: list[int] = []
        keep_ends: list[int] = []
        if starts[i] < first:
            keep_starts.append(starts[i])
            keep_ends.append(first)
        if ends[j - 1] > end:
            keep_starts.append(end)
            keep_ends.append(ends[j - 1])
        starts[i:j] = keep_starts
        ends[i:j] = keep_ends
        self.count -= sum(b - a for a, b in gone)
        return gone

    def remove_all(self, parts: Sequence[Range]) -> list[Range]:
        """`remove` for each of `parts`, which are sorted and disjoint; in one pass if they are many."""
        if len(parts) <= _FEW:
            return [gone for first, end in parts for gone in self.remove(first, end)]
        gone, rest = _divide(self.starts, self.ends, parts)
        self.starts = [first for _, first, _ in rest]
        self.ends = [end for _, _, end in rest]
        self.count -= sum([end - first for _, first, end in gone])
        return [(first, end) for _, first, end in gone]

    def take(self, count: int, below: int) -> list[Range]:
        """Take the lowest integers out: at most `count`, each lower than `below`."""
        taken: list[Range] = []
        starts, ends = self.starts, self.ends
        used = 0
        for i in range(len(starts)):
            first = starts[i]
            end = min(ends[i], first + count, below)
            if end <= first:
                break
            taken.append((first, end))
            count -= end - first
            self.count -= end - first
            if end < ends[i]:
                starts[i] = end
                break
            used += 1
        if used:
            del starts[:used]
            del ends[:used]
        return taken

    def drop_below(self, number: int) -> None:
        """Take everything lower than `number` out."""
        if self.starts and self.starts[0] < number:
            self.remove(self.starts[0], number)

    def clear(self) -> None:
        self.starts.clear()
        self.ends.clear()
        self.count = 0


class IntervalMap(Generic[T]):
    """Integers, each with an owner. Owners are told apart by `==`; neighbours with one owner may touch."""

    __slots__ = ("count", "ends", "owners", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.owners: list[T] = []
        self.count = 0

    def __iter__(self) -> Iterator[tuple[int, int, T]]:
        return zip(self.starts, self.ends, self.owners, strict=True)

    def put(self, first: int, end: int, owner: T) -> None:
        """Give `[first, end)` to `owner`; nothing of it may have an owner."""
        starts = self.starts
        if not starts or first >= self.ends[-1]:
            if starts and self.ends[-1] == first and self.owners[-1] == owner:
                self.ends[-1] = end
            else:
                starts.append(first)
                self.ends.append(end)
                self.owners.append(owner)
        else:
            i = bisect_right(starts, first)
            assert end <= starts[i] if i < len(starts) else True
            assert i == 0 or self.ends[i - 1] <= first
            if i and self.ends[i - 1] == first and self.owners[i - 1] == owner:
                self.ends[i - 1] = end
                if i < len(starts) and starts[i] == end and self.owners[i] == owner:
                    self.ends[i - 1] = self.ends[i]
                    del starts[i], self.ends[i], self.owners[i]
            elif i < len(starts) and starts[i] == end and self.owners[i] == owner:
                starts[i] = first
            else:
                starts.insert(i, first)
                self.ends.insert(i, end)
                self.owners.insert(i, owner)
        self.count += end - first

    def put_all(self, parts: Sequence[tuple[int, int, T]]) -> None:
        """`put` for each of `parts`; in one pass if they are many."""
        if len(parts) > _FEW:
            parts = sorted([*self, *parts], key=itemgetter(0))
            self.starts, self.ends, self.owners, self.count = [], [], [], 0
        for first, end, owner in parts:
            self.put(first, end, owner)

    def cut(self, first: int, end: int) -> list[tuple[int, int, T]]:
        """Take `[first, end)` out. Returns the parts that had an owner."""
        starts, ends, owners = self.starts, self.ends, self.owners
        if not starts or first >= end:
            return []
        i = 0 if first < ends[0] else bisect_right(ends, first)
        if i == len(starts):
            return []
        if starts[i] <= first and end <= ends[i]:
            owner = owners[i]
            if starts[i] < first:
                if end < ends[i]:
                    starts.insert(i + 1, end)
                    ends.insert(i + 1, ends[i])
                    owners.insert(i + 1, owner)
                ends[i] = first
            elif end < ends[i]:
                starts[i] = end
            else:
                del starts[i], ends[i], owners[i]
            self.count -= end - first
            return [(first, end, owner)]
        j = bisect_left(starts, end)
        if i >= j:
            return []
        gone = [(max(first, starts[k]), min(end, ends[k]), owners[k]) for k in range(i, j)]
        keep: list[tuple[int, int, T]] = []
        if starts[i] < first:
            keep.append((starts[i], first, owners[i]))
        if ends[j - 1] > end:
            keep.append((end, ends[j - 1], owners[j - 1]))
        starts[i:j] = [k[0] for k in keep]
        ends[i:j] = [k[1] for k in keep]
        owners[i:j] = [k[2] for k in keep]
        self.count -= sum(b - a for a, b, _ in gone)
        return gone

    def cut_all(self, parts: Sequence[Range]) -> list[tuple[int, int, T]]:
        """`cut` for each of `parts`, which are sorted and disjoint; in one pass if they are many."""
        if len(parts) <= _FEW:
            return [gone for first, end in parts for gone in self.cut(first, end)]
        owners = self.owners
        gone, rest = _divide(self.starts, self.ends, parts)
        self.starts = [first for _, first, _ in rest]
        self.ends = [end for _, _, end in rest]
        self.owners = [owners[which] for which, _, _ in rest]
        self.count -= sum([end - first for _, first, end in gone])
        return [(first, end, owners[which]) for which, first, end in gone]

    def covers(self, first: int, end: int) -> bool:
        """Does everything in `[first, end)` have an owner?"""
        starts, ends = self.starts, self.ends
        if not starts:
            return False
        i = 0 if first < ends[0] else bisect_right(ends, first)
        while i < len(starts) and starts[i] <= first:
            if end <= ends[i]:
                return True
            first = ends[i]
            i += 1
        return False

    def of(self, owner: T) -> list[Range]:
        """The intervals of one owner, ascending."""
        return [(a, b) for a, b, o in self if o is owner]
