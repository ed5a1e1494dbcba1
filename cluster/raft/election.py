"""How a member becomes leader and ceases to be one: pre-vote, vote, and the moves between the roles.

Law: a pre-vote is won before a term is opened (Raft thesis §9.6). A member leads only by a majority of votes
of which its own is durable, so that no restart makes it lead the same term twice. `leadership` exists exactly
while the role is LEADER, the ballot exactly while it is PRE_CANDIDATE or CANDIDATE.

    FOLLOWER      -> PRE_CANDIDATE  its time came, or it is told to stand
    FOLLOWER      -> CANDIDATE      its leader hands over (TimeoutNow)
    PRE_CANDIDATE -> CANDIDATE      a majority would vote for it
    CANDIDATE     -> LEADER         a majority did
    CANDIDATE     -> PRE_CANDIDATE  nobody won in time, and somebody voted otherwise
    any           -> FOLLOWER       a higher term, a leader of this term, a lost ballot, a lost quorum

A disk may need longer for a vote than `election_ticks`: another term would only be another write for it. So nobody
stands again before what it promised last is durable, and a candidate that nobody has refused asks again in its term
and helps nobody else to another one.
"""

from __future__ import annotations

from random import Random

from cluster.raft.leadership import Leadership
from cluster.raft.membership import Ballot, all_voters
from cluster.raft.messages import PreVoteReply, PreVoteRequest, VoteReply, VoteRequest
from cluster.raft.ready import Role
from cluster.raft.snapshot_receiver import SnapshotReceiver
from cluster.raft.state import GroupState
from cluster.raft.types import NOBODY, NodeId, Term
from cluster.raft.watch import LeaderWatch


class Election:
    """See the law of this file."""

    __slots__ = ("_ballot", "_receiver", "_state", "_watch", "leadership")

    def __init__(self, state: GroupState, receiver: SnapshotReceiver, random: Random) -> None:
        self._state = state
        self._receiver = receiver
        self._watch = LeaderWatch(state, random)
        self._ballot: Ballot | None = None
        self.leadership: Leadership | None = None

    # -- what happens around it

    def tick(self, beats: int) -> None:
        if self.leadership is not None:
            if not self.leadership.tick(beats):
                self.follow(self._state.term, NOBODY)
        elif self._watch.tick():
            if not self.may_stand():
                # Without a vote it can only forget a leader that is silent, and wait for the next.
                self.follow(self._state.term, NOBODY)
            elif self._state.hard_state_is_durable():
                if self._is_undisputed():
                    self._watch.restart()
                    self._solicit(transfer=False)
                else:
                    self._ask_pre_votes()

    def step_down(self) -> None:
        """Stop leading without a new term, and ask the voter with most of the log to take over."""
        if self.leadership is not None:
            self.leadership.hand_over()
            self.follow(self._state.term, NOBODY)

    def leave_if_dismissed(self) -> None:
        """Stop leading once the configuration that leaves this member out is committed."""
        if self.leadership is not None and self.leadership.is_dismissed():
            self.step_down()

    def stand(self) -> None:
        """Start a pre-vote now, if this member is a voter that does not lead."""
        if self.may_stand():
            self._ask_pre_votes()

    def may_stand(self) -> bool:
        state = self._state
        return (
            state.role is not Role.LEADER
            and state.repair is None
            and state.membership.is_needed(state.node, state.log.commit_index)
            and not self._receiver.refuses_appends()
        )

    def hear_leader(self, leader: NodeId) -> bool:
        """A message of this term's leader came; False if it was on its way when the connection broke."""
        state = self._state
        if self._watch.is_stale(leader):
            return False
        assert state.role is not Role.LEADER, f"two leaders in term {state.term}"
        if state.role is not Role.FOLLOWER:
            self.follow(state.term, leader)
        elif state.leader != leader:
            assert state.leader == NOBODY, f"two leaders in term {state.term}"
            state.leader = leader
        self._watch.heard_leader()
        return True

    def leader_lost(self, leader: NodeId) -> None:
        """The connection to this follower's leader closed."""
        self._state.leader = NOBODY
        deferred = self._watch.leader_lost(leader)
        if self._watch.is_due():
            self.stand()
        elif deferred is not None:
            self.pre_vote_requested(deferred)

    def peer_connected(self, peer: NodeId) -> None:
        self._watch.connected(peer)

    def follow(self, term: Term, leader: NodeId) -> None:
        """Become a follower, of nobody yet or of a leader known by a message of this term."""
        state = self._state
        assert term >= state.term
        if term > state.term:
            state.term, state.vote = term, NOBODY
        state.role, state.leader = Role.FOLLOWER, leader
        self.leadership = None
        self._ballot = None
        self._watch.restart()

    # -- as a voter

    def pre_vote_requested(self, message: PreVoteRequest) -> None:
        state, watch = self._state, self._watch
        if message.term <= state.term or state.repair is not None or self._is_undisputed():
            self._refuse_pre_vote(message.source)
        elif watch.is_loyal():
            watch.defer(message)
        elif state.log.is_current(message.last_index, message.last_term):
            # It promises nothing, so nothing has to be durable.
            state.outbox.append(PreVoteReply(state.group, state.node, message.source, message.term, True))
        else:
            self._refuse_pre_vote(message.source)
            if watch.waits_by_rank():
                # Whoever asked cannot win against this log: do not wait for the turn.
                self.stand()

    def _refuse_pre_vote(self, candidate: NodeId) -> None:
        state = self._state
        state.reply(PreVoteReply(state.group, state.node, candidate, state.term, False))

    def is_ignored(self, message: VoteRequest) -> bool:
        """True for a request of a later term that would depose a living leader (Raft thesis §4.2.3)."""
        return self._watch.is_loyal() and not message.transfer

    def vote_requested(self, message: VoteRequest) -> None:
        state = self._state
        granted = message.term == state.term and self._watch.may_vote(message)
        if granted:
            state.vote = message.source
            self._watch.restart()
        state.reply(VoteReply(state.group, state.node, message.source, state.term, granted))

    # -- as a candidate

    def timeout_now(self) -> None:
        """The leader asks this member to take over at once."""
        if self.may_stand():
            self._ask_votes(transfer=True)

    def pre_vote_answered(self, message: PreVoteReply) -> None:
        state = self._state
        if state.role is Role.PRE_CANDIDATE and (not message.granted or message.term == state.term + 1):
            self._count(message.source, message.granted)

    def vote_answered(self, message: VoteReply) -> None:
        if self._state.role is Role.CANDIDATE:
            self._count(message.source, message.granted)

    def own_vote_may_be_durable(self) -> None:
        """A write is done; a candidate counts itself only now."""
        state = self._state
        if state.role is Role.CANDIDATE and state.own_vote_is_durable():
            self._count(state.node, True)

    def _is_undisputed(self) -> bool:
        """Is this member a candidate that nobody has refused a vote?"""
        ballot = self._ballot
        return self._state.role is Role.CANDIDATE and ballot is not None and not ballot.is_disputed()

    def _count(self, voter: NodeId, granted: bool) -> None:
        state, ballot = self._state, self._ballot
        assert ballot is not None
        ballot.record(voter, granted)
        if ballot.lost():
            self.follow(state.term, NOBODY)
        elif ballot.won():
            if state.role is Role.PRE_CANDIDATE:
                self._ask_votes(transfer=False)
            elif state.own_vote_is_durable():
                self._lead()

    def _ask_pre_votes(self) -> None:
        state, log = self._state, self._state.log
        state.role, state.leader = Role.PRE_CANDIDATE, NOBODY
        self._watch.restart()
        self._ballot = Ballot(state.configuration)
        term = Term(state.term + 1)
        for voter in self._other_voters():
            state.outbox.append(PreVoteRequest(state.group, state.node, voter, term, log.last_index, log.last_term))
        self._count(state.node, True)

    def _ask_votes(self, *, transfer: bool) -> None:
        state = self._state
        state.term, state.vote = Term(state.term + 1), state.node
        state.role, state.leader = Role.CANDIDATE, NOBODY
        self._watch.restart()
        self._ballot = Ballot(state.configuration)
        self._solicit(transfer=transfer)

    def _solicit(self, *, transfer: bool) -> None:
        """The requests may leave before the own vote is durable: until it is, this member does not win."""
        state, log = self._state, self._state.log
        for voter in self._other_voters():
            state.outbox.append(
                VoteRequest(state.group, state.node, voter, state.term, log.last_index, log.last_term, transfer)
            )

    def _lead(self) -> None:
        state = self._state
        state.role, state.leader = Role.LEADER, state.node
        self._ballot = None
        self.leadership = Leadership(state)

    def _other_voters(self) -> list[NodeId]:
        return [voter for voter in all_voters(self._state.configuration) if voter != self._state.node]
