"""A home node's side of one shard: what its channels want done there, in numbered batches.

Law: pure. A batch, once numbered, is re-sent unchanged and in order to every new leader until its receipt
comes, so that what it holds is done exactly once. At most `batches_in_flight` are out; what comes meanwhile
fills the next one. `held` is what was delivered to a channel of this node and whose settle or return has no
receipt yet: it is told to a new leader. A request is re-sent until it is answered. Settles that nobody waits for let
others go first (`settles_held_max`): they join the next batch that has to go, or go when they are hastened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from cluster.amqp.pieces import Octets
from cluster.broker.shard.columns import unpack_column
from cluster.broker.shard.entry import HEAVY_BATCH_BYTES, Batch, QueueId
from cluster.broker.shard.flight import Flight
from cluster.broker.shard.holdings import REFUSED, Holdings
from cluster.broker.shard.messages import FromHome, ReplyStatus, Request, RequestOp, ToHome
from cluster.broker.shard.open_batch import OpenBatch, StreamLimits
from cluster.broker.shard.part import Part
from cluster.broker.shard.sinks import ConsumerSink, PartSink, PublishSink, SettleSink
from cluster.broker.shard.state import Refusals
from cluster.broker.shard.tx_ops import Refusal, TxOp

__all__ = ["ConsumerSink", "PublishSink", "ReplyCallback", "SettleSink", "ShardStream", "StreamLimits"]

ReplyCallback = Callable[[int, object], None]
"""Called with (ReplyStatus, value), synchronously, before anything that the leader said later."""

_LIMITS = StreamLimits()


def _nobody_waits(status: int, value: object) -> None:
    """For a request whose answer changes nothing here."""


class ShardStream:
    """One per shard and node."""

    def __init__(self, *, shard: int, node: int, incarnation: int, limits: StreamLimits = _LIMITS) -> None:
        self.shard = shard
        self.node = node
        self.incarnation = incarnation
        self.leader = 0
        """0 while unknown or unreachable."""
        self.term = 0
        self.consumers: dict[int, tuple[QueueId, ConsumerSink]] = {}
        self._limits = limits
        self._served: dict[int, int] = {}
        """Consumer -> end of what was delivered to it, see `AttachedConsumer`; of those in `consumers`."""
        self._held = Holdings()
        self._flights: deque[Flight] = deque()
        self._told = 0
        """Of the flights, so many are known to the present leader; the others are to be sent again."""
        self._sealed: deque[Flight] = deque()
        """Full batches that wait for a place in flight. Bounded by the connections' unconfirmed bytes."""
        self._number = 0
        self._open = OpenBatch((node, incarnation), limits)
        self._credits: dict[tuple[QueueId, int], list[int]] = {}
        self._requests: dict[int, tuple[Request, ReplyCallback]] = {}
        """Unanswered, oldest first. Bounded: one per channel, and what closing channels leave behind."""
        self._forgotten: dict[int, Request] = {}
        """Sent, and nobody waits for the answer. Lost with the leader; bounded as `_requests` is."""
        self._new_requests: list[Request] = []
        self._request_id = 0
        self._attach_due = False

    # ---- what channels want

    def publish(
        self,
        queues: Sequence[QueueId],
        records: Sequence[Octets],
        sizes: Sequence[int],
        size: int,
        sink: PublishSink,
        first: int,
    ) -> None:
        """Enqueue messages into each of `queues`, in order.

        records  pieces whose concatenation is the messages' records; sizes: one per record; size: their sum
        first    the sink's number of the first of them; told back by `published`
        """
        self._part_from_transactions()
        batch = self._open
        batch.publish(queues, records, sizes, size, sink, first)
        if batch.record_bytes >= self._limits.batch_bytes_max and not batch.held_together:
            self._seal()

    def make_way(self, size: int) -> None:
        """So many bytes are published next: if it takes long to write them, what came before does not wait for that."""
        batch = self._open
        if size >= HEAVY_BATCH_BYTES and batch.runs and not batch.held_together:
            self._seal()

    def hold_together(self) -> None:
        """What comes until `let_go` shall be in one batch (a transaction's part), with nothing published outside of
        transactions: that may be refused, and this may not."""
        batch = self._open
        if batch.runs and not batch.whole:
            self._seal()
        batch.held_together = batch.whole = True

    def let_go(self) -> None:
        self._open.held_together = False
        if self._open.record_bytes >= self._limits.batch_bytes_max:
            self._seal()

    def part(self, rows: list[int], part: Part, sink: PartSink) -> None:
        """A transaction's part, in a batch of its own. `rows` are those of `Batch.transactions`.

        What it answers stays held until the transaction ends: at once if it is decided by this, else by `conclude`.
        """
        if self._open.is_open:
            self._seal()
        self._open.part(rows, part, sink, part.answers if rows[0] == TxOp.DECIDE else [])
        self._seal()

    def conclude(self, op: TxOp, number: int, part: Part | None = None, sink: PartSink | None = None) -> None:
        """A transaction has an end. `part` is what was prepared here, and is done now; None: nothing is."""
        self._open.conclude((op, number, 0), part, sink)

    def mark(self, marks: Sequence[tuple[int, int, int]]) -> None:
        """What is to be known of messages of the publish that follows at once: (which, from 0, Mark, value)."""
        self._part_from_transactions()
        self._open.mark(marks)

    def _part_from_transactions(self) -> None:
        if self._open.whole and not self._open.held_together:
            self._seal()

    def settle(self, queue: QueueId, first: int, count: int, sink: SettleSink) -> None:
        """Messages are done with (ack, reject without requeue, automatic ack)."""
        self._open.settle(queue, first, count, sink)
        self._answer_more()

    def _answer_more(self) -> None:
        """Each stretch of messages costs every replica some time: the batch takes no more of them than it may."""
        if self._open.rows >= self._limits.batch_rows_max and not self._open.held_together:
            self._seal()

    def hasten(self) -> None:
        """Settles that wait for others to go with wait no longer."""
        self._open.hasten()

    def reject(self, queue: QueueId, first: int, count: int, sink: SettleSink) -> None:
        """A consumer will not have these messages, and they shall not come again (basic.reject, basic.nack)."""
        self._open.reject(queue, first, count, sink)
        self._answer_more()

    def give_back(self, queue: QueueId, first: int, count: int, sink: SettleSink) -> None:
        """Messages come back to the queue, counted as delivered once more."""
        self._open.give_back(queue, first, count, sink)
        self._answer_more()

    def credit(self, queue: QueueId, consumer: int, messages: int, size: int) -> None:
        """The consumer may get more. Lost with the leader: a new one is told the whole credit."""
        owed = self._credits.setdefault((queue, consumer), [0, 0])
        owed[0] += messages
        owed[1] += size

    def request(self, op: RequestOp, queue: QueueId, args: tuple[int, ...], callback: ReplyCallback) -> int:
        """Ask the leader. Returns the request's id, for `forget_request`."""
        self._request_id += 1
        request: Request = (self._request_id, int(op), queue, args)
        self._requests[self._request_id] = (request, callback)
        self._new_requests.append(request)
        return self._request_id

    def forget_request(self, request: int) -> None:
        """Nobody waits any more. What an answer to it grants all the same is given back (see `_undo`)."""
        waiting = self._requests.pop(request, None)
        if waiting is None:
            return
        if waiting[0] in self._new_requests:
            self._new_requests.remove(waiting[0])
        else:
            self._forgotten[request] = waiting[0]

    def join(self, queue: QueueId, sink: ConsumerSink) -> None:
        """From now on deliveries for `sink.consumer` go to it, and a new leader is told of it."""
        self.consumers[sink.consumer] = (queue, sink)

    def leave(self, sink: ConsumerSink) -> None:
        self.consumers.pop(sink.consumer, None)
        self._served.pop(sink.consumer, None)

    # ---- leaders

    def leader_is(self, node: int, term: int) -> None:
        """A node says that it leads in `term`: it is told everything, once for each term and link.

        An older term changes nothing. Nor does a repetition without a `leader_lost` in between: to attach again
        while deliveries are on their way would have them handed out twice.
        """
        if term < self.term or (node == self.leader and term == self.term):
            return
        self.leader, self.term = node, term
        self._attach_due = True
        self._told = 0

    def leader_lost(self, node: int) -> None:
        """The link to a node closed. Everything waits for the next leader."""
        if self.leader == node:
            self.leader = 0
            self._attach_due = False

    def refuse_unsent(self) -> None:
        """There has been no leader for too long: publishes that no leader was given are refused.

        What was given to one may be stored: it stays, and so do settles and returns, and transactions with all they
        hold (whoever waits for their end loses patience, and knows that they may be carried out yet).
        """
        if self._open.runs:
            self._seal()
        sealed, self._sealed = self._sealed, deque()
        self._number -= len(sealed)
        refused = [publishes for flight in sealed if not flight.whole for publishes in flight.publishes]
        for flight in sealed:
            batch = flight.batch
            if not flight.whole:
                flight.publishes = []
                batch.sizes = batch.runs = batch.marks = batch.payload = b""
            if flight.whole or flight.parts or batch.settles or batch.returns or batch.rejects or batch.transactions:
                self._number += 1
                batch.number = self._number  # no leader has seen the one that it had
                self._sealed.append(flight)
            # An empty one is not kept: the next leader would need a round of the log for each.
        for publishes in refused:
            publishes.sink.refused(publishes.first, publishes.count, publishes.size)

    @property
    def unsent(self) -> bool:
        """Are there publishes that no leader was given, and that can be refused?"""
        return bool(self._open.runs) or any(flight.publishes and not flight.whole for flight in self._sealed)

    @property
    def busy(self) -> bool:
        """Is there anything to say, if there were a leader?"""
        return bool(
            self._attach_due
            or self._new_requests
            or self._credits
            or self._sealed
            or self._open.is_due
            or self._told < len(self._flights)
        )

    @property
    def holds_settles(self) -> bool:
        """Do settles wait for something to go with?"""
        return self._open.holds_settles

    @property
    def quiet(self) -> bool:
        """Is everything done that was asked for?"""
        return not self._flights and not self._open.is_open and not self.busy

    def take_out(self, *, has_room: bool = True) -> FromHome | None:
        """What to send to the leader now; None for nothing. New batches only if there is room for large things.

        Those under way go with what a new leader is told in any case: one that is done may have given back what is
        told to be held.
        """
        if not self.leader or not self.busy:
            return None
        out = FromHome()
        if self._attach_due:
            self._attach_due = False
            self._forgotten.clear()
            out.attach = self._held.attachment(self.consumers, self._served)
            out.requests = [request for request, _ in self._requests.values()]
        else:
            out.credits = [(queue, consumer, n, size) for (queue, consumer), (n, size) in self._credits.items()]
            out.requests = self._new_requests
        if out.requests:
            self.hasten()
        self._new_requests = []
        self._credits.clear()
        if has_room or out.attach is not None:
            out.batches = [flight.batch for flight in islice(self._flights, self._told, None)]
            out.batches += self._take_off() if has_room else []
            self._told = len(self._flights)
        if out.attach is None and not (out.batches or out.credits or out.requests):
            return None
        return out

    def _take_off(self) -> list[Batch]:
        """The next batches, as many as may be out."""
        limits, flights = self._limits, self._flights
        batches: list[Batch] = []
        size = sum([len(flight.batch.payload) for flight in flights])
        while len(flights) < limits.batches_in_flight and size < limits.flight_bytes_max:
            if not self._sealed and not self._open.is_due:
                break
            if not self._sealed:
                self._seal()
            flight = self._sealed.popleft()
            flights.append(flight)
            size += len(flight.batch.payload)
            batches.append(flight.batch)
        return batches

    def receive(self, words: ToHome) -> None:
        """What the leader says. Words of another term must have been dropped before.

        The receipt comes first: a reply or delivery may bring back a message whose return it confirms.
        """
        if words.receipt is not None and words.receipt[0] == self.incarnation:
            self._receipt(words.receipt[1], words.refused)
        for request, status, value in words.replies:
            self._answered(request, status, value)
        for consumer, queue_id, first, count, redelivered, sizes, records in words.deliveries:
            known = self.consumers.get(consumer)
            if known is None:
                self._refuse(QueueId(queue_id), first, count)
                continue
            self._held.put(QueueId(queue_id), first, count, consumer)
            self._served[consumer] = max(first + count, self._served.get(consumer, 0))
            known[1].deliver(first, count, redelivered, sizes, records)
        for consumer in words.cancelled:
            gone = self.consumers.pop(consumer, None)
            self._served.pop(consumer, None)
            if gone is not None:
                gone[1].cancelled()

    def hold(self, queue: QueueId, first: int, count: int, sink: ConsumerSink) -> None:
        """Messages have been delivered to `sink` (known already for what came by `receive`)."""
        self._held.put(queue, first, count, sink.consumer)

    def holds(self, queue: QueueId, seq: int) -> bool:
        """Would a new leader be told that this message is held here?"""
        return self._held.covers(queue, seq)

    # ---- inside

    def _answered(self, number: int, status: int, value: object) -> None:
        waiting = self._requests.pop(number, None)
        if waiting is None:
            forgotten = self._forgotten.pop(number, None)
            if forgotten is not None and status == ReplyStatus.OK:
                self._undo(forgotten, value)
            return
        request, callback = waiting
        if request[1] == RequestOp.GET and status == ReplyStatus.OK and value is not None:
            self._held.put(QueueId(request[2]), value[0], 1, request[3][0])  # type: ignore[index]
        callback(status, value)

    def _undo(self, request: Request, value: object) -> None:
        """What a forgotten request got: a message goes back, a consumer is cancelled."""
        _, op, queue, args = request
        if op == RequestOp.GET and value is not None:
            self._refuse(QueueId(queue), value[0], 1)  # type: ignore[index]
        elif op == RequestOp.CONSUME and args[0] not in self.consumers:
            self.request(RequestOp.CANCEL, QueueId(queue), args[:1], _nobody_waits)

    def _refuse(self, queue: QueueId, first: int, count: int) -> None:
        """A delivery to a consumer that has left: back it goes, and is held by nobody else until it is back."""
        self._held.put(queue, first, count, REFUSED)
        self._open.give_back(queue, first, count, None)

    def _receipt(self, number: int, refusals: Refusals) -> None:
        flights = self._flights
        refused = dict(refusals) if refusals else {}
        while flights and flights[0].batch.number <= number:
            flight = flights.popleft()
            self._told -= bool(self._told)
            if flight.parts:
                self._parts_told(flight, refused.get(flight.batch.number, b""))
                if flight.batch.alone:
                    continue
            for column in (flight.batch.settles, flight.batch.returns, flight.batch.rejects):
                if column:
                    self._held.release(unpack_column("Q", column))
            flight.tell(refused.get(flight.batch.number, b""))

    def _parts_told(self, flight: Flight, refused: bytes) -> None:
        """`refused` is meant for the whole of a batch that a part has for itself."""
        refusal = Refusal(unpack_column("Q", refused)[0]) if refused and flight.batch.alone else None
        for sink, answered in flight.parts:
            if refusal is None:
                self._held.release(answered)
            sink.told(refusal)

    def _seal(self) -> None:
        self._number += 1
        self._sealed.append(self._open.seal(self._number))
