"""One member of one Raft group: messages, ticks and proposals in; writes, messages and committed entries out.

Law: no clock, no sockets, no disk writes, no randomness but the injected source. The driver calls `step`,
`tick` and `propose` as things happen, then `ready` (send, restore, apply now) and `take_persist` (make
durable, then `persisted`, then send its messages). All state is in memory at once; what leaves the member
never says more than what is durable. A member leads only by a majority of durable votes, its own included.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from cluster.raft.election import Election
from cluster.raft.leadership import Leadership
from cluster.raft.messages import Message, ReadIndexRequest
from cluster.raft.persistence import Persistence
from cluster.raft.ready import (
    GroupStatus,
    NotLeader,
    Persist,
    ProposalDropped,
    RaftConfig,
    ReadState,
    Ready,
    ReplicaStatus,
    Role,
    RoleChange,
)
from cluster.raft.reception import Reception
from cluster.raft.snapshot_receiver import SnapshotReceiver
from cluster.raft.state import GroupState
from cluster.raft.storage import GroupStorage
from cluster.raft.types import (
    NOBODY,
    Configuration,
    Entry,
    GroupId,
    LogIndex,
    NodeId,
    SnapshotMeta,
    Term,
)

__all__ = [
    "GroupStatus",
    "NotLeader",
    "Persist",
    "ProposalDropped",
    "RaftConfig",
    "RaftGroup",
    "ReadState",
    "Ready",
    "ReplicaStatus",
    "Role",
    "RoleChange",
]


class RaftGroup:
    """See the law of this file. Any call may raise StorageCorrupt from the storage it reads."""

    def __init__(
        self,
        *,
        node: NodeId,
        group: GroupId,
        storage: GroupStorage,
        config: RaftConfig,
        random: Random,
        is_damaged: bool = False,
    ) -> None:
        """`is_damaged`: of what the storage has only term and vote are believed; see `Repair`.

        Raises StorageCorrupt.
        """
        self._state = GroupState(node, group, storage, config, random, is_damaged=is_damaged)
        self._receiver = SnapshotReceiver(self._state)
        self._election = Election(self._state, self._receiver, random)
        self._reception = Reception(self._state, self._election, self._receiver)
        self._persistence = Persistence(self._state, self._receiver)
        self._restored: SnapshotMeta | None = None
        self._told = (Role.FOLLOWER, Term(0), NOBODY)

    # -- what it is

    @property
    def node(self) -> NodeId:
        return self._state.node

    @property
    def group(self) -> GroupId:
        return self._state.group

    @property
    def term(self) -> Term:
        return self._state.term

    @property
    def role(self) -> Role:
        return self._state.role

    @property
    def has_durable_vote(self) -> bool:
        """Are its term and its vote on disk? It answers nobody before."""
        return self._state.hard_state_is_durable()

    @property
    def leader(self) -> NodeId:
        """Who leads in this term, NOBODY if that is not known."""
        return self._state.leader

    @property
    def commit_index(self) -> LogIndex:
        return self._state.log.commit_index

    @property
    def last_index(self) -> LogIndex:
        return self._state.log.last_index

    def recent_entry(self, index: LogIndex) -> Entry | None:
        """See `RaftLog.recent`."""
        return self._state.log.recent(index)

    @property
    def configuration(self) -> Configuration:
        """The one in force: the latest in the log, committed or not."""
        return self._state.configuration

    def status(self) -> GroupStatus:
        state, log = self._state, self._state.log
        return GroupStatus(
            state.group,
            state.role,
            state.term,
            state.leader,
            log.commit_index,
            log.emitted_index,
            log.first_index,
            log.last_index,
            state.configuration,
            self._leadership.status() if self._leadership else {},
            state.membership.current_index,
            state.repair is not None,
        )

    @property
    def _leadership(self) -> Leadership | None:
        return self._election.leadership

    # -- what is asked of it

    def propose(self, data: bytes) -> LogIndex:
        """Append an entry; where it will stand if this leader commits it. Raises NotLeader, ProposalDropped."""
        return self._lead().propose(data)

    def propose_mark(self, mark: bytes) -> LogIndex:
        """Append an entry that changes nothing and carries `mark`. Raises NotLeader, ProposalDropped."""
        return self._lead().propose_mark(mark)

    def terms(self, last: LogIndex, count: int) -> list[tuple[LogIndex, Term]]:
        """(index, term) of the entries up to `last`, `count` at most, that are still in the log, ascending."""
        log = self._state.log
        found: list[tuple[LogIndex, Term]] = []
        for index in range(max(log.first_index, last - count + 1), min(last, log.last_index) + 1):
            term = log.known_term(LogIndex(index))
            if term is not None:
                found.append((LogIndex(index), term))
        return found

    def propose_configuration(self, change: Configuration) -> LogIndex:
        """Change to `change`'s voters and learners, through a joint configuration that is left by itself.

        Raises NotLeader, ProposalDropped, ValueError (no group can have it).
        """
        return self._lead().propose_configuration(change)

    def transfer_leadership(self, target: NodeId) -> None:
        """Bring `target` up to date and let it take over; given up after `election_ticks`.

        Proposals are dropped meanwhile. Raises NotLeader, ProposalDropped (not a voter, or one is under way).
        """
        self._lead().transfer(target)

    @property
    def is_handing_over(self) -> bool:
        """Does it lead, and is a transfer under way? Another may lead already, which this member has not heard."""
        leadership = self._election.leadership
        return leadership is not None and leadership.is_handing_over

    def has_little_under_way(self, bytes_max: int) -> bool:
        """Does a leader wait for a quorum to have something, and for no more than so many bytes?"""
        leadership = self._election.leadership
        return leadership is not None and 0 < leadership.uncommitted_bytes <= bytes_max

    def _lead(self) -> Leadership:
        leadership = self._election.leadership
        if leadership is None:
            raise NotLeader(self._state.leader)
        return leadership

    def read_index(self, context: int) -> None:
        """Ask up to where the state machine must have applied for a linearizable read (`ReadState`).

        Dropped without an answer if there is no leader or leadership moves; whoever asked retries.
        """
        state, leadership = self._state, self._leadership
        if leadership is not None:
            leadership.read_index(context, state.node)
        elif state.leader:
            state.outbox.append(ReadIndexRequest(state.group, state.node, state.leader, state.term, context))

    def step_down(self) -> None:
        """Stop leading without a new term, and ask the voter with most of the log to take over."""
        self._election.step_down()

    def is_dispensable(self, *, is_long: bool) -> bool:
        """May it do nothing while its disk does not answer? A leader goes on where the others it hears of are too few
        without it; but not if it `is_long`, and there are any: they may hear of more."""
        leadership = self._leadership
        return leadership is None or leadership.is_dispensable(is_long=is_long)

    def pass_over(self, term: Term) -> None:
        """Never stand in `term`, nor in one before it: it may have asked for votes there with another log."""
        if term > self._state.term:
            self._election.follow(term, NOBODY)

    def campaign(self) -> None:
        """Start a pre-vote now, if this member is a voter that does not lead."""
        self._election.stand()

    @property
    def wants_snapshot(self) -> bool:
        """Does it lead, and would a snapshot made now help a peer that does not take its log in?"""
        leadership = self._leadership
        return leadership is not None and leadership.wants_snapshot

    def snapshot_created(self, index: LogIndex, data: bytes) -> None:
        """The state machine's index as of applied `index`; older than the latest snapshot: ignored."""
        if self._persistence.snapshot_created(index, data) and self._leadership is not None:
            self._leadership.snapshot_created(index)

    def compact_payloads(self, delete: Sequence[LogIndex], replace: Sequence[Entry]) -> None:
        """Payloads at or below the latest snapshot that died or shrank."""
        self._persistence.compact_payloads(delete, replace)

    # -- messages, time and connections

    def step(self, message: Message) -> None:
        """Take in a message from a peer."""
        assert message.group == self._state.group
        assert message.target == self._state.node
        self._reception.step(message)

    def tick(self, beats: int = 1) -> bool:
        """True if something may have come up by it: a snapshot that was held back may be written now, too.

        `beats` is how many lengths of a tick are over. A late tick is one tick for everything but heartbeats.
        """
        self._election.tick(beats)
        return self._persistence.has_compaction() or self.has_ready()

    def peer_disconnected(self, peer: NodeId) -> None:
        """The connection to `peer` closed: if it led, elect another without waiting for its silence.

        Survivors stand one after the other, two ticks apart, the first at once; who is first depends on the
        group, so that leaders spread.
        """
        leadership = self._leadership
        if leadership is not None:
            leadership.peer_disconnected(peer)
        elif peer == self._state.leader:
            self._election.leader_lost(peer)

    def peer_connected(self, peer: NodeId) -> None:
        """A new connection to `peer`: whatever was under way on an older one is taken as lost."""
        self._election.peer_connected(peer)
        leadership = self._leadership
        if leadership is not None:
            leadership.peer_connected(peer)

    def append_dropped(self, peer: NodeId) -> None:
        """An append to `peer` did not leave: the connection had no room."""
        leadership = self._leadership
        if leadership is not None:
            leadership.append_dropped(peer)

    # -- what comes out

    def has_ready(self) -> bool:
        state, leadership = self._state, self._election.leadership
        return bool(
            state.outbox
            or (state.log.emitted_index < state.log.commit_index and not self._receiver.is_installing())
            or (leadership is not None and leadership.has_work)
            or state.read_states
            or self._restored
            or self._told != (state.role, state.term, state.leader)
        )

    def ready(self) -> Ready:
        """What to do now; it is given out once. `committed` is bounded, see `has_ready` for more."""
        state, leadership = self._state, self._election.leadership
        if leadership is not None and leadership.has_work:
            leadership.collect()
        change: RoleChange | None = None
        now = (state.role, state.term, state.leader)
        if now != self._told:
            self._told = now
            change = RoleChange(*now)
        messages, state.outbox = state.outbox, []
        read_states, state.read_states = state.read_states, []
        restored, self._restored = self._restored, None
        committed: list[Entry] = []
        if not self._receiver.is_installing():
            committed = state.log.take_committed(state.config.max_apply_bytes)
        return Ready(messages, committed, read_states, change, restored)

    def has_persist(self) -> bool:
        """True if `take_persist` would give something."""
        return self._persistence.has_write(self._holds_snapshot(is_short=False))

    def take_persist(self, *, is_short: bool = False) -> Persist | None:
        """Everything that must be durable now; None while one is out or there is nothing. Where space is short, nothing
        is kept for peers that are behind, and term and vote go first."""
        return self._persistence.take(self._holds_snapshot(is_short=is_short), is_short=is_short)

    def _holds_snapshot(self, *, is_short: bool) -> bool:
        leadership, persistence = self._election.leadership, self._persistence
        return (
            leadership is not None
            and persistence.has_compaction()
            and leadership.holds_snapshot(persistence.newest_index, is_short=is_short)
        )

    def persisted(self, persist: Persist) -> None:
        """It is durable; its messages may leave."""
        restored = self._persistence.done(persist)
        if restored is not None:
            self._restored = restored
        leadership = self._leadership
        if leadership is not None:
            leadership.advance_commit()
            self._election.leave_if_dismissed()
        else:
            self._election.own_vote_may_be_durable()
