"""What a shard's replicas know of transactions over several shards (two phases, ADR 9).

Law: part of the shard's state: it changes by entries alone. A prepared part is done or forgotten once; until then its
records stay alive in their entry and the messages that it answers are locked: nobody gives them back. A transaction
that is decided here is never fenced, and one that is fenced is never decided. A fence holds for all that its session
numbered up to it and has not decided: so one number for each home node is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.broker.shard.columns import pack_column, unpack_column
from cluster.broker.shard.entry import BatchHead
from cluster.broker.shard.tx_ops import Refusal, TxId, TxOp

PREPARED_MAX = 1000
"""Prepared parts in a shard, and PREPARED_BYTES_MAX their records; beyond it a transaction is refused."""
PREPARED_BYTES_MAX = 256 << 20
DECISIONS_MAX = 10_000
"""Decisions that are not forgotten yet; beyond it a transaction is refused."""


@dataclass(slots=True, eq=False)
class Prepared:
    """A part that waits: what it will do, in which entry its records are, and who knows the outcome."""

    batch: BatchHead
    index: int
    coordinator: int

    @property
    def births(self) -> int:
        """Messages that it will enqueue."""
        return sum(self.batch.runs[2::3])

    def answers(self) -> list[tuple[int, int, int]]:
        """(queue, first seq, end) of the deliveries that it answers."""
        rows = self.batch.settles + self.batch.rejects
        return [(rows[i], rows[i + 1], rows[i + 1] + rows[i + 2]) for i in range(0, len(rows), 3)]


class Transactions:
    """One shard's."""

    def __init__(self) -> None:
        self.prepared: dict[TxId, Prepared] = {}
        """In the order of their entries."""
        self.bytes = 0
        """Of their records."""
        self.decisions: dict[TxId, tuple[int, ...]] = {}
        """Committed here -> the other participants, of which some may not know yet."""
        self._fences: dict[int, tuple[int, int]] = {}
        """Home node -> (incarnation, number): what is not decided up to here never will be. Bounded by the members."""

    def __bool__(self) -> bool:
        return bool(self.prepared or self.decisions)

    def judge(self, op: TxOp, tx: TxId, batch: BatchHead) -> Refusal | None:
        """Can a part be taken in that has a batch of its own?"""
        if batch.refused:
            return Refusal(unpack_column("Q", batch.refused)[0])
        if op is TxOp.DECIDE:
            if self.is_fenced(tx):
                return Refusal.LATE
            return Refusal.BUSY if len(self.decisions) >= DECISIONS_MAX else None
        if len(self.prepared) >= PREPARED_MAX or self.bytes + batch.size > PREPARED_BYTES_MAX:
            return Refusal.BUSY
        return None

    def is_fenced(self, tx: TxId) -> bool:
        """Will it never be decided?"""
        return tx not in self.decisions and tx[1:] <= self._fences.get(tx.node, (0, 0))

    def fence(self, tx: TxId) -> None:
        if tx not in self.decisions:
            self._fences[tx.node] = max(tx[1:], self._fences.get(tx.node, (0, 0)))

    def prepare(self, tx: TxId, part: Prepared) -> None:
        self.prepared[tx] = part
        self.bytes += part.batch.size

    def decide(self, tx: TxId, participants: Sequence[int]) -> None:
        if participants:
            self.decisions[tx] = tuple(participants)

    def conclude(self, tx: TxId) -> Prepared | None:
        """Its time of waiting is over. None: it does not wait here."""
        part = self.prepared.pop(tx, None)
        if part is not None:
            self.bytes -= part.batch.size
        return part

    def to_wire(self) -> list[object]:
        """Canonical."""
        return [
            [[*tx, part.index, part.coordinator, *_head_to_wire(part.batch)] for tx, part in self.prepared.items()],
            [[*tx, list(shards)] for tx, shards in sorted(self.decisions.items())],
            [[node, *fence] for node, fence in sorted(self._fences.items())],
        ]

    @classmethod
    def from_wire(cls, wire: Sequence[Sequence[Sequence[object]]]) -> Transactions:
        prepared, decisions, fences = wire
        table = cls()
        for node, incarnation, number, index, coordinator, *head in prepared:
            tx = TxId(node, incarnation, number)  # type: ignore[arg-type]
            table.prepare(tx, Prepared(_head_from_wire(tx, head), index, coordinator))  # type: ignore[arg-type]
        for node, incarnation, number, shards in decisions:
            table.decisions[TxId(node, incarnation, number)] = tuple(shards)  # type: ignore[arg-type]
        for node, incarnation, number in fences:
            table._fences[node] = (incarnation, number)  # type: ignore[index, assignment]
        return table


def _head_to_wire(batch: BatchHead) -> list[object]:
    columns = (batch.runs, batch.settles, batch.rejects, batch.marks)
    return [batch.number, batch.first_slot, batch.slots, batch.size, *[pack_column(column) for column in columns]]


def _head_from_wire(tx: TxId, wire: Sequence[object]) -> BatchHead:
    number, first_slot, slots, size, *columns = wire
    runs, settles, rejects, marks = [unpack_column("Q", column) for column in columns]  # type: ignore[arg-type]
    none = unpack_column("Q", b"")
    return BatchHead(
        tx.node,
        tx.incarnation,
        number,  # type: ignore[arg-type]
        first_slot,  # type: ignore[arg-type]
        slots,  # type: ignore[arg-type]
        runs,
        settles,
        none,
        rejects,
        marks,
        b"",
        none,
        size,  # type: ignore[arg-type]
    )
