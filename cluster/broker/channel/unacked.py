"""Deliveries of one channel that wait for their ack (AMQP 0-9-1 §1.8.3.12, basic.ack).

Law: delivery tags are given in order, from 1, to runs of messages; a run maps its tags to the seqs of one queue by
a fixed distance. A tag is answered once; answering an unknown one is the client's error.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from typing import Generic, TypeVar

from cluster.broker.errors import precondition_failed
from cluster.broker.shard.intervals import IntervalMap

C = TypeVar("C")
G = TypeVar("G", bound=Hashable)

Answered = tuple[C, int, int]
"""(consumer, first seq, count)."""


class Verdict(Enum):
    """What a client says of a delivery."""

    DONE = 1
    REJECTED = 2
    """It shall not come again."""
    REQUEUED = 3


class TagRun(Generic[C]):
    """Tags of one delivery: seq = tag + distance."""

    __slots__ = ("consumer", "distance")

    def __init__(self, consumer: C, distance: int) -> None:
        self.consumer = consumer
        self.distance = distance


TagPiece = tuple[int, int, TagRun[C]]
"""(first tag, end tag, the run they belong to)."""


class Unacked(Generic[C]):
    """Outstanding delivery tags of one channel. `C` is who the messages were delivered to."""

    __slots__ = ("_runs", "next_tag")

    def __init__(self) -> None:
        self.next_tag = 1
        self._runs: IntervalMap[TagRun[C]] = IntervalMap()

    @property
    def count(self) -> int:
        return self._runs.count

    @property
    def oldest(self) -> int | None:
        """The lowest outstanding tag."""
        starts = self._runs.starts
        return starts[0] if starts else None

    def oldest_by(self, group: Callable[[C], G]) -> dict[G, int]:
        """For each group of receivers the lowest outstanding tag."""
        found: dict[G, int] = {}
        for first, _, run in self._runs:
            found.setdefault(group(run.consumer), first)
        return found

    def tag(self, consumer: C, first_seq: int, count: int) -> int:
        """Tags for a run that wants an ack. Returns the first."""
        tag = self.next_tag
        self.next_tag = tag + count
        self._runs.put(tag, tag + count, TagRun(consumer, first_seq - tag))
        return tag

    def tag_automatic(self, count: int) -> int:
        """Tags for a run that wants none. Returns the first."""
        tag = self.next_tag
        self.next_tag = tag + count
        return tag

    def answer(self, tag: int, *, multiple: bool) -> list[Answered[C]]:
        """What `tag` (with `multiple`: and everything before it; 0: everything) stands for, now answered.

        Raises BrokerError 406 for a tag that is not outstanding.
        """
        return answered(self.take(tag, multiple=multiple))

    def take(self, tag: int, *, multiple: bool) -> list[TagPiece[C]]:
        """`answer`, with the tags: what can be put back."""
        runs = self._runs
        if multiple and tag == 0:
            return runs.cut(0, self.next_tag)
        if not runs.covers(tag, tag + 1):
            raise precondition_failed(f"unknown delivery tag {tag}")
        return runs.cut(0 if multiple else tag, tag + 1)

    def put_back(self, pieces: list[TagPiece[C]]) -> None:
        """Taken tags are outstanding again (tx.rollback)."""
        for first, end, run in pieces:
            self._runs.put(first, end, run)

    def answer_each(self, tags: list[int]) -> tuple[list[Answered[C]], int | None]:
        """What a run of single acks stands for, and the first unknown tag among them (the rest is not looked at)."""
        first, count = tags[0], len(tags)
        if count > 1 and tags[-1] - first == count - 1 and tags == list(range(first, first + count)):
            if self._runs.covers(first, first + count):
                return self._cut(first, first + count), None
        elif count == 1 and self._runs.covers(first, first + 1):
            return self._cut(first, first + 1), None
        answered: list[Answered[C]] = []
        for tag in tags:
            if not self._runs.covers(tag, tag + 1):
                return answered, tag
            answered += self._cut(tag, tag + 1)
        return answered, None

    def take_all(self) -> list[Answered[C]]:
        """Everything outstanding, in the order of delivery."""
        return self._cut(0, self.next_tag)

    def _cut(self, first: int, end: int) -> list[Answered[C]]:
        return answered(self._runs.cut(first, end))


def answered(pieces: list[TagPiece[C]]) -> list[Answered[C]]:
    """The messages behind tags."""
    return [(run.consumer, a + run.distance, b - a) for a, b, run in pieces]
