"""One member of one Raft group: messages, ticks and proposals in; writes, messages and committed entries out.

Law: no clock, no sockets, no disk writes, no randomness but the injected source. The driver calls `step`,
`tick` and `propose` as things happen, then `ready` (send, restore, apply now) and `take_persist` (make
durable, then `persisted`, then send its messages). All state is in memory at once; what leaves the member
never says more than what is durable. A member leads only by a majority of durable votes, its own included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from cluster.raft.election import Election
from cluster.raft.follower import Follower
from cluster.raft.leadership import Leadership
from cluster.raft.membership import Ballot, all_voters
from cluster.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    PreVoteRequest,
    ReadIndexReply,
    ReadIndexRequest,
    SnapshotChunkMessage,
    SnapshotChunkReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
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
    ) -> None:
        self._state = GroupState(node, group, storage, config)
        self._election = Election(self._state, random)
        self._receiver = SnapshotReceiver(self._state)
        self._follower = Follower(self._state, self._receiver)
        self._persistence = Persistence(self._state, self._receiver)
        # Exactly while role is LEADER, and exactly while it is PRE_CANDIDATE or CANDIDATE.
        self._leadership: Leadership | None = None
        self._ballot: Ballot | None = None
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
    def leader(self) -> NodeId:
        """Who leads in this term, NOBODY if that is not known."""
        return self._state.leader

    @property
    def commit_index(self) -> LogIndex:
        return self._state.log.commit_index

    @property
    def last_index(self) -> LogIndex:
        return self._state.log.last_index

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
        )

    # -- what is asked of it

    def propose(self, data: bytes) -> LogIndex:
        """Append an entry; where it will stand if this leader commits it. Raises NotLeader, ProposalDropped."""
        return self._lead().propose(data)

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

    def _lead(self) -> Leadership:
        if self._leadership is None:
            raise NotLeader(self._state.leader)
        return self._leadership

    def read_index(self, context: int) -> None:
        """Ask up to where the state machine must have applied for a linearizable read (`ReadState`).

        Dropped without an answer if there is no leader or leadership moves; whoever asked retries.
        """
        state = self._state
        if self._leadership is not None:
            self._leadership.read_index(context, state.node)
        elif state.leader:
            state.outbox.append(ReadIndexRequest(state.group, state.node, state.leader, state.term, context))

    def step_down(self) -> None:
        """Stop leading without a new term, and ask the voter with most of the log to take over."""
        if self._leadership is not None:
            self._leadership.hand_over()
            self._become_follower(self._state.term, NOBODY)

    def campaign(self) -> None:
        """Start a pre-vote now, if this member is a voter that does not lead."""
        if self._may_campaign():
            self._become_pre_candidate()

    def snapshot_created(self, index: LogIndex, data: bytes) -> None:
        """The state machine's index as of applied `index`; older than the latest snapshot: ignored."""
        self._persistence.snapshot_created(index, data)

    def compact_payloads(self, delete: Sequence[LogIndex], replace: Sequence[Entry]) -> None:
        """Payloads at or below the latest snapshot that died or shrank."""
        self._persistence.compact_payloads(delete, replace)

    # -- time and connections

    def tick(self) -> None:
        if self._leadership is not None:
            if not self._leadership.tick():
                self._become_follower(self._state.term, NOBODY)
        elif self._election.tick():
            if self._may_campaign():
                self._become_pre_candidate()
            else:
                self._election.restart()
                self._forget_silent_leader()

    def _forget_silent_leader(self) -> None:
        """A learner has no elections, but must not send reads to a leader that is gone."""
        self._state.leader = NOBODY

    def peer_disconnected(self, peer: NodeId) -> None:
        """The connection to `peer` closed: if it led, elect another without waiting for its silence."""
        state = self._state
        if self._leadership is not None:
            self._leadership.peer_disconnected(peer)
        elif peer == state.leader:
            state.leader = NOBODY
            deferred = self._election.leader_lost(peer)
            if self._election.is_due():
                self.campaign()
            elif deferred is not None:
                self._pre_vote_requested(deferred)

    def peer_connected(self, peer: NodeId) -> None:
        self._election.connected(peer)
        if self._leadership is not None:
            self._leadership.peer_connected(peer)

    # -- what comes out

    def has_ready(self) -> bool:
        state = self._state
        leadership = self._leadership
        return bool(
            state.outbox
            or state.log.emitted_index < state.log.commit_index
            or (leadership is not None and leadership.has_work)
            or state.read_states
            or self._restored
            or self._told != (state.role, state.term, state.leader)
        )

    def ready(self) -> Ready:
        """What to do now; it is given out once. `committed` is bounded, see `has_ready` for more."""
        state = self._state
        if self._leadership is not None and self._leadership.has_work:
            self._leadership.collect()
        change: RoleChange | None = None
        now = (state.role, state.term, state.leader)
        if now != self._told:
            self._told = now
            change = RoleChange(*now)
        messages, state.outbox = state.outbox, []
        read_states, state.read_states = state.read_states, []
        restored, self._restored = self._restored, None
        committed = state.log.take_committed(state.config.max_apply_bytes)
        return Ready(messages, committed, read_states, change, restored)

    def has_persist(self) -> bool:
        """True if `take_persist` would give something."""
        return self._persistence.has_write(self._holds_snapshot())

    def take_persist(self) -> Persist | None:
        """Everything that must be durable now; None while one is out or there is nothing."""
        return self._persistence.take(self._holds_snapshot())

    def _holds_snapshot(self) -> bool:
        return self._leadership is not None and self._leadership.is_sending_snapshot()

    def persisted(self, persist: Persist) -> None:
        """It is durable; its messages may leave."""
        state = self._state
        restored = self._persistence.done(persist)
        if restored is not None:
            self._restored = restored
        if self._leadership is not None:
            self._leadership.advance_commit()
            self._leave_if_dismissed()
        elif state.role is Role.CANDIDATE and state.own_vote_is_durable():
            self._count_vote(state.node, True)

    # -- messages

    def step(self, message: Message) -> None:
        """Take in a message from a peer."""
        state = self._state
        assert message.group == state.group
        assert message.target == state.node
        kind = type(message)
        if message.term != state.term and not self._admit(message):
            return
        _HANDLERS[kind](self, message)

    def _admit(self, message: Message) -> bool:
        """Judge a message of another term; True if it is to be handled, in the term that then is."""
        state = self._state
        if message.term < state.term:
            if type(message) in _FROM_LEADER:
                # A leader of the past learns that it is one; without this, pre-votes could not depose it.
                self._follower.refuse(message.source, LogIndex(0), Term(0))
            return type(message) in (PreVoteRequest, VoteRequest)
        if type(message) is PreVoteRequest or (type(message) is PreVoteReply and message.granted):
            return True
        if type(message) is VoteRequest and self._election.is_loyal() and not message.transfer:
            return False
        self._become_follower(message.term, NOBODY)
        return True

    def _hear_leader(self, leader: NodeId) -> bool:
        """A message of this term's leader came; False if it was on its way when the connection broke."""
        state = self._state
        if self._election.is_stale(leader):
            return False
        assert state.role is not Role.LEADER, f"two leaders in term {state.term}"
        if state.role is not Role.FOLLOWER:
            self._become_follower(state.term, leader)
        elif state.leader != leader:
            assert state.leader == NOBODY, f"two leaders in term {state.term}"
            state.leader = leader
        self._election.heard_leader()
        return True

    def _appended(self, message: Append) -> None:
        if self._hear_leader(message.source):
            self._follower.append(message)

    def _heartbeat(self, message: Heartbeat) -> None:
        if self._hear_leader(message.source):
            self._follower.heartbeat(message)

    def _chunk(self, message: SnapshotChunkMessage) -> None:
        if self._hear_leader(message.source):
            self._receiver.receive(message)

    def _append_replied(self, message: AppendReply) -> None:
        if self._leadership is not None:
            self._leadership.append_replied(message)
            self._leave_if_dismissed()

    def _heartbeat_replied(self, message: HeartbeatReply) -> None:
        if self._leadership is not None:
            self._leadership.heartbeat_replied(message)

    def _chunk_replied(self, message: SnapshotChunkReply) -> None:
        if self._leadership is not None:
            self._leadership.chunk_replied(message)

    def _read_requested(self, message: ReadIndexRequest) -> None:
        if self._leadership is not None:
            self._leadership.read_index(message.context, message.source)

    def _read_answered(self, message: ReadIndexReply) -> None:
        self._state.read_states.append(ReadState(message.context, message.index))

    # -- elections

    def _pre_vote_requested(self, message: PreVoteRequest) -> None:
        state, election = self._state, self._election
        if message.term <= state.term:
            self._answer_pre_vote(message.source, state.term, False)
        elif election.is_loyal():
            election.defer(message)
        elif state.log.is_current(message.last_index, message.last_term):
            self._answer_pre_vote(message.source, message.term, True)
        else:
            self._answer_pre_vote(message.source, state.term, False)
            if election.waits_by_rank():
                # Whoever asked cannot win against this log: do not wait for the turn.
                self.campaign()

    def _answer_pre_vote(self, candidate: NodeId, term: Term, granted: bool) -> None:
        state = self._state
        reply = PreVoteReply(state.group, state.node, candidate, term, granted)
        if granted:
            # It promises nothing, so nothing has to be durable.
            state.outbox.append(reply)
        else:
            state.reply(reply)

    def _pre_vote_answered(self, message: PreVoteReply) -> None:
        state = self._state
        if state.role is Role.PRE_CANDIDATE and (not message.granted or message.term == state.term + 1):
            self._count_vote(message.source, message.granted)

    def _vote_requested(self, message: VoteRequest) -> None:
        state = self._state
        granted = message.term == state.term and self._election.may_vote(message)
        if granted:
            state.vote = message.source
            self._election.restart()
        state.reply(VoteReply(state.group, state.node, message.source, state.term, granted))

    def _vote_answered(self, message: VoteReply) -> None:
        if self._state.role is Role.CANDIDATE:
            self._count_vote(message.source, message.granted)

    def _timeout_now(self, message: TimeoutNow) -> None:
        if self._may_campaign():
            self._become_candidate(transfer=True)

    def _count_vote(self, voter: NodeId, granted: bool) -> None:
        state, ballot = self._state, self._ballot
        assert ballot is not None
        ballot.record(voter, granted)
        if ballot.lost():
            self._become_follower(state.term, NOBODY)
        elif ballot.won():
            if state.role is Role.PRE_CANDIDATE:
                self._become_candidate(transfer=False)
            elif state.own_vote_is_durable():
                self._become_leader()

    def _may_campaign(self) -> bool:
        state = self._state
        return (
            state.role is not Role.LEADER
            and state.membership.is_needed(state.node, state.log.commit_index)
            and not self._receiver.refuses_appends()
        )

    # -- moves

    def _become_follower(self, term: Term, leader: NodeId) -> None:
        state = self._state
        assert term >= state.term
        if term > state.term:
            state.term, state.vote = term, NOBODY
        state.role, state.leader = Role.FOLLOWER, leader
        self._leadership = None
        self._ballot = None
        self._election.restart()

    def _become_pre_candidate(self) -> None:
        state, log = self._state, self._state.log
        state.role, state.leader = Role.PRE_CANDIDATE, NOBODY
        self._election.restart()
        self._ballot = Ballot(state.configuration)
        for voter in self._other_voters():
            state.outbox.append(
                PreVoteRequest(state.group, state.node, voter, Term(state.term + 1), log.last_index, log.last_term)
            )
        self._count_vote(state.node, True)

    def _become_candidate(self, *, transfer: bool) -> None:
        state, log = self._state, self._state.log
        state.term, state.vote = Term(state.term + 1), state.node
        state.role, state.leader = Role.CANDIDATE, NOBODY
        self._election.restart()
        # The requests may leave before the own vote is durable: until it is, this member does not win.
        self._ballot = Ballot(state.configuration)
        for voter in self._other_voters():
            state.outbox.append(
                VoteRequest(state.group, state.node, voter, state.term, log.last_index, log.last_term, transfer)
            )

    def _become_leader(self) -> None:
        state = self._state
        state.role, state.leader = Role.LEADER, state.node
        self._ballot = None
        self._leadership = Leadership(state)

    def _other_voters(self) -> list[NodeId]:
        return [voter for voter in all_voters(self._state.configuration) if voter != self._state.node]

    def _leave_if_dismissed(self) -> None:
        if self._leadership is not None and self._leadership.is_dismissed():
            self.step_down()


_FROM_LEADER = (Append, Heartbeat, SnapshotChunkMessage)

_HANDLERS: dict[type[Message], Callable[[RaftGroup, Any], None]] = {
    Append: RaftGroup._appended,
    AppendReply: RaftGroup._append_replied,
    Heartbeat: RaftGroup._heartbeat,
    HeartbeatReply: RaftGroup._heartbeat_replied,
    PreVoteRequest: RaftGroup._pre_vote_requested,
    PreVoteReply: RaftGroup._pre_vote_answered,
    VoteRequest: RaftGroup._vote_requested,
    VoteReply: RaftGroup._vote_answered,
    SnapshotChunkMessage: RaftGroup._chunk,
    SnapshotChunkReply: RaftGroup._chunk_replied,
    TimeoutNow: RaftGroup._timeout_now,
    ReadIndexRequest: RaftGroup._read_requested,
    ReadIndexReply: RaftGroup._read_answered,
}
