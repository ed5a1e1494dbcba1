"""What must be true of a Raft group at every moment, seen from above all members.

Law: everything here is kept outside the members under test and only ever grows: who led which term, what each
(term, index) holds, what is committed. A contradiction is an AssertionError at the moment it arises.
Sources: Raft paper figure 3 (election safety, log matching, leader completeness, state machine safety); Raft thesis
§4.1 and §5.1.1 (who belongs to a group is what the log's last configuration says, or the snapshot at its index).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

from cluster.raft.group import RaftGroup, Role
from cluster.raft.log import RaftLog
from cluster.raft.membership import decode_configuration, quorum_value
from cluster.raft.messages import AppendReply, Message, PreVoteReply, SnapshotChunkReply, VoteReply
from cluster.raft.storage import Compacted, GroupWrite
from cluster.raft.types import Configuration, Entry, EntryKind, LogIndex, NodeId, Term
from tests.raft.disk import Disk

_decoded = lru_cache(decode_configuration)


def extend_digest(digest: bytes, entry: Entry) -> bytes:
    """The state of the test's state machine after `entry`: a chain over everything applied."""
    if entry.kind is not EntryKind.COMMAND:
        return digest
    return hashlib.blake2b(digest + entry.data, digest_size=16).digest()


class Checks:
    """See the law of this file."""

    def __init__(self, founding: Configuration) -> None:
        self.configurations: list[tuple[LogIndex, Configuration]] = [(LogIndex(0), founding)]
        """The committed ones, by index."""
        self.leaders: dict[Term, NodeId] = {}
        self.entries: dict[tuple[Term, LogIndex], tuple[EntryKind, bytes, Term]] = {}
        self.committed: list[Entry] = []
        self.digests: list[bytes] = [b""]
        self.lost: dict[NodeId, LogIndex] = {}
        """How far the log of a member went that is damaged now: what it had acknowledged was on its disk then."""

    @property
    def commit_index(self) -> int:
        return len(self.committed)

    # -- election safety, leader completeness

    def leads(self, group: RaftGroup, disk: Disk) -> None:
        """Called when a member becomes leader."""
        assert self.leaders.setdefault(group.term, group.node) == group.node, (
            f"nodes {self.leaders[group.term]} and {group.node} both lead term {group.term}"
        )
        assert disk.hard_state().term == group.term
        assert disk.hard_state().vote == group.node
        log = group._state.log
        assert group.configuration == self._configuration_of(log, disk), (
            f"node {group.node} leads term {group.term} by other members than its log says"
        )
        for entry in reversed(self.committed):
            if entry.index <= max(disk.meta.index, log.snapshot_index):
                break
            assert log.matches(entry.index, entry.term), (
                f"node {group.node} leads term {group.term} without the committed entry {entry.index}"
            )

    # -- members

    def configuration_at(self, index: LogIndex) -> Configuration:
        """In force where everything up to `index`, which is committed, is the log."""
        return next(one for at, one in reversed(self.configurations) if at <= index)

    def goes_by(self, group: RaftGroup) -> None:
        """Called after anything that may have changed a member's log. One that has lost its log knows no members."""
        log, index = group._state.log, group._state.membership.current_index
        if group._state.repair is not None:
            return
        if index <= log.snapshot_index:
            held = self.configuration_at(log.snapshot_index)
        elif (entry := log.recent(index)) is not None:
            assert entry.kind is EntryKind.CONFIG
            held = _decoded(entry.data)
        else:
            return
        assert group.configuration == held, f"node {group.node} goes by members that its log does not name at {index}"

    def _configuration_of(self, log: RaftLog, disk: Disk) -> Configuration:
        """The latest in a log, committed or not."""
        # The disk may have a snapshot that the member has not heard of.
        base = max(log.snapshot_index, disk.meta.index)
        found, first = self.configuration_at(base), LogIndex(base + 1)
        while first <= log.last_index:
            entries = log.read(first, 1 << 20)
            for entry in entries:
                if entry.kind is EntryKind.CONFIG:
                    found = _decoded(entry.data)
            first = LogIndex(entries[-1].index + 1)
        return found

    # -- log matching

    def wrote(self, disk: Disk, write: GroupWrite) -> None:
        """Called before a write takes effect: an entry's term and index say what it and the one before are."""
        for meta in (write.install, write.snapshot[0] if write.snapshot is not None else None):
            assert meta is None or meta.configuration == self.configuration_at(meta.index), (
                f"a snapshot up to {meta.index} holds other members"
            )
        if not write.entries:
            return
        previous = write.entries[0].index - 1
        prev_term = disk.meta.term if previous == disk.meta.index else disk.term(LogIndex(previous))
        for entry in write.entries:
            seen = self.entries.setdefault((entry.term, entry.index), (entry.kind, entry.data, prev_term))
            assert seen == (entry.kind, entry.data, prev_term), (
                f"two different entries are {entry.index} of term {entry.term}"
            )
            assert entry.term >= prev_term
            prev_term = entry.term

    # -- state machine safety

    def commits(self, group: RaftGroup, before: Configuration, disks: Mapping[NodeId, Disk]) -> None:
        """Called after anything that may have moved a member's commit index.

        `before` was in force when that began: the step that commits a joint configuration also leaves it.
        """
        log = group._state.log
        if log.commit_index <= self.commit_index:
            return
        assert self.leaders.get(group.term) == group.node, "a follower commits what no leader has"
        self._check_durable(group, before, disks)
        while self.commit_index < log.commit_index:
            entry = log.read(LogIndex(self.commit_index + 1), 1)[0]
            self.committed.append(entry)
            self.digests.append(extend_digest(self.digests[-1], entry))
            if entry.kind is EntryKind.CONFIG:
                self.configurations.append((entry.index, _decoded(entry.data)))

    def _check_durable(self, group: RaftGroup, configuration: Configuration, disks: Mapping[NodeId, Disk]) -> None:
        """Committed means: on the disks of a quorum, whoever else has it in memory."""
        log = group._state.log
        term = log.term(log.commit_index)
        assert term == group.term, "an entry of an earlier term was committed by counting"

        def holds(node: NodeId) -> int:
            disk = disks[node]
            if not disk.is_sound and log.commit_index <= self.lost[node]:
                return 1
            if log.commit_index <= disk.meta.index:
                return 1
            return int(log.commit_index <= disk.last_index and disk.term(log.commit_index) == term)

        assert quorum_value(configuration, holds), (
            f"entry {log.commit_index} of term {term} was committed without a quorum of disks"
        )

    def applies(self, applied_index: int, entries: Iterable[Entry]) -> int:
        """Called with what a member applies next; returns its new applied index."""
        for entry in entries:
            assert entry.index == applied_index + 1, "an entry was skipped or applied twice"
            assert self.committed[applied_index] == entry, f"node applied another entry {entry.index}"
            applied_index += 1
        return applied_index

    def restores(self, index: LogIndex, data: bytes) -> None:
        assert data == self.digests[index], f"a snapshot up to {index} holds another state"

    # -- durable before said

    def leaves(self, message: Message, disk: Disk) -> None:
        """Called when a message leaves its source, whose disk is `disk`."""
        if isinstance(message, (AppendReply, VoteReply, SnapshotChunkReply)):
            assert message.term <= disk.hard_state().term, "a reply left before its term was durable"
        if isinstance(message, VoteReply) and message.granted and message.term == disk.hard_state().term:
            assert disk.hard_state().vote == message.target, "a vote left before it was durable"
        if isinstance(message, AppendReply) and not message.rejected and message.term == disk.hard_state().term:
            assert message.index <= disk.last_index, "an acknowledgement left before its entries were durable"
        if isinstance(message, PreVoteReply) and not message.granted:
            assert message.term <= disk.hard_state().term

    def reads(self, index: LogIndex, committed_when_asked: int) -> None:
        assert index >= committed_when_asked, "a read does not see what was committed before it was asked for"


def check_invariants(group: RaftGroup) -> None:
    """The laws of the member's own structures."""
    state = group._state
    log = state.log
    assert log.snapshot_index <= log.emitted_index <= log.commit_index <= log.last_index
    assert log.stable_index <= log.offered_index <= log.last_index
    assert log._tail_first + len(log._tail) == log.last_index + 1
    assert log._tail_first <= log.stable_index + 1
    for position, entry in enumerate(log._tail):
        assert entry.index == log._tail_first + position
    assert (group.role is Role.LEADER) == (group._leadership is not None)
    try:
        assert log.last_term <= state.term
    except Compacted:
        raise AssertionError("the last term is unknown") from None


def same_members(first: Configuration, second: Configuration) -> bool:
    return (first.voters, first.learners) == (second.voters, second.learners)
