"""What the handlers of a node's groups have to propose, and when they are asked for it.

Law: a handler that said that it has something is asked until it has nothing. It waits while its group cannot write, and
while little that was proposed is not committed: what comes up meanwhile goes into the next entry. But not where a
quorum takes longer than two ticks for an entry, or nobody knows yet how long it takes: a slow disk may take both in one
write.
"""

from __future__ import annotations

from collections.abc import Container

from cluster.raft.group import RaftGroup
from cluster.raft.ready import NotLeader, ProposalDropped
from cluster.raft.runtime.interface import RuntimeConfig
from cluster.raft.runtime.roster import Roster
from cluster.raft.runtime.write_rounds import WriteRounds
from cluster.raft.types import GroupId, LogIndex

PATIENCE_TICKS = 2


class Proposals:
    """Of one runtime."""

    __slots__ = (
        "_bytes_max",
        "_dirty",
        "_held",
        "_patient",
        "_patient_bytes",
        "_roster",
        "_rounds",
        "_slow",
        "_ticks",
        "_watched",
        "bytes",
        "entries",
    )

    def __init__(self, config: RuntimeConfig, roster: Roster, rounds: WriteRounds) -> None:
        self._bytes_max = config.proposal_bytes_max
        self._patient_bytes = config.patient_bytes
        self._roster = roster
        self._rounds = rounds
        self._ticks = 0
        self._dirty: dict[GroupId, None] = {}
        """The handler may have something to propose."""
        self._patient: dict[GroupId, None] = {}
        """The same, once what was proposed is committed."""
        self._held: dict[GroupId, None] = {}
        """A proposal was dropped: dirty again at the next tick."""
        self._watched: dict[GroupId, tuple[LogIndex, int]] = {}
        """An entry that is not known to be committed, and the tick since when it is looked at."""
        self._slow: set[GroupId] = set()
        """Groups whose quorum takes long for an entry, or may."""
        self.entries = 0
        self.bytes = 0

    def __bool__(self) -> bool:
        """Is there a handler to be asked now?"""
        return bool(self._dirty)

    def mark(self, group: GroupId) -> None:
        """Its handler has something to propose."""
        self._dirty[group] = None

    def lead(self, group: GroupId) -> None:
        """It leads from now on."""
        self._slow.add(group)
        self._watched.pop(group, None)
        self._patient.pop(group, None)
        self.mark(group)

    def tick(self) -> None:
        """What was dropped is tried again, and what was waited for is waited for no more."""
        self._ticks += 1
        self._dirty |= self._held
        self._held = {}
        self._dirty |= {group: None for group in self._patient if self._is_late(group)}

    def end_patience(self, touched: Container[GroupId]) -> None:
        """Groups that something happened to since are asked again: it may have been the commit they wait for."""
        if self._patient:
            self._dirty |= {group: None for group in self._patient if group in touched}

    def _is_late(self, group: GroupId) -> bool:
        return self._ticks - self._watched[group][1] >= PATIENCE_TICKS

    def _may_wait(self, group: GroupId, raft: RaftGroup) -> bool:
        """Whether little is under way, and will be committed soon by all that is known."""
        watched = self._watched.get(group)
        if watched is not None:
            is_late = self._is_late(group)
            if raft.commit_index >= watched[0]:
                del self._watched[group]
                if not is_late:
                    self._slow.discard(group)
            elif is_late:
                self._slow.add(group)
        if not raft.has_little_under_way(self._patient_bytes):
            return False
        self._watched.setdefault(group, (raft.last_index, self._ticks))
        return group not in self._slow

    def propose(self, touched: dict[GroupId, None]) -> None:
        """Ask those that are marked. Groups that proposed something join `touched`."""
        dirty, self._dirty = self._dirty, {}
        for group in dirty:
            member = self._roster.members.get(group)
            if member is None or not member.is_told_leader():
                self._patient.pop(group, None)
                continue
            if self._rounds.is_blocked(member):
                self._held[group] = None
                continue
            if self._may_wait(group, member.raft):
                self._patient[group] = None
                continue
            self._patient.pop(group, None)
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
            self._watched.setdefault(group, (index, self._ticks))
            self._dirty[group] = None
            touched[group] = None
            member.handler.proposed(index, member.raft.term)
