"""What the handlers of a node's groups have to propose, and when they are asked for it.

Law: a handler that said that it has something is asked until it has nothing. It waits while its group cannot write, and
while little that was proposed is not committed: what comes up meanwhile goes into the next entry. But it does not wait
for that longer than two ticks: on a slow disk the next write may take both.
"""

from __future__ import annotations

from collections.abc import Container

from cluster.raft.ready import NotLeader, ProposalDropped
from cluster.raft.runtime.interface import RuntimeConfig
from cluster.raft.runtime.roster import Roster
from cluster.raft.runtime.write_rounds import WriteRounds
from cluster.raft.types import GroupId


class Proposals:
    """Of one runtime."""

    __slots__ = (
        "_bytes_max",
        "_dirty",
        "_held",
        "_impatient",
        "_patient",
        "_patient_bytes",
        "_roster",
        "_rounds",
        "bytes",
        "entries",
    )

    def __init__(self, config: RuntimeConfig, roster: Roster, rounds: WriteRounds) -> None:
        self._bytes_max = config.proposal_bytes_max
        self._patient_bytes = config.patient_bytes
        self._roster = roster
        self._rounds = rounds
        self._dirty: dict[GroupId, None] = {}
        """The handler may have something to propose."""
        self._patient: dict[GroupId, int] = {}
        """The same, once what it proposed last is committed; and the ticks that it has waited for that."""
        self._impatient: dict[GroupId, None] = {}
        """Waited long enough."""
        self._held: dict[GroupId, None] = {}
        """A proposal was dropped: dirty again at the next tick."""
        self.entries = 0
        self.bytes = 0

    def __bool__(self) -> bool:
        """Is there a handler to be asked now?"""
        return bool(self._dirty)

    def mark(self, group: GroupId) -> None:
        """Its handler has something to propose."""
        self._dirty[group] = None

    def tick(self) -> None:
        """What was dropped is tried again, and what was waited for is waited for no more."""
        self._dirty |= self._held
        self._held = {}
        for group, ticks in list(self._patient.items()):
            self._patient[group] = ticks + 1
            if ticks:
                del self._patient[group]
                self._impatient[group] = self._dirty[group] = None

    def end_patience(self, touched: Container[GroupId]) -> None:
        """Groups that something happened to since may propose: it may have been the commit they wait for."""
        for group in [group for group in self._patient if group in touched] if self._patient else ():
            del self._patient[group]
            self._dirty[group] = None

    def propose(self, touched: dict[GroupId, None]) -> None:
        """Ask those that are marked. Groups that proposed something join `touched`."""
        dirty, self._dirty = self._dirty, {}
        for group in dirty:
            member = self._roster.members.get(group)
            if member is None or not member.is_told_leader():
                continue
            if self._rounds.is_blocked(member):
                self._held[group] = None
                continue
            if group not in self._impatient and member.raft.has_little_under_way(self._patient_bytes):
                self._patient.setdefault(group, 0)
                continue
            self._impatient.pop(group, None)
            data = self._roster.guard(group, member.handler.take_proposal, self._bytes_max)
            if data is None:
                continue
            try:
                index = member.raft.propose(data)
            except (NotLeader, ProposalDropped) as error:
                self._held[group] = None
                member.handler.proposal_refused(data, error)
                continue
            self.entries += 1
            self.bytes += len(data)
            self._dirty[group] = None
            touched[group] = None
            member.handler.proposed(index, member.raft.term)
