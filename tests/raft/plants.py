"""Mistakes put into consensus on purpose: what its simulation must find.

Law: each is a small one, of the kind that is made, and is taken out again when its context ends.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from cluster.raft.leadership import Leadership
from cluster.raft.membership import MembershipHistory, quorum_value
from cluster.raft.persistence import Persistence
from cluster.raft.ready import Persist
from cluster.raft.storage import GroupWrite
from cluster.raft.types import Configuration, LogIndex, NodeId
from tests.patched import patched
from tests.raft.simulate import Kind

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


def change_not_undone() -> AbstractContextManager[None]:
    """A change of members whose entry is truncated stays in force until the next one."""
    truncate_from = MembershipHistory.truncate_from

    def forgetful(self: MembershipHistory, index: LogIndex) -> bool:
        before = self.current
        changed = truncate_from(self, index)
        self.current = before
        return changed

    return patched(MembershipHistory, "truncate_from", forgetful)


def snapshot_of_members_before() -> AbstractContextManager[None]:
    """A snapshot that ends with a change of members carries those before it."""
    at = MembershipHistory.at

    def late(self: MembershipHistory, index: LogIndex) -> Configuration:
        return at(self, LogIndex(max(index - 1, self._entries[0][0])))

    return patched(MembershipHistory, "at", late)


def words_with_a_vote() -> AbstractContextManager[None]:
    """Where a vote goes before the entries, what waits for those leaves with it."""
    offer = Persistence._offer

    def hasty(self: Persistence, write: GroupWrite, *, with_messages: bool = True) -> Persist:
        return offer(self, write)

    return patched(Persistence, "_offer", hasty)


class Planted(NamedTuple):
    plant: Plant
    kind: Kind = "common"
    """Of the storms that show it."""


PLANTS: dict[str, Planted] = {
    "an old term's entry committed by counting": Planted(old_term_committed_by_counting),
    "a read without a round": Planted(read_without_a_round),
    "a change of members not undone": Planted(change_not_undone, "turnover"),
    "a snapshot of the members before": Planted(snapshot_of_members_before, "turnover"),
    "what waits for entries leaves with a vote": Planted(words_with_a_vote, "full"),
}
"""By mistake."""
