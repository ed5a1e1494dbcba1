"""What the groups of a node have to make durable: when they are asked for it, and what follows when it is.

Law: groups are asked when a write begins, and only those that something happened to since they were asked last. What
became durable is told to the member that had it written, if that still takes part, and its messages leave then. Damage
met by a write stops the group it was met in; where not even that a group is damaged can be written, it is more than
that group's, and ends the node.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from cluster.raft.ready import Persist
from cluster.raft.runtime.interface import StorageListener
from cluster.raft.runtime.mailbox import Outbox
from cluster.raft.runtime.member import Member
from cluster.raft.runtime.roster import Roster
from cluster.raft.runtime.wakeup import Wakeup
from cluster.raft.runtime.write_rounds import Pending, WriteRounds
from cluster.raft.runtime.writer import WriteOutcome, Writer
from cluster.raft.storage import GroupWrite, Health
from cluster.raft.types import NOBODY, GroupId


class Persists:
    """Of one runtime. `note` is told of every group that something became durable of, within `start` and `finish`."""

    __slots__ = (
        "_forgotten",
        "_listener",
        "_note",
        "_outbox",
        "_roster",
        "_rounds",
        "_told_full",
        "_wakeup",
        "ended",
        "unwritten",
    )

    def __init__(
        self,
        roster: Roster,
        rounds: WriteRounds,
        outbox: Outbox,
        wakeup: Wakeup,
        listener: StorageListener | None,
        note: Callable[[GroupId], None],
    ) -> None:
        self._roster = roster
        self._rounds = rounds
        self._outbox = outbox
        self._wakeup = wakeup
        self._listener = listener
        self._note = note
        self.unwritten: dict[GroupId, None] = {}
        """May have something to make durable: who had something happen to them."""
        self._forgotten: dict[GroupId, Pending] = {}
        """Removed; what is stored of them is to go with the next write."""
        self.ended: WriteOutcome | None = None
        """Of the write under way; it is to be finished."""
        self._told_full = ""

    def forget(self, group: GroupId, member: Member) -> None:
        """Give the space back of what is stored of a group that was removed."""
        write = Persist(GroupWrite(group, forget=True), [], member.raft.term, NOBODY)
        self._forgotten[group] = Pending(member, write)
        self._wakeup.wake()

    def holds(self, group: GroupId) -> bool:
        """True while something of the group waits for the disk."""
        return group in self._forgotten or self._rounds.holds(group)

    def is_due(self) -> bool:
        """May there be something to write now, if no write is under way?"""
        is_new = bool(self.unwritten or self._forgotten)
        if not (is_new or self._rounds.has_waiting):
            return False
        now = trio.current_time()
        return not self._rounds.rests(now) and (is_new or self._rounds.is_due(now))

    def start(self, writer: Writer, *, is_short: bool) -> None:
        """Begin the next write, if there is something to write. None may be under way. Where space is short, nothing is
        kept for peers that are behind."""
        unwritten, self.unwritten = self.unwritten, {}
        for group in self._forgotten:
            self._rounds.give_up(group)
        offered = [pending for group, pending in self._forgotten.items() if not self._rounds.holds(group)]
        for pending in offered:
            del self._forgotten[pending.persist.write.group]
        is_short = is_short or bool(self._rounds.full_text)
        for group in unwritten:
            member = self._roster.members.get(group)
            if member is None:
                continue
            persist = self._roster.guard(group, member.raft.take_persist, is_short=is_short)
            if persist is None:
                continue
            if persist.write == GroupWrite(group):
                # Nothing to write, and what its messages wait for is durable already.
                self._settle(group, Pending(member, persist))
            else:
                offered.append(Pending(member, persist))
        if offered or self._rounds.has_waiting:
            self._rounds.start(offered, writer, self._write_ended, trio.current_time())

    def _write_ended(self, ended: WriteOutcome) -> None:
        self.ended = ended
        self._wakeup.wake()

    def finish(self) -> None:
        """Do what follows from the write that has ended. Raises what ends the node."""
        ended, self.ended = self.ended, None
        assert ended is not None
        finished = self._rounds.finish(ended, trio.current_time())
        for pending in finished.durable:
            self._settle(pending.member.raft.group, pending)
        for pending, error in finished.corrupt:
            if pending.persist.write.health is not None:
                # Not even this can be written: there is more wrong with the file than the records of one group.
                raise error
            self._roster.stop(pending.member.raft.group, error)
        full = self._rounds.full_text
        if full != self._told_full:
            self._told_full = full
            if self._listener is not None:
                self._listener.storage_full_changed(bool(full), full)

    def _settle(self, group: GroupId, pending: Pending) -> None:
        if self._roster.members.get(group) is pending.member:
            self._roster.guard(group, pending.member.raft.persisted, pending.persist)
            if pending.persist.write.health is Health.SOUND:
                self._roster.repaired(group)
            self._outbox.put(pending.persist.messages)
            self._note(group)
