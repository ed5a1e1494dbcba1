"""What a shard's leader and the home nodes say to each other.

Law: values only, made of what msgpack carries. A leader's words carry its term, a home node's words the term
of the leader they are meant for; a word from or for another term is dropped by who gets it. Between one
leader and one home node they keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from cluster.broker.shard.entry import Batch
from cluster.broker.shard.state import Refusals

DELIVERY_FIELDS = 7
Delivery = tuple[int, int, int, int, int, bytes, bytes | memoryview]
"""A run of messages for one consumer: (consumer, queue, first seq, count, redelivered, sizes, records).

redelivered: 0 never delivered before, else maybe; in a queue that counts deliveries it is 1 + how often they came back.
"""

Reply = tuple[int, int, object]
"""(request id, ReplyStatus, value)."""


class RequestOp(IntEnum):
    """What a home node asks a leader, each with a request id that the reply repeats.

    CONSUME  queue, consumer, credit, bytes credit, exclusive[, priority] -> [ready, consumers before]
    GET      queue, holder -> None when empty, else [first seq, redelivered, sizes, records, left]
    INFO     queue[, 1 if that counts as a use of it] -> `LeaderQueue.counts`, also of one that is GONE
    PURGE    queue -> number of messages purged
    DELETE   queue, if_unused, if_empty -> number of messages that are ready, delayed, parked or on their way to a dead
             letter exchange (empty: none); the queue takes no new consumer after it
    CANCEL   queue, consumer -> None; no delivery to it follows the reply
    RETRY    queue -> number of parked messages whose returns count no more
    """

    CONSUME = 1
    GET = 2
    INFO = 3
    PURGE = 4
    DELETE = 5
    CANCEL = 6
    RETRY = 7


class ReplyStatus(IntEnum):
    """OK or why not."""

    OK = 0
    EXCLUSIVE = 1
    """Another consumer is there and one of the two is exclusive."""
    IN_USE = 2
    NOT_EMPTY = 3
    GONE = 4
    """The queue is being deleted, or was: its name may be another's by now."""


@dataclass(slots=True, eq=False)
class ToHome:
    """Everything a leader has for one home node in a round, in the order of the fields.

    receipt  (incarnation, number): that batch and all before it are committed and applied
    replies, deliveries, cancelled (consumers whose queue is gone)
    refused  what was refused of the session's last batches
    """

    receipt: tuple[int, int] | None = None
    replies: list[Reply] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    refused: Refusals = ()

    def to_wire(self, shard: int, term: int) -> list[object]:
        return [shard, term, self.receipt, self.replies, self.deliveries, self.cancelled, self.refused]

    @classmethod
    def from_wire(cls, wire: Sequence[object]) -> ToHome:
        _, _, receipt, replies, deliveries, cancelled, refused = wire
        return cls(
            tuple(receipt) if receipt is not None else None,  # type: ignore[arg-type]
            replies,  # type: ignore[arg-type]
            deliveries,  # type: ignore[arg-type]
            cancelled,  # type: ignore[arg-type]
            refused,  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True)
class AttachedConsumer:
    """A consumer that a home node brings to a new leader, with what its channel still holds.

    credit, bytes_credit   what it may get on top of `held`
    held    half-open ranges of seqs that were delivered and whose settle or return is not yet committed
    holder  True for the holder of basic.get deliveries: it gets nothing by itself
    priority  consumers with a higher one are served first
    served_end  one more than the highest seq that was delivered to it; 0 for nothing
    """

    consumer: int
    queue: int
    credit: int
    bytes_credit: int
    exclusive: bool
    holder: bool
    held: tuple[tuple[int, int], ...]
    priority: int = 0
    served_end: int = 0

    def to_wire(self) -> list[object]:
        return [
            self.consumer,
            self.queue,
            self.credit,
            self.bytes_credit,
            self.exclusive,
            self.holder,
            self.held,
            self.priority,
            self.served_end,
        ]

    @classmethod
    def from_wire(cls, wire: Sequence[object]) -> AttachedConsumer:
        consumer, queue, credit, bytes_credit, exclusive, holder, held, priority, served_end = wire
        return cls(
            consumer,  # type: ignore[arg-type]
            queue,  # type: ignore[arg-type]
            credit,  # type: ignore[arg-type]
            bytes_credit,  # type: ignore[arg-type]
            exclusive,  # type: ignore[arg-type]
            holder,  # type: ignore[arg-type]
            tuple((a, b) for a, b in held),  # type: ignore[attr-defined]
            priority,  # type: ignore[arg-type]
            served_end,  # type: ignore[arg-type]
        )


Credit = tuple[int, int, int, int]
"""(queue, consumer, messages, bytes) that the consumer may get on top."""
Request = tuple[int, int, int, tuple[int, ...]]
"""(request id, RequestOp, queue, arguments)."""


@dataclass(slots=True, eq=False)
class FromHome:
    """Everything a home node has for one shard's leader in a round, in the order of the fields.

    attach   None, or all consumers of the node with what they hold: the first word to a leader
    """

    attach: list[AttachedConsumer] | None = None
    batches: list[Batch] = field(default_factory=list)
    credits: list[Credit] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def to_wire(self, shard: int, term: int) -> list[object]:
        return [
            shard,
            term,
            None if self.attach is None else [c.to_wire() for c in self.attach],
            [b.to_wire() for b in self.batches],
            self.credits,
            self.requests,
        ]

    @classmethod
    def from_wire(cls, wire: Sequence[object]) -> FromHome:
        _, _, attach, batches, credits_, requests = wire
        return cls(
            None if attach is None else [AttachedConsumer.from_wire(c) for c in attach],  # type: ignore[attr-defined]
            [Batch.from_wire(b) for b in batches],  # type: ignore[attr-defined]
            credits_,  # type: ignore[arg-type]
            requests,  # type: ignore[arg-type]
        )
