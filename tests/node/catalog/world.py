"""A catalog's replica whose log is a list: what it proposes is committed when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from cluster.broker.catalog.codec import encode_command
from cluster.broker.catalog.commands import Command
from cluster.broker.catalog.outcome import Change
from cluster.node.catalog.host import CatalogHost
from cluster.raft.group import Role
from cluster.raft.types import Entry, EntryKind, GroupId, LogIndex, NodeId, Term
from tests.broker.catalog.build import FOUND

ME, OTHER, THIRD = NodeId(1), NodeId(2), NodeId(3)
TERM = Term(1)


class Replica:
    """A `CatalogHost` in a founded cluster and, as its `CatalogServices`, what became of it."""

    def __init__(self) -> None:
        self.log: list[Entry] = []
        self.told: list[Container[NodeId] | None] = []
        """Who was waiting for what was applied, for each time."""
        self.snapshots: list[tuple[int, bytes, list[LogIndex]]] = []
        self.on_leader_changed: Callable[[], None] = lambda: None
        self.wants_snapshot = False
        """Is there a peer that takes the leader's log not in?"""
        self.host = CatalogHost(self)
        self.append(encode_command(FOUND))

    def lead(self) -> None:
        self.host.role_changed(Role.LEADER, TERM, ME)

    def commit(self) -> int:
        """Everything that waits, in as many entries as that takes. How many."""
        entries = 0
        while (data := self.host.take_proposal(1 << 20)) is not None:
            self.host.proposed(LogIndex(len(self.log) + 1), TERM)
            self.append(data)
            entries += 1
        return entries

    def append(self, data: bytes) -> None:
        entry = Entry(term=TERM, index=LogIndex(len(self.log) + 1), kind=EntryKind.COMMAND, data=data)
        self.log.append(entry)
        self.host.apply([entry])

    def command(self, command: Command) -> None:
        self.append(encode_command(command))

    # ---- CatalogServices

    def propose(self, group: GroupId) -> None:
        """`commit` asks."""

    def raft(self, group: GroupId) -> Any:
        """What its host asks of consensus is known to the replica."""
        return self

    def write_snapshot(self, group: GroupId, index: LogIndex, data: bytes, dead: list[LogIndex]) -> None:
        self.snapshots.append((index, data, dead))

    def catalog_applying(self, index: int, askers: Container[NodeId] | None) -> None:
        assert self.host.applied_index < index == self.log[-1].index, "they are told before it changes"
        self.told.append(askers)

    def catalog_applied(self, changes: list[Change]) -> None:
        """Nobody looks."""

    def catalog_restored(self) -> None:
        """Nobody asks."""

    def catalog_leader_changed(self) -> None:
        self.on_leader_changed()
