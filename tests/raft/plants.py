"""Mistakes put into consensus on purpose: what its simulation must find.

Law: each is a small one, of the kind that is made, and is taken out again when its context ends.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from cluster.raft.leadership import Leadership
from cluster.raft.membership import quorum_value
from cluster.raft.types import LogIndex, NodeId
from tests.patched import patched

Plant = Callable[[], AbstractContextManager[None]]


def old_term_committed_by_counting() -> AbstractContextManager[None]:
    """A leader takes an entry of an earlier term for committed once a majority has it (Raft paper figure 8)."""
    advance = Leadership.advance_commit

    def eager(self: Leadership) -> None:
        log = self._state.log
        index = quorum_value(self._state.configuration, self._match_of)
        if log.commit_index < index < self._opening_index:
            log.commit_to(LogIndex(index))
            self.has_work = True
        advance(self)

    return patched(Leadership, "advance_commit", eager)


def read_without_a_round() -> AbstractContextManager[None]:
    """Who leads answers a read at once, and asks nobody whether it still leads."""

    def hasty(self: Leadership, context: int, asker: NodeId) -> None:
        self._reads.answer(context, asker, self._state.log.commit_index)

    return patched(Leadership, "read_index", hasty)


PLANTS: dict[str, Plant] = {
    "an old term's entry committed by counting": old_term_committed_by_counting,
    "a read without a round": read_without_a_round,
}
"""By mistake."""
