"""The publishing side of a channel: basic.publish, publisher confirms, returns.

Law: a run of publishes with one method payload is routed once and joins its shards' streams as one piece. In confirm
mode every publish has a number and is answered once; what goes nowhere is answered at once, if this node's copy of the
catalog is known to be the latest: a queue that was declared elsewhere meanwhile would miss a confirmed message. No
header is stored whose properties cannot be told apart: nothing behind this may meet one.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from cluster.amqp import methods as m
from cluster.amqp.errors import resource_error
from cluster.amqp.events import PublishBatch
from cluster.amqp.pieces import Octets, flat
from cluster.broker.channel.confirms import Confirms
from cluster.broker.errors import NOT_FOUND, BrokerError
from cluster.broker.shard.stream import PublishSink
from cluster.node.amqp.direct_reply import ReplyConsumer
from cluster.node.amqp.marks import header_of, marks_of
from cluster.node.amqp.publish import SPECIAL_HIGH, SPECIAL_LOW, Countdown, Route, Targets
from cluster.node.amqp.side import Side, State

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection

_ACK_FRAME = Struct(">BHIHHQBB")


class Publishing(Side):
    """A `PublishSink`. `reply_consumer` is the channel's address for direct reply-to, if it has one."""

    def __init__(self, number: int, connection: Connection) -> None:
        super().__init__(number, connection)
        self.confirms: Confirms | None = None
        self.reply_consumer: ReplyConsumer | None = None
        self._second_look: PublishBatch | None = None
        """Its first publish goes to an exchange or a queue that the catalog's copy did not have: it may be behind."""
        self._is_known = True
        """Is it certain that what goes nowhere has nowhere to go?"""
        self._publish_number = 1
        """Of the next publish without a confirm."""

    def wants_second_look(self, event: object) -> bool:
        """Is this what is left of a run of publishes, the first of which had nowhere to go?"""
        return event is self._second_look

    def publish(self, batch: PublishBatch, *, is_known: bool = True) -> bool:
        """Carry it out. False: what is left of it wants a second look, with the catalog's copy up to date; which is not
        `is_known` if that could not be had.

        Raises BrokerError, AmqpException.
        """
        connection = self.connection
        self._is_known = is_known
        if connection.broker.alarm:
            connection.hold.published()
        methods, headers, bodies = batch.methods, batch.headers, batch.bodies
        wellformed = connection.wellformed
        total = len(methods)
        position = 0
        while position < total:
            method, header = methods[position], headers[position]
            try:
                if header[12] & SPECIAL_HIGH or header[13] & SPECIAL_LOW:
                    route, header = connection.route_cache.find_special(self.reply_consumer, method, header)
                else:
                    route = connection.routes.get(method) or connection.route_cache.find(method, header)
                    if header[12:] not in wellformed:
                        connection.check_properties(header)
            except BrokerError as error:
                if error.code != NOT_FOUND or batch is self._second_look:
                    raise
                return self._put_off(batch, position)
            if not route.targets and not (route.direct or batch is self._second_look or connection.broker.is_fresh):
                return self._put_off(batch, position)
            parts: list[Octets] = []
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
                if header[12] & SPECIAL_HIGH or header[13] & SPECIAL_LOW or header[12:] not in wellformed:
                    break
            if self.transaction is None:
                self.enqueue(route, parts, sizes)
            else:
                self.transaction.publish(route, parts, sizes)
                if self.transaction.size > connection.budget.largest:
                    raise resource_error(f"a transaction of more than {connection.budget.largest} bytes")
        self._second_look = None
        return True

    def _put_off(self, batch: PublishBatch, position: int) -> bool:
        """From there on, to a second look."""
        del batch.methods[:position], batch.headers[:position], batch.bodies[:position]
        self._second_look = batch
        return False

    def enqueue(self, route: Route, parts: list[Octets], sizes: list[int]) -> None:
        connection = self.connection
        confirms = self.confirms
        count = len(sizes)
        if confirms is not None:
            first = confirms.number(count)
        else:
            first = self._publish_number
            self._publish_number = first + count
        targets = route.targets
        if targets:
            self._send(route, targets, parts, sizes, first)
        else:
            flow = self.flow
            flow.publish += count
            route.entrance.count += count
            if route.direct and connection.broker.replies.reachable(route.routing_key):
                for i in range(count):
                    connection.broker.replies.send(route.routing_key, b"".join(flat(parts[3 * i : 3 * i + 3])))
            if route.mandatory and (self._is_known or confirms is None):
                for i in range(count):
                    self._return(route, header_of(parts, i), bytes(parts[3 * i + 2]))
            elif not route.direct:
                flow.drop_unroutable += count
            if confirms is not None:
                if self._is_known:
                    flow.confirm += count
                    confirms.done(first, count)
                else:
                    connection.broker.counters.publishes_refused += count
                    confirms.refused(first, count)
                connection.confirms_soon(self)

    def enqueue_rest(self, route: Route, targets: Targets, parts: list[Octets], sizes: list[int]) -> None:
        """Of a publish that a transaction has carried out, what was not for it."""
        if targets:
            self._send(route, targets, parts, sizes, self._publish_number)
            self._publish_number += len(sizes)
        else:
            self.flow.publish += len(sizes)
            route.entrance.count += len(sizes)

    def _send(self, route: Route, targets: Targets, parts: list[Octets], sizes: list[int], first: int) -> None:
        connection = self.connection
        count = len(sizes)
        self.flow.publish += count
        route.entrance.count += count
        size = sum(sizes)
        connection.budget.taken(size)
        self.uncommitted += count
        sink: PublishSink = Countdown(self, len(targets), first, count, size) if len(targets) > 1 else self
        marks = marks_of(route, parts) if route.prioritized or header_of(parts, 0)[12] & SPECIAL_HIGH else ()
        for stream, queues in targets:
            stream.make_way(size)
            if marks:
                stream.mark(marks)
            stream.publish(queues, parts, sizes, size, sink, first)
            connection.broker.switchboard.stirred(stream)

    def published(self, first: int, count: int, size: int) -> None:
        """`PublishSink`: committed."""
        self.connection.answered(size)
        self.done(count)
        if self.state is State.OPEN and self.confirms is not None:
            self.flow.confirm += count
            self.confirms.done(first, count)
            self.connection.confirms_soon(self)

    def refused(self, first: int, count: int, size: int) -> None:
        """`PublishSink`: not stored."""
        if self.transaction is not None:
            self.transaction.is_torn = True
        self.connection.broker.counters.publishes_refused += count
        self.connection.answered(size)
        self.done(count)
        if self.state is State.OPEN and self.confirms is not None:
            self.confirms.refused(first, count)
            self.connection.confirms_soon(self)

    def confirm_now(self) -> None:
        """basic.nack frames for what is refused, then basic.ack frames for what is done."""
        if self.state is not State.OPEN or self.confirms is None:
            return
        pack = _ACK_FRAME.pack
        frames = [pack(1, self.number, 13, 60, 120, tag, 0, 0xCE) for tag in self.confirms.take_nacks()]
        frames += [pack(1, self.number, 13, 60, 80, tag, last, 0xCE) for tag, last in self.confirms.take_acks()]
        if frames:
            self.connection.machine.queue_output(b"".join(frames))

    def _return(self, route: Route, header: bytes, body: bytes) -> None:
        method = m.BasicReturn(312, "NO_ROUTE", route.exchange, route.routing_key)
        self.connection.machine.content(self.number, method.encode(), header, body)
        self.flow.return_unroutable += 1
        self.connection.flush_soon()

    def drop_reply_consumer(self) -> None:
        """Answers that come now are lost."""
        if self.reply_consumer is not None:
            self.connection.broker.replies.close(self.reply_consumer)
            self.reply_consumer = None
