"""Changing the catalog from any node, and being sure to see what was changed elsewhere.

Law: `submit` returns when the change is applied here and on every node whose link is up (or has not said so within
`VISIBLE_TIMEOUT_SECONDS`: that node then asks the leader when it misses something). `catch_up` returns when this
copy is at least as new as everything confirmed before the call. Without a quorum both raise `NoQuorum` in time.
"""

from __future__ import annotations

import math
from collections.abc import Container
from itertools import count
from typing import Any, Protocol

import trio

from cluster.broker.catalog.codec import UnknownCommand, decode_command, encode_command
from cluster.broker.catalog.commands import Several, SingleCommand
from cluster.broker.errors import BrokerError, Scope
from cluster.node.catalog.host import CATALOG_GROUP, CatalogHost, Superseded
from cluster.node.kinds import Kind
from cluster.node.links.interface import LinkDown, LinkTimeout, RemoteError, RequestError
from cluster.raft.types import NOBODY, GroupId, NodeId

SUBMIT_TIMEOUT_SECONDS = 5.0
"""How long a change waits for a leader and a quorum."""
VISIBLE_TIMEOUT_SECONDS = 1.0
"""How long a change waits for the other nodes to have applied it."""
_RETRY_SECONDS = 0.05
_READ_SECONDS = 0.2
"""A read that is not granted by then is asked for again: a leader that had just begun, or has just gone, drops it."""


class NoQuorum(Exception):
    """The catalog has no leader that answers; the text is one clear line."""


class CatalogLinks(Protocol):
    async def call(self, peer: NodeId, kind: int, body: Any, timeout_seconds: float) -> Any: ...

    def send(self, peer: NodeId, kind: int, body: Any) -> bool: ...

    def up_peers(self) -> Any: ...


class CatalogConsensus(Protocol):
    """Group 0 as the driver sees it."""

    def leader_of(self, group: GroupId) -> NodeId: ...

    def read_index(self, group: GroupId, context: int) -> None: ...


class CatalogClient:
    """One per node."""

    def __init__(self, node: NodeId, host: CatalogHost, consensus: CatalogConsensus, links: CatalogLinks) -> None:
        self._node = node
        self._host = host
        self._consensus = consensus
        self._links = links
        self._contexts = count(1)
        self._peers: dict[int, int] = {}
        """What each reachable peer's copy has applied, as far as this node was told."""
        self._unseen: list[tuple[int, trio.Event]] = []
        """Indexes that some reachable peer has not applied, and who waits for them to be seen everywhere."""
        self._leader_known = trio.Event()

    async def submit(self, command: SingleCommand) -> None:
        """Raises BrokerError when the catalog refuses, NoQuorum."""
        index = 0
        with trio.move_on_after(SUBMIT_TIMEOUT_SECONDS) as patience:
            index = await self._submit(command)
        if patience.cancelled_caught:
            raise NoQuorum("the catalog has no leader with a quorum: nothing can be declared, bound or deleted now")
        if self._host.applied_index < index:
            with trio.move_on_after(SUBMIT_TIMEOUT_SECONDS):
                await self._host.applied(index)
        if self._seen_everywhere() < index:
            seen = (index, trio.Event())
            self._unseen.append(seen)
            with trio.move_on_after(VISIBLE_TIMEOUT_SECONDS) as patience:
                await seen[1].wait()
            # Both at once: the time is over, and it was seen in the same pass of the scheduler.
            if patience.cancelled_caught and seen in self._unseen:
                self._unseen.remove(seen)

    async def _submit(self, command: SingleCommand) -> int:
        data = encode_command(command)
        while True:
            leader = self._consensus.leader_of(CATALOG_GROUP)
            try:
                if leader == self._node:
                    return await self._host.submit(command, self._node)
                if leader:
                    index, refused = await self._links.call(leader, Kind.CATALOG_COMMAND, data, SUBMIT_TIMEOUT_SECONDS)
                    self.peer_applied(leader, index)
                    if refused is not None:
                        code, text, scope = refused
                        await self._host.applied(index)
                        raise BrokerError(code, text, Scope(scope))
                    return int(index)
            except (Superseded, LinkDown, LinkTimeout, RemoteError):
                pass
            with trio.move_on_after(_RETRY_SECONDS):
                await self._leader_known.wait()

    async def serve(self, peer: NodeId, data: bytes) -> list[object]:
        """CATALOG_COMMAND from another node. Raises RequestError when this node does not lead."""
        try:
            _, command = decode_command(data)
        except UnknownCommand as error:
            raise RequestError(str(error)) from error
        if isinstance(command, Several):
            raise RequestError("commands come one at a time")
        try:
            return [await self._host.submit(command, peer), None]
        except BrokerError as error:
            return [self._host.applied_index, [error.code, error.text, error.scope.value]]
        except Superseded as error:
            raise RequestError("this node does not lead the catalog") from error

    async def catch_up(self) -> None:
        """Raises NoQuorum."""
        with trio.move_on_after(SUBMIT_TIMEOUT_SECONDS):
            while True:
                context = next(self._contexts)
                granted = trio.Event()
                self._host.on_read(context, granted.set)
                try:
                    while self._consensus.leader_of(CATALOG_GROUP) == NOBODY:
                        await self._leader_known.wait()
                    self._consensus.read_index(CATALOG_GROUP, context)
                    with trio.move_on_after(_READ_SECONDS):
                        await granted.wait()
                        return
                finally:
                    self._host.forget_read(context)
        raise NoQuorum("the catalog has no leader with a quorum: this node cannot tell whether it is up to date")

    # ---- what the node tells

    def applied(self, index: int, askers: Container[NodeId] | None) -> None:
        """The copy here has applied `index`: peers among `askers`, who wait for that, are told; None: all are."""
        for peer in self._links.up_peers():
            if askers is None or peer in askers:
                self._links.send(peer, Kind.CATALOG_APPLIED, index)

    def peer_applied(self, peer: int, index: int) -> None:
        """CATALOG_APPLIED, or the answer to a CATALOG_COMMAND."""
        self._peers[peer] = max(index, self._peers.get(peer, 0))
        self._stir()

    def link_up(self, peer: int) -> None:
        if self._host.applied_index:
            # A copy that has nothing yet is nobody's that is waited for.
            self._links.send(NodeId(peer), Kind.CATALOG_APPLIED, self._host.applied_index)
        self._leader_changed()

    def link_down(self, peer: int) -> None:
        self._peers.pop(peer, None)
        self._stir()

    def leader_changed(self) -> None:
        self._leader_changed()

    def _leader_changed(self) -> None:
        self._leader_known.set()
        self._leader_known = trio.Event()

    def _seen_everywhere(self) -> float:
        """Up to where all reachable peers have applied; a peer that has said nothing yet is not waited for."""
        return min([self._peers.get(peer, math.inf) for peer in self._links.up_peers()], default=math.inf)

    def _stir(self) -> None:
        if not self._unseen:
            return
        seen = self._seen_everywhere()
        for index, event in self._unseen:
            if index <= seen:
                event.set()
        self._unseen = [waiting for waiting in self._unseen if waiting[0] > seen]
