"""What clients were promised, checked against what clients see.

Law: it looks on and never helps; it knows only what went through clients' sockets, and when the simulation disturbed
links. What a disturbance may explain is excused, everything else raises AssertionError at once:
a confirmed message is acked by somebody in the end, or is a dead letter; a refused one is never delivered; a message is
delivered as new at most once, and not after it was delivered; new messages of a publisher come to a consumer in order;
what a consumer that is there holds, or has answered for good, goes to nobody else; only what was rejected dies; all of
a transaction happens, or nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import trio

MessageId = tuple[str, int]
"""(publisher, number)."""
Place = tuple[str, MessageId]
"""(queue, message)."""
_AFTERMATH_SECONDS = 2.0
DEAD = "dead"
"""The queue of dead letters. They come in the order in which they died."""


class Holder(Protocol):
    """A consumer."""

    name: str

    @property
    def present(self) -> bool:
        """Is its connection alive, or was it closed in order?"""


@dataclass(slots=True)
class Held:
    """A delivery. `answered` once the client acked or rejected it."""

    holder: Holder
    at: float
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """One transaction: what it acks, and what it publishes."""

    taken: list[MessageId]
    put: list[MessageId]


class Calm:
    """Since when nothing goes wrong."""

    def __init__(self) -> None:
        self._now = 0
        self._until = 0.0

    def begin(self) -> None:
        self._now += 1

    def end(self) -> None:
        self._now -= 1
        self._until = trio.current_time()

    def since(self, time: float) -> bool:
        """Has nothing gone wrong from `time`, or a little before it, until now?"""
        return not self._now and self._until + _AFTERMATH_SECONDS < time


@dataclass(slots=True)
class Tally:
    """What happened, in numbers."""

    published: int = 0
    confirmed: int = 0
    refused: int = 0
    delivered: int = 0
    redelivered: int = 0
    acked: int = 0
    rejected: int = 0
    died: int = 0
    declared: int = 0
    unanswered: int = 0


@dataclass(slots=True)
class Oracle:
    links: Calm = field(default_factory=Calm)
    """No link was disturbed and nobody stood still (crashes are no disturbance to the others)."""
    everything: Calm = field(default_factory=Calm)
    tally: Tally = field(default_factory=Tally)
    judged_by_moves: str = ""
    """The queue that is left by transactions only."""
    checks: Counter[str] = field(default_factory=Counter)
    """How often each promise was looked at."""
    _sent: dict[MessageId, str] = field(default_factory=dict)
    _confirmed: dict[MessageId, None] = field(default_factory=dict)
    _refused: dict[MessageId, None] = field(default_factory=dict)
    _fresh: dict[Place, str] = field(default_factory=dict)
    _received_at: dict[Place, float] = field(default_factory=dict)
    _held: dict[Place, Held] = field(default_factory=dict)
    _last_fresh: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _rejected: dict[MessageId, None] = field(default_factory=dict)
    _acked: dict[MessageId, None] = field(default_factory=dict)
    _gone: dict[str, None] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    """Transactions that were tried."""

    # ---- publishers

    def published(self, message: MessageId, queue: str) -> None:
        self.tally.published += 1
        self._sent[message] = queue

    def confirmed(self, message: MessageId) -> None:
        self.tally.confirmed += 1
        assert message not in self._refused
        self._confirmed[message] = None

    def refused(self, message: MessageId) -> None:
        self.tally.refused += 1
        queue = self._sent[message]
        assert (queue, message) not in self._received_at, f"{message} was delivered and is refused"
        self._refused[message] = None

    def queue_gone(self, queue: str) -> None:
        """Deleted, or about to be: what is in it is nobody's."""
        self._gone[queue] = None

    # ---- consumers

    def received(self, holder: Holder, stream: str, queue: str, message: MessageId, *, redelivered: bool) -> None:
        """`stream` tells apart what a holder gets in different ways; in each there is an order."""
        now = trio.current_time()
        place = (queue, message)
        what = f"{message[0]}#{message[1]} of {queue}"
        self.tally.delivered += 1
        self.checks["published there, and not refused"] += 1
        if queue == DEAD:
            self.tally.died += 1
            assert message in self._rejected, f"{what} died and was not rejected"
        else:
            assert self._sent.get(message) == queue, f"{what} was never published there"
        assert message not in self._refused, f"{what} was refused and is delivered"
        earlier = self._received_at.get(place)
        if redelivered:
            self.tally.redelivered += 1
        else:
            assert place not in self._fresh, f"{what} is new to {holder.name} and was new to {self._fresh[place]}"
            assert earlier is None or not self.links.since(earlier), f"{what} is new to {holder.name} after a delivery"
            self.checks["new once, and in order"] += 1
            self._fresh[place] = holder.name
            key = (stream, queue, message[0])
            last = self._last_fresh.get(key, -1)
            assert message[1] > last or queue == DEAD, f"{what} comes to {holder.name} after #{last}"
            self._last_fresh[key] = message[1]
        held = self._held.get(place)
        self.checks["held by one"] += held is not None
        if held is not None and held.holder.present and self.links.since(held.at):
            state = "answered" if held.answered else "held"
            raise AssertionError(f"{what} is {state} by {held.holder.name} and goes to {holder.name}")
        self._held[place] = Held(holder, now)
        self._received_at[place] = now

    def acked(self, holder: Holder, queue: str, message: MessageId) -> None:
        self.tally.acked += 1
        self._acked[message] = None
        self._answered(holder, (queue, message))

    def rejected(self, holder: Holder, queue: str, message: MessageId) -> None:
        """It is to be a dead letter."""
        self.tally.rejected += 1
        self._rejected[message] = None
        self._answered(holder, (queue, message))

    def _answered(self, holder: Holder, place: Place) -> None:
        held = self._held.get(place)
        if held is not None and held.holder is holder:
            held.answered = True

    def given_back(self, holder: Holder, queue: str, message: MessageId) -> None:
        held = self._held.get((queue, message))
        if held is not None and held.holder is holder and not held.answered:
            del self._held[(queue, message)]

    # ---- the end

    def nothing_is_lost(self) -> None:
        for message in self._confirmed:
            queue = self._sent[message]
            what = f"{message[0]}#{message[1]} of {queue}"
            self.checks["confirmed and not lost"] += 1
            assert queue in self._gone or (queue, message) in self._received_at, f"{what} was never delivered"
            acked = message in self._acked or queue == self.judged_by_moves
            assert queue in self._gone or acked, f"{what} is no more and nobody acked it"
        self._moved_as_a_whole()

    def _moved_as_a_whole(self) -> None:
        """Everything has been delivered, and the queue of work is empty."""
        moved: dict[MessageId, int] = {}
        for move in self.moves:
            self.checks["transactions whole"] += 1
            there = [(self._sent[message], message) in self._received_at for message in move.put]
            assert all(there) or not any(there), f"{move} happened in part: {there}"
            for message in move.taken if there[0] else ():
                moved[message] = moved.get(message, 0) + 1
        for queue, message in self._received_at:
            if queue == self.judged_by_moves:
                assert moved.get(message, 0) == 1, f"{message} was taken in {moved.get(message, 0)} transactions"
