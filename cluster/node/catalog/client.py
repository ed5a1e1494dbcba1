"""Changing the catalog from any node, and being sure to see what was changed elsewhere.

Law: `submit` returns when the change is applied here and on every node that is `Awaited` (or has not said so within
`VISIBLE_TIMEOUT_SECONDS`: that node then asks the leader when it misses something). A command is a word to the leader
that nobody answers: its outcome is seen in this node's own copy, under the mark of the last attempt. An attempt is
made anew when the leader is another, or has not taken it. `catch_up` and `freshen` return when this copy is at least as
new as everything confirmed before the call. Without a quorum all of them raise `NoQuorum` in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from itertools import count
from typing import Any, Protocol

import trio

from cluster.broker.catalog.codec import UnknownCommand, decode_command, encode_command
from cluster.broker.catalog.commands import Several, SingleCommand
from cluster.broker.errors import BrokerError, Scope
from cluster.node.catalog.awaited import FRESH_SECONDS, PARTED_SECONDS, Awaited
from cluster.node.catalog.freshness import Freshness, other_members
from cluster.node.catalog.host import CATALOG_GROUP, CatalogHost, Taken
from cluster.node.catalog.marks import MARK_BYTES, mark_of
from cluster.node.kinds import Kind
from cluster.node.links.handshake import VERSION_OF_MARKS
from cluster.node.links.interface import LinkDown, LinkTimeout, ProtocolViolation, RemoteError, RequestError
from cluster.raft.types import NOBODY, GroupId, NodeId

SUBMIT_TIMEOUT_SECONDS = 5.0
"""How long a change waits for a leader and a quorum."""
VISIBLE_TIMEOUT_SECONDS = 1.0
"""How long a change waits for the other nodes to have applied it."""
assert FRESH_SECONDS < PARTED_SECONDS < VISIBLE_TIMEOUT_SECONDS, "see `freshness`"
_READ_SECONDS = 0.2
"""A read that is not granted by then is asked for again: a leader that had just begun, or has just gone, drops it. The
answer to any of them will do: a leader may be further away than that."""


class NoQuorum(Exception):
    """The catalog has no leader that answers; the text is one clear line."""


class CatalogLinks(Protocol):
    async def call(self, peer: NodeId, kind: int, body: Any, timeout_seconds: float) -> Any: ...

    def send(self, peer: NodeId, kind: int, body: Any) -> bool: ...

    def write(self) -> None: ...

    def up_peers(self) -> Any: ...

    def version_of(self, peer: NodeId) -> int: ...


class CatalogConsensus(Protocol):
    """Group 0 as the driver sees it."""

    def leader_of(self, group: GroupId) -> NodeId: ...

    def read_index(self, group: GroupId, context: int) -> None: ...


class _Change:
    """One command of this node under way. Over with an event: its error, or applied and seen."""

    __slots__ = ("_client", "asker", "command", "elder", "error", "index", "leader", "mark", "over", "until", "value")

    def __init__(self, client: CatalogClient, command: SingleCommand, asker: NodeId, until: float) -> None:
        self._client = client
        self.command = command
        self.asker = asker
        """This node; or one that knows no marks, and waits by itself for what others have applied."""
        self.until = until
        """Monotonic seconds: when waiting ends, for the outcome, and after that for the others' copies."""
        self.mark = b""
        self.leader = NOBODY
        """Who was asked; NOBODY when somebody is to be asked."""
        self.elder = NOBODY
        """A leader that knows no marks and has to be called."""
        self.index = 0
        """Where the copy here has applied it."""
        self.error: BrokerError | NoQuorum | None = None
        self.value: object = None
        """As in `Ok`."""
        self.over = trio.Event()

    def applied(self, index: int, error: BrokerError | None, value: object) -> None:
        """`Waiting`."""
        self.index = index
        self.error = error
        self.value = value
        self._client.outcome(self)


class CatalogClient:
    """One per node."""

    def __init__(
        self,
        node: NodeId,
        incarnation: int,
        host: CatalogHost,
        consensus: CatalogConsensus,
        links: CatalogLinks,
        aside: Container[NodeId],
    ) -> None:
        """`aside`: who has left service."""
        self._node = node
        self._incarnation = incarnation
        self._host = host
        self._consensus = consensus
        self._links = links
        self._contexts = count(1)
        self._attempts = count(1)
        self._awaited = Awaited(aside)
        if incarnation > 1:
            self._awaited.live_again(trio.current_time())
        self.freshness = Freshness(node, host, links, aside)
        self._under_way: dict[_Change, None] = {}
        """Without an outcome yet."""
        self._unseen: deque[_Change] = deque()
        """Applied here, and not yet by somebody who is awaited; by their indexes."""
        self._leader_known = trio.Event()

    async def submit(self, command: SingleCommand) -> object:
        """What `Ok.value` says of it. Raises BrokerError when the catalog refuses, NoQuorum."""
        return (await self._carry(command, self._node)).value

    async def _carry(self, command: SingleCommand, asker: NodeId) -> _Change:
        """To its end. Raises BrokerError, NoQuorum."""
        change = _Change(self, command, asker, trio.current_time() + SUBMIT_TIMEOUT_SECONDS)
        self._under_way[change] = None
        self._ask(change)
        self._links.write()
        try:
            await change.over.wait()
            while change.elder != NOBODY:
                await self._call_elder(change)
                await change.over.wait()
        finally:
            self._forget(change)
        if change.error is not None:
            raise change.error
        return change

    async def _call_elder(self, change: _Change) -> None:
        """A leader that knows no marks answers."""
        elder, change.elder, change.over = change.elder, NOBODY, trio.Event()
        data = encode_command(change.command)
        try:
            index, refused = await self._links.call(elder, Kind.CATALOG_COMMAND, data, SUBMIT_TIMEOUT_SECONDS)
        except (LinkDown, LinkTimeout, RemoteError):
            change.leader = NOBODY
            return
        if self._links.version_of(elder):
            self.peer_applied(elder, index)
        with trio.move_on_after(SUBMIT_TIMEOUT_SECONDS):
            await self._host.applied(index)
        error = None
        if refused is not None:
            code, text, scope = refused
            error = BrokerError(code, text, Scope(scope))
        if change in self._under_way:
            # It does not tell the value: that all was as expected.
            change.applied(int(index), error, True)

    def _forget(self, change: _Change) -> None:
        if change in self._under_way:
            del self._under_way[change]
            self._host.forget(change.mark)

    def _ask(self, change: _Change) -> None:
        """Another attempt, if somebody leads; the outcomes of those before count no more."""
        leader = self._consensus.leader_of(CATALOG_GROUP)
        if leader == NOBODY:
            change.leader = NOBODY
            return
        self._host.forget(change.mark)
        if leader != self._node and 0 < self._links.version_of(leader) < VERSION_OF_MARKS:
            change.leader = change.elder = leader
            change.over.set()
            return
        change.mark = mark_of(self._node, self._incarnation, next(self._attempts))
        self._host.expect(change.mark, change)
        if leader == self._node:
            is_asked = self._host.take(Taken(change.command, change.asker, change.mark))
        else:
            is_asked = self._links.send(leader, Kind.CATALOG_ASK, [change.mark, encode_command(change.command)])
        change.leader = leader if is_asked else NOBODY

    def outcome(self, change: _Change) -> None:
        """The copy here has applied it, or refused it."""
        self._under_way.pop(change, None)
        if change.error is not None or change.asker != self._node or self._seen() >= change.index:
            change.over.set()
        else:
            change.until = trio.current_time() + VISIBLE_TIMEOUT_SECONDS
            self._unseen.append(change)

    def tick(self) -> None:
        """To be called every few hundredths of a second: who has waited too long waits no more, and who has asked
        nobody asks."""
        now = trio.current_time()
        if self._awaited.tick(now):
            self._stir()
        while self._unseen and self._unseen[0].until <= now:
            self._unseen.popleft().over.set()
        for change in list(self._under_way):
            if change.until <= now:
                self._forget(change)
                change.error = NoQuorum(
                    "the catalog has no leader with a quorum: nothing can be declared, bound or deleted now"
                )
                change.over.set()
            elif change.leader == NOBODY:
                self._ask(change)

    # ---- for other nodes

    def message(self, peer: NodeId, kind: int, body: Any) -> None:
        """Raises ProtocolViolation."""
        match kind:
            case Kind.CATALOG_ASK:
                self.asked(peer, body)
            case Kind.CATALOG_DECLINED:
                self.declined(body)
            case Kind.CATALOG_AWAIT:
                self._awaiting(peer, body)
            case Kind.CATALOG_AWAITED:
                self.freshness.answered(peer, body)

    def asked(self, peer: NodeId, body: Any) -> None:
        """CATALOG_ASK. Raises ProtocolViolation."""
        match body:
            case [bytes(mark), bytes(data)] if len(mark) == MARK_BYTES:
                command = _single(data)
                if command is None or not self._host.take(Taken(command, peer, mark)):
                    self._links.send(peer, Kind.CATALOG_DECLINED, mark)
            case _:
                raise ProtocolViolation("malformed command for the catalog")

    def declined(self, mark: Any) -> None:
        """CATALOG_DECLINED: it is asked for again with the next tick."""
        for change in self._under_way:
            if change.mark == mark:
                change.leader = NOBODY

    def _awaiting(self, peer: NodeId, body: Any) -> None:
        """From now on changes wait for that peer's copy. Raises ProtocolViolation."""
        match body:
            case [int(number), int(index)]:
                self.peer_applied(peer, index)
                self._links.send(peer, Kind.CATALOG_AWAITED, [number, self._host.applied_index])
            case _:
                raise ProtocolViolation("malformed wish to be waited for with changes of the catalog")

    async def serve(self, peer: NodeId, data: bytes) -> list[object]:
        """CATALOG_COMMAND, of a node that knows no marks. Raises RequestError when this node does not lead."""
        command = _single(data)
        if command is None:
            raise RequestError("not one command for the catalog")
        if self._consensus.leader_of(CATALOG_GROUP) != self._node:
            raise RequestError("this node does not lead the catalog")
        try:
            return [(await self._carry(command, peer)).index, None]
        except BrokerError as error:
            return [self._host.applied_index, [error.code, error.text, error.scope.value]]
        except NoQuorum as error:
            raise RequestError(str(error)) from error

    # ---- reads

    async def catch_up(self) -> None:
        """Raises NoQuorum."""
        granted, asked_at = trio.Event(), trio.current_time()
        contexts: list[int] = []
        try:
            with trio.move_on_after(SUBMIT_TIMEOUT_SECONDS):
                while True:
                    while self._consensus.leader_of(CATALOG_GROUP) == NOBODY:
                        await self._leader_known.wait()
                    contexts.append(next(self._contexts))
                    self._host.on_read(contexts[-1], granted.set)
                    self._consensus.read_index(CATALOG_GROUP, contexts[-1])
                    with trio.move_on_after(_READ_SECONDS):
                        await granted.wait()
                        self.freshness.granted(asked_at)
                        return
        finally:
            for context in contexts:
                self._host.forget_read(context)
        raise NoQuorum("the catalog has no leader with a quorum: this node cannot tell whether it is up to date")

    async def freshen(self) -> None:
        """`catch_up`, and if all other members say soon that they wait for this copy, it is fresh. Raises NoQuorum."""
        self.freshness.ask()
        await self.catch_up()

    # ---- what the node tells

    def applied(self, index: int, askers: Container[NodeId] | None) -> None:
        """The copy here has `index` applied before this step ends: peers among `askers`, who wait for that, are told at
        once; None: all are."""
        for peer in self._links.up_peers():
            if askers is None or peer in askers:
                self._links.send(peer, Kind.CATALOG_APPLIED, index)
        self._links.write()

    def peer_applied(self, peer: NodeId, index: int) -> None:
        """CATALOG_APPLIED, or an elder's answer."""
        self._awaited.told(peer, index)
        self._stir()

    def link_up(self, peer: NodeId) -> None:
        self.freshness.void()
        if self._host.applied_index:
            # A copy that has nothing yet is nobody's that is waited for.
            self._links.send(peer, Kind.CATALOG_APPLIED, self._host.applied_index)

    def link_down(self, peer: NodeId) -> None:
        self._awaited.link_down(peer, trio.current_time())
        self.freshness.void()
        for change in self._under_way:
            if change.leader == peer:
                change.leader = NOBODY
        self._stir()

    def leader_changed(self) -> None:
        """What the one before was asked for it may have forgotten."""
        self._leader_known.set()
        self._leader_known = trio.Event()
        self._ask_again()

    def restored(self) -> None:
        """The copy was replaced as a whole: outcomes may have been passed over."""
        self._ask_again()

    def _ask_again(self) -> None:
        for change in list(self._under_way):
            self._ask(change)

    def _seen(self) -> float:
        """Up to where all have applied who are waited for."""
        if self._awaited.is_unsure:
            self._awaited.recall(other_members(self._host.catalog, self._node))
        return self._awaited.seen

    def _stir(self) -> None:
        if self._unseen:
            seen = self._seen()
            while self._unseen and self._unseen[0].index <= seen:
                self._unseen.popleft().over.set()


def _single(data: bytes) -> SingleCommand | None:
    """None: this program does not know it, or it is several."""
    try:
        _, command = decode_command(data)
    except UnknownCommand:
        return None
    return None if isinstance(command, Several) else command
