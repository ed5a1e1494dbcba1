"""How often messages came back: counts by sequence number, neighbours with one count together.

Law: a million messages that came back at once are one run, in memory and in time. Runs are sorted, disjoint, never
empty and above 0; neighbours that touch have different counts.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence

from cluster.broker.shard.columns import pack_column
from cluster.broker.shard.intervals import Range


class Counts(Mapping[int, int]):
    """seq -> count; only what is counted at least once."""

    __slots__ = ("counts", "ends", "starts", "total")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.counts: list[int] = []
        self.total = 0
        """Messages that are counted."""

    def __len__(self) -> int:
        return self.total

    def __bool__(self) -> bool:
        return bool(self.starts)

    def __iter__(self) -> Iterator[int]:
        for first, end in zip(self.starts, self.ends, strict=True):
            yield from range(first, end)

    def __getitem__(self, seq: int) -> int:
        i = bisect_right(self.starts, seq) - 1
        if i < 0 or seq >= self.ends[i]:
            raise KeyError(seq)
        return self.counts[i]

    def runs(self, first: int, end: int) -> list[tuple[int, int, int]]:
        """`(first, end, count)` that make up `[first, end)`, those that are not counted with 0."""
        starts, ends = self.starts, self.ends
        runs: list[tuple[int, int, int]] = []
        i = bisect_right(ends, first)
        while first < end:
            if i == len(starts) or starts[i] >= end:
                runs.append((first, end, 0))
                break
            if first < starts[i]:
                runs.append((first, starts[i], 0))
            stop = min(end, ends[i])
            runs.append((max(first, starts[i]), stop, self.counts[i]))
            first = stop
            i += 1
        return runs

    def above(self, count: int) -> list[Range]:
        """What is counted more often."""
        return [(a, b) for a, b, n in zip(self.starts, self.ends, self.counts, strict=True) if n > count]

    def add(self, first: int, end: int) -> None:
        """Count `[first, end)` once more."""
        if first < end:
            self._put(first, end, [(a, b, count + 1) for a, b, count in self.runs(first, end)])

    def remove(self, first: int, end: int) -> None:
        """`[first, end)` is not counted any more."""
        if first < end and self.starts and self.starts[0] < end and first < self.ends[-1]:
            self._put(first, end, [])

    def clear(self) -> None:
        self.starts.clear()
        self.ends.clear()
        self.counts.clear()
        self.total = 0

    def copy(self) -> Counts:
        copy = Counts()
        copy.starts, copy.ends, copy.counts = self.starts.copy(), self.ends.copy(), self.counts.copy()
        copy.total = self.total
        return copy

    def pairs(self, piece: int) -> Iterator[bytes]:
        """(seq, count) in u64 pairs, ascending, `piece` of them at a time and the last ones."""
        pairs = array("Q")
        for first, end, count in zip(self.starts, self.ends, self.counts, strict=True):
            if end == first + 1:
                pairs.append(first)
                pairs.append(count)
                first = end
            while first < end:
                stop = min(end, first + piece - len(pairs) // 2)
                part = array("Q", [count]) * (2 * (stop - first))
                part[::2] = array("Q", range(first, stop))
                pairs += part
                first = stop
                if first < end:
                    yield pack_column(pairs)
                    pairs = array("Q")
            if len(pairs) == 2 * piece:
                yield pack_column(pairs)
                pairs = array("Q")
        yield pack_column(pairs)

    @classmethod
    def of_pairs(cls, pairs: Sequence[int]) -> Counts:
        """From (seq, count), one after the other, ascending. Raises ValueError for others."""
        counts = cls()
        for i in range(0, len(pairs), 2):
            if not pairs[i + 1] or (counts.ends and pairs[i] < counts.ends[-1]):
                raise ValueError("counts do not ascend")
            counts._append(pairs[i], pairs[i] + 1, pairs[i + 1])
        return counts

    def _append(self, first: int, end: int, count: int) -> None:
        """Behind all others."""
        if self.ends and self.ends[-1] == first and self.counts[-1] == count:
            self.ends[-1] = end
        else:
            self.starts.append(first)
            self.ends.append(end)
            self.counts.append(count)
        self.total += end - first

    def _put(self, first: int, end: int, runs: list[tuple[int, int, int]]) -> None:
        """Let `[first, end)` be counted as `runs` say, which lie in it and may have neighbours of one count."""
        starts, ends, counts = self.starts, self.ends, self.counts
        if not starts or first > ends[-1]:
            for a, b, count in runs:
                self._append(a, b, count)
            return
        # What touches `[first, end)` is part of it, so that neighbours of one count become one.
        i, j = bisect_left(ends, first), bisect_right(starts, end)
        new = Counts()
        if i < j and starts[i] < first:
            new._append(starts[i], first, counts[i])
        for a, b, count in runs:
            new._append(a, b, count)
        if i < j and ends[j - 1] > end:
            new._append(end, ends[j - 1], counts[j - 1])
        self.total += new.total - sum(ends[k] - starts[k] for k in range(i, j))
        starts[i:j], ends[i:j], counts[i:j] = new.starts, new.ends, new.counts
