"""A member whose log was damaged, on its way back.

Law: it neither votes nor stands until it holds everything that it may ever have acknowledged. It trusts its term and
its vote and nothing else. What it acknowledged and a quorum committed is in the log of every leader that is elected
without its vote; so it asks the leader of its term where that log ends, takes the log from there, and is whole when
it has acknowledged that much again. Nothing of the damaged log is thrown away before a leader has answered. Until
then it takes nothing in.
"""

from __future__ import annotations

from random import Random

from cluster.raft.storage import Health
from cluster.raft.types import LogIndex, Term

_PATIENCE_ROUNDS = 6
"""Heartbeats without anything taken in after which it asks once more: an old acknowledgement that came late may have
misled the leader."""


class Repair:
    """`health` is what the store has been told, or is being told; None: nothing yet."""

    __slots__ = ("_asks", "_idle_rounds", "_matched", "_target", "_term", "health", "nonce")

    def __init__(self, health: Health | None, random: Random) -> None:
        self.health = health
        self.nonce = random.getrandbits(62)
        """Tells answers to this repair from those to an earlier one."""
        self._term = Term(0)
        self._target = LogIndex(0)
        """Where the log of the leader of `_term` ended when it was asked; without meaning while `_term` is 0."""
        self._matched = LogIndex(0)
        self._idle_rounds = 0
        self._asks = False

    def takes(self, term: Term) -> bool:
        """Has the leader of `term` said how far its log goes? If not, it is to be asked."""
        if term == self._term:
            self._idle_rounds = 0
            return True
        self._asks = self.health is not None
        return False

    def heartbeat(self, term: Term) -> None:
        """The leader of `term` lives."""
        self._idle_rounds += 1
        if term != self._term or self._idle_rounds >= _PATIENCE_ROUNDS:
            self._idle_rounds = 0
            self._asks = self.health is not None

    def take_question(self) -> bool:
        """True if the leader is to be asked now."""
        asks, self._asks = self._asks, False
        return asks

    def answered(self, term: Term, last_index: LogIndex) -> None:
        """The leader of `term` has everything up to `last_index`."""
        if term != self._term:
            self._term, self._matched = term, LogIndex(0)
        self._target = last_index
        self._idle_rounds = 0

    def matched(self, term: Term, index: LogIndex) -> None:
        """The log equals that of the leader of `term` up to `index`."""
        if term == self._term:
            self._matched = max(self._matched, index)

    def is_over(self, term: Term, stable_index: LogIndex) -> bool:
        """Is everything there, and on disk?"""
        reached = min(self._matched, stable_index)
        return self.health is Health.REBUILDING and term == self._term and reached >= self._target
