"""Publisher confirms of one channel (RabbitMQ's confirm.select extension).

Law: every publish has a number, from 1, in the order of the wire; it is answered once, by an ack or a nack. Numbers
below `low` are all answered. What is done in one piece from `low` on goes out as one `multiple` ack; what is done
before its elders goes out by itself at once. Nacks go out one by one and before the acks of their round. No ack
names a number that was named before: clients take that for another publish, or for a fault.
"""

from __future__ import annotations

from bisect import bisect_right

from cluster.broker.shard.intervals import IntervalSet, Range

Ack = tuple[int, bool]
"""(delivery tag, multiple)."""


class Confirms:
    """Numbers given and numbers done."""

    __slots__ = ("_alone", "_done", "_loose", "_refused", "_told", "low", "next_number")

    def __init__(self) -> None:
        self.next_number = 1
        self.low = 1
        self._told = 1
        self._done = IntervalSet()
        self._alone = IntervalSet()
        """Told one by one, from `_told` on."""
        self._loose: list[Range] = []
        self._refused: list[Range] = []

    @property
    def open_count(self) -> int:
        """Publishes that are not answered yet."""
        return self.next_number - self.low - self._done.count

    def number(self, count: int) -> int:
        """Numbers for `count` publishes. Returns the first."""
        first = self.next_number
        self.next_number = first + count
        return first

    def done(self, first: int, count: int) -> None:
        """These publishes are safe (or need no safety)."""
        if self._answered(first, first + count):
            self._loose.append((first, first + count))

    def refused(self, first: int, count: int) -> None:
        """These publishes are not stored."""
        self._refused.append((first, first + count))
        self._answered(first, first + count)

    def _answered(self, first: int, end: int) -> bool:
        """Whether elders are still open."""
        done = self._done
        if first == self.low and not done.starts:
            self.low = end
            return False
        done.add(first, end)
        if done.starts[0] == self.low:
            self.low = done.ends[0]
            done.drop_below(self.low)
            return False
        return True

    def take_nacks(self) -> list[int]:
        """Numbers to be nacked now, before `take_acks` is asked."""
        numbers = [number for first, end in self._refused for number in range(first, end)]
        for first, end in self._refused:
            self._alone.add(first, end)
        self._refused.clear()
        return numbers

    def take_acks(self) -> list[Ack]:
        """What to tell the publisher now."""
        acks: list[Ack] = []
        if self.low > self._told:
            last = self._last_untold(self.low - 1)
            if last >= self._told:
                acks.append((last, last > self._told))
            self._told = self.low
            self._alone.drop_below(self.low)
        if self._loose:
            for first, end in self._loose:
                numbers = range(max(first, self._told), end)
                if numbers:
                    self._alone.add(numbers.start, end)
                    acks += [(number, False) for number in numbers]
            self._loose.clear()
        return acks

    def _last_untold(self, last: int) -> int:
        """`last`, or the number before the ones up to it that were told one by one."""
        starts = self._alone.starts
        position = bisect_right(starts, last) - 1
        return starts[position] - 1 if position >= 0 and last < self._alone.ends[position] else last
