"""Messages of lost home nodes on their way back through the log.

Law: they wait for the batches that the node had sent before it was lost. So what it settled or gave back itself
counts first, and cannot hit a later delivery.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from cluster.broker.shard.entry import Batch


@dataclass(frozen=True, slots=True)
class Orphans:
    """What one node held. `barrier` is the (incarnation, number) of its last batch that the leader received.

    triples  u64 (queue, first seq, count), as in `LeaderOps.returns`
    """

    node: int
    barrier: tuple[int, int]
    triples: list[int]


class Orphanage:
    """Orphans that no entry holds yet, oldest first. Bounded by what is unacked."""

    def __init__(self) -> None:
        self._waiting: list[Orphans] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, orphans: Orphans) -> None:
        self._waiting.append(orphans)

    def take(self, batches: Collection[Batch], rows_max: int) -> list[Orphans]:
        """So many triples of those whose node has no earlier batch among `batches`; the rest waits for the next."""
        due: list[Orphans] = []
        later: list[Orphans] = []
        for o in self._waiting:
            early = any(b.node == o.node and (b.incarnation, b.number) <= o.barrier for b in batches)
            count = 0 if early else min(3 * rows_max, len(o.triples))
            rows_max -= count // 3
            if count:
                due.append(replace(o, triples=o.triples[:count]))
            if count < len(o.triples):
                later.append(replace(o, triples=o.triples[count:]) if count else o)
        self._waiting = later
        return due

    def put_back(self, taken: list[Orphans]) -> None:
        """The entry that was to hold them was refused."""
        self._waiting[:0] = taken
