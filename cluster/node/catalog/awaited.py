"""Whose copies of the catalog a change of this node waits for, and what they have applied.

Law: a peer is waited for from when it says what it has applied until its link goes down at this end, and then for
`PARTED_SECONDS` more: at its end the link may still be up, and it may take its copy for the latest (see `freshness`).
One that had left service says so, and takes its copy for nothing. Those that the life before this one of the node has
waited for are not known any more: a later life begins by waiting as long for all of them, or until all members have
said what they have applied. Each wait has its end, that of a peer whose link came up again and that has said nothing
since as well.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable

from cluster.raft.types import NOBODY, NodeId

FRESH_SECONDS = 0.5
"""How long a copy may be taken for the latest by who misses nothing that is known to be there."""
PARTED_SECONDS = 1.2 * FRESH_SECONDS
"""How long a peer whose link went down is still waited for. (More than `FRESH_SECONDS`, for clocks of different
speed.)"""


class Awaited:
    """Of one node. Bounded by its peers."""

    __slots__ = ("_applied", "_aside", "_until")

    def __init__(self, aside: Container[NodeId]) -> None:
        """`aside`: who has left service."""
        self._aside = aside
        self._applied: dict[NodeId, int] = {}
        """What the copy of each that is waited for has applied, as far as this node was told."""
        self._until: dict[NodeId, float] = {}
        """Of those whose links went down, and who have said nothing since: when waiting for them ends."""

    @property
    def seen(self) -> float:
        """Up to where all have applied; one that has said nothing yet is not waited for."""
        return min(self._applied.values(), default=math.inf)

    def live_again(self, now: float) -> None:
        """A later life of the node begins; `now`, as everywhere here, is monotonic seconds."""
        self._applied[NOBODY] = 0
        self._until[NOBODY] = now + PARTED_SECONDS

    @property
    def is_unsure(self) -> bool:
        """Is it unknown whom the life before has waited for?"""
        return NOBODY in self._applied

    def recall(self, members: Iterable[NodeId]) -> None:
        """It was some of these: they are the others that belong to the cluster where the latest change here is made."""
        if all(member in self._applied for member in members):
            self._drop(NOBODY)

    def told(self, peer: NodeId, index: int) -> None:
        """A peer whose link is up says what it has applied."""
        self._applied[peer] = max(index, self._applied.get(peer, 0))
        self._until.pop(peer, None)

    def link_down(self, peer: NodeId, now: float) -> None:
        if peer in self._aside:
            self._drop(peer)
        elif peer in self._applied:
            self._until.setdefault(peer, now + PARTED_SECONDS)

    def tick(self, now: float) -> bool:
        """Was anybody waited for long enough?"""
        due = [peer for peer, until in self._until.items() if until <= now]
        for peer in due:
            self._drop(peer)
        return bool(due)

    def _drop(self, peer: NodeId) -> None:
        self._applied.pop(peer, None)
        self._until.pop(peer, None)
