"""A history, put in order: what became of each message, what each consumer saw, what was broken when.

Law: it takes down and does not judge. All times are seconds of the history's clock. A delivery belongs to the queue of
its consumer; a settling belongs to the consumer's last delivery of that message.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from chaos.checker.faults import NEVER, FaultSeen, Span, out_of_touch, without_majority
from chaos.history import (
    AnyRecord,
    Began,
    Compared,
    Confirmed,
    ConsumerEnded,
    Consuming,
    Defined,
    Delivered,
    FaultBegan,
    FaultMended,
    FaultOver,
    Formed,
    Healthy,
    How,
    Left,
    Looked,
    MessageId,
    Note,
    Number,
    Published,
    Queue,
    Refused,
    Settled,
    Stream,
    StreamEnded,
    Stuck,
    Synced,
    Transaction,
    Used,
)

UNPUBLISHED, OPEN, CONFIRMED, REFUSED = 0, 1, 2, 3
ARRIVAL_SECONDS = 5.0
"""What is sent to two clients at one moment may reach them so far apart on a busy machine."""


class Delivery:
    """One delivery of one message to one consumer."""

    __slots__ = ("at", "committed", "consumer", "count", "died", "from_queue", "how", "redelivered", "settled")

    def __init__(self, record: Delivered) -> None:
        self.at = record.t
        self.consumer = record.k
        self.redelivered = record.redelivered
        self.count = record.count
        self.died = record.died
        self.from_queue = record.from_queue
        self.how: How | None = None
        self.settled = NEVER
        """When the client answered."""
        self.committed = NEVER
        """By when that had taken effect for sure."""


@dataclass(slots=True)
class StreamSeen:
    """`answers[number]` is UNPUBLISHED, OPEN, CONFIRMED or REFUSED, as it was answered first; number 0 is none.
    `published_at` holds (time, first, end) of ranges."""

    name: str
    node: int
    queues: tuple[str, ...]
    opened: float
    lives_seconds: float = 0.0
    ended: float = NEVER
    orderly: bool = False
    answers: bytearray = field(default_factory=lambda: bytearray(1))
    published_at: list[tuple[float, Number, Number]] = field(default_factory=list)
    confirmed_at: array[float] = field(default_factory=lambda: array("d"))
    settled_at: dict[Number, float] = field(default_factory=dict)
    """When a number was answered; only for those published while its node was in a minority, or that die of age."""
    transactions: bool = False
    again: set[Number] = field(default_factory=set)
    """Published more than once."""
    contradicted: list[Number] = field(default_factory=list)
    """Confirmed and refused, or answered and never published."""

    def answer(self, number: Number) -> int:
        return self.answers[number] if 0 < number < len(self.answers) else UNPUBLISHED

    def publish(self, at: float, first: Number, end: Number) -> None:
        if end > len(self.answers):
            self.answers.extend(bytes(end - len(self.answers)))
        self.again.update(number for number in range(first, end) if self.answers[number] != UNPUBLISHED)
        self.answers[first:end] = bytes([OPEN]) * (end - first)
        self.published_at.append((at, first, end))

    def settle(self, first: Number, end: Number, answer: int) -> None:
        """A second try that is refused says nothing of the first."""
        for number in range(first, end):
            before = self.answer(number)
            if before in (OPEN, answer):
                self.answers[number] = OPEN if answer == REFUSED and number in self.again else answer
            else:
                self.contradicted.append(number)

    def began_at(self, number: Number) -> float:
        """When it was published first."""
        if number in self.again:
            return min(at for at, first, end in self.published_at if first <= number < end)
        return self.published_at[bisect_right(self.published_at, number, key=lambda one: one[1]) - 1][0]


@dataclass(slots=True)
class ConsumerSeen:
    name: str
    node: int
    queue: str
    began: float
    ended: float = NEVER
    orderly: bool = False
    held: dict[MessageId, Delivery] = field(default_factory=dict)
    """Without an answer yet."""
    unsynced: list[Delivery] = field(default_factory=list)
    """Answered, and not known to be committed."""


class TornError(Exception):
    """A record speaks of a stream, a consumer or a fault whose beginning is not there."""


class Trail:
    """Everything of a history, by what it is about."""

    def __init__(self, records: Iterable[AnyRecord]) -> None:
        """Raises TornError."""
        self.began: Began | None = None
        self.queues: dict[str, Queue] = {}
        self.streams: dict[str, StreamSeen] = {}
        self.deliveries: dict[str, dict[MessageId, list[Delivery]]] = {}
        """Queue -> message -> its deliveries from there, by time."""
        self.damaged: list[Delivered] = []
        self.unpublished: list[tuple[str, MessageId, float]] = []
        """Delivered (queue, message, when), and not published before."""
        self.consumers: dict[str, ConsumerSeen] = {}
        self.farewells: dict[str, list[float]] = {}
        """Queue -> when consumers of it ended."""
        self.transactions: list[Transaction] = []
        self.defined: list[Defined] = []
        self.looked: list[Looked] = []
        self.faults: dict[int, FaultSeen] = {}
        self.claims: dict[str, None] = {}
        """Invariants that the run promised to check, in the order of promising."""
        self.stuck: list[Stuck] = []
        self.healthy: list[Healthy] = []
        self.formed: list[Formed] = []
        self.used: dict[str, Used] = {}
        self.left: dict[str, int] = {}
        self.compared: list[Compared] = []
        self.ended = 0.0
        """The time of the last record."""
        for record in records:
            self.ended = record.t
            try:
                self._take(record)
            except KeyError as error:
                raise TornError(f"nothing says where {error} began") from error
        self.nodes = self.began.nodes if self.began else 3
        """How many the cluster has."""
        self._spans: dict[int, list[Span]] = {}
        """Node -> when it was out of touch, found when it is asked for."""

    def _take(self, record: AnyRecord) -> None:
        match record:
            case Delivered():
                self._deliver(record)
            case Settled():
                self._settle(record)
            case Synced():
                self._sync(record)
            case Published():
                self.streams[record.s].publish(record.t, record.first, record.end)
            case Confirmed():
                stream = self.streams[record.s]
                stream.settle(record.first, record.end, CONFIRMED)
                stream.confirmed_at.append(record.t)
                self._answered(stream, record.t, record.first, record.end)
            case Refused():
                stream = self.streams[record.s]
                stream.settle(record.first, record.end, REFUSED)
                self._answered(stream, record.t, record.first, record.end)
            case Stream():
                self.streams[record.s] = StreamSeen(
                    record.s, record.node, record.queues, record.t, record.lives_seconds
                )
            case StreamEnded():
                stream = self.streams[record.s]
                stream.ended, stream.orderly = record.t, record.orderly
            case Transaction():
                self._transact(record)
            case Consuming():
                self.consumers[record.k] = ConsumerSeen(record.k, record.node, record.queue, record.t)
            case ConsumerEnded():
                consumer = self.consumers[record.k]
                consumer.ended, consumer.orderly = record.t, record.orderly
                self.farewells.setdefault(consumer.queue, []).append(record.t)
            case Defined():
                self.defined.append(record)
            case Looked():
                self.looked.append(record)
            case FaultBegan():
                self.claims.update(dict.fromkeys(record.claims))
                self.faults[record.number] = FaultSeen(
                    record.number,
                    record.kind,
                    record.nodes,
                    record.down,
                    record.minority,
                    record.cut,
                    record.clocks,
                    record.t,
                )
            case FaultMended():
                self.faults[record.number].mended = record.t
            case FaultOver():
                self.faults[record.number].over = record.t
            case Stuck():
                self.stuck.append(record)
            case Healthy():
                self.healthy.append(record)
            case Formed():
                self.formed.append(record)
            case Used():
                self.used[record.when] = record
            case Left():
                self.left[record.queue] = record.messages
            case Compared():
                self.compared.append(record)
            case Queue():
                self.queues[record.name] = record
            case Began():
                self.began = record
                self.claims.update(dict.fromkeys(record.claims))
            case Note():
                pass
            case _:
                assert_never(record)

    def _deliver(self, record: Delivered) -> None:
        if not record.intact:
            self.damaged.append(record)
            return
        consumer = self.consumers[record.k]
        message = (record.s, record.n)
        stream = self.streams.get(record.s)
        if stream is None or stream.answer(record.n) == UNPUBLISHED:
            self.unpublished.append((consumer.queue, message, record.t))
            return
        delivery = Delivery(record)
        consumer.held[message] = delivery
        self.deliveries.setdefault(consumer.queue, {}).setdefault(message, []).append(delivery)

    def _settle(self, record: Settled) -> None:
        consumer = self.consumers[record.k]
        for message in record.m:
            delivery = consumer.held.pop(message, None)
            if delivery is not None:
                delivery.how, delivery.settled = record.how, record.t
                consumer.unsynced.append(delivery)

    def _sync(self, record: Synced) -> None:
        consumer = self.consumers[record.k]
        for delivery in consumer.unsynced:
            if delivery.settled <= record.asked:
                delivery.committed = record.t
        consumer.unsynced = [one for one in consumer.unsynced if one.settled > record.asked]

    def _answered(self, stream: StreamSeen, at: float, first: Number, end: Number) -> None:
        in_minority = any(stream.node in fault.minority and fault.over == NEVER for fault in self.faults.values())
        if in_minority or any(self.life_of(stream, queue) for queue in stream.queues):
            stream.settled_at.update((number, at) for number in range(first, end))

    def _transact(self, record: Transaction) -> None:
        stream = self.streams[record.s]
        stream.transactions = True
        if record.outcome == "committed":
            stream.settle(record.first, record.end, CONFIRMED)
            stream.confirmed_at.append(record.t)
        elif record.outcome == "rolled-back":
            stream.settle(record.first, record.end, REFUSED)
        if record.outcome != "unknown":
            self._answered(stream, record.t, record.first, record.end)
        self.transactions.append(record)

    # What the judges ask.

    @property
    def is_finished(self) -> bool:
        """Did everything that was published have its time to be consumed? Not in a run that was interrupted."""
        return bool(self.left) or "drained" not in self.claims

    def of(self, queue: str) -> dict[MessageId, list[Delivery]]:
        """Message -> its deliveries from a queue."""
        return self.deliveries.get(queue, {})

    def node_of(self, delivery: Delivery) -> int:
        return self.consumers[delivery.consumer].node

    def disturbed(self, node: int, since: float, until: float) -> bool:
        """Whether a fault of the node, or several that together leave it without a majority, may explain something of
        it between two moments."""
        return any(fault.disturbs(node, since, until) for fault in self.faults.values()) or any(
            span.is_felt(since, until) for span in self._out_of_touch(node)
        )

    def without_majority(self) -> list[Span]:
        """When no node was up and connected to a majority."""
        return without_majority(self.faults.values(), self.nodes)

    def _out_of_touch(self, node: int) -> list[Span]:
        if node not in self._spans:
            self._spans[node] = out_of_touch(self.faults.values(), self.nodes, node)
        return self._spans[node]

    def felt(self, since: float, until: float) -> list[FaultSeen]:
        """The faults between two moments, whomever they disturb."""
        return [fault for fault in self.faults.values() if fault.is_felt(since, until)]

    def flapped(self, since: float, until: float) -> bool:
        """Whether links came and went between two moments. They break at both ends: a leader may be linked to a
        majority again before it is to a node whose consumers hold something."""
        return any(fault.kind == "flapping" for fault in self.felt(since, until))

    def goodbyes(self, queue: str, since: float, until: float) -> int:
        """How many consumers of a queue ended between two moments."""
        ends = self.farewells.get(queue, [])
        return bisect_right(ends, until) - bisect_left(ends, since)

    def life_of(self, stream: StreamSeen, queue: str) -> float:
        """The age in seconds that a stream's messages die of in a queue; 0: they do not, or nobody knows it."""
        traits = self.queues.get(queue)
        lives = [stream.lives_seconds, traits.lives_seconds if traits is not None else 0.0]
        return min([life for life in lives if life], default=0.0)

    def counts(self, delivery: Delivery) -> bool:
        """Has its answer taken effect for sure? Not so where its node was out of touch meanwhile: the message may
        have been somebody else's by then."""
        return delivery.committed != NEVER and not self.disturbed(
            self.node_of(delivery), delivery.at, delivery.committed
        )

    def may_be_late(self, delivery: Delivery, since: float) -> bool:
        """May it have stood in a socket of its consumer, whose node hung or was cut off, from before `since`?"""
        began = self.consumers[delivery.consumer].began
        return self.disturbed(self.node_of(delivery), max(since, began), delivery.at)

    def confirmed(self) -> Iterable[tuple[StreamSeen, Number]]:
        """Every message that the broker has taken."""
        for stream in self.streams.values():
            for number, answer in enumerate(stream.answers):
                if answer == CONFIRMED:
                    yield stream, number

    def tell(self, queue: str, message: MessageId) -> str:
        """One line: what happened to a message in a queue, times in seconds from the beginning of the run."""
        start = self.began.t if self.began else 0.0
        stream = self.streams.get(message[0])
        by = f"by node {stream.node}" if stream else "by nobody"
        seen = [self._tell_delivery(delivery, start) for delivery in self.of(queue).get(message, [])]
        return f"{message[0]}/{message[1]} {by} in {queue}: {'; '.join(seen) or 'never delivered'}"

    def _tell_delivery(self, one: Delivery, start: float) -> str:
        what = f"{one.at - start:.3f} s {'re' if one.redelivered else ''}delivered to {one.consumer}"
        what += f" (node {self.node_of(one)}, count {one.count})"
        if one.how is not None:
            what += f", {one.how} at {one.settled - start:.3f} s"
        if one.committed != NEVER:
            what += f", committed by {one.committed - start:.3f} s"
        return what
