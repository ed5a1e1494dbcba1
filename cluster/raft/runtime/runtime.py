"""The driver of all Raft groups of a node, over one storage and one transport.

Law: one round does, in this order: what became durable, what was received, the tick, proposals (only while no
write is under way), messages out, the next write, then restore and apply. So an append leaves before the own
fsync begins, and everything proposed while a write is under way goes into the next entry, as does what comes up until
an entry of little is committed. A group is looked at only when something happened to it. A task of its own takes the
rounds, and between two of them all other tasks have their turn; or whoever leads it takes them with `turn`, between
other work of the node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import trio

from cluster.raft.group import RaftGroup
from cluster.raft.messages import Message, SnapshotChunkMessage
from cluster.raft.ready import NotLeader, Ready, Role
from cluster.raft.runtime.beat import next_beat
from cluster.raft.runtime.interface import (
    GroupHandler,
    GroupReport,
    RuntimeConfig,
    RuntimeStatistics,
    StorageListener,
    Transport,
)
from cluster.raft.runtime.mailbox import Inbox, Outbox
from cluster.raft.runtime.member import Member
from cluster.raft.runtime.persists import Persists
from cluster.raft.runtime.proposals import Proposals
from cluster.raft.runtime.roster import Roster
from cluster.raft.runtime.wakeup import Wakeup
from cluster.raft.runtime.write_rounds import LONG, WriteRounds
from cluster.raft.runtime.writer import ThreadWriter, Writer
from cluster.raft.storage import Storage, StorageCorrupt
from cluster.raft.types import NOBODY, Configuration, Entry, GroupId, LogIndex, NodeId, SnapshotMeta


class Runtime:
    """See the law of this file. Everything is called on the Trio thread.

    `writer` None means a thread of its own. A group whose storage turns out to be damaged, at the start or later, is
    rebuilt from its peers, see `Repair`; the others go on.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        storage: Storage,
        handlers: Mapping[GroupId, GroupHandler],
        transport: Transport,
        config: RuntimeConfig,
        random: Random,
        storage_listener: StorageListener | None = None,
        writer: Writer | None = None,
    ) -> None:
        self._node = node
        self._storage = storage
        self._transport = transport
        self._config = config
        self._writer = writer
        self._wakeup = Wakeup()
        self._rounds = WriteRounds(config)
        self._inbox = Inbox(config)
        self._outbox = Outbox(int(config.rebuild_bytes_per_second * config.tick_seconds))
        self._roster = Roster(node, storage, config, random, self._outbox, storage_listener)
        self._proposals = Proposals(config, self._roster, self._rounds)
        self._persists = Persists(self._roster, self._rounds, self._outbox, self._wakeup, storage_listener, self._note)
        self._touched: dict[GroupId, None] = {}
        """May have something ready."""
        self._tick_is_due = False
        self._ticked_at = 0.0
        """Trio's time; 0 before the first."""
        self._busy_writer: Writer | None = None
        """The writer, while `run` runs."""
        self._is_stopping = False
        self._is_stalled = False
        self._round_count = 0
        self._entries_applied = 0
        self.is_short = False
        """Set by who watches the disk: it has so little space left that no log is kept for peers that are behind."""
        for group, handler in handlers.items():
            self._roster.add(group, handler)

    # -- groups

    @property
    def groups(self) -> dict[GroupId, RaftGroup]:
        """Those that take part, by id."""
        return {group: member.raft for group, member in self._roster.members.items()}

    def group(self, group: GroupId) -> RaftGroup | None:
        """None for one that takes no part."""
        member = self._roster.members.get(group)
        return member.raft if member is not None else None

    def add_group(self, group: GroupId, handler: GroupHandler) -> None:
        """Take part in another group, with what the storage has of it (for a new replica: nothing)."""
        assert not self._rounds.holds(group), "what is read now would be overtaken by a write under way"
        self._roster.add(group, handler)
        if self._busy_writer is not None:
            self._roster.start(group)
        self._touch(group)

    def remove_group(self, group: GroupId, *, forget: bool = False) -> None:
        """Take no part in a group any more; a write of it that is under way still happens.

        It may be added again once that has ended (`is_writing`). `forget` gives the space of what it has stored back.
        """
        member = self._roster.members.get(group)
        self._roster.remove(group)
        if forget and member is not None:
            self._persists.forget(group, member)

    def is_writing(self, group: GroupId) -> bool:
        """True while something of the group, taken part in or removed, waits for the disk."""
        return self._persists.holds(group)

    # -- what is asked of it

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until `stop` or cancellation; then waits for a write under way.

        Raises, in an ExceptionGroup, StorageIO, StorageCorrupt if a group's term and vote are damaged or the file as
        a whole is, and our own errors.
        """
        writer = self._writer or ThreadWriter(self._storage)
        self._busy_writer = writer
        try:
            for group in list(self._roster.members):
                self._roster.start(group)
                self._touched[group] = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick)
                task_status.started()
                self._wakeup.wake()
                while not self._is_stopping:
                    await self._wakeup.wait()
                    self._round(writer)
                nursery.cancel_scope.cancel()
        finally:
            self._busy_writer = None
            self._wakeup.led_by(None)
            with trio.move_on_after(self._config.stop_timeout_seconds, shield=True):
                while self._rounds.is_writing and self._persists.ended is None:
                    await self._wakeup.wait()
            writer.close()

    def led_by(self, leader: Wakeup | None) -> None:
        """From now on the waiter of `leader` takes the rounds, with `turn`; None: the own task again."""
        self._wakeup.led_by(leader)

    @property
    def wants_turn(self) -> bool:
        """Is there anything to do?"""
        return self._wakeup.is_wanted and self._busy_writer is not None

    def turn(self) -> None:
        """A round, if there is anything to do."""
        if self._busy_writer is not None and self._wakeup.take():
            self._round(self._busy_writer)

    def stop(self) -> None:
        """Let `run` return after the write under way."""
        self._is_stopping = True
        self._wakeup.led_by(None)
        self._wakeup.wake()

    def receive(self, messages: list[Message]) -> None:
        """Messages from a peer, to be stepped in the next round; over the inbox limits they are dropped."""
        self._inbox.put(messages)
        self._wakeup.wake()

    def mark_dirty(self, group: GroupId) -> None:
        """The handler has something to propose; forgotten if this node does not lead the group."""
        self._proposals.mark(group)
        if not self._rounds.is_writing:
            self._wakeup.wake()

    def peer_connected(self, peer: NodeId) -> None:
        """Both ways to the peer are open."""
        for group, member in list(self._roster.members.items()):
            self._roster.guard(group, member.raft.peer_connected, peer)
            self._touch(group)

    def peer_disconnected(self, peer: NodeId) -> None:
        """The way to the peer broke: where it led, an election begins."""
        for group, member in list(self._roster.members.items()):
            self._roster.guard(group, member.raft.peer_disconnected, peer)
            self._touch(group)

    def appends_dropped(self, peer: NodeId, groups: Sequence[GroupId]) -> None:
        """The way to the peer had no room for appends of these groups."""
        for group in groups:
            if group in self._roster.members:
                self._roster.members[group].raft.append_dropped(peer)

    def campaign(self, group: GroupId) -> None:
        """Begin an election now, unless the group has a leader."""
        if group in self._roster.members and self._roster.members[group].raft.leader == NOBODY:
            self._roster.guard(group, self._roster.members[group].raft.campaign)
            self._touch(group)

    def read_index(self, group: GroupId, context: int) -> None:
        """Answered by `GroupHandler.read_ready`, or never if leadership moves: whoever asked asks again."""
        if group in self._roster.members:
            self._roster.guard(group, self._roster.members[group].raft.read_index, context)
            self._touch(group)

    def transfer_leadership(self, group: GroupId, target: NodeId) -> None:
        """Raises NotLeader, ProposalDropped."""
        self._roster.guard(group, self._roster.member(group).raft.transfer_leadership, target)
        self._touch(group)

    def propose_configuration(self, group: GroupId, change: Configuration) -> LogIndex:
        """Raises NotLeader, ProposalDropped, ValueError; see `RaftGroup.propose_configuration`."""
        index = self._roster.guard(group, self._roster.member(group).raft.propose_configuration, change)
        self._touch(group)
        if index is None:
            raise NotLeader(NOBODY)
        return index

    def propose_mark(self, group: GroupId, mark: bytes) -> None:
        """An entry that changes nothing and carries `mark`. Raises NotLeader, ProposalDropped."""
        self._roster.guard(group, self._roster.member(group).raft.propose_mark, mark)
        self._touch(group)

    def snapshot_created(self, group: GroupId, index: LogIndex, data: bytes) -> None:
        """The handler's state as of applied `index`; durable with one of the next writes."""
        if group in self._roster.members:
            self._roster.guard(group, self._roster.members[group].raft.snapshot_created, index, data)
            self._touch(group)

    def compact_payloads(self, group: GroupId, delete: Sequence[LogIndex], replace: Sequence[Entry]) -> None:
        """Payloads at or below the latest snapshot that died or shrank."""
        if group in self._roster.members:
            self._roster.guard(group, self._roster.members[group].raft.compact_payloads, delete, replace)
            self._touch(group)

    def damaged(self, group: GroupId, error: StorageCorrupt) -> None:
        """The handler found what it read of the group's storage damaged."""
        self._roster.stop(group, error)
        self._touch(group)

    def report(self, group: GroupId) -> GroupReport:
        """Raises KeyError for a group this node takes no part in."""
        report, member = self._roster.report(group), self._roster.members.get(group)
        has_no_room = member is not None and self._rounds.has_no_room(member)
        return replace(report, refused=self._rounds.full_text) if has_no_room else report

    @property
    def bytes_written(self) -> int:
        """Of entries, since the start."""
        return self._rounds.bytes_written

    def statistics(self) -> RuntimeStatistics:
        rounds = self._rounds
        last, median, slow = rounds.latencies()
        return RuntimeStatistics(
            rounds=self._round_count,
            writes=rounds.writes,
            writes_failed=rounds.writes_failed,
            write_seconds_last=last,
            write_seconds_p50=median,
            write_seconds_p99=slow,
            entries_proposed=self._proposals.entries,
            bytes_proposed=self._proposals.bytes,
            entries_written=rounds.entries_written,
            bytes_written=rounds.bytes_written,
            entries_applied=self._entries_applied,
            messages_sent=self._outbox.sent,
            messages_received=self._inbox.received,
            messages_dropped=self._inbox.dropped,
            is_storage_full=bool(rounds.full_text),
            is_stalled=self._is_stalled,
            groups_stopped=len(self._roster.stopped),
            groups_repairing=sum(member.status().is_repairing for member in self._roster.members.values()),
        )

    def _note(self, group: GroupId) -> None:
        """Within a round, at whose end it is seen."""
        self._touched[group] = None

    def _touch(self, group: GroupId) -> None:
        self._touched[group] = None
        self._wakeup.wake()

    # -- a round

    async def _tick(self) -> None:
        """A tick that comes late is one tick: the time this node stood still is nobody's silence. (But its own: see
        `RaftGroup.tick`.)"""
        while True:
            await next_beat(self._config.tick_seconds)
            self._tick_is_due = True
            self._wakeup.wake()

    def _round(self, writer: Writer) -> None:
        self._round_count += 1
        persists = self._persists
        if persists.ended is not None:
            persists.finish()
        if self._roster.stopped:
            self._repair()
        if self._inbox:
            self._step_inbox()
        if self._tick_is_due:
            self._tick_is_due = False
            self._outbox.tick()
            now = trio.current_time()
            self._tick_members(max(1, round((now - self._ticked_at) / self._config.tick_seconds)))
            self._ticked_at = now
        proposals = self._proposals
        proposals.end_patience(self._touched)
        if proposals and not self._rounds.is_writing:
            proposals.propose(self._touched)
        readies = self._collect()
        self._outbox.send(self._transport)
        if not self._rounds.is_writing and persists.is_due():
            persists.start(writer, is_short=self.is_short)
        for group, member, ready in readies:
            applied = self._roster.guard(group, member.perform, ready)
            self._entries_applied += applied or 0
            if ready.role_change is not None and ready.role_change.role is Role.LEADER:
                proposals.lead(group)
            if member.raft.has_ready():
                self._touched[group] = None
        if self._touched or (not self._rounds.is_writing and (proposals or persists.is_due())):
            self._wakeup.wake()

    def _repair(self) -> None:
        """Bring groups back whose storage was damaged. Raises StorageCorrupt for one that cannot come back."""
        for group in [group for group in self._roster.stopped if not self._rounds.holds(group)]:
            self._roster.repair(group)
            self._touched[group] = None

    def _step_inbox(self) -> None:
        members = self._roster.members
        for message in self._inbox.take():
            group = message.group
            member = members.get(group)
            if member is None or message.target != self._node:
                self._inbox.dropped += 1
                continue
            if self._rounds.full_text and type(message) is SnapshotChunkMessage:
                member = self._without_refused(member, message.meta)
            try:
                member.raft.step(message)
            except StorageCorrupt as error:
                self._roster.stop(group, error)
            self._touched[group] = None

    def _without_refused(self, member: Member, snapshot: SnapshotMeta | None) -> Member:
        """A follower as after a restart, without the entries that its full disk refuses: they are in the way of a
        snapshot, which may be small, or of a term and a vote. Nobody counts on them but who votes for it."""
        group = member.raft.group
        if member.raft.role is not Role.LEADER and self._rounds.withdraw(member, snapshot):
            self._roster.restart(group)
            self._touched[group] = None
        return self._roster.members.get(group, member)

    def _tick_members(self, beats: int) -> None:
        if self._rounds.full_text:
            for member in [member for member in self._roster.members.values() if not member.raft.has_durable_vote]:
                self._without_refused(member, None)
        members, now = list(self._roster.members.values()), trio.current_time()
        stalled = self._rounds.stalled_members(members, now)
        self._is_stalled = bool(stalled)
        is_long = bool(stalled) and bool(self._rounds.stalled_members(members, now, LONG))
        for group, member in list(self._roster.members.items()):
            if stalled and member in stalled and member.raft.is_dispensable(is_long=is_long):
                self._roster.guard(group, member.raft.step_down)
                self._touched[group] = None
            elif self._roster.guard(group, member.raft.tick, beats) is not False:
                self._touched[group] = None
        self._proposals.tick()

    def _collect(self) -> list[tuple[GroupId, Member, Ready]]:
        touched, self._touched = self._touched, {}
        unwritten = self._persists.unwritten
        readies: list[tuple[GroupId, Member, Ready]] = []
        for group in touched:
            member = self._roster.members.get(group)
            if member is None:
                continue
            unwritten[group] = None
            if member.raft.has_ready():
                ready = self._roster.guard(group, member.raft.ready)
                if ready is not None:
                    readies.append((group, member, ready))
                    self._outbox.put(ready.messages)
        return readies
