"""What each synchronous method does. One function a method; the table at the end names them all.

Law: a handler judges by the catalog's copy first (RabbitMQ's errors, no write when nothing changes), asks the
queue's leader where only it knows, and answers unless no-wait. What would refuse it, or leave everything as it is, is
looked at once more after the copy has caught up with the catalog's leader; but for a queue that is declared as it is:
its own leader says whether it is still there.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from cluster.amqp import methods as m
from cluster.amqp.errors import not_implemented
from cluster.amqp.events import ChannelClosed, MethodReceived, PublishBatch
from cluster.amqp.method import Method
from cluster.broker.catalog import commands as c
from cluster.broker.catalog.arguments import arguments_of
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import ConnectionId
from cluster.broker.channel.confirms import Confirms
from cluster.broker.errors import NOT_FOUND, BrokerError, not_allowed, not_found, precondition_failed
from cluster.broker.shard.messages import ReplyStatus, RequestOp
from cluster.node.amqp.direct_reply import PSEUDO_QUEUE
from cluster.node.amqp.transaction import Transaction
from cluster.node.catalog.client import NoQuorum

if TYPE_CHECKING:
    from cluster.node.amqp.broker import Broker
    from cluster.node.amqp.channel import Channel, ChannelEvent
    from cluster.node.amqp.connection import Connection

T = TypeVar("T")
Handler = Callable[["Connection", "Channel", Any], Awaitable[None]]


def unique_name(prefix: str) -> str:
    """`prefix` and 22 url-safe base64 characters."""
    return prefix + base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()


async def fresh(connection: Connection, check: Callable[[], T]) -> T:
    """`check()`, and if it refuses, again when the catalog's copy is up to date."""
    with suppress(BrokerError):
        return check()
    await connection.broker.catch_up()
    return check()


async def _needed(connection: Connection, check: Callable[[], bool]) -> bool:
    """`check()`: is there something to change? If not, or if it refuses, again with the catalog's copy up to date."""
    with suppress(BrokerError):
        if check():
            return True
    await connection.broker.catch_up()
    return check()


def queue_name(channel: Channel, name: str) -> str:
    """An empty name means the queue declared last on the channel (AMQP 0-9-1, queue domain)."""
    if name:
        return name
    if not channel.last_queue:
        raise not_found("no previously declared queue")
    return channel.last_queue


def one_line(name: str) -> str:
    """A name as declarations and bindings understand it: without line breaks, as in RabbitMQ."""
    return name.replace("\r", "").replace("\n", "")


def reply(connection: Connection, channel: Channel, method: Method, *, no_wait: bool = False) -> None:
    if not no_wait:
        connection.machine.send(channel.number, method)


# ---- channel, access, confirm


async def channel_flow(connection: Connection, channel: Channel, method: m.ChannelFlow) -> None:
    if not method.active:
        raise not_implemented("active=false")
    reply(connection, channel, m.ChannelFlowOk(True))


async def access_request(connection: Connection, channel: Channel, method: m.AccessRequest) -> None:
    reply(connection, channel, m.AccessRequestOk(1))


async def confirm_select(connection: Connection, channel: Channel, method: m.ConfirmSelect) -> None:
    if channel.transaction is not None:
        raise precondition_failed("cannot switch from tx to confirm mode")
    if channel.confirms is None:
        channel.confirms = Confirms()
    reply(connection, channel, m.ConfirmSelectOk(), no_wait=method.no_wait)


async def tx_select(connection: Connection, channel: Channel, method: m.TxSelect) -> None:
    if channel.confirms is not None:
        raise precondition_failed("cannot switch from confirm to tx mode")
    if channel.transaction is None:
        channel.transaction = Transaction()
    reply(connection, channel, m.TxSelectOk())


async def tx_commit(connection: Connection, channel: Channel, method: m.TxCommit) -> None:
    await _transaction(channel).commit(channel)
    reply(connection, channel, m.TxCommitOk())


async def tx_rollback(connection: Connection, channel: Channel, method: m.TxRollback) -> None:
    _transaction(channel).rollback(channel)
    reply(connection, channel, m.TxRollbackOk())


def _transaction(channel: Channel) -> Transaction:
    if channel.transaction is None:
        raise precondition_failed("channel is not transactional")
    return channel.transaction


# ---- exchange


async def exchange_declare(connection: Connection, channel: Channel, method: m.ExchangeDeclare) -> None:
    broker, vhost = connection.broker, connection.vhost
    name = one_line(method.exchange)
    if method.passive:
        await fresh(connection, lambda: broker.catalog.checks.passive_exchange(vhost, name))
    else:
        command = c.DeclareExchange(
            vhost,
            name,
            method.type,
            method.durable,
            method.auto_delete,
            method.internal,
            arguments_of(method.arguments).table,
        )
        checks = broker.catalog.checks
        if await _needed(connection, lambda: checks.declare_exchange(connection.user, command) is None):
            await broker.submit(command)
    reply(connection, channel, m.ExchangeDeclareOk(), no_wait=method.no_wait)


async def exchange_delete(connection: Connection, channel: Channel, method: m.ExchangeDelete) -> None:
    command = c.DeleteExchange(connection.vhost, one_line(method.exchange), method.if_unused)
    broker = connection.broker
    if await _needed(connection, lambda: broker.catalog.checks.delete_exchange(connection.user, command)):
        await broker.submit(command)
    reply(connection, channel, m.ExchangeDeleteOk(), no_wait=method.no_wait)


async def exchange_bind(connection: Connection, channel: Channel, method: m.ExchangeBind) -> None:
    broker = connection.broker
    table = arguments_of(method.arguments).table
    destination, source = one_line(method.destination), one_line(method.source)
    command = c.BindExchange(connection.vhost, destination, source, method.routing_key, table)
    if await _needed(connection, lambda: broker.catalog.checks.bind_exchange(connection.user, command)):
        await broker.submit(command)
    reply(connection, channel, m.ExchangeBindOk(), no_wait=method.no_wait)


async def exchange_unbind(connection: Connection, channel: Channel, method: m.ExchangeUnbind) -> None:
    broker = connection.broker
    table = arguments_of(method.arguments).table
    destination, source = one_line(method.destination), one_line(method.source)
    command = c.UnbindExchange(connection.vhost, destination, source, method.routing_key, table)
    if await _needed(connection, lambda: broker.catalog.checks.unbind_exchange(connection.user, command)):
        await broker.submit(command)
    reply(connection, channel, m.ExchangeUnbindOk(), no_wait=method.no_wait)


# ---- queue


async def queue_declare(connection: Connection, channel: Channel, method: m.QueueDeclare) -> None:
    broker, vhost, owner = connection.broker, connection.vhost, ConnectionId(connection.id)
    checks = broker.catalog.checks
    replies = broker.replies
    if method.queue == PSEUDO_QUEUE or (replies.is_address(method.queue) and await replies.is_there(method.queue)):
        reply(connection, channel, m.QueueDeclareOk(method.queue, 0, 1), no_wait=method.no_wait)
        return
    name = one_line(method.queue)
    command = None
    if not method.passive:
        name = name or unique_name("amq.gen-")
        command = c.DeclareQueue(
            vhost,
            name,
            method.durable,
            method.exclusive,
            method.auto_delete,
            arguments_of(method.arguments).table,
            connection.id,
            broker.node,
            broker.incarnation,
        )
        broker.counters.queues_declared += 1
    counts = None
    while counts is None:
        made = command is not None and await _make_queue(connection, command, server_named=not method.queue)
        queue = await fresh(connection, lambda: checks.passive_queue(vhost, name, owner))
        channel.last_queue = name
        counts = (0, 0) if made else await _ready_and_consumers(broker, queue)
    reply(connection, channel, m.QueueDeclareOk(name, *counts), no_wait=method.no_wait)


async def _make_queue(connection: Connection, command: c.DeclareQueue, *, server_named: bool) -> bool:
    """False: it is there. Raises BrokerError, NoQuorum."""
    broker = connection.broker

    def is_new() -> bool:
        return broker.catalog.checks.declare_queue(connection.user, command, server_named=server_named) is None

    is_needed = await fresh(connection, is_new)
    if is_needed:
        connection.owns_queues = connection.owns_queues or command.exclusive
        await broker.submit(command)
    return is_needed


async def _ready_and_consumers(broker: Broker, queue: QueueDefinition) -> tuple[int, int] | None:
    """None: it has gone, as the copy of the catalog knows now."""
    status, value = await broker.ask(queue, RequestOp.INFO, (1,))
    if status == ReplyStatus.GONE:
        await broker.catch_up()
        if queue.id not in broker.catalog.queues:
            return None
    ready, _, consumers, *_ = value or (0, 0, 0)
    return ready, consumers


async def queue_bind(connection: Connection, channel: Channel, method: m.QueueBind) -> None:
    broker, owner = connection.broker, ConnectionId(connection.id)
    name = one_line(queue_name(channel, method.queue))
    routing_key = method.routing_key or ("" if method.queue else name)
    table = arguments_of(method.arguments).table
    command = c.BindQueue(connection.vhost, one_line(method.exchange), name, routing_key, table)
    if await _needed(connection, lambda: broker.catalog.checks.bind_queue(connection.user, command, owner)):
        await broker.submit(command)
    reply(connection, channel, m.QueueBindOk(), no_wait=method.no_wait)


async def queue_unbind(connection: Connection, channel: Channel, method: m.QueueUnbind) -> None:
    broker, owner = connection.broker, ConnectionId(connection.id)
    name = one_line(queue_name(channel, method.queue))
    routing_key = method.routing_key or ("" if method.queue else name)
    table = arguments_of(method.arguments).table
    command = c.UnbindQueue(connection.vhost, one_line(method.exchange), name, routing_key, table)
    if await _needed(connection, lambda: broker.catalog.checks.unbind_queue(connection.user, command, owner)):
        await broker.submit(command)
    reply(connection, channel, m.QueueUnbindOk())


async def queue_purge(connection: Connection, channel: Channel, method: m.QueuePurge) -> None:
    # The leader of a queue that is gone need not know that either.
    await connection.broker.catch_up()
    count = await _with_queue(connection, channel, method.queue, connection.broker.purge)
    reply(connection, channel, m.QueuePurgeOk(count), no_wait=method.no_wait)


async def queue_delete(connection: Connection, channel: Channel, method: m.QueueDelete) -> None:
    broker, owner = connection.broker, ConnectionId(connection.id)
    name = one_line(queue_name(channel, method.queue))
    find = partial(broker.catalog.checks.delete_queue, connection.user, connection.vhost, name, owner)
    await _needed(connection, lambda: find() is not None)
    count = await broker.delete_found(find, if_unused=method.if_unused, if_empty=method.if_empty)
    reply(connection, channel, m.QueueDeleteOk(count), no_wait=method.no_wait)


async def _with_queue(
    connection: Connection, channel: Channel, name: str, act: Callable[[QueueDefinition], Awaitable[T]]
) -> T:
    """`act` on the queue that bears the name: see `Broker.on_found`."""
    name, checks, owner = queue_name(channel, name), connection.broker.catalog.checks, ConnectionId(connection.id)
    find = partial(checks.read_queue, connection.user, connection.vhost, name, owner)
    await fresh(connection, find)
    return await connection.broker.on_found(find, act)


# ---- basic


async def basic_qos(connection: Connection, channel: Channel, method: m.BasicQos) -> None:
    if method.prefetch_size:
        raise not_implemented(f"prefetch_size!=0 ({method.prefetch_size})")
    reply(connection, channel, m.BasicQosOk())
    if method.global_:
        channel.set_global_prefetch(method.prefetch_count)
    else:
        channel.set_prefetch(method.prefetch_count)


async def basic_consume(connection: Connection, channel: Channel, method: m.BasicConsume) -> None:
    name = queue_name(channel, method.queue)
    tag = method.consumer_tag or unique_name("amq.ctag-")
    if tag in channel.consumers:
        raise not_allowed(f"attempt to reuse consumer tag '{tag}'")
    if name == PSEUDO_QUEUE:
        if not method.no_ack:
            raise precondition_failed("reply consumer cannot acknowledge")
        channel.reply_consumer = connection.broker.replies.open(channel, tag)
        reply(connection, channel, m.BasicConsumeOk(tag), no_wait=method.no_wait)
        return
    await _with_queue(connection, channel, name, lambda queue: channel.consume(queue, method, tag))


async def basic_cancel(connection: Connection, channel: Channel, method: m.BasicCancel) -> None:
    consumer = channel.consumers.get(method.consumer_tag)
    if channel.reply_consumer is not None and channel.reply_consumer.tag == method.consumer_tag:
        channel.drop_reply_consumer()
    if consumer is not None:
        await connection.broker.ask_stream(consumer.stream, RequestOp.CANCEL, consumer.queue, (consumer.consumer,))
        channel.forget_consumer(consumer)
        await channel.unused_gone()
    reply(connection, channel, m.BasicCancelOk(method.consumer_tag), no_wait=method.no_wait)


async def basic_get(connection: Connection, channel: Channel, method: m.BasicGet) -> None:
    await _with_queue(connection, channel, method.queue, partial(channel.get, no_ack=method.no_ack))


async def basic_recover(connection: Connection, channel: Channel, method: m.BasicRecover) -> None:
    if not method.requeue:
        raise not_implemented("requeue=false")
    channel.recover()
    await channel.committed()
    reply(connection, channel, m.BasicRecoverOk())


async def basic_recover_async(connection: Connection, channel: Channel, method: m.BasicRecoverAsync) -> None:
    if not method.requeue:
        raise not_implemented("requeue=false")
    channel.recover()


HANDLERS: dict[type[Method], Handler] = {
    m.ChannelFlow: channel_flow,
    m.AccessRequest: access_request,
    m.ConfirmSelect: confirm_select,
    m.TxSelect: tx_select,
    m.TxCommit: tx_commit,
    m.TxRollback: tx_rollback,
    m.ExchangeDeclare: exchange_declare,
    m.ExchangeDelete: exchange_delete,
    m.ExchangeBind: exchange_bind,
    m.ExchangeUnbind: exchange_unbind,
    m.QueueDeclare: queue_declare,
    m.QueueBind: queue_bind,
    m.QueueUnbind: queue_unbind,
    m.QueuePurge: queue_purge,
    m.QueueDelete: queue_delete,
    m.BasicQos: basic_qos,
    m.BasicConsume: basic_consume,
    m.BasicCancel: basic_cancel,
    m.BasicGet: basic_get,
    m.BasicRecover: basic_recover,
    m.BasicRecoverAsync: basic_recover_async,
}


async def _publish_again(connection: Connection, channel: Channel, batch: PublishBatch) -> None:
    """What had nowhere to go, as this node's copy of the catalog says. Where nobody can tell, it is not confirmed."""
    try:
        await connection.broker.freshen()
    except NoQuorum as unknown:
        try:
            channel.publish(batch, is_known=False)
        except BrokerError as error:
            if error.code == NOT_FOUND:
                raise unknown from error
            raise
    else:
        channel.publish(batch)


async def carry_out(connection: Connection, channel: Channel, event: ChannelEvent) -> None:
    """What may wait. Raises BrokerError, AmqpException, NoQuorum."""
    match event:
        case PublishBatch():
            await _publish_again(connection, channel, event)
        case ChannelClosed():
            channel.confirm_now()
            channel.close()
            with suppress(NoQuorum):
                await channel.committed()
                await channel.unused_gone()
            connection.machine.close_channel_ok(channel.number)
        case MethodReceived(method=method):
            handler = HANDLERS.get(type(method))
            if handler is not None:
                await handler(connection, channel, method)
