"""What happened in a run, one JSON object a line, written while it happens.

Law: a record is written before what it announces is sent, and after what it reports was received; `t` is the moment
of writing, in seconds of the machine's monotonic clock, and never decreases within a file. Each process writes a file
of its own (`chaos.history_file`); together they are the history. A reader needs nothing else to judge a run.

A message is named by (stream, number): a stream is one publishing channel from open to close, numbers count from 1 and
are its delivery tags in confirm mode. Ranges of numbers are half-open. Where a queue deduplicates, what had no answer
when its stream ended is published again elsewhere under its old name.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Number = int
MessageId = tuple[str, Number]
How = Literal["ack", "requeue", "reject"]
NO_COUNT = -1
"""Of a delivery without `x-delivery-count`."""


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="e", omit_defaults=True):
    """`t`: seconds of the monotonic clock."""

    t: float


class Began(Record, frozen=True, kw_only=True, tag="began"):
    """The run. `claims` names the invariants that it promises to check; `wall` is seconds since 1970 at `t`."""

    seed: int
    nodes: int
    wall: float
    claims: tuple[str, ...]
    gap_max: float = 10.0
    """Seconds without a confirm that are allowed while a majority is alive."""


class Queue(Record, frozen=True, kw_only=True, tag="queue"):
    """A queue of the run and what is promised of it.

    single_active: one consumer at a time. counted: x-delivery-count is exact. dead_letters: where its dead go.
    expires: what is in it dies of age. overflows: what is in it dies of others. deduplicates: a message that is
    published again is there once. lives_seconds: the age that everything in it dies of; 0: its messages have their own.
    delivery_limit: what has come back more often dies.
    """

    name: str
    single_active: bool = False
    counted: bool = False
    dead_letters: str = ""
    expires: bool = False
    overflows: bool = False
    deduplicates: bool = False
    lives_seconds: float = 0.0
    delivery_limit: int | None = None


class Stream(Record, frozen=True, kw_only=True, tag="stream"):
    """A publishing channel on `node`; each of its messages goes to all of `queues`. Transactions say so themselves.

    lives_seconds: the age that its messages die of; 0: that of the queue.
    """

    s: str
    node: int
    queues: tuple[str, ...]
    lives_seconds: float = 0.0


class Published(Record, frozen=True, kw_only=True, tag="pub"):
    s: str
    first: Number
    end: Number


class Confirmed(Record, frozen=True, kw_only=True, tag="ack"):
    s: str
    first: Number
    end: Number


class Refused(Record, frozen=True, kw_only=True, tag="nack"):
    s: str
    first: Number
    end: Number


class StreamEnded(Record, frozen=True, kw_only=True, tag="stream-end"):
    """What has no answer is undecided from now on. `orderly`: the client ended it itself."""

    s: str
    orderly: bool = False


class Transaction(Record, frozen=True, kw_only=True, tag="tx"):
    """Messages first..end of `s`, each published to all the stream's queues in one transaction.

    `unknown`: the connection broke before the answer.
    """

    s: str
    first: Number
    end: Number
    outcome: Literal["committed", "rolled-back", "unknown"]


class Consuming(Record, frozen=True, kw_only=True, tag="consume"):
    """Consumer `k` on `node` was asked for."""

    k: str
    node: int
    queue: str


class ConsumerEnded(Record, frozen=True, kw_only=True, tag="consume-end"):
    """It gets nothing any more; what it holds goes back, or on cancel is still its own to settle.

    `orderly`: the client ended it itself.
    """

    k: str
    orderly: bool


class Delivered(Record, frozen=True, kw_only=True, tag="dlv"):
    """`intact`: the body is what its hash says; else `s` and `n` mean nothing. `died` is the reason of the last death,
    and `from_queue` where it was, for a dead letter."""

    k: str
    s: str
    n: Number
    redelivered: bool = False
    count: int = NO_COUNT
    intact: bool = True
    died: str = ""
    from_queue: str = ""


class Settled(Record, frozen=True, kw_only=True, tag="settle"):
    """Consumer `k` is about to answer for these messages."""

    k: str
    how: How
    m: tuple[MessageId, ...]


class Synced(Record, frozen=True, kw_only=True, tag="sync"):
    """A synchronous method that was sent at `asked` on the channel of `k` was answered at `t`."""

    k: str
    asked: float


class Defined(Record, frozen=True, kw_only=True, tag="define"):
    """Sent at `asked`, answered (or not) at `t`. A name is declared and deleted by one client, one step at a time."""

    name: str
    node: int
    op: Literal["declare", "delete"]
    asked: float
    known: bool
    """Whether it was answered; else it may have happened, or happen yet."""


class Looked(Record, frozen=True, kw_only=True, tag="look"):
    """A passive declare on `node`, answered at `t`."""

    name: str
    node: int
    asked: float
    seen: bool


class FaultBegan(Record, frozen=True, kw_only=True, tag="fault"):
    """`nodes` are disturbed; those of them that are `down` cannot be part of a majority; a client of one in `minority`
    can reach it although it cannot reach a majority. `cut`: pairs of nodes that do not hear each other, besides.
    `clocks`: nodes whose wall clock is wrong. `claims` names invariants that a run with this fault promises to
    check."""

    number: int
    kind: str
    nodes: tuple[int, ...]
    down: tuple[int, ...] = ()
    minority: tuple[int, ...] = ()
    cut: tuple[tuple[int, int], ...] = ()
    clocks: tuple[int, ...] = ()
    claims: tuple[str, ...] = ()


class FaultMended(Record, frozen=True, kw_only=True, tag="mended"):
    """What was done is undone, and the nodes that were down say that they are ready."""

    number: int


class FaultOver(Record, frozen=True, kw_only=True, tag="over"):
    """The cluster says that it is healthy."""

    number: int


class Stuck(Record, frozen=True, kw_only=True, tag="stuck"):
    """The cluster did not get over something in time."""

    why: str


class Healthy(Record, frozen=True, kw_only=True, tag="healthy"):
    """The cluster said so, `seconds` after what was done to it had been undone."""

    seconds: float


class Formed(Record, frozen=True, kw_only=True, tag="formed"):
    """What each node says it belongs to, while all are up. `restarted`: all of them were down since the one before."""

    clusters: tuple[str, ...]
    restarted: bool = False


class Used(Record, frozen=True, kw_only=True, tag="used"):
    """Bytes of live pages in the stores, node by node."""

    when: Literal["baseline", "end"]
    by_node: tuple[int, ...]


class Left(Record, frozen=True, kw_only=True, tag="left"):
    """Messages in a queue when all was over, ready or held."""

    queue: str
    messages: int


class Compared(Record, frozen=True, kw_only=True, tag="compared"):
    """What the cluster says of a group's replicas at one index of its log; `why` names what is wrong with which."""

    group: int
    verdict: Literal["agree", "differ", "unknown"]
    replicas: int
    why: str = ""


class Note(Record, frozen=True, kw_only=True, tag="note"):
    """For a human, at its place in the timeline."""

    text: str


AnyRecord = (
    Began
    | Queue
    | Stream
    | Published
    | Confirmed
    | Refused
    | StreamEnded
    | Transaction
    | Consuming
    | ConsumerEnded
    | Delivered
    | Settled
    | Synced
    | Defined
    | Looked
    | FaultBegan
    | FaultMended
    | FaultOver
    | Stuck
    | Healthy
    | Formed
    | Used
    | Left
    | Compared
    | Note
)
