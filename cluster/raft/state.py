"""What every role of a member shares: its term, its vote, its log, its members, and its outgoing messages.

Law: `outbox` may leave at once; `after_persist` only when everything that was pending when it was put there
is durable. A reply never says what a crash could take back: `reply` chooses between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from cluster.raft.log import RaftLog
from cluster.raft.membership import MembershipHistory, decode_configuration
from cluster.raft.messages import AppendReply, Message
from cluster.raft.ready import RaftConfig, ReadState, Role
from cluster.raft.repair import Repair
from cluster.raft.storage import EMPTY_SNAPSHOT, GroupStorage, Health, InitialState
from cluster.raft.types import (
    NOBODY,
    Configuration,
    Entry,
    EntryKind,
    GroupId,
    LogIndex,
    NodeId,
    SnapshotMeta,
    Term,
)


class GroupState:
    """See the law of this file."""

    __slots__ = (
        "_durable_term",
        "_durable_vote",
        "after_persist",
        "config",
        "group",
        "leader",
        "log",
        "membership",
        "node",
        "outbox",
        "read_states",
        "repair",
        "role",
        "storage",
        "term",
        "vote",
    )

    def __init__(
        self,
        node: NodeId,
        group: GroupId,
        storage: GroupStorage,
        config: RaftConfig,
        random: Random,
        *,
        is_damaged: bool,
    ) -> None:
        """`is_damaged`: of the storage, term and vote are believed, and nothing else."""
        initial = _bereft(storage) if is_damaged else storage.initial_state()
        self.node = node
        self.group = group
        self.storage = storage
        self.config = config
        self.log = RaftLog(storage, initial, config.tail_bytes)
        self.repair: Repair | None = None
        """None for a member in full right."""
        if is_damaged:
            self.repair = Repair(None, random)
        elif initial.health is not Health.SOUND:
            self.repair = Repair(initial.health, random)
        self.membership = MembershipHistory(initial.snapshot.index, initial.snapshot.configuration)
        self.term = self._durable_term = initial.hard_state.term
        self.vote = self._durable_vote = initial.hard_state.vote
        self.role = Role.FOLLOWER
        self.leader = NOBODY
        self.outbox: list[Message] = []
        self.after_persist: list[Message] = []
        self.read_states: list[ReadState] = []
        self._read_stored_log()

    @property
    def configuration(self) -> Configuration:
        return self.membership.current

    def _read_stored_log(self) -> None:
        """Find the configurations after the snapshot, and keep the log's end in memory."""
        log, limit = self.log, self.config.tail_bytes
        first = log.first_index
        batch: list[Entry] = []
        while first <= log.last_index:
            batch = self.storage.entries(first, LogIndex(log.last_index + 1), limit)
            self._note_configurations(batch)
            first = LogIndex(batch[-1].index + 1)
        log.remember(batch)

    def _note_configurations(self, entries: Sequence[Entry]) -> bool:
        found = False
        for entry in entries:
            if entry.kind is EntryKind.CONFIG:
                self.membership.append(entry.index, decode_configuration(entry.data))
                found = True
        return found

    # -- the log and the members that follow from it

    def append(self, entries: Sequence[Entry]) -> bool:
        """Append to the log in memory; True if that put another configuration in force."""
        for entry in entries:
            self.log.append(entry)
        return self._note_configurations(entries)

    def truncate_from(self, index: LogIndex) -> None:
        self.log.truncate_from(index)
        self.membership.truncate_from(index)

    def install(self, meta: SnapshotMeta) -> None:
        """A received snapshot became the stored state: the log begins after it."""
        self.log.reset(meta)
        self.membership = MembershipHistory(meta.index, meta.configuration)

    def begin_again(self, configuration: Configuration) -> None:
        """A member that lost its log, and has nothing yet, takes over the configuration that logs began with."""
        assert self.log.last_index == self.log.snapshot_index == 0
        self.membership = MembershipHistory(LogIndex(0), configuration)

    # -- durability

    def hard_state_is_durable(self) -> bool:
        return self._durable_term == self.term and self._durable_vote == self.vote

    def own_vote_is_durable(self) -> bool:
        """True if this member voted for itself in its term, and that is on disk."""
        return self._durable_term == self.term and self._durable_vote == self.node

    def hard_state_became_durable(self, term: Term, vote: NodeId) -> None:
        assert term >= self._durable_term
        self._durable_term, self._durable_vote = term, vote

    def reply(self, message: Message, durable_to: LogIndex | None = None) -> None:
        """Send when term, vote and the log up to `durable_to` are on disk."""
        if self.hard_state_is_durable() and (durable_to is None or durable_to <= self.log.stable_index):
            self.outbox.append(message)
        else:
            self.after_persist.append(message)

    def acknowledge(self, leader: NodeId, index: LogIndex) -> None:
        """Tell the leader that the log equals its own up to `index`, once that is durable.

        Acknowledgements are cumulative: one that still waits for the disk is replaced by a later one.
        """
        if self.repair is not None:
            self.repair.matched(self.term, index)
        ack = AppendReply(self.group, self.node, leader, self.term, index, False, LogIndex(0), Term(0))
        waiting = self.after_persist[-1] if self.after_persist else None
        if (
            type(waiting) is AppendReply
            and waiting.target == leader
            and waiting.term == self.term
            and not waiting.rejected
        ):
            if index > waiting.index:
                self.after_persist[-1] = ack
        else:
            self.reply(ack, index)


def _bereft(storage: GroupStorage) -> InitialState:
    """A group of which nothing is left but term and vote."""
    return InitialState(storage.hard_state(), EMPTY_SNAPSHOT, LogIndex(1), LogIndex(0), Health.DAMAGED)
