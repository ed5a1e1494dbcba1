"""The consuming side of a channel: consumers, basic.get, deliveries and what the client says of them.

Law: what was delivered and wants an answer is in `unacked` until it is answered, given back or the channel ends. A
channel-wide prefetch count holds deliveries here (`_parked`) that the consumers' own credit has let come.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from cluster.amqp import methods as m
from cluster.amqp.delivery_count import count_deliveries, with_delivery_count
from cluster.amqp.errors import not_implemented
from cluster.amqp.record import Record
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.queue_rules import in_exclusive_use
from cluster.broker.channel.unacked import Answered, TagPiece, Unacked, Verdict, answered
from cluster.broker.errors import no_queue
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.messages import ReplyStatus, RequestOp
from cluster.node.amqp.consumer import NO_ARGUMENTS, Consumer, GetHolder, consumer_priority
from cluster.node.amqp.side import Side, State

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection

Holder = Consumer | GetHolder

Delivery = tuple[Consumer, int, int, int, "array[int]", bytes | memoryview]
"""(consumer, first seq, count, redelivered, sizes, records)."""


class Consuming(Side):
    """A `SettleSink`."""

    def __init__(self, number: int, connection: Connection) -> None:
        super().__init__(number, connection)
        self.unacked: Unacked[Holder] = Unacked()
        self.consumers: dict[str, Consumer] = {}
        self.holders: dict[QueueId, GetHolder] = {}
        self._leaving: list[trio.Event] = []
        """One for each auto-delete queue that a consumer has left and whose deletion is under way."""
        self.prefetch_count = 0
        """For consumers that come (basic.qos global=false)."""
        self._global_prefetch = 0
        """Unacked messages allowed over all consumers of the channel; 0 is no limit."""
        self._parked: deque[Delivery] = deque()
        """Deliveries over that limit. Bounded by the consumers' credit."""

    # ---- deliveries

    def deliver(
        self, consumer: Consumer, first: int, count: int, redelivered: int, sizes: bytes, records: bytes | memoryview
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
        flow, taken = self.flow, consumer.flow
        if redelivered:
            flow.redeliver += count
            taken.redeliver += count
        if consumer.no_ack:
            flow.deliver_no_ack += count
            taken.deliver_no_ack += count
            tag = self.unacked.tag_automatic(count)
            consumer.stream.settle(consumer.queue, first, count, AUTOMATIC)
            self.stirred(consumer.stream)
        else:
            flow.deliver += count
            taken.deliver += count
            tag = self.unacked.tag(consumer, first, count)
        out: list[bytes | memoryview] = []
        size = len(records)
        if consumer.counts and redelivered > 1:
            records, sizes = count_deliveries(records, sizes, redelivered - 1)
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
                parked.appendleft((consumer, first + room, count - room, redelivered, sizes[room:], records[cut:]))
                count, sizes, records = room, sizes[:room], records[:cut]
            self._hand_out((consumer, first, count, redelivered, sizes, records))

    @property
    def global_prefetch_count(self) -> int:
        """Unacked messages allowed over all consumers; 0 is no limit."""
        return self._global_prefetch

    def set_prefetch(self, count: int) -> None:
        """basic.qos global=false. It lifts the channel-wide limit, as RabbitMQ does."""
        self.prefetch_count = count
        if self._global_prefetch:
            self.set_global_prefetch(0)

    def set_global_prefetch(self, count: int) -> None:
        """basic.qos global=true."""
        self._global_prefetch = count
        for consumer in self.consumers.values():
            consumer.limit(count)
        self._unpark()

    async def consume(self, queue: QueueDefinition, method: m.BasicConsume, tag: str) -> None:
        """Start a consumer, whose tag is new. Raises BrokerError 403, 404; ConnectionException 540; NoQuorum."""
        if self._global_prefetch and queue.type == "quorum":
            raise not_implemented(f"{queue.label} does not support global qos")
        if method.exclusive and queue.arguments.values.get("x-single-active-consumer") is True:
            raise in_exclusive_use(queue)
        connection = self.connection
        await connection.broker.consumer_comes(queue)
        consumer = Consumer(
            consumer=connection.broker.next_consumer(),
            tag=tag,
            channel=self,
            stream=connection.broker.stream_of(queue),
            queue=queue.id,
            queue_name=queue.name,
            flow=connection.broker.flows.queue(queue.id),
            no_ack=method.no_ack,
            exclusive=method.exclusive,
            prefetch_count=self.prefetch_count,
            channel_prefetch_count=self._global_prefetch,
            frame_max=connection.machine.frame_max,
            counts=queue.type == "quorum",
            priority=consumer_priority(method.arguments, queue),
            arguments=method.arguments or NO_ARGUMENTS,
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
            taken = connection.broker.flows.queue(queue.id)
            holder = self.holders[queue.id] = GetHolder(connection.broker.next_consumer(), queue.id, stream, taken)
            stream.join(queue.id, holder)

        def answered(status: int, value: Any) -> None:
            if status != ReplyStatus.OK:
                return
            if value is None:
                self.flow.get_empty += 1
                holder.flow.get_empty += 1
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

    def _got(self, holder: GetHolder, first: int, record: Record, *, redelivered: int, left: int, no_ack: bool) -> None:
        flow, taken = self.flow, holder.flow
        if redelivered:
            flow.redeliver += 1
            taken.redeliver += 1
        if no_ack:
            flow.get_no_ack += 1
            taken.get_no_ack += 1
            tag = self.unacked.tag_automatic(1)
            holder.stream.settle(holder.queue, first, 1, self)
            self.uncommitted += 1
        else:
            flow.get += 1
            taken.get += 1
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
        self._left(consumer)

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
        self.done(count)

    def recover(self) -> None:
        """Everything outstanding goes back (basic.recover)."""
        for message in self.unacked.take_all():
            self._give_back(message)

    def ack_each(self, tags: list[int]) -> None:
        if self.transaction is not None:
            for tag in tags:
                self.answer_tag(tag, Verdict.DONE, multiple=False)
            return
        messages, unknown = self.unacked.answer_each(tags)
        self._settle(messages)
        if unknown is not None:
            self.unacked.answer(unknown, multiple=False)

    def _settle(self, answers: list[Answered[Holder]]) -> None:
        for holder, first, count in answers:
            self.flow.ack += count
            holder.flow.ack += count
            holder.stream.settle(holder.queue, first, count, self)
            holder.acked(count)
            self.uncommitted += count
            self.stirred(holder.stream)
        if self._parked:
            self._unpark()

    def answer_tag(self, tag: int, verdict: Verdict, *, multiple: bool) -> None:
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

    def answered_by_transaction(self, pieces: list[TagPiece[Holder]], verdict: Verdict) -> None:
        """What the client says of deliveries has taken effect already."""
        for holder, _, count in answered(pieces):
            if verdict is Verdict.DONE:
                self.flow.ack += count
                holder.flow.ack += count
            holder.acked(count)
            self.stirred(holder.stream)
        self._unpark()

    def _reject(self, message: Answered[Holder]) -> None:
        holder, first, count = message
        holder.stream.reject(holder.queue, first, count, self)
        holder.acked(count)
        self.uncommitted += count
        self.stirred(holder.stream)

    def _give_back(self, message: Answered[Holder]) -> None:
        holder, first, count = message
        holder.stream.give_back(holder.queue, first, count, holder if isinstance(holder, Consumer) else self)
        self.uncommitted += count
        self.stirred(holder.stream)

    @property
    def is_entangled(self) -> bool:
        """Has the channel anything with a queue that its end would have to wait for?"""
        return bool(self.uncommitted or self.consumers or self.holders or self.unacked.count or self._leaving)

    def let_everything_go(self) -> None:
        """The channel is over: its consumers leave, what it holds goes back to its queues."""
        self.dismiss_consumers()
        for holder in self.holders.values():
            self._leave(holder)
        for consumer, first, count, *_ in self._parked:
            self._give_back((consumer, first, count))
        self._parked.clear()
        for message in self.unacked.take_all():
            self._give_back(message)

    def dismiss_consumers(self) -> None:
        """They get nothing any more; what they hold stays on the channel."""
        for consumer in list(self.consumers.values()):
            self._leave(consumer)
            self._left(consumer)
        self.consumers.clear()

    def _left(self, consumer: Consumer) -> None:
        self._leaving = [over for over in self._leaving if not over.is_set()]
        over = self.connection.broker.consumer_left(consumer.queue)
        if over is not None:
            self._leaving.append(over)

    async def unused_gone(self) -> None:
        """Until the auto-delete queues that the channel's consumers have left are deleted, or stay for others."""
        for over in self._leaving:
            await over.wait()


class _Automatic:
    """The sink of automatic acks: nobody waits for them."""

    def settled(self, count: int) -> None:
        """Committed."""


AUTOMATIC = _Automatic()


def _ignore(status: int, value: object) -> None:
    """Nobody waits for this reply."""
