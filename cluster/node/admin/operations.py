"""What the node does for its operators: change the catalog, purge and delete queues, close connections.

Law: everything goes the way that clients' methods go, and is answered when it holds. What has no quorum is refused
as unavailable, in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import trio

from cluster.amqp.errors import connection_forced
from cluster.amqp.properties import BasicProperties, encode_header
from cluster.amqp.record import Record
from cluster.amqp.wire import encode_shortstr
from cluster.broker.catalog.commands import SingleCommand
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.shard.messages import RequestOp
from cluster.node.admin.report import QueueCounts
from cluster.node.admin.source import Refusal, Refused
from cluster.node.amqp.broker import Broker
from cluster.node.catalog.client import NoQuorum
from cluster.node.core import Core, Request
from cluster.node.kinds import Kind
from cluster.node.links import LinkError
from cluster.raft.types import NodeId

CLOSE_TIMEOUT_SECONDS = 2.0
COUNTS_TIMEOUT_SECONDS = 1.5
PASS_TIMEOUT_SECONDS = 4.0
_PROBE_BODY = b"aliveness"


@contextmanager
def _in_time() -> Iterator[None]:
    """What has no quorum is refused."""
    try:
        yield
    except NoQuorum as error:
        raise Refused(Refusal.UNAVAILABLE, str(error)) from error


class _Published:
    """The sink of one message: what became of it."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.stored = False

    def published(self, first: int, count: int, size: int) -> None:
        self.stored = True
        self.event.set()

    def refused(self, first: int, count: int, size: int) -> None:
        self.event.set()


class NodeOperations:
    """`Operations` of a node."""

    def __init__(self, core: Core, broker: Broker) -> None:
        self._core = core
        self._broker = broker

    def requests(self) -> dict[int, Request]:
        """What other nodes ask."""
        return {Kind.CLOSE_CONNECTION: self._close_asked}

    @property
    def home(self) -> tuple[int, int]:
        return int(self._core.node), self._core.incarnation

    async def submit(self, command: SingleCommand) -> None:
        with _in_time():
            await self._broker.submit(command)

    async def counts(self, queue: QueueDefinition) -> QueueCounts:
        with trio.move_on_after(COUNTS_TIMEOUT_SECONDS), suppress(NoQuorum):
            _, value = await self._broker.ask(queue, RequestOp.INFO, ())
            return QueueCounts.of(value or ())
        return QueueCounts()

    async def catch_up(self) -> None:
        with _in_time():
            await self._broker.catch_up()

    async def purge(self, find: Callable[[], QueueDefinition]) -> int:
        with _in_time():
            return await self._broker.on_found(find, self._broker.purge)

    async def retry(self, find: Callable[[], QueueDefinition]) -> int:
        with _in_time():
            return await self._broker.on_found(find, self._broker.retry)

    async def delete_queue(self, find: Callable[[], QueueDefinition | None], *, if_unused: bool, if_empty: bool) -> int:
        with _in_time():
            return await self._broker.delete_found(find, if_unused=if_unused, if_empty=if_empty)

    async def pass_through(self, queue: QueueDefinition) -> None:
        envelope = encode_shortstr("") + encode_shortstr(queue.name)
        header = encode_header(len(_PROBE_BODY), BasicProperties())
        record = Record(envelope, header, _PROBE_BODY).encode()
        stream, sink = self._broker.stream_of(queue), _Published()
        stream.publish((queue.id,), [record], [len(record)], len(record), sink, 0)
        self._broker.switchboard.stirred(stream)
        with trio.move_on_after(PASS_TIMEOUT_SECONDS):
            await sink.event.wait()
        if not sink.stored:
            raise Refused(Refusal.UNAVAILABLE, f"{queue.label} has no leader with a quorum")
        with _in_time():
            await self._broker.purge(queue)

    async def close_connection(self, name: str, reason: str) -> bool:
        if self._close_here(name, reason):
            return True
        closed: list[int] = []

        async def ask(peer: NodeId) -> None:
            try:
                if await self._core.links.call(peer, Kind.CLOSE_CONNECTION, [name, reason], CLOSE_TIMEOUT_SECONDS):
                    closed.append(peer)
            except LinkError:
                return

        async with trio.open_nursery() as nursery:
            for peer in self._core.links.up_peers():
                nursery.start_soon(ask, peer)
        return bool(closed)

    def _close_here(self, name: str, reason: str) -> bool:
        found = [connection for connection in self._broker.connections.values() if connection.name == name]
        for connection in found:
            connection.fail(connection_forced(reason))
        return bool(found)

    async def _close_asked(self, peer: NodeId, body: Any) -> Any:
        name, reason = body
        return self._close_here(str(name), str(reason))
