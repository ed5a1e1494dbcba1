"""One client connection: its socket, its protocol machine, its channels.

Law: one task reads, no more than its share (`Reading`), and handles what it read before it waits again; what it
causes is written once per round of the scheduler, directly where the socket takes it, by a task of its own as long as
it does not. Answers that need nobody else leave with the step that they come up in, and cost no round. The connection
is not read while its published bytes, its unwritten bytes or a channel's backlog are over their limits; nothing else of
the node waits for it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from cluster.amqp import events as ev
from cluster.amqp.connection import ServerConnection
from cluster.amqp.errors import ConnectionException
from cluster.amqp.properties import peek
from cluster.broker.errors import BrokerError
from cluster.node.amqp.budget import Budget
from cluster.node.amqp.channel import Channel, ChannelEvent
from cluster.node.amqp.consumer import Consumer
from cluster.node.amqp.handlers import carry_out
from cluster.node.amqp.hold import Hold
from cluster.node.amqp.login import Login
from cluster.node.amqp.outgoing import Outgoing
from cluster.node.amqp.publish import ROUTES_MAX
from cluster.node.amqp.publishing import Publishing
from cluster.node.amqp.reading import EVENTS_AT_ONCE
from cluster.node.amqp.route_cache import RouteCache
from cluster.node.amqp.routing import check_delivery_mode
from cluster.node.catalog.client import NoQuorum
from cluster.node.cluster_name import told_to_clients
from cluster.node.tls import Socket, TlsSocket

if TYPE_CHECKING:
    from cluster.node.amqp.broker import Broker

LOGIN_TIMEOUT_SECONDS = 10.0
"""For everything from accept to connection.open."""
CLOSE_TIMEOUT_SECONDS = 10.0
"""For the client's answer to our connection.close, and for what is left to do before ours to the client's."""
_FAREWELL_SECONDS = 5.0
"""How long a client that was told close-ok may take to close the socket. The connection itself is over by then."""
_FAREWELL_SIZE = 4096
"""Octets read, and thrown away, at once meanwhile."""
UNHURRIED_SECONDS = 5.0
"""Between two looks at an open connection without heartbeats: thousands that are idle cost next to nothing."""
_CERTIFIED_MECHANISMS = "PLAIN AMQPLAIN EXTERNAL"


class Connection:
    """A client from accept to close. `id` is unique over all nodes and their lives."""

    def __init__(self, sock: Socket, peer: str, connection_id: str, broker: Broker, name: str) -> None:
        """`peer` is the client's address, `name` both ends with their ports."""
        self.tls = sock if isinstance(sock, TlsSocket) else None
        self.certified_name = self.tls.peer_name if self.tls else ""
        """The common name of a client that has shown a certificate which the node believes."""
        self.id = connection_id
        self.peer = peer
        self.name = name
        self.broker = broker
        settings = told_to_clients(broker.settings, broker.catalog)
        if self.certified_name:
            settings = replace(settings, mechanisms=_CERTIFIED_MECHANISMS)
        self.machine = ServerConnection(settings)
        self.limit_messages()
        self.channels: dict[int, Channel] = {}
        self.user = ""
        self.vhost = ""
        self.connected_at = self.heard_at = trio.current_time()
        self.mechanism = ""
        """Of the login."""
        self.received_bytes = 0
        self.received_count = 0
        """Reads."""
        self.route_cache = RouteCache(self)
        self.routes = self.route_cache.routes
        """For every publish: what is there needs no call."""
        self.wellformed: set[bytes] = set()
        """Properties (a content header from its flags on) that have been looked at. At most ROUTES_MAX."""
        self.budget = Budget(broker.limits.connection_unconfirmed_max, broker.unconfirmed, self.machine, self.unblock)
        self.hold = Hold(self)
        self.owns_queues = False
        """Has it declared an exclusive queue?"""
        self.nursery: trio.Nursery
        self.outgoing = Outgoing(sock)
        self._socket = sock
        self._confirming: dict[Publishing, None] = {}
        self.crowded: set[Channel] = set()
        """Those whose backlogs are over their limit."""
        self._written: list[tuple[Consumer, int, int]] = []
        self._taken: trio.Event | None = None
        """Set when the socket has taken what it did not take at once; None while nobody waits for that."""
        self._unblocked: trio.Event | None = None
        self._over = False
        self._closed_by_client = False
        self._closing_at = 0.0

    # ---- life

    async def run(self) -> None:
        """Serve until the connection is over. Closes the socket."""
        try:
            try:
                async with trio.open_nursery() as self.nursery:
                    self.nursery.start_soon(self._keep_alive)
                    await self._read()
                    self.nursery.cancel_scope.cancel()
            finally:
                self._over = True
                self._close_channels()
                self.budget.close()
                self.broker.connection_over(self)
                self._taken = trio.Event()  # nobody can wait any more
            if self._closed_by_client:
                await self._see_off()
        finally:
            self._socket.close()

    async def _read(self) -> None:
        while not self._over:
            await trio.lowlevel.wait_readable(self._socket)
            if self._blocked():
                self._unblocked = trio.Event()
                await self._unblocked.wait()
            elif not await self._take_in():
                return
        await self._linger()

    async def _take_in(self) -> bool:
        """What the client has said. False: it says no more. Not a part of `_read`, which would hold it until the client
        says something else: a message of megabytes, perhaps for ever."""
        reading, now = self.broker.reading, trio.current_time()
        try:
            data = self._socket.recv(reading.share(now))
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        self.heard_at = now
        self.received_bytes += len(data)
        self.received_count += 1
        reading.heard(self.id, len(data))
        for number, event in enumerate(self.machine.receive(data) if data else self.machine.eof(), 1):
            await self._handle(event)
            if not number % EVENTS_AT_ONCE:
                self.flush_soon()
                await trio.lowlevel.checkpoint()
                self.machine.excuse_silence()
        if self.broker.alarm:
            self.hold.heard()
        if self.machine.has_output:
            self.flush()
        return bool(data)

    async def _handle(self, event: ev.Event) -> None:
        match event:
            case ev.PublishBatch() | ev.AckBatch() | ev.MethodReceived() | ev.ChannelClosed():
                channel = self.channels.get(event.channel)
                if channel is not None:
                    channel.receive(event)
                elif isinstance(event, ev.ChannelClosed):
                    self.machine.close_channel_ok(event.channel)
            case ev.ChannelOpened() if not self._closing_at:
                try:
                    await self.broker.judge_channel(self)
                except BrokerError as error:
                    self.fail(ConnectionException(error.code, error.text, 20, 10))
                    return
                self.machine.accept_channel(event.channel)
                self.machine.judge_channels(wanted=self.broker.limits_channels(self.user))
                self.channels[event.channel] = Channel(event.channel, self)
                self.broker.counters.channels_opened += 1
            case ev.ChannelFailed():
                failed = self.channels.get(event.channel)
                if failed is not None:
                    failed.close()
            case ev.LoginRequest():
                await self._log_in(event)
            case ev.OpenRequest():
                try:
                    await self.broker.judge_open(self, event.vhost)
                except BrokerError as error:
                    self.fail(ConnectionException(error.code, error.text, 10, 40))
                    return
                self.vhost = event.vhost
                self.machine.judge_channels(wanted=self.broker.limits_channels(self.user))
                await self._more(self.machine.accept_open())
            case ev.SecretUpdated():
                self.machine.accept_secret()
            case ev.ConnectionCloseRequested():
                await self._wind_up()
                self.machine.close_ok()
                self._over = self._closed_by_client = True
            case ev.ConnectionFailed():
                self._close_channels()
                self._closing_at = trio.current_time()
            case ev.ConnectionClosed():
                await self._wind_up()
                self._over = True

    async def _log_in(self, event: ev.LoginRequest) -> None:
        self.mechanism = event.mechanism
        if event.mechanism == "EXTERNAL":
            username = self.certified_name
            login = self.broker.judge_certified(self.peer, username)
        else:
            username = event.username
            login = await self.broker.judge_login(self.peer, username, event.password)
        self.broker.counters.logins += 1
        self.broker.counters.logins_refused += login is not Login.ACCEPTED
        match login:
            case Login.ACCEPTED:
                self.user = username
                await self._more(self.machine.accept_login())
            case Login.REFUSED:
                self.broker.log.warning("login refused", user=username, peer=self.peer)
                await self._more(self.machine.refuse_login())
            case Login.NOT_LOOPBACK:
                self.broker.log.warning(
                    "login refused: this user may log in over loopback only", user=username, peer=self.peer
                )
                await self._more(self.machine.refuse_login())

    async def _more(self, events: list[ev.Event]) -> None:
        """Events of input that was held back while the broker decided."""
        for event in events:
            await self._handle(event)

    def fail(self, error: ConnectionException) -> None:
        """The client's mistake, or the operator's wish: connection.close."""
        self._close_channels()
        self.machine.connection_error(error)
        self._closing_at = self._closing_at or trio.current_time()
        self.flush_soon()
        self.unblock()

    def _close_channels(self) -> None:
        for channel in list(self.channels.values()):
            channel.close()

    async def _wind_up(self) -> None:
        """What the client had sent is carried out, what it holds goes back, and its exclusive queues go.

        The client that is answered after this, and others then, find all of it done.
        """
        channels = list(self.channels.values())
        with trio.move_on_after(CLOSE_TIMEOUT_SECONDS), suppress(NoQuorum):
            for channel in channels:
                channel.dismiss_consumers()
            for channel in channels:
                await channel.idle()
            self._close_channels()
            for channel in channels:
                await channel.committed()
                await channel.unused_gone()
            await self.broker.delete_exclusive(self)
        self._close_channels()

    async def _linger(self) -> None:
        """Write what is left, within a moment."""
        self.flush()
        with trio.move_on_after(1):
            if self._taken is not None:
                await self._taken.wait()

    async def _see_off(self) -> None:
        """Who was told close-ok closes the socket. RabbitMQ waits for that, and the Go client reports an end that
        comes before its own as an error."""
        with trio.move_on_after(_FAREWELL_SECONDS), suppress(OSError):
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                with suppress(BlockingIOError):
                    if not self._socket.recv(_FAREWELL_SIZE):
                        return

    # ---- events of channels

    async def carry_out(self, channel: Channel, event: ChannelEvent) -> None:
        """A method that may wait. Raises BrokerError, AmqpException."""
        await carry_out(self, channel, event)
        if channel.backlog:
            self.flush_soon()
        else:
            self.flush()

    def check_properties(self, header: bytes) -> None:
        """Raises ConnectionException 501 for a header whose properties cannot be told apart, BrokerError 406."""
        check_delivery_mode(peek(header))
        if len(self.wellformed) >= ROUTES_MAX:
            self.wellformed.clear()
        self.wellformed.add(header[12:])

    def confirms_soon(self, channel: Publishing) -> None:
        self._confirming[channel] = None
        self.broker.flush_soon(self)

    def flush_soon(self) -> None:
        self.broker.flush_soon(self)

    def deliver(self, consumer: Consumer, count: int, size: int, frames: list[bytes | memoryview]) -> None:
        """Frames for the client, in order with everything else."""
        self.machine.queue_output(*frames)
        self._written.append((consumer, count, size))
        self.broker.flush_soon(self)

    # ---- limits

    def limit_messages(self) -> None:
        """By what the node takes now."""
        self.machine.limit_messages(int(min(self.broker.settings.message_size_max, self.broker.unconfirmed.size_max)))

    @property
    def congested(self) -> bool:
        """Does the client read slower than it is written to?"""
        return self.outgoing.unwritten_bytes > self.broker.limits.connection_outgoing_max

    def _blocked(self) -> bool:
        return not self._closing_at and (
            self.hold.is_shut or self.budget.exhausted or self.congested or bool(self.crowded)
        )

    def answered(self, size: int) -> None:
        """So many published bytes wait for nothing any more: a client may have waited for that alone."""
        self.budget.returned(size)
        self.unblock()

    def unblock(self) -> None:
        """Something has got smaller: look again whether to read."""
        if self._unblocked is not None and (self._over or not self._blocked()):
            self._unblocked.set()
            self._unblocked = None

    # ---- writing

    def flush(self) -> None:
        """Write what there is, as far as the socket takes it."""
        if self._confirming:
            for channel in self._confirming:
                channel.confirm_now()
            self._confirming.clear()
        outgoing = self.outgoing
        if self.machine.has_output:
            outgoing.put(self.machine.take_output())
        if outgoing:
            try:
                outgoing.write()
            except OSError:
                self._abandon()
        if outgoing:
            self._write_later()
        elif self._written:
            written, self._written = self._written, []
            for consumer, count, size in written:
                consumer.written(count, size)
        self.unblock()

    def _write_later(self) -> None:
        if self._taken is None:
            self._taken = trio.Event()
            self.nursery.start_soon(self._write_rest, self._taken)

    async def _write_rest(self, taken: trio.Event) -> None:
        """The only task that waits for the socket to take more."""
        while self.outgoing:
            await trio.lowlevel.wait_writable(self._socket)
            self.flush()
        self._taken = None
        taken.set()

    async def _keep_alive(self) -> None:
        """Heartbeats both ways (AMQP 0-9-1 §4.2.7)."""
        while True:
            await trio.sleep(self.machine.heartbeat / 4 or (UNHURRIED_SECONDS if self.vhost else 1.0))
            now = trio.current_time()
            if self.machine.heartbeat_due(now):
                self.machine.send_heartbeat()
                self.flush_soon()
            if self._unblocked is not None:
                self.machine.excuse_silence()
            if self.vhost:
                silent = self.machine.peer_silent(now)
            else:
                silent = now - self.connected_at > LOGIN_TIMEOUT_SECONDS
            if silent or (self._closing_at and now - self._closing_at > CLOSE_TIMEOUT_SECONDS):
                self.broker.log.info("client silent: connection dropped", peer=self.peer, user=self.user)
                self._abandon()

    def _abandon(self) -> None:
        """No more words: the reading task finds the socket at its end."""
        self._closing_at = self._closing_at or trio.current_time()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.unblock()
