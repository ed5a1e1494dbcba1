"""This node's replica of the catalog (group 0), and what its leader does with commands.

Law: the copy changes only by committed entries, in order. Commands that come while a write is under way share the
next entry. Every command submitted here ends in exactly one of: its outcome, or `Superseded` (this node lost the
lead before it was applied: whether it will be is unknown, and commands are made so that repeating them is safe).
The copy never goes back: a log that was lost is taken from the others again, and what of it was applied is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Protocol

import trio

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.codec import UnknownCommand, encode_command
from cluster.broker.catalog.commands import Several, SingleCommand
from cluster.broker.catalog.outcome import Change, Ok, Outcome, Refused
from cluster.broker.catalog.snapshot import UnknownSnapshot
from cluster.broker.errors import BrokerError
from cluster.node.catalog.snapshots import Snapshots
from cluster.node.checkpoints import Checkpoints
from cluster.raft.group import NotLeader, ProposalDropped, Role
from cluster.raft.storage import StorageError
from cluster.raft.types import Entry, EntryKind, GroupId, LogIndex, NodeId, SnapshotMeta, Term

CATALOG_GROUP = GroupId(0)
COMMANDS_WAITING_MAX = 20_000
"""Commands that may wait for an entry; one more is refused at once."""
COMMANDS_PER_ENTRY_MAX = 512
_NODE_BYTES = 4


class NewerProgram(StorageError):
    """This program cannot read what a newer one has brought into the catalog: the node must not go on."""


class Superseded(Exception):
    """Try again, with whoever leads now."""


class Waiter:
    """One command under way."""

    __slots__ = ("asker", "command", "done", "error", "index")

    def __init__(self, command: SingleCommand, asker: NodeId) -> None:
        self.command = command
        self.asker = asker
        self.done = trio.Event()
        self.index = 0
        self.error: BrokerError | Superseded | None = None


class CatalogServices(Protocol):
    """What the replica needs from its node."""

    def propose(self, group: GroupId) -> None: ...

    def write_snapshot(self, group: GroupId, index: LogIndex, data: bytes, dead: list[LogIndex]) -> None: ...

    def catalog_applied(self, index: int, changes: list[Change], askers: Container[NodeId] | None) -> None:
        """The copy has changed. `askers` asked for that and wait for every copy; None: it may be anybody."""

    def catalog_restored(self) -> None:
        """The copy was replaced as a whole."""

    def catalog_leader_changed(self) -> None: ...


class CatalogHost:
    """A `GroupHandler` for group 0."""

    def __init__(self, services: CatalogServices) -> None:
        self.catalog = Catalog()
        self.applied_index = 0
        self.role = Role.FOLLOWER
        self.term = Term(0)
        self._services = services
        self._waiting: list[Waiter] = []
        self._taken: list[Waiter] = []
        self._proposed: dict[int, tuple[Term, list[Waiter]]] = {}
        self._reads: dict[int, Callable[[], None]] = {}
        self._arrivals: list[tuple[int, trio.Event]] = []
        self._snapshots = Snapshots(self.catalog)
        self.checkpoints = Checkpoints()

    # ---- for the node

    async def submit(self, command: SingleCommand, asker: NodeId) -> int:
        """Have a command applied, as the leader, for a node. Returns its log index. Raises BrokerError, Superseded."""
        if self.role is not Role.LEADER or len(self._waiting) >= COMMANDS_WAITING_MAX:
            raise Superseded
        waiter = Waiter(command, asker)
        self._waiting.append(waiter)
        self._services.propose(CATALOG_GROUP)
        await waiter.done.wait()
        if waiter.error is not None:
            raise waiter.error
        return waiter.index

    async def applied(self, index: int) -> None:
        """Wait until the copy here has applied `index`."""
        if self.applied_index < index:
            event = trio.Event()
            self._arrivals.append((index, event))
            await event.wait()

    def on_read(self, context: int, then: Callable[[], None]) -> None:
        """Call `then` when the read asked for under `context` is granted and applied."""
        self._reads[context] = then

    def forget_read(self, context: int) -> None:
        self._reads.pop(context, None)

    def tick(self) -> None:
        """Time for what is done bit by bit."""
        written = self._snapshots.tick(self.applied_index)
        if written is not None:
            self._services.write_snapshot(CATALOG_GROUP, written.index, written.data, written.dead)

    # ---- GroupHandler

    def take_proposal(self, max_bytes: int) -> bytes | None:
        if not self._waiting:
            return None
        self._taken = self._waiting[:COMMANDS_PER_ENTRY_MAX]
        del self._waiting[:COMMANDS_PER_ENTRY_MAX]
        askers = _pack_askers([w.asker for w in self._taken])
        if len(self._taken) == 1:
            return encode_command(self._taken[0].command, askers)
        return encode_command(Several(tuple([w.command for w in self._taken])), askers)

    def proposed(self, index: LogIndex, term: Term) -> None:
        self._proposed[index] = (term, self._taken)
        self._taken = []
        if self._waiting:
            self._services.propose(CATALOG_GROUP)

    def proposal_refused(self, data: bytes, error: NotLeader | ProposalDropped) -> None:
        self._supersede(self._taken)
        self._taken = []

    def apply(self, entries: list[Entry]) -> None:
        changes: list[Change] = []
        askers: set[NodeId] | None = set()
        for entry in entries:
            if entry.index <= self.applied_index:
                continue
            self.applied_index = entry.index
            self._snapshots.applied(entry)
            outcome: Outcome | None = None
            if entry.kind is EntryKind.NOOP and entry.data:
                self.checkpoints.take(entry.data, entry.index, self.catalog.snapshot())
            if entry.kind is EntryKind.COMMAND:
                try:
                    outcome = self.catalog.apply(entry.index, entry.data)
                except UnknownCommand as error:
                    raise NewerProgram(f"the catalog was changed by a newer program: {error}. Run that") from error
                asked = _unpack_askers(outcome.request_id)
                askers = askers | asked if askers is not None and asked else None
                if isinstance(outcome, Ok):
                    changes += outcome.changes
            known = self._proposed.pop(entry.index, None)
            if known is not None:
                term, waiters = known
                if term != entry.term or outcome is None:
                    self._supersede(waiters)
                else:
                    _resolve(waiters, outcome, entry.index)
        arrived = [event for index, event in self._arrivals if index <= self.applied_index]
        if arrived:
            self._arrivals = [(i, e) for i, e in self._arrivals if i > self.applied_index]
            for event in arrived:
                event.set()
        if self.role is Role.LEADER:
            askers = set()  # the answers to their commands tell them
        self._services.catalog_applied(self.applied_index, changes, askers)

    def restore(self, meta: SnapshotMeta, data: bytes) -> None:
        if meta.index <= self.applied_index:
            return
        if data:
            try:
                self.catalog.restore(data)
            except UnknownSnapshot as error:
                raise NewerProgram(f"the catalog was written by a newer program: {error}. Run that") from error
        self._snapshots.restored(len(data))
        self.applied_index = meta.index
        self._services.catalog_restored()

    def role_changed(self, role: Role, term: Term, leader: NodeId) -> None:
        self.role, self.term = role, term
        if role is not Role.LEADER:
            waiting, self._waiting = self._waiting, []
            self._supersede(waiting)
            for _, waiters in self._proposed.values():
                self._supersede(waiters)
            self._proposed.clear()
        self._services.catalog_leader_changed()

    def read_ready(self, context: int) -> None:
        then = self._reads.pop(context, None)
        if then is not None:
            then()

    def _supersede(self, waiters: list[Waiter]) -> None:
        for waiter in waiters:
            waiter.error = Superseded()
            waiter.done.set()


def _pack_askers(askers: Iterable[NodeId]) -> bytes:
    """As the request id of an entry."""
    return b"".join([node.to_bytes(_NODE_BYTES) for node in sorted(set(askers))])


def _unpack_askers(request_id: bytes) -> set[NodeId]:
    """None are known of an entry that an older program wrote."""
    return {NodeId(int.from_bytes(request_id[at : at + _NODE_BYTES])) for at in range(0, len(request_id), _NODE_BYTES)}


def _resolve(waiters: list[Waiter], outcome: Outcome, index: int) -> None:
    outcomes: list[Outcome]
    if len(waiters) == 1:
        outcomes = [outcome]
    else:
        assert isinstance(outcome, Ok)
        assert isinstance(outcome.value, tuple | list)
        outcomes = list(outcome.value)
    for waiter, own in zip(waiters, outcomes, strict=True):
        waiter.index = index
        if isinstance(own, Refused):
            waiter.error = own.error
        waiter.done.set()
