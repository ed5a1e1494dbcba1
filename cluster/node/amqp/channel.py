"""A channel: what it publishes, what was delivered to it, and the methods that wait their turn.

Law: publishes, acks and deliveries are carried out where they arrive, without waiting. Everything else on the
channel is carried out in order by `work`, one at a time; while it works, what comes later on this channel waits
in `backlog`, and other channels go on. A synchronous method is carried out only after everything that the channel
published, settled or gave back before is committed: what it asks for includes it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from cluster.amqp import methods as m
from cluster.amqp.errors import AmqpException, ChannelException, ConnectionException, internal_error
from cluster.amqp.events import AckBatch, ChannelClosed, MethodReceived, PublishBatch
from cluster.broker.channel.unacked import Verdict
from cluster.broker.errors import BrokerError, Scope
from cluster.node.amqp.consuming import Consuming
from cluster.node.amqp.publishing import Publishing
from cluster.node.amqp.side import State
from cluster.node.amqp.transaction import Answers, RoutedPublish
from cluster.node.amqp.undertaking import Undertaking
from cluster.node.catalog.client import NoQuorum

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection

IDLE_SECONDS = 1.0
"""A channel on which nothing happened for so long is idle."""
BACKLOG_MAX = 256
"""Events that may wait on one channel before it is crowded, and its connection no longer read."""

ChannelEvent = MethodReceived | PublishBatch | AckBatch | ChannelClosed


class Channel(Publishing, Consuming):
    """One open channel of a connection."""

    def __init__(self, number: int, connection: Connection) -> None:
        super().__init__(number, connection)
        self.last_queue = ""
        self.heard_at = connection.heard_at
        """When the client last said something on it, monotonic seconds."""
        self.backlog: deque[ChannelEvent] = deque()
        self._handed_out = 0
        self._seen_at = self.heard_at
        """When there were that many deliveries."""
        self._working = False
        self._idle: trio.Event | None = None

    # ---- what arrives

    def receive(self, event: ChannelEvent) -> None:
        self.heard_at = self.connection.heard_at
        if self._working:
            self._wait_with(event)
            return
        try:
            if not self._at_once(event):
                self._wait_with(event)
                self._working = True
                self.connection.nursery.start_soon(self.work)
        except (BrokerError, AmqpException) as error:
            self.fail(error, event)

    def _wait_with(self, event: ChannelEvent) -> None:
        self.backlog.append(event)
        if len(self.backlog) > BACKLOG_MAX:
            self.connection.crowded.add(self)

    def _at_once(self, event: ChannelEvent) -> bool:
        """Carry out what needs no waiting. False: it does."""
        match event:
            case PublishBatch():
                return self.publish(event)
            case AckBatch():
                self.ack_each(event.tags)
            case MethodReceived(method=m.BasicAck() as method):
                self.answer_tag(method.delivery_tag, Verdict.DONE, multiple=method.multiple)
            case MethodReceived(method=m.BasicNack() as method):
                self.answer_tag(method.delivery_tag, _refusal(method.requeue), multiple=method.multiple)
            case MethodReceived(method=m.BasicReject() as method):
                self.answer_tag(method.delivery_tag, _refusal(method.requeue), multiple=False)
            case ChannelClosed() if self.transaction is None and not self.is_entangled:
                self.confirm_now()
                self.close()
                self.connection.machine.close_channel_ok(self.number)
            case _:
                return False
        return True

    async def work(self) -> None:
        """Carry out the backlog in order."""
        while self.backlog and self.state is State.OPEN:
            event = self.backlog.popleft()
            if len(self.backlog) == BACKLOG_MAX:
                self.connection.crowded.discard(self)
            try:
                if self.wants_second_look(event) or not self._at_once(event):
                    await self.committed()
                    await self.connection.carry_out(self, event)
                else:
                    self.connection.flush_soon()
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

    def idle_since(self, now: float) -> float | None:
        """Monotonic seconds; None while it is in use. Of deliveries that nobody answers it is known when somebody asked
        and there were no new ones."""
        handed_out = self.flow.deliver + self.flow.deliver_no_ack
        if handed_out != self._handed_out:
            self._handed_out, self._seen_at = handed_out, now
        idle_since = max(self.heard_at, self._seen_at)
        return idle_since if now - idle_since >= IDLE_SECONDS else None

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

    async def undertake(self, publishes: list[RoutedPublish], answers: Answers) -> None:
        """A transaction over several shards. Raises BrokerError 406, NoQuorum."""
        await Undertaking(self, publishes, answers).carry_out()

    def close(self) -> None:
        """The channel is over: its consumers leave, what it holds goes back to its queues."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.connection.channels.pop(self.number, None)
        self.backlog.clear()
        self.connection.crowded.discard(self)
        self.drop_reply_consumer()
        if self.transaction is not None:
            self.transaction.rollback(self)
        self.let_everything_go()
        self.connection.broker.flows.channel_over(self.connection.vhost, self.flow)
        self.connection.unblock()


def _refusal(requeue: bool) -> Verdict:
    return Verdict.REQUEUED if requeue else Verdict.REJECTED
