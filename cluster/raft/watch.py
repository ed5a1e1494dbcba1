"""Whether a leader is alive, when to stand for election, and whether to vote for somebody else.

Law: a voter that heard from its leader within `election_ticks` helps nobody else to be elected, unless the
leader itself asked for it (Raft thesis §4.2.3, §6.4.1, §9.6); losing the leader's connection ends that at
once. A vote goes once per term, to a log at least as up to date as the voter's own (Raft paper §5.2, §5.4.1).
A member under repair votes for nobody.
Nothing is decided by the clock: ticks come in, random numbers come from the injected source.
"""

from __future__ import annotations

from random import Random

from cluster.raft.membership import all_voters
from cluster.raft.messages import PreVoteRequest, VoteRequest
from cluster.raft.ready import Role
from cluster.raft.state import GroupState
from cluster.raft.types import NOBODY, NodeId

_TICKS_PER_RANK = 2
"""Survivors of a leader start their elections so far apart, enough for one of them to win."""
_STALE_TICKS = 2
"""After its connection broke, messages of the old leader that were already received are passed over this
long: they say nothing about whether it lives."""


class LeaderWatch:
    """Timers and judgement of one voter; see `Election` for what it does about it."""

    __slots__ = (
        "_deadline",
        "_deferred",
        "_elapsed",
        "_lost_leader",
        "_lost_ticks",
        "_random",
        "_state",
    )

    def __init__(self, state: GroupState, random: Random) -> None:
        self._state = state
        self._random = random
        self._elapsed = 0
        self._deadline = 0
        self._lost_leader = NOBODY
        self._lost_ticks = 0
        # The latest pre-vote that was refused only because the leader had been heard from.
        self._deferred: PreVoteRequest | None = None
        self.restart()

    def restart(self) -> None:
        """Wait for a leader, 1..2 times `election_ticks`."""
        ticks = self._state.config.election_ticks
        self._elapsed = 0
        self._deadline = ticks + self._random.randrange(ticks)

    def heard_leader(self) -> None:
        self._deferred = None
        if self._deadline < self._state.config.election_ticks:
            self.restart()
        self._elapsed = 0

    def tick(self) -> bool:
        """True if it is time to start an election."""
        self._elapsed += 1
        if self._lost_leader:
            self._lost_ticks += 1
            if self._lost_ticks >= _STALE_TICKS:
                self._lost_leader = NOBODY
        return self._elapsed >= self._deadline

    # -- broken connections

    def leader_lost(self, leader: NodeId) -> PreVoteRequest | None:
        """The connection to the leader broke: wait by rank instead of by chance.

        Returns a pre-vote request that was refused for that leader's sake, to be judged again.
        """
        voters = [voter for voter in all_voters(self._state.configuration) if voter != leader]
        self.restart()
        if self._state.node in voters:
            rank = (voters.index(self._state.node) - self._state.group) % len(voters)
            self._deadline = _TICKS_PER_RANK * rank
        self._lost_leader = leader
        self._lost_ticks = 0
        deferred, self._deferred = self._deferred, None
        return deferred

    def is_due(self) -> bool:
        return self._elapsed >= self._deadline

    def waits_by_rank(self) -> bool:
        """True between the loss of a leader's connection and this voter's turn."""
        return self._deadline < self._state.config.election_ticks

    def connected(self, peer: NodeId) -> None:
        if peer == self._lost_leader:
            self._lost_leader = NOBODY

    def is_stale(self, source: NodeId) -> bool:
        """True for a leader whose connection just broke: what it says was said before that."""
        return source == self._lost_leader

    # -- votes

    def is_loyal(self) -> bool:
        """True while a living leader is followed (or is this very member)."""
        state = self._state
        if state.role is Role.LEADER:
            return True
        return state.leader != NOBODY and self._elapsed < state.config.election_ticks

    def defer(self, request: PreVoteRequest) -> None:
        self._deferred = request

    def may_vote(self, request: VoteRequest) -> bool:
        """Judge a request of this very term."""
        state = self._state
        if state.repair is not None:
            return False
        free = state.vote == request.source or (state.vote == NOBODY and state.leader == NOBODY)
        return free and state.log.is_current(request.last_index, request.last_term)
