"""What is left of entries: which are worth rewriting, and their rewritten form.

Law: a rewritten entry has every record that is alive, in the slot where it was; the other slots are empty. It is judged
by this replica alone and changes nothing that replicas share. An entry of which not everything alive can be accounted
for by queues (what a transaction has prepared) is left as it is. So is one that was rewritten by who had settled more:
a replica that has just come back, or had its entries from another, is behind what it holds. Each entry is read a few
times in its life at most: again only when a fraction is left of what was alive when it was judged last.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from struct import Struct

import msgpack

from cluster.broker.shard.columns import pack_column
from cluster.broker.shard.entry import ENTRY_VERSION, EntryPayloads
from cluster.broker.shard.state import ShardState

FEW = 4
"""An entry is looked at when at most one in so many of its messages is left, and rewritten when that is at most one in
so many of its bytes."""
FEW_WHERE_SHORT = 1.5
"""Where the disk is short: reading and writing is less of an evil."""
ENTRIES_A_ROUND = 64
"""Entries that are looked at in one go."""
_LENGTH = Struct("<I")
Slots = list[tuple[int, int]]
"""(first slot, count), ascending and apart."""


class Compaction:
    """The judgements of one replica. Bounded by the number of live entries."""

    def __init__(self) -> None:
        self._judged: dict[int, int] = {}
        """Entry -> messages that were alive in it when it was judged, or written. Those of an earlier life of the
        process are not known and are judged once."""

    def written(self, index: int, alive: int) -> None:
        """A new entry."""
        self._judged[index] = alive

    def forget(self, dead: Sequence[int]) -> None:
        """These entries are gone."""
        for index in dead:
            self._judged.pop(index, None)

    def candidates(self, state: ShardState, up_to: int, few: float = FEW) -> list[int]:
        """Live entries at or below `up_to` to be looked at now, `ENTRIES_A_ROUND` at most."""
        judged = self._judged
        found: list[int] = []
        for index, alive in state.live.items():
            if index <= up_to and alive * few <= judged.get(index, 1 << 62):
                found.append(index)
                if len(found) == ENTRIES_A_ROUND:
                    break
        return found

    def survivors(self, state: ShardState, indexes: Sequence[int]) -> dict[int, Slots]:
        """The slots that are alive in each of these entries; they count as judged. Some may be left out."""
        wanted = set(indexes)
        found: dict[int, list[tuple[int, int]]] = {index: [] for index in indexes}
        for queue in state.queues.values():
            for index, slot, count in queue.alive_in(wanted):
                found[index].append((slot, count))
        for index in indexes:
            self._judged[index] = state.live[index]
            if sum(count for _, count in found[index]) != state.live[index]:
                del found[index]
        return {index: _merged(slots) for index, slots in found.items()}


def _merged(slots: list[tuple[int, int]]) -> Slots:
    """A record may be in several queues."""
    merged: Slots = []
    for slot, count in sorted(slots):
        end = slot + count
        if merged and slot <= sum(merged[-1]):
            merged[-1] = (merged[-1][0], max(end, sum(merged[-1])) - merged[-1][0])
        else:
            merged.append((slot, count))
    return merged


def remnant(data: bytes, alive: Slots, few: float = FEW) -> bytes | None:
    """An entry with these slots alone; None if that saves too little, or if it has not all of them any more.

    Raises EntryCorrupt.
    """
    payloads = EntryPayloads(data)
    if sum(alive[-1]) > len(payloads.sizes):
        return None
    sizes = array("I", bytes(4 * sum(alive[-1])))
    records: list[bytes | memoryview] = []
    for slot, count in alive:
        sizes[slot : slot + count] = payloads.sizes[slot : slot + count]
        records.append(payloads.slice(slot, count)[1])
    head: bytes = msgpack.packb([ENTRY_VERSION, 0, [], None, pack_column(sizes)])
    rewritten = b"".join([_LENGTH.pack(len(head)), head, *records])
    return rewritten if len(rewritten) * few <= len(data) else None
