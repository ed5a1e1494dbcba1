"""What a group wants on disk: collected into one write at a time, and acted on when that is durable.

Law: at most one write is out. It carries everything that was pending when it was taken, and the messages that
depend on it; what comes up later goes into the next. The installation of a received snapshot goes alone.
A snapshot made here, and the deletions that it allows, wait while a peer is being sent the previous one, or needs
what they would take away.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.raft.messages import Message
from cluster.raft.ready import Persist
from cluster.raft.snapshot_receiver import SnapshotReceiver
from cluster.raft.state import GroupState
from cluster.raft.storage import GroupWrite, Health
from cluster.raft.types import Entry, HardState, LogIndex, NodeId, SnapshotMeta, Term


class Persistence:
    """See the law of this file."""

    __slots__ = (
        "_delete",
        "_hard_state",
        "_health",
        "_outstanding",
        "_receiver",
        "_replace",
        "_replace_bytes",
        "_snapshot",
        "_state",
        "newest_index",
    )

    def __init__(self, state: GroupState, receiver: SnapshotReceiver) -> None:
        self._state = state
        self._receiver = receiver
        self._outstanding: Persist | None = None
        # What the stored hard state is, once the outstanding write is durable.
        self._hard_state: tuple[Term, NodeId] = (state.term, state.vote)
        # A snapshot made here that no write has carried yet, and the index of the latest, carried or not.
        self._snapshot: tuple[SnapshotMeta, bytes] | None = None
        self.newest_index = state.log.snapshot_index
        self._delete: set[LogIndex] = set()
        self._replace: dict[LogIndex, Entry] = {}
        self._replace_bytes = 0
        # What the store has been told of a repair.
        repair = state.repair
        self._health = repair.health if repair is not None else Health.SOUND

    # -- what the state machine wants

    def snapshot_created(self, index: LogIndex, data: bytes) -> bool:
        """True if it is the latest. A machine may have a state that this member has not given it: what it was given
        before the log was lost, or entries that the disk refused."""
        state = self._state
        if not self.newest_index < index <= state.log.emitted_index:
            return False
        self.newest_index = index
        meta = SnapshotMeta(index, state.log.term(index), state.membership.at(index))
        self._snapshot = (meta, data)
        return True

    def compact_payloads(self, delete: Sequence[LogIndex], replace: Sequence[Entry]) -> None:
        highest = max([*delete, *(entry.index for entry in replace)], default=LogIndex(0))
        if highest > self.newest_index:
            return
        for entry in replace:
            if entry.index not in self._delete:
                self._replace[entry.index] = entry
                self._replace_bytes += len(entry.data)
        for index in delete:
            self._delete.add(index)
            self._replace.pop(index, None)

    # -- the handshake

    def has_write(self, hold_snapshot: bool) -> bool:
        """True if `take` would give something."""
        state = self._state
        if self._outstanding is not None:
            return False
        return bool(
            state.after_persist
            or state.log.has_unoffered()
            or self._hard_state != (state.term, state.vote)
            or self._receiver.has_write()
            or self._next_health() is not None
            or (self.has_compaction() and not self._holds(hold_snapshot))
        )

    def take(self, hold_snapshot: bool, *, is_short: bool = False) -> Persist | None:
        """Everything pending; None while a write is out or nothing is to be written. Where space is short, term and
        vote go before entries, which may be refused."""
        if not self.has_write(hold_snapshot):
            return None
        state, log = self._state, self._state.log
        installed = self._receiver.take_install()
        if installed is not None:
            assert not log.has_unoffered(), "entries came in after the last chunk"
            return self._offer(GroupWrite(state.group, self._hard_state_write(), install=installed))
        if is_short and log.has_unoffered() and self._hard_state_write() is not None:
            # What is stored above `stable_index` may be what the leader of this term has replaced: not a hint for that.
            vote = HardState(state.term, state.vote, min(log.commit_index, log.stable_index))
            return self._offer(GroupWrite(state.group, vote), with_messages=False)
        health = self._next_health()
        truncate_from, entries = log.take_unoffered()
        staged = self._receiver.take_chunk()
        snapshot: tuple[SnapshotMeta, bytes] | None = None
        delete: Sequence[LogIndex] = ()
        replace: Sequence[Entry] = ()
        if health is Health.REBUILDING:
            snapshot = (SnapshotMeta(LogIndex(0), Term(0), state.membership.at(LogIndex(0))), b"")
        elif self.has_compaction() and not self._holds(hold_snapshot):
            snapshot, delete, replace = self._take_compaction()
        hard_state = self._hard_state_write()
        if hard_state is None and entries and log.commit_index > log.snapshot_index:
            # The hint costs nothing here, and spares a restart the wait for a leader.
            hard_state = HardState(state.term, state.vote, log.commit_index)
        of_contents = entries or truncate_from or staged or snapshot or delete or replace
        if hard_state is None and health is None and not of_contents:
            if not state.after_persist:
                return None
            return self._offer(GroupWrite(state.group))
        return self._offer(
            GroupWrite(
                state.group,
                hard_state,
                health,
                staged[0] if staged else None,
                (staged[1],) if staged else (),
                None,
                truncate_from,
                entries,
                snapshot,
                delete,
                replace,
            )
        )

    def done(self, persist: Persist) -> SnapshotMeta | None:
        """It is durable. Returns the snapshot that was installed by it, if one was."""
        assert persist is self._outstanding, "a write that was not taken, or was already acknowledged"
        self._outstanding = None
        state, write = self._state, persist.write
        state.hard_state_became_durable(persist.term, persist.vote)
        if write.install is not None:
            self._receiver.installed()
            self._forget_compaction(write.install.index)
            state.install(write.install)
            return write.install
        state.log.offered_is_durable()
        if write.health is not None:
            self._health = write.health
            if write.health is Health.DAMAGED:
                assert state.repair is not None
                state.repair.health = Health.DAMAGED
            elif write.health is Health.SOUND:
                state.repair = None
        if write.snapshot is not None and write.health is not Health.REBUILDING:
            meta = write.snapshot[0]
            state.log.compacted(meta)
            state.membership.compacted(meta.index)
        return None

    def _offer(self, write: GroupWrite, *, with_messages: bool = True) -> Persist:
        state = self._state
        messages: list[Message] = []
        if with_messages:
            messages, state.after_persist = state.after_persist, messages
        self._hard_state = (state.term, state.vote)
        self._outstanding = Persist(write, messages, state.term, state.vote)
        return self._outstanding

    def _next_health(self) -> Health | None:
        """What the store is to be told of a repair now."""
        state, repair = self._state, self._state.repair
        if repair is None:
            return None
        if repair.health is None:
            return Health.DAMAGED
        if repair.health is not self._health:
            return repair.health
        return Health.SOUND if repair.is_over(state.term, state.log.stable_index) else None

    def _hard_state_write(self) -> HardState | None:
        state = self._state
        if self._hard_state == (state.term, state.vote):
            return None
        return HardState(state.term, state.vote, state.log.commit_index)

    def has_compaction(self) -> bool:
        """True if a snapshot made here, or what it allows to delete, is not on its way to the disk yet."""
        return bool(self._snapshot or self._delete or self._replace)

    def _holds(self, hold_snapshot: bool) -> bool:
        return hold_snapshot and self._replace_bytes <= self._state.config.tail_bytes

    def _take_compaction(
        self,
    ) -> tuple[tuple[SnapshotMeta, bytes] | None, Sequence[LogIndex], Sequence[Entry]]:
        snapshot, delete = self._snapshot, sorted(self._delete)
        replace = [self._replace[index] for index in sorted(self._replace)]
        self._snapshot = None
        self._delete = set()
        self._replace = {}
        self._replace_bytes = 0
        return snapshot, delete, replace

    def _forget_compaction(self, installed: LogIndex) -> None:
        assert self.newest_index < installed
        self.newest_index = installed
        self._take_compaction()
