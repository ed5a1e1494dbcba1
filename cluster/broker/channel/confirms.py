"""Publisher confirms of one channel (RabbitMQ's confirm.select extension).

Law: every publish has a number, from 1, in the order of the wire; it is answered once, by an ack or a nack. Numbers
below `low` are all answered. What is done in one piece from `low` on goes out as one `multiple` ack; what is done
before its elders goes out by itself at once. Nacks go out one by one and before the acks of their round, so that a
`multiple` ack never means them.
"""

from __future__ import annotations

from cluster.broker.shard.intervals import IntervalSet, Range

Ack = tuple[int, bool]
"""(delivery tag, multiple)."""


class Confirms:
    """Numbers given and numbers done."""

    __slots__ = ("_done", "_loose", "_refused", "_told", "low", "next_number")

    def __init__(self) -> None:
        self.next_number = 1
        self.low = 1
        self._told = 1
        self._done = IntervalSet()
        self._loose: list[Range] = []
        self._refused: list[Range] = []

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
        self._refused.clear()
        return numbers

    def take_acks(self) -> list[Ack]:
        """What to tell the publisher now."""
        acks: list[Ack] = []
        if self.low > self._told:
            acks.append((self.low - 1, self.low - 1 > self._told))
            self._told = self.low
        if self._loose:
            for first, end in self._loose:
                acks += [(number, False) for number in range(max(first, self._told), end)]
            self._loose.clear()
        return acks
