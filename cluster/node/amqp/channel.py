"""A channel: what it publishes, what was delivered to it, and the methods that wait their turn.

Law: publishes, acks and deliveries are carried out where they arrive, without waiting. Everything else on the
channel is carried out in order by `work`, one at a time; while it works, what comes later on this channel waits
in `backlog`, and other channels go on. A synchronous method is carried out only after everything that the channel
published, settled or gave back before is committed: what it asks for includes it.
"""

from __future__ import annotations

from array import array
from collections import deque
from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING, Any

import trio

from cluster.amqp import methods as m
from cluster.amqp.deliver import Record
from cluster.amqp.delivery_count import count_deliveries, with_delivery_count
from cluster.amqp.errors import (
    AmqpException,
    ChannelException,
    ConnectionException,
    internal_error,
    not_implemented,
    resource_error,
)
from cluster.amqp.events import AckBatch, ChannelClosed, MethodReceived, PublishBatch
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.queue_rules import in_exclusive_use
from cluster.broker.channel.confirms import Confirms
from cluster.broker.channel.unacked import Answered, TagPiece, Unacked, Verdict, answered
from cluster.broker.errors import NOT_FOUND, BrokerError, Scope, no_queue
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.messages import ReplyStatus, RequestOp
from cluster.broker.shard.stream import PublishSink, ShardStream
from cluster.node.amqp.consumer import Consumer, GetHolder, consumer_priority
from cluster.node.amqp.direct_reply import ReplyConsumer
from cluster.node.amqp.marks import marks_of
from cluster.node.amqp.publish import SPECIAL_HIGH, SPECIAL_LOW, Countdown, Route
from cluster.node.amqp.transaction import Transaction
from cluster.node.catalog.client import NoQuorum

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection

LEADER_TIMEOUT_SECONDS = 5.0
"""How long a method waits for its queue's leader, or for what the channel did before."""
BACKLOG_MAX = 256
"""Events that may wait on one channel before its connection is no longer read."""

ChannelEvent = MethodReceived | PublishBatch | AckBatch | ChannelClosed
Holder = Consumer | GetHolder

_ACK_FRAME = Struct(">BHIHHQBB")
Delivery = tuple[Consumer, int, int, int, "array[int]", bytes]
"""(consumer, first seq, count, redelivered, sizes, records)."""


class State(Enum):
    OPEN = 1
    CLOSED = 2


class Channel:
    """One open channel of a connection."""

    def __init__(self, number: int, connection: Connection) -> None:
        self.number = number
        self.connection = connection
        self.state = State.OPEN
        self.confirms: Confirms | None = None
        self.unacked: Unacked[Holder] = Unacked()
        self.consumers: dict[str, Consumer] = {}
        self.holders: dict[QueueId, GetHolder] = {}
        self.reply_consumer: ReplyConsumer | None = None
        self.last_queue = ""
        self.prefetch_count = 0
        """For consumers that come (basic.qos global=false)."""
        self.transaction: Transaction | None = None
        """After tx.select."""
        self.backlog: deque[ChannelEvent] = deque()
        self._global_prefetch = 0
        """Unacked messages allowed over all consumers of the channel; 0 is no limit."""
        self._parked: deque[Delivery] = deque()
        """Deliveries over that limit. Bounded by the consumers' credit."""
        self._working = False
        self._second_look: PublishBatch | None = None
        """Its first publish goes to an exchange that the catalog's copy did not have: it may be behind."""
        self._idle: trio.Event | None = None
        self._publish_number = 1
        """Of the next publish without a confirm."""
        self._uncommitted = 0
        """Messages whose publish, settle or return is not yet committed. Automatic acks of deliveries, which never
        end by themselves, are not among them."""
        self._all_committed: trio.Event | None = None

    # ---- what arrives

    def receive(self, event: ChannelEvent) -> None:
        if self._working:
            self.backlog.append(event)
            return
        try:
            if not self._at_once(event):
                self.backlog.append(event)
                self._working = True
                self.connection.nursery.start_soon(self.work)
        except (BrokerError, AmqpException) as error:
            self.fail(error, event)

    def _at_once(self, event: ChannelEvent) -> bool:
        """Carry out what needs no waiting. False: it does."""
        match event:
            case PublishBatch():
                return self.publish(event)
            case AckBatch():
                self._ack_each(event.tags)
            case MethodReceived(method=m.BasicAck() as method):
                self._answer(method.delivery_tag, Verdict.DONE, multiple=method.multiple)
            case MethodReceived(method=m.BasicNack() as method):
                self._answer(method.delivery_tag, _refusal(method.requeue), multiple=method.multiple)
            case MethodReceived(method=m.BasicReject() as method):
                self._answer(method.delivery_tag, _refusal(method.requeue), multiple=False)
            case _:
                return False
        return True

    async def work(self) -> None:
        """Carry out the backlog in order."""
        while self.backlog and self.state is State.OPEN:
            event = self.backlog.popleft()
            try:
                if event is self._second_look or not self._at_once(event):
                    await self.committed()
                    await self.connection.carry_out(self, event)
            except (BrokerError, AmqpException) as error:
                self.fail(error, event)
            except NoQuorum as error:
                self.fail(internal_error(str(error)), event)
            self.connection.unblock()
        self._working = False
        if self._idle is not None:
            self._idle.set()

    async def idle(self) -> None:
        """Until everything that came is carried out."""
        if self._working:
            self._idle = trio.Event()
            await self._idle.wait()

    async def committed(self) -> None:
        """Until everything that was published, settled or given back is committed. Raises NoQuorum."""
        while before := self._uncommitted:
            self._all_committed = trio.Event()
            with trio.move_on_after(LEADER_TIMEOUT_SECONDS):
                await self._all_committed.wait()
            if self._uncommitted >= before:
                raise NoQuorum("a queue that the channel has used has no leader with a quorum")

    def _done(self, count: int) -> None:
        self._uncommitted -= count
        if not self._uncommitted and self._all_committed is not None:
            self._all_committed.set()
            self._all_committed = None

    def fail(self, error: BrokerError | AmqpException, event: ChannelEvent) -> None:
        """The client's mistake: close what it closes."""
        class_id, method_id = 0, 0
        match event:
            case MethodReceived(method=method):
                class_id, method_id = method.CLASS_ID, method.METHOD_ID
            case PublishBatch():
                class_id, method_id = m.BasicPublish.CLASS_ID, m.BasicPublish.METHOD_ID
            case AckBatch():
                class_id, method_id = m.BasicAck.CLASS_ID, m.BasicAck.METHOD_ID
        if self.state is State.CLOSED:
            return
        if isinstance(error, ConnectionException) or (
            isinstance(error, BrokerError) and error.scope is Scope.CONNECTION
        ):
            self.connection.fail(ConnectionException(error.code, error.text, class_id, method_id))
        else:
            self.close()
            self.connection.machine.channel_error(
                self.number, ChannelException(error.code, error.text, class_id, method_id)
            )
            self.connection.flush_soon()

    def close(self) -> None:
        """The channel is over: its consumers leave, what it holds goes back to its queues."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.connection.channels.pop(self.number, None)
        self.backlog.clear()
        self.dismiss_consumers()
        self.drop_reply_consumer()
        for holder in self.holders.values():
            self._leave(holder)
        for consumer, first, count, *_ in self._parked:
            self._give_back((consumer, first, count))
        self._parked.clear()
        if self.transaction is not None:
            self.transaction.rollback(self)
        for message in self.unacked.take_all():
            self._give_back(message)
        self.connection.unblock()

    def dismiss_consumers(self) -> None:
        """They get nothing any more; what they hold stays on the channel."""
        for consumer in list(self.consumers.values()):
            self._leave(consumer)
            self.connection.broker.consumer_left(consumer.queue)
        self.consumers.clear()

    # ---- publishes

    def publish(self, batch: PublishBatch) -> bool:
        """Carry it out. False: what is left of it wants a second look, with the catalog's copy up to date.

        Raises BrokerError, AmqpException.
        """
        connection = self.connection
        if connection.broker.alarm:
            connection.publishing()
        methods, headers, bodies = batch.methods, batch.headers, batch.bodies
        total = len(methods)
        position = 0
        while position < total:
            method, header = methods[position], headers[position]
            try:
                if header[12] & SPECIAL_HIGH or header[13] & SPECIAL_LOW:
                    route, header = connection.route_special(self, method, header)
                else:
                    route = connection.routes.get(method) or connection.route(method, header)
            except BrokerError as error:
                if error.code != NOT_FOUND or batch is self._second_look:
                    raise
                del methods[:position], headers[:position], bodies[:position]
                self._second_look = batch
                return False
            parts: list[bytes] = []
            sizes: list[int] = []
            while True:
                header_length = len(header)
                body = bodies[position]
                prefix = route.prefix(header_length)
                parts += (prefix, header, body)
                sizes.append(len(prefix) + header_length + len(body))
                position += 1
                if position == total or not route.static or methods[position] != method:
                    break
                header = headers[position]
                if header[12] & SPECIAL_HIGH or header[13] & SPECIAL_LOW:
                    break
            if self.transaction is None:
                self.enqueue(route, parts, sizes)
            else:
                self.transaction.publish(route, parts, sizes)
                if self.transaction.size > connection.budget.size_max:
                    raise resource_error(f"a transaction of more than {connection.budget.size_max} bytes")
        return True

    def enqueue(self, route: Route, parts: list[bytes], sizes: list[int]) -> None:
        connection = self.connection
        confirms = self.confirms
        count = len(sizes)
        connection.broker.counters.published += count
        if confirms is not None:
            first = confirms.number(count)
        else:
            first = self._publish_number
            self._publish_number = first + count
        targets = route.targets
        if not targets:
            if route.direct and connection.broker.replies.reachable(route.routing_key):
                for i in range(count):
                    connection.broker.replies.send(route.routing_key, b"".join(parts[3 * i : 3 * i + 3]))
            elif route.mandatory:
                for i in range(count):
                    self._return(route, parts[3 * i + 1], parts[3 * i + 2])
            if confirms is not None:
                confirms.done(first, count)
                connection.confirms_soon(self)
            return
        size = sum(sizes)
        connection.budget.taken(size)
        self._uncommitted += count
        sink: PublishSink = Countdown(self, len(targets), first, count, size) if len(targets) > 1 else self
        marks = marks_of(route, parts) if route.prioritized or parts[1][12] & SPECIAL_HIGH else ()
        for stream, queues in targets:
            stream.publish(queues, parts, sizes, size, sink, first, marks)
            connection.broker.switchboard.stirred(stream)

    def published(self, first: int, count: int, size: int) -> None:
        """`PublishSink`: committed."""
        self.connection.budget.returned(size)
        self._done(count)
        if self.state is State.OPEN and self.confirms is not None:
            self.connection.broker.counters.confirmed += count
            self.confirms.done(first, count)
            self.connection.confirms_soon(self)

    def refused(self, first: int, count: int, size: int) -> None:
        """`PublishSink`: not stored."""
        self.connection.budget.returned(size)
        self._done(count)
        if self.state is State.OPEN and self.confirms is not None:
            self.confirms.refused(first, count)
            self.connection.confirms_soon(self)

    def take_confirms(self) -> bytes:
        """basic.nack frames for what is refused, then basic.ack frames for what is done."""
        if self.state is not State.OPEN or self.confirms is None:
            return b""
        pack = _ACK_FRAME.pack
        frames = [pack(1, self.number, 13, 60, 120, tag, 0, 0xCE) for tag in self.confirms.take_nacks()]
        frames += [pack(1, self.number, 13, 60, 80, tag, last, 0xCE) for tag, last in self.confirms.take_acks()]
        return b"".join(frames)

    def _return(self, route: Route, header: bytes, body: bytes) -> None:
        method = m.BasicReturn(312, "NO_ROUTE", route.exchange, route.routing_key)
        self.connection.machine.content(self.number, method.encode(), header, body)
        self.connection.flush_soon()

    # ---- deliveries

    def deliver(
        self, consumer: Consumer, first: int, count: int, redelivered: int, sizes: bytes, records: bytes
    ) -> None:
        """A run of messages for a consumer of this channel."""
        columns = array("I")
        columns.frombytes(sizes)
        if self._global_prefetch and not consumer.no_ack:
            self._parked.append((consumer, first, count, redelivered, columns, records))
            self._unpark()
        else:
            self._hand_out((consumer, first, count, redelivered, columns, records))

    def _hand_out(self, delivery: Delivery) -> None:
        consumer, first, count, redelivered, sizes, records = delivery
        counters = self.connection.broker.counters
        counters.delivered += count
        if redelivered:
            counters.redelivered += count
        if consumer.no_ack:
            tag = self.unacked.tag_automatic(count)
            consumer.stream.settle(consumer.queue, first, count, AUTOMATIC)
            self.stirred(consumer.stream)
        else:
            tag = self.unacked.tag(consumer, first, count)
        out: list[bytes] = []
        size = len(records)
        if consumer.counts:
            records, sizes = count_deliveries(records, sizes, max(0, redelivered - 1))
        consumer.encoder.encode(out, tag, redelivered > 0, records, sizes)
        self.connection.deliver(consumer, count, size, out)

    def _unpark(self) -> None:
        """Hand out as much as the channel-wide limit allows."""
        parked = self._parked
        while parked:
            room = self._global_prefetch - self.unacked.count if self._global_prefetch else len(parked[0][4])
            if room <= 0:
                return
            consumer, first, count, redelivered, sizes, records = parked.popleft()
            if count > room:
                cut = sum(sizes[:room])
                parked.appendleft(
                    (consumer, first + room, count - room, redelivered, sizes[room:], records[cut:])
                )
                count, sizes, records = room, sizes[:room], records[:cut]
            self._hand_out((consumer, first, count, redelivered, sizes, records))

    @property
    def global_prefetch_count(self) -> int:
        """Unacked messages allowed over all consumers; 0 is no limit."""
        return self._global_prefetch

    def set_global_prefetch(self, count: int) -> None:
        """basic.qos global=true."""
        self._global_prefetch = count
        self._unpark()

    async def consume(self, queue: QueueDefinition, method: m.BasicConsume, tag: str) -> None:
        """Start a consumer, whose tag is new. Raises BrokerError 403, 404; ConnectionException 540; NoQuorum."""
        if self._global_prefetch and queue.type == "quorum":
            raise not_implemented(f"{queue.label} does not support global qos")
        connection = self.connection
        limits = [n for n in (self.prefetch_count, self._global_prefetch) if n]
        consumer = Consumer(
            consumer=connection.broker.next_consumer(),
            tag=tag,
            channel=self,
            stream=connection.broker.stream_of(queue),
            queue=queue.id,
            queue_name=queue.name,
            no_ack=method.no_ack,
            exclusive=method.exclusive,
            prefetch_count=min(limits, default=0),
            frame_max=connection.machine.frame_max,
            counts=queue.type == "quorum",
            priority=consumer_priority(method.arguments),
        )

        def answered(status: int, value: object) -> None:
            """Before any delivery."""
            if status != ReplyStatus.OK:
                return
            if self.state is State.CLOSED:
                self._leave(consumer)
                return
            self.consumers[tag] = consumer
            consumer.stream.join(queue.id, consumer)
            if not method.no_wait:
                connection.machine.send(self.number, m.BasicConsumeOk(tag))
            connection.flush_soon()

        args = (
            consumer.consumer,
            consumer.credit,
            consumer.bytes_credit,
            int(method.exclusive),
            consumer.priority,
        )
        status, _ = await connection.broker.ask(queue, RequestOp.CONSUME, args, answered)
        if status == ReplyStatus.EXCLUSIVE:
            raise in_exclusive_use(queue)
        if status == ReplyStatus.GONE:
            raise no_queue(queue.vhost, queue.name)

    async def get(self, queue: QueueDefinition, *, no_ack: bool) -> None:
        """basic.get. Raises BrokerError 404, NoQuorum."""
        connection = self.connection
        stream = connection.broker.stream_of(queue)
        holder = self.holders.get(queue.id)
        if holder is None:
            holder = self.holders[queue.id] = GetHolder(connection.broker.next_consumer(), queue.id, stream)
            stream.join(queue.id, holder)

        def answered(status: int, value: Any) -> None:
            if status != ReplyStatus.OK:
                return
            if value is None:
                connection.machine.send(self.number, m.BasicGetEmpty())
                return
            first, redelivered, _, data, left = value
            stream.hold(queue.id, first, 1, holder)
            if self.state is State.CLOSED:
                self._give_back((holder, first, 1))
            else:
                record = Record.decode(data)
                if queue.type == "quorum":
                    record.header = with_delivery_count(record.header, max(0, redelivered - 1))
                self._got(holder, first, record, redelivered=redelivered, left=left, no_ack=no_ack)
            self.stirred(stream)

        status, _ = await connection.broker.ask(queue, RequestOp.GET, (holder.consumer,), answered)
        if status == ReplyStatus.GONE:
            raise no_queue(queue.vhost, queue.name)

    def _got(
        self, holder: GetHolder, first: int, record: Record, *, redelivered: int, left: int, no_ack: bool
    ) -> None:
        if no_ack:
            tag = self.unacked.tag_automatic(1)
            holder.stream.settle(holder.queue, first, 1, self)
            self._uncommitted += 1
        else:
            tag = self.unacked.tag(holder, first, 1)
        exchange, routing_key = record.address()
        method = m.BasicGetOk(tag, redelivered > 0, exchange, routing_key, left)
        self.connection.machine.content(self.number, method.encode(), record.header, record.body)
        self.connection.flush_soon()

    def consumer_cancelled(self, consumer: Consumer) -> None:
        """The queue is gone (RabbitMQ's consumer cancel notification)."""
        if self.consumers.pop(consumer.tag, None) is None:
            return
        self._give_back_parked(consumer)
        if "consumer_cancel_notify" in self.connection.machine.client_capabilities:
            self.connection.machine.send(self.number, m.BasicCancel(consumer.tag, True))
            self.connection.flush_soon()

    def forget_consumer(self, consumer: Consumer) -> None:
        """The leader knows that it is gone; what was handed out to it stays on the channel."""
        self.consumers.pop(consumer.tag, None)
        consumer.stream.leave(consumer)
        self._give_back_parked(consumer)
        self.connection.broker.consumer_left(consumer.queue)

    def _give_back_parked(self, consumer: Consumer) -> None:
        """What was not handed out to the consumer yet."""
        parked, self._parked = self._parked, deque()
        for delivery in parked:
            if delivery[0] is consumer:
                self._give_back((consumer, delivery[1], delivery[2]))
            else:
                self._parked.append(delivery)

    def _leave(self, holder: Holder) -> None:
        holder.stream.leave(holder)
        holder.stream.request(RequestOp.CANCEL, holder.queue, (holder.consumer,), _ignore)
        self.stirred(holder.stream)

    # ---- answers to deliveries

    def settled(self, count: int) -> None:
        """`SettleSink`: committed."""
        self._done(count)

    def drop_reply_consumer(self) -> None:
        """Answers that come now are lost."""
        if self.reply_consumer is not None:
            self.connection.broker.replies.close(self.reply_consumer)
            self.reply_consumer = None

    def recover(self) -> None:
        """Everything outstanding goes back (basic.recover)."""
        for message in self.unacked.take_all():
            self._give_back(message)

    def _ack_each(self, tags: list[int]) -> None:
        if self.transaction is not None:
            for tag in tags:
                self._answer(tag, Verdict.DONE, multiple=False)
            return
        messages, unknown = self.unacked.answer_each(tags)
        self._settle(messages)
        if unknown is not None:
            self.unacked.answer(unknown, multiple=False)

    def _settle(self, answers: list[Answered[Holder]]) -> None:
        for holder, first, count in answers:
            self.connection.broker.counters.acknowledged += count
            holder.stream.settle(holder.queue, first, count, self)
            holder.acked(count)
            self._uncommitted += count
            self.stirred(holder.stream)
        if self._parked:
            self._unpark()

    def _answer(self, tag: int, verdict: Verdict, *, multiple: bool) -> None:
        pieces = self.unacked.take(tag, multiple=multiple)
        if self.transaction is None:
            self.answer(pieces, verdict)
        else:
            self.transaction.answer(pieces, verdict)

    def answer(self, pieces: list[TagPiece[Holder]], verdict: Verdict) -> None:
        """What the client says of deliveries takes effect."""
        if verdict is Verdict.DONE:
            self._settle(answered(pieces))
            return
        for message in answered(pieces):
            if verdict is Verdict.REJECTED:
                self._reject(message)
            else:
                self._give_back(message)
        self._unpark()

    def _reject(self, message: Answered[Holder]) -> None:
        holder, first, count = message
        holder.stream.reject(holder.queue, first, count, self)
        holder.acked(count)
        self._uncommitted += count
        self.stirred(holder.stream)

    def _give_back(self, message: Answered[Holder]) -> None:
        holder, first, count = message
        holder.stream.give_back(holder.queue, first, count, self)
        holder.acked(count)
        self._uncommitted += count
        self.stirred(holder.stream)

    def stirred(self, stream: ShardStream) -> None:
        self.connection.broker.switchboard.stirred(stream)


class _Automatic:
    """The sink of automatic acks: nobody waits for them."""

    def settled(self, count: int) -> None:
        """Committed."""


AUTOMATIC = _Automatic()


def _refusal(requeue: bool) -> Verdict:
    return Verdict.REQUEUED if requeue else Verdict.REJECTED


def _ignore(status: int, value: object) -> None:
    """Nobody waits for this reply."""
