"""This node's replica of the catalog (group 0), and what its leader does with commands.

Law: the copy changes only by committed entries, in order. One entry is under way at a time; commands that come
meanwhile share the next one. What a leader has taken is applied, or it loses the lead: then it forgets it, and whoever
asked asks again (commands are made so that repeating them is safe). Who asked hears of the outcome from its own copy.
Who waits for this copy is told just before it changes, in the same step: nothing is looked up in it between the two.
The copy never goes back: a log that was lost is taken from the others again, and what of it was applied is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import NamedTuple, Protocol

import trio

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.codec import UnknownCommand, decode_command, encode_command
from cluster.broker.catalog.commands import Command, Several, SingleCommand
from cluster.broker.catalog.outcome import Change, Ok, Outcome, Refused
from cluster.broker.catalog.snapshot import UnknownSnapshot
from cluster.broker.errors import BrokerError
from cluster.node.catalog.marks import pack_marks, unpack_marks
from cluster.node.catalog.snapshots import Snapshots
from cluster.node.checkpoints import Checkpoints
from cluster.raft.group import NotLeader, ProposalDropped, RaftGroup, Role
from cluster.raft.storage import StorageError
from cluster.raft.types import Entry, EntryKind, GroupId, LogIndex, NodeId, SnapshotMeta, Term

CATALOG_GROUP = GroupId(0)
COMMANDS_WAITING_MAX = 20_000
"""Commands that may wait for an entry; one more is not taken."""
COMMANDS_PER_ENTRY_MAX = 512


class NewerProgram(StorageError):
    """This program cannot read what a newer one has brought into the catalog: the node must not go on."""


class Taken(NamedTuple):
    """A command that the leader is to have applied, for a node that waits for it under a mark."""

    command: SingleCommand
    asker: NodeId
    mark: bytes


class _News(NamedTuple):
    """An entry that is to be applied. `command` None: it has none."""

    entry: Entry
    command: Command | None
    request_id: bytes
    askers: set[NodeId]
    marks: list[bytes]

    @classmethod
    def of(cls, entry: Entry) -> _News:
        """Raises NewerProgram."""
        if entry.kind is not EntryKind.COMMAND:
            return cls(entry, None, b"", set(), [])
        try:
            request_id, command = decode_command(entry.data)
        except UnknownCommand as error:
            raise NewerProgram(f"the catalog was changed by a newer program: {error}. Run that") from error
        return cls(entry, command, request_id, *unpack_marks(request_id))


class Waiting(Protocol):
    """Who waits for the outcome of a command."""

    def applied(self, index: int, error: BrokerError | None, value: object) -> None:
        """The copy here has applied it at `index`, with the `Ok.value` it has, or refused it."""


class CatalogServices(Protocol):
    """What the replica needs from its node."""

    def propose(self, group: GroupId) -> None: ...

    def write_snapshot(self, group: GroupId, index: LogIndex, data: bytes, dead: list[LogIndex]) -> None: ...

    def raft(self, group: GroupId) -> RaftGroup | None:
        """Consensus of the group, if it takes part."""

    def catalog_applying(self, index: int, askers: Container[NodeId] | None) -> None:
        """The copy changes in this step. `askers` asked for that and wait for every copy; None: it may be anybody."""

    def catalog_applied(self, changes: list[Change]) -> None:
        """The copy has changed."""

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
        self._taken: list[Taken] = []
        """By this leader, and not proposed yet."""
        self._proposing: list[Taken] = []
        self._under_way: LogIndex | None = None
        """This leader's entry that is not applied yet."""
        self._expected: dict[bytes, Waiting] = {}
        """By mark. Bounded by the clients of this node."""
        self._reads: dict[int, Callable[[], None]] = {}
        self._arrivals: list[tuple[int, trio.Event]] = []
        self._snapshots = Snapshots(self.catalog)
        self.checkpoints = Checkpoints()

    # ---- for the node

    def take(self, taken: Taken) -> bool:
        """Have a command applied. False: this node does not lead, or too many wait."""
        if self.role is not Role.LEADER or len(self._taken) >= COMMANDS_WAITING_MAX:
            return False
        self._taken.append(taken)
        if self._under_way is None:
            self._services.propose(CATALOG_GROUP)
        return True

    def expect(self, mark: bytes, waiting: Waiting) -> None:
        """Tell of the outcome of the command with that mark, whoever leads."""
        self._expected[mark] = waiting

    def forget(self, mark: bytes) -> None:
        self._expected.pop(mark, None)

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
        self.checkpoints.tick()
        written = self._snapshots.tick(self.applied_index)
        if written is not None:
            self._services.write_snapshot(CATALOG_GROUP, written.index, written.data, written.dead)

    def tidy(self) -> None:
        """To be called now and then: a leader whose log a peer has no room for makes a snapshot."""
        raft = self._services.raft(CATALOG_GROUP)
        if raft is not None and raft.wants_snapshot:
            self._snapshots.want(self.applied_index)

    # ---- GroupHandler

    def take_proposal(self, max_bytes: int) -> bytes | None:
        if not self._taken or self._under_way is not None:
            return None
        self._proposing = self._taken[:COMMANDS_PER_ENTRY_MAX]
        del self._taken[:COMMANDS_PER_ENTRY_MAX]
        request_id = pack_marks([t.asker for t in self._proposing], [t.mark for t in self._proposing])
        commands = [self.catalog.to_propose(taken.command) for taken in self._proposing]
        return encode_command(commands[0] if len(commands) == 1 else Several(tuple(commands)), request_id)

    def proposed(self, index: LogIndex, term: Term) -> None:
        self._under_way = index
        self._proposing = []

    def proposal_refused(self, data: bytes, error: NotLeader | ProposalDropped) -> None:
        """It is asked for again within a tick; who does not lead any more hears of that as well."""
        self._taken[:0] = self._proposing
        self._proposing = []

    def apply(self, entries: list[Entry]) -> None:
        news = [_News.of(entry) for entry in entries if entry.index > self.applied_index]
        if not news:
            return
        askers: set[NodeId] | None = set()
        for one in news:
            if one.command is not None:
                askers = askers | one.askers if askers is not None and one.askers else None
        self._services.catalog_applying(news[-1].entry.index, askers)
        changes: list[Change] = []
        for entry, command, request_id, _, marks in news:
            self.applied_index = entry.index
            self._snapshots.applied(entry)
            if entry.kind is EntryKind.NOOP and entry.data:
                self.checkpoints.begin(entry.data, entry.index, self.catalog.draft().pieces())
            if command is not None:
                outcome = self.catalog.apply_decoded(entry.index, request_id, command)
                if isinstance(outcome, Ok):
                    changes += outcome.changes
                if marks:
                    self._tell(marks, outcome, entry.index)
            if self._under_way is not None and entry.index >= self._under_way:
                self._under_way = None
                if self._taken:
                    self._services.propose(CATALOG_GROUP)
        arrived = [event for index, event in self._arrivals if index <= self.applied_index]
        if arrived:
            self._arrivals = [(i, e) for i, e in self._arrivals if i > self.applied_index]
            for event in arrived:
                event.set()
        self._services.catalog_applied(changes)

    def restore(self, meta: SnapshotMeta, data: bytes) -> None:
        if meta.index <= self.applied_index:
            return
        if data:
            try:
                self.catalog.restore(data)
            except UnknownSnapshot as error:
                raise NewerProgram(f"the catalog was written by a newer program: {error}. Run that") from error
        self._snapshots.restored(meta.index, len(data))
        self.applied_index = meta.index
        self._services.catalog_restored()

    def role_changed(self, role: Role, term: Term, leader: NodeId) -> None:
        if term != self.term or role is not Role.LEADER:
            self._taken.clear()
            self._under_way = None
        self.role, self.term = role, term
        self._services.catalog_leader_changed()

    def read_ready(self, context: int) -> None:
        then = self._reads.pop(context, None)
        if then is not None:
            then()

    def _tell(self, marks: list[bytes], outcome: Outcome, index: int) -> None:
        outcomes: list[Outcome] = [outcome]
        if len(marks) > 1:
            assert isinstance(outcome, Ok)
            assert isinstance(outcome.value, tuple)
            outcomes = list(outcome.value)
        for mark, own in zip(marks, outcomes, strict=True):
            waiting = self._expected.pop(mark, None)
            if waiting is not None:
                refusal, value = (own.error, None) if isinstance(own, Refused) else (None, own.value)
                waiting.applied(index, refusal, value)
