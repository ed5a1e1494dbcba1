"""What sessions need of their node, in one place.

Law: one per node. It holds no message: it knows the catalog's copy, the streams to the shards, the connections,
and who has to be written to in this round.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from cluster.amqp.settings import ConnectionSettings
from cluster.broker.catalog import commands as c
from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.queue_rules import in_use, not_empty
from cluster.broker.errors import NOT_FOUND, BrokerError, no_queue, not_found
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.messages import ReplyStatus, RequestOp
from cluster.broker.shard.stream import ReplyCallback, ShardStream
from cluster.node.amqp.budget import Pool
from cluster.node.amqp.census import Census, Numbers
from cluster.node.amqp.direct_reply import DirectReplies
from cluster.node.amqp.flow import Flows
from cluster.node.amqp.hold import Turn
from cluster.node.amqp.login import Login, Passwords, is_loopback
from cluster.node.amqp.reading import Reading
from cluster.node.amqp.side import LEADER_TIMEOUT_SECONDS
from cluster.node.catalog.client import CatalogClient, NoQuorum
from cluster.node.links import Links
from cluster.node.logging import get_logger
from cluster.node.shards.local import LOCAL_SHARDS
from cluster.node.shards.switchboard import Switchboard
from cluster.raft.types import NodeId

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """Per connection, in bytes: see `Connection`'s law."""

    connection_unconfirmed_max: int
    connection_outgoing_max: int


class Counters:
    """Connections, channels, queues and logins since the start. They only grow."""

    __slots__ = (
        "channels_opened",
        "connections_opened",
        "logins",
        "logins_refused",
        "publishes_refused",
        "queues_declared",
    )

    def __init__(self) -> None:
        self.connections_opened = 0
        self.channels_opened = 0
        self.queues_declared = 0
        """What was asked for, also where the queue was there already."""
        self.logins = 0
        """Over AMQP, as those that were refused."""
        self.logins_refused = 0
        self.publishes_refused = 0
        """Messages that were not stored: nacked, or, where nobody wants confirms, dropped."""


class Broker:
    """The node, as clients' sessions see it."""

    def __init__(
        self,
        *,
        node: int,
        incarnation: int,
        catalog: Catalog,
        client: CatalogClient,
        switchboard: Switchboard,
        settings: ConnectionSettings,
        limits: BrokerLimits,
        loopback_user: str,
        wake: Callable[[], None],
        nursery: trio.Nursery,
        links: Links,
    ) -> None:
        """`loopback_user` may log in over loopback only ("" for nobody); `wake` asks for a round soon."""
        self.node = node
        self.incarnation = incarnation
        self.catalog = catalog
        self.switchboard = switchboard
        self.settings = settings
        self.limits = limits
        self.log = get_logger("amqp")
        self.connections: dict[str, Connection] = {}
        self.connection_numbers = count(1)
        """Unique in this life of the node."""
        self.census = Census(self.connections, links)
        self.counters = Counters()
        self.flows = Flows(catalog)
        self.replies = DirectReplies(self)
        self.unconfirmed = Pool()
        self.alarm = ""
        """Why publishers are blocked, in RabbitMQ's words; "" when they are not."""
        self._ended: dict[int, int] = {}
        """Nodes whose processes are known to have ended, and in which life: nothing is left in its queues."""
        self._client = client
        self._passwords = Passwords()
        self._loopback_user = loopback_user
        self._wake = wake
        self._links = links
        self._nursery = nursery
        self._consumers = count(1)
        self._transactions = count(1)
        self.reading = Reading()
        self._turn = Turn()
        self._to_flush: dict[Connection, None] = {}

    # ---- the catalog

    async def submit(self, command: c.SingleCommand) -> object:
        """What `Ok.value` says of it. Raises BrokerError, NoQuorum."""
        return await self._client.submit(command)

    async def catch_up(self) -> None:
        """Raises NoQuorum."""
        await self._client.catch_up()

    async def freshen(self) -> None:
        """See `CatalogClient`. Raises NoQuorum."""
        await self._client.freshen()

    @property
    def is_fresh(self) -> bool:
        """See `Freshness`."""
        return self._client.freshness.is_fresh

    def set_ended(self, lives: dict[int, int]) -> None:
        """Node -> incarnation. Routes found before may lead to their queues."""
        if lives != self._ended:
            self._ended = lives
            self.catalog_changed()

    def is_lost(self, queue: QueueDefinition) -> bool:
        """Was it in the memory of a process that has ended?"""
        return not queue.replicated and queue.incarnation <= self._ended.get(queue.home, -1)

    def catalog_changed(self) -> None:
        """Routes found before may be wrong now."""
        for connection in self.connections.values():
            connection.routes.clear()

    async def judge_login(self, peer: str, username: str, password: bytes) -> Login:
        user = self.catalog.users.get(username)
        if user is None or not await self._passwords.right(password, user.password_hash):
            return Login.REFUSED
        return self._judge_place(peer, username)

    def judge_certified(self, peer: str, username: str) -> Login:
        """The client has shown a certificate for that name, of an authority that the node believes."""
        return self._judge_place(peer, username) if username in self.catalog.users else Login.REFUSED

    def _judge_place(self, peer: str, username: str) -> Login:
        if username == self._loopback_user and not is_loopback(peer):
            return Login.NOT_LOOPBACK
        return Login.ACCEPTED

    async def judge_open(self, connection: Connection, vhost: str) -> None:
        """Raises BrokerError 530."""
        user = connection.user
        place = self.catalog.vhosts.get(vhost)
        here = elsewhere = Numbers(0, 0, 0)
        if "max-connections" in self.catalog.user_limits(user) or (place and "max-connections" in place.limits):
            elsewhere = await self.census.elsewhere(user, vhost)
            here = self.census.here(user, vhost)
        self.catalog.checks.open_vhost(
            user,
            vhost,
            vhost_connections=here.vhost_connections + elsewhere.vhost_connections,
            user_connections=here.user_connections + elsewhere.user_connections,
        )

    def limits_channels(self, user: str) -> bool:
        return "max-channels" in self.catalog.user_limits(user)

    async def judge_channel(self, connection: Connection) -> None:
        """Raises BrokerError 530."""
        user = connection.user
        if self.limits_channels(user):
            elsewhere = await self.census.elsewhere(user, connection.vhost)
            here = self.census.here(user, connection.vhost)
            self.catalog.checks.open_channel(user, user_channels=here.user_channels + elsewhere.user_channels)

    # ---- shards

    def stream_of(self, queue: QueueDefinition) -> ShardStream:
        return self.switchboard.stream(queue.shard if queue.replicated else LOCAL_SHARDS + queue.home)

    def next_consumer(self) -> int:
        """Unique in this life of the node."""
        return next(self._consumers)

    def next_transaction(self) -> int:
        """The same."""
        return next(self._transactions)

    async def ask(
        self, queue: QueueDefinition, op: RequestOp, args: tuple[int, ...], then: ReplyCallback | None = None
    ) -> tuple[int, Any]:
        """Ask the queue's leader. `then` runs at once when the reply comes, even after the time is over.

        Raises NoQuorum when no leader answers in time, BrokerError 404 when its node is gone.
        """
        if self.is_lost(queue):
            raise self._inaccessible(queue)
        return await self.ask_stream(self.stream_of(queue), op, queue.id, args, then)

    async def ask_stream(
        self,
        stream: ShardStream,
        op: RequestOp,
        queue: QueueId,
        args: tuple[int, ...],
        then: ReplyCallback | None = None,
    ) -> tuple[int, Any]:
        """`ask` for a queue whose definition may be gone."""
        answer: list[tuple[int, Any]] = []
        answered = trio.Event()

        def take(status: int, value: object) -> None:
            if then is not None:
                then(status, value)
            answer.append((status, value))
            answered.set()

        stream.request(op, queue, args, take)
        self.switchboard.stirred(stream)
        with trio.move_on_after(LEADER_TIMEOUT_SECONDS):
            await answered.wait()
            return answer[0]
        definition = self.catalog.queues.get(queue)
        if definition is not None and not definition.replicated:
            raise self._inaccessible(definition)
        label = definition.label if definition is not None else f"queue {queue}"
        raise NoQuorum(f"{label} has no leader with a quorum")

    def _inaccessible(self, queue: QueueDefinition) -> BrokerError:
        home = self.catalog.members[queue.home].name
        return not_found(f"home node '{home}' of {queue.label} is down or inaccessible")

    async def delete_queue(self, queue: QueueDefinition, *, if_unused: bool, if_empty: bool) -> int | None:
        """How many messages it held. None: it had gone before, and its name may be another's by now.

        Raises BrokerError 406, NoQuorum.
        """
        status, value = 0, 0
        if not self.is_lost(queue):
            status, value = await self.ask(queue, RequestOp.DELETE, (int(if_unused), int(if_empty)))
        if status == ReplyStatus.IN_USE:
            raise in_use(queue)
        if status == ReplyStatus.NOT_EMPTY:
            raise not_empty(queue)
        deleted = await self.submit(c.DeleteQueue(queue.vhost, queue.name, queue.id))
        return int(value or 0) if deleted is not None else None

    async def delete_found(self, find: Callable[[], QueueDefinition | None], *, if_unused: bool, if_empty: bool) -> int:
        """Delete what `find` finds, or what it finds then if that had gone before: as `delete_queue`. 0 for nothing."""
        while (queue := find()) is not None:
            count = await self.delete_queue(queue, if_unused=if_unused, if_empty=if_empty)
            if count is not None:
                return count
        return 0

    async def purge(self, queue: QueueDefinition) -> int:
        """How many messages went. Raises BrokerError 404, NoQuorum."""
        return await self._count(queue, RequestOp.PURGE)

    async def retry(self, queue: QueueDefinition) -> int:
        """How many parked messages are ready. Raises BrokerError 404, NoQuorum."""
        return await self._count(queue, RequestOp.RETRY)

    async def _count(self, queue: QueueDefinition, op: RequestOp) -> int:
        status, count = await self.ask(queue, op, ())
        if status == ReplyStatus.GONE:
            raise no_queue(queue.vhost, queue.name)
        return int(count or 0)

    async def on_found(self, find: Callable[[], QueueDefinition], act: Callable[[QueueDefinition], Awaitable[T]]) -> T:
        """`act` on what `find` finds; if that has gone, on what it finds when the copy here is up to date, because a
        name may have become another queue's. Raises what they raise, NoQuorum."""
        queue = find()
        while True:
            try:
                return await act(queue)
            except BrokerError as error:
                if error.code != NOT_FOUND:
                    raise
                await self.catch_up()
                if queue.id in self.catalog.queues:
                    raise
            queue = find()

    async def consumer_comes(self, queue: QueueDefinition) -> None:
        """Before the first consumer of a queue that goes with its last: whoever leads its shard next has to know.

        Raises NoQuorum.
        """
        if queue.auto_delete and queue.replicated and queue.id not in self.catalog.used_queues:
            await self.submit(c.QueueUsed(queue.id))

    def consumer_left(self, queue_id: QueueId) -> trio.Event | None:
        """An auto-delete queue goes with its last consumer. The event comes when it is gone, or stays for others."""
        queue = self.catalog.queues.get(queue_id)
        if queue is None or not queue.auto_delete:
            return None
        over = trio.Event()
        self._nursery.start_soon(self._delete_unused, queue, over)
        return over

    async def _delete_unused(self, queue: QueueDefinition, over: trio.Event) -> None:
        try:
            await self.delete_queue(queue, if_unused=True, if_empty=False)
        except BrokerError:
            return
        except NoQuorum as error:
            self.log.warning("auto-delete queue not deleted", queue=queue.name, reason=str(error))
        finally:
            over.set()

    # ---- other nodes

    def is_up(self, peer: NodeId) -> bool:
        return self._links.is_up(peer)

    def send(self, peer: NodeId, kind: int, body: Any) -> None:
        """A message that may be lost."""
        self._links.send(peer, kind, body, droppable=True)

    async def call(self, peer: NodeId, kind: int, body: Any, timeout_seconds: float) -> Any:
        """Raises LinkError."""
        return await self._links.call(peer, kind, body, timeout_seconds)

    # ---- connections

    def serve(self, connection: Connection) -> None:
        """One that comes through no listener."""
        self._nursery.start_soon(connection.run)

    def connection_over(self, connection: Connection) -> None:
        if self.connections.pop(connection.id, None) is not None:
            self.flows.connection_over(connection)
        self._to_flush.pop(connection, None)
        if connection.owns_queues:
            self._nursery.start_soon(self._forget, connection)

    async def delete_exclusive(self, connection: Connection) -> None:
        """The queues that are the connection's own go. Raises NoQuorum."""
        if connection.owns_queues:
            await self.submit(c.ConnectionGone(connection.id))
            connection.owns_queues = False

    async def _forget(self, connection: Connection) -> None:
        try:
            await self.delete_exclusive(connection)
        except NoQuorum as error:
            self.log.warning("exclusive queues not deleted", connection=connection.id, reason=str(error))

    def set_alarm(self, reason: str) -> None:
        """From now on publishers are blocked; "": no more."""
        self.alarm = reason
        if not reason:
            for connection in list(self.connections.values()):
                connection.hold.over()

    def short_of_memory(self, now: float) -> None:
        """To be called now and then during an alarm because of that. Monotonic seconds."""
        self._turn.look(self.connections.values(), now)

    def flush_soon(self, connection: Connection) -> None:
        """Write to it in this round."""
        self._to_flush[connection] = None
        self._wake()

    def flush(self) -> None:
        """Write to whom it was promised."""
        while self._to_flush:
            waiting, self._to_flush = self._to_flush, {}
            for connection in waiting:
                connection.flush()
