"""The shard's deterministic state machine (what every replica computes alike).

Law: the state depends on the entries alone, applied once each in log order: no clock, no hash order, no I/O.
A batch takes effect once: its number must be the session's last one plus one; a lower one was done before, and
a higher one is refused. A shard's session is numbered by what it sends: its batch of n slots takes it from number - n
or less to number, and overlaps with nothing before. `live[i]` is how many alive messages have their record in entry
i; an entry that nothing alive points to is dead and may be deleted once a snapshot covers it; what a prepared part of a
transaction will enqueue counts as alive. A queue exists from its first enqueue until its drop; the catalog says which
queues should.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

import msgpack

from cluster.broker.shard.columns import EntryCorrupt, pack_numbers, unpack_column
from cluster.broker.shard.entry import SHARD_SESSIONS, BatchHead, EntryHead, QueueId, decode_head
from cluster.broker.shard.intervals import Range
from cluster.broker.shard.queue_state import QueueState
from cluster.broker.shard.snapshot import STATE_VERSION, Draft, read_queue
from cluster.broker.shard.transactions import Prepared, Transactions
from cluster.broker.shard.tx_ops import ALONE, ROW, Refusal, TxId, TxOp

REFUSALS_KEPT = 16
"""Batches of a session whose refused publishes are remembered, the latest: more than may be in flight."""
Refusals = tuple[tuple[int, bytes], ...]
"""(batch number, `Batch.refused`) of batches of which something was refused, ascending."""
_SLOT = itemgetter(0)
"""Of a row of marks."""


@dataclass(slots=True, eq=False)
class Applied:
    """What one entry changed, for the leader. Queue ranges are in the order of the entry."""

    index: int
    enqueued: list[tuple[QueueId, int, int]] = field(default_factory=list)
    settled: list[tuple[QueueId, list[Range]]] = field(default_factory=list)
    returned: list[tuple[QueueId, list[Range], int]] = field(default_factory=list)
    """Third: the node that gave them back, 0 for the leader on behalf of a lost one."""
    rejected: list[tuple[QueueId, list[Range]]] = field(default_factory=list)
    forgiven: list[tuple[QueueId, list[Range]]] = field(default_factory=list)
    watermarks: list[QueueId] = field(default_factory=list)
    dropped: list[QueueId] = field(default_factory=list)
    """Also those that had no contents."""
    sessions: list[int] = field(default_factory=list)
    """Nodes whose session's last number has to be told to them."""
    locked: list[tuple[QueueId, list[Range], int]] = field(default_factory=list)
    """Third: the home node of the transaction that answers them."""
    unlocked: list[tuple[QueueId, list[Range]]] = field(default_factory=list)
    """Answered by a transaction that came to nothing."""
    verdicts: list[tuple[TxOp, TxId]] = field(default_factory=list)
    """What the leader said of transactions."""


class ShardState:
    """`apply` entries in order; `snapshot` / `restore` the index of what is alive."""

    def __init__(self) -> None:
        self.applied_index = 0
        self.queues: dict[QueueId, QueueState] = {}
        self.sessions: dict[int, tuple[int, int]] = {}
        """Home node -> (incarnation, number of its last batch). Bounded by the number of members and shards."""
        self.refusals: dict[int, Refusals] = {}
        """Home node -> what was refused of its last batches; only those of which something was."""
        self.transactions = Transactions()
        self.live: dict[int, int] = {}
        self.dead: list[int] = []
        """Entries that have died since the last `take_dead`, each once."""

    def apply(self, index: int, data: bytes) -> Applied:
        """Carry an entry out. Raises EntryCorrupt (and then has changed nothing)."""
        head = decode_head(data)
        self.applied_index = index
        applied = Applied(index)
        self._batches(index, head, applied)
        self._leader_ops(head, applied)
        if index not in self.live:
            self.dead.append(index)
        return applied

    def skip(self, index: int) -> None:
        """An entry without a command (a leader's no-op, a configuration)."""
        self.applied_index = index
        self.dead.append(index)

    def _batches(self, index: int, head: EntryHead, applied: Applied) -> None:
        for batch in head.batches:
            applied.sessions.append(batch.node)
            incarnation, last = self.sessions.get(batch.node, (0, 0))
            if batch.incarnation > incarnation:
                last = 0
            elif batch.incarnation < incarnation:
                continue
            if batch.node >= SHARD_SESSIONS:
                if batch.number - batch.slots < last or not batch.slots:
                    continue
            elif batch.number != last + 1:
                continue
            self.sessions[batch.node] = (batch.incarnation, batch.number)
            done = not batch.transactions or self._transact(index, batch, head.time_ms, applied)
            if batch.refused or (self.refusals and batch.node in self.refusals):
                self._remember_refused(batch, incarnation)
            if done:
                self._carry_out(index, batch, head.time_ms, applied)

    def _carry_out(
        self, index: int, batch: BatchHead, time_ms: int, applied: Applied, *, was_prepared: bool = False
    ) -> None:
        """What a batch says happens, at `time_ms`. Its records are in entry `index`."""
        runs = batch.runs
        born = 0
        for i in range(0, len(runs), 3):
            queue_id, slot, count = QueueId(runs[i]), runs[i + 1], runs[i + 2]
            queue = self.queues.get(queue_id)
            if queue is None:
                queue = self.queues[queue_id] = QueueState(queue_id)
            first = queue.enqueue(index, batch.first_slot + slot, count, time_ms)
            applied.enqueued.append((queue_id, first, first + count))
            born += count
        if born and not was_prepared:
            self.live[index] = self.live.get(index, 0) + born
        if batch.marks:
            self._mark(batch, applied.enqueued[-(len(runs) // 3) :] if runs else [], time_ms)
        if batch.settles:
            self._settle(batch.settles, applied)
        if batch.returns:
            self._give_back(batch.returns, batch.node, applied)
        if batch.rejects:
            self._reject(batch.rejects, applied)

    def _transact(self, index: int, batch: BatchHead, time_ms: int, applied: Applied) -> bool:
        """What a batch says of transactions. Is the rest of it to be carried out?"""
        rows = batch.transactions
        op, tx = TxOp(rows[0]), TxId(batch.node, batch.incarnation, rows[1])
        if op not in ALONE:
            for i in range(0, len(rows), ROW):
                self._conclude(TxOp(rows[i]), TxId(*tx[:2], rows[i + 1]), time_ms, applied)
            return True
        part = Prepared(batch, index, rows[2])
        refusal = self.transactions.judge(op, tx, batch)
        if refusal is None and self._is_taken(part):
            refusal = Refusal.TAKEN
        if refusal is not None:
            batch.refused = pack_numbers([refusal])
        elif op is TxOp.DECIDE:
            self.transactions.decide(tx, [shard for shard in rows[2::ROW] if shard])
        else:
            self._prepare(tx, part, applied)
        return refusal is None and op is TxOp.DECIDE

    def _is_taken(self, part: Prepared) -> bool:
        """Has anything that it answers been answered by others? (Where the queue is no more, that does not matter.)"""
        for queue_id, first, end in part.answers():
            queue = self.queues.get(QueueId(queue_id))
            if queue is not None and queue.free_parts(first, end) != [(first, end)]:
                return True
        return False

    def _prepare(self, tx: TxId, part: Prepared, applied: Applied) -> None:
        self.transactions.prepare(tx, part)
        if part.births:
            self.live[part.index] = self.live.get(part.index, 0) + part.births
        for queue_id, first, end in part.answers():
            queue = self.queues.get(QueueId(queue_id))
            if queue is not None:
                applied.locked.append((queue.id, queue.lock(first, end), tx.node))

    def _conclude(self, op: TxOp, tx: TxId, time_ms: int, applied: Applied) -> None:
        """Everything that can be said of a transaction when it has no batch of its own."""
        if op is TxOp.FORGET:
            self.transactions.decisions.pop(tx, None)
            return
        if op is TxOp.FENCE:
            self.transactions.fence(tx)
            return
        part = self.transactions.conclude(tx)
        if part is None:
            return
        for queue_id, first, end in part.answers():
            queue = self.queues.get(QueueId(queue_id))
            if queue is not None:
                parts = queue.unlock(first, end)
                if op is TxOp.ABORT:
                    applied.unlocked.append((queue.id, parts))
        if op is TxOp.COMMIT:
            self._carry_out(part.index, part.batch, time_ms, applied, was_prepared=True)
        elif part.births:
            self._unpin(part.index, part.births)

    def _remember_refused(self, batch: BatchHead, incarnation: int) -> None:
        known = self.refusals.pop(batch.node, ()) if batch.incarnation == incarnation else ()
        kept = [r for r in known if r[0] > batch.number - REFUSALS_KEPT]
        if batch.refused:
            kept.append((batch.number, batch.refused))
        if kept:
            self.refusals[batch.node] = tuple(kept)
        else:
            self.refusals.pop(batch.node, None)

    def _mark(self, batch: BatchHead, enqueued: Sequence[tuple[QueueId, int, int]], time_ms: int) -> None:
        marks, runs = batch.marks, batch.runs
        rows = sorted(zip(marks[::3], marks[1::3], marks[2::3], strict=True), key=_SLOT)
        for i, (queue_id, first, end) in enumerate(enqueued):
            queue = self.queues[queue_id]
            slot = runs[3 * i + 1]
            low, high = bisect_left(rows, slot, key=_SLOT), bisect_left(rows, slot + end - first, key=_SLOT)
            for at, kind, value in rows[low:high]:
                queue.mark(first + at - slot, kind, value, time_ms)

    def _reject(self, triples: array[int], applied: Applied) -> None:
        for i in range(0, len(triples), 3):
            queue = self.queues.get(QueueId(triples[i]))
            if queue is not None:
                parts = queue.reject(triples[i + 1], triples[i + 1] + triples[i + 2])
                applied.rejected.append((queue.id, parts))

    def _move(self, head: EntryHead, applied: Applied) -> None:
        """Enqueue all records whose source is alive, then settle the sources."""
        rows = unpack_column("Q", head.leader.moves)
        column = unpack_column("Q", head.leader.marks)
        marks: dict[int, list[tuple[int, int]]] = {}
        for at, kind, value in zip(column[::3], column[1::3], column[2::3], strict=True):
            marks.setdefault(at, []).append((kind, value))
        index, slot = applied.index, head.leader_slot
        leaving: list[int] = []
        born = 0
        for i in range(0, len(rows), 4):
            source = self.queues.get(QueueId(rows[i]))
            if rows[i]:
                if source is None or not source.alive_parts(rows[i + 1], rows[i + 1] + 1):
                    continue
                leaving += (rows[i], rows[i + 1], 1)
            target_id = QueueId(rows[i + 2])
            target = self.queues.get(target_id)
            if target is None:
                target = self.queues[target_id] = QueueState(target_id)
            seq = target.enqueue(index, slot + rows[i + 3], 1, head.time_ms)
            for kind, value in marks.get(rows[i + 3], ()):
                target.mark(seq, kind, value, head.time_ms)
            applied.enqueued.append((target_id, seq, seq + 1))
            born += 1
        if born:
            self.live[index] = self.live.get(index, 0) + born
        self._settle(array("Q", leaving), applied)

    def _leader_ops(self, head: EntryHead, applied: Applied) -> None:
        ops = head.leader
        if ops.verdicts:
            rows = unpack_column("Q", ops.verdicts)
            for i in range(0, len(rows), 4):
                op, tx = TxOp(rows[i]), TxId(*rows[i + 1 : i + 4])
                self._conclude(op, tx, head.time_ms, applied)
                applied.verdicts.append((op, tx))
        if ops.hot:
            for queue_id in unpack_column("Q", ops.hot):
                queue = self.queues.get(QueueId(queue_id))
                if queue is not None:
                    queue.watermark = queue.next_seq
                    applied.watermarks.append(queue.id)
        if ops.watermarks:
            pairs = unpack_column("Q", ops.watermarks)
            for i in range(0, len(pairs), 2):
                queue = self.queues.get(QueueId(pairs[i]))
                if queue is not None:
                    queue.watermark = max(queue.watermark, min(pairs[i + 1], queue.next_seq))
                    applied.watermarks.append(queue.id)
        if ops.settles:
            self._settle(unpack_column("Q", ops.settles), applied)
        if ops.returns:
            self._give_back(unpack_column("Q", ops.returns), 0, applied)
        if ops.forgives:
            triples = unpack_column("Q", ops.forgives)
            for i in range(0, len(triples), 3):
                queue = self.queues.get(QueueId(triples[i]))
                if queue is not None:
                    parts = queue.forgive(triples[i + 1], triples[i + 1] + triples[i + 2])
                    applied.forgiven.append((queue.id, parts))
        if ops.dooms:
            rows = unpack_column("Q", ops.dooms)
            for i in range(0, len(rows), 4):
                queue = self.queues.get(QueueId(rows[i]))
                if queue is not None:
                    queue.doom(rows[i + 1], rows[i + 1] + rows[i + 2], rows[i + 3])
        if ops.moves:
            self._move(head, applied)
        if ops.drops:
            for queue_id in unpack_column("Q", ops.drops):
                queue = self.queues.pop(QueueId(queue_id), None)
                if queue is not None:
                    self._release(queue, queue.settle(queue.head, queue.next_seq))
                applied.dropped.append(QueueId(queue_id))

    def _settle(self, triples: array[int], applied: Applied) -> None:
        for i in range(0, len(triples), 3):
            queue = self.queues.get(QueueId(triples[i]))
            if queue is not None:
                gone = queue.settle(triples[i + 1], triples[i + 1] + triples[i + 2])
                self._release(queue, gone)
                applied.settled.append((queue.id, gone))

    def _release(self, queue: QueueState, gone: Sequence[Range]) -> None:
        for first, end in gone:
            for _, count, index, _ in queue.places(first, end):
                self._unpin(index, count)
        queue.forget_settled()

    def _unpin(self, index: int, count: int) -> None:
        """So many messages of an entry are alive no more."""
        left = self.live[index] - count
        if left:
            self.live[index] = left
        else:
            del self.live[index]
            if index != self.applied_index:
                self.dead.append(index)

    def _give_back(self, triples: array[int], node: int, applied: Applied) -> None:
        for i in range(0, len(triples), 3):
            queue = self.queues.get(QueueId(triples[i]))
            if queue is not None:
                parts = queue.give_back(triples[i + 1], triples[i + 1] + triples[i + 2])
                applied.returned.append((queue.id, parts, node))

    def take_dead(self, up_to: int) -> list[int]:
        """Dead entries at or below `up_to`, ascending, handed out once."""
        taken = sorted([i for i in self.dead if i <= up_to])
        self.dead = [i for i in self.dead if i > up_to]
        return taken

    def draft(self) -> Draft:
        """The index of what is alive, as it is now."""
        sessions = [[node, *last, self.refusals.get(node, ())] for node, last in sorted(self.sessions.items())]
        queues = [self.queues[queue].frozen() for queue in sorted(self.queues)]
        return Draft(self.applied_index, sessions, queues, self.transactions.to_wire())

    def snapshot(self) -> bytes:
        """All of `draft`."""
        return b"".join(self.draft().pieces())

    def restore(self, data: bytes) -> None:
        """Become what `snapshot` wrote. Raises EntryCorrupt (and then has changed nothing)."""
        try:
            version, applied_index, sessions, wires, *more = msgpack.unpackb(data)
            if not 1 <= version <= STATE_VERSION:
                raise EntryCorrupt(f"shard snapshot has version {version}, this node reads up to {STATE_VERSION}")
            transactions = Transactions.from_wire(more[0]) if more else Transactions()
            refusals: dict[int, Refusals] = {
                node: tuple((number, data) for number, data in refused) for node, _, _, refused in sessions if refused
            }
            sessions = {node: (incarnation, number) for node, incarnation, number, _ in sessions}
            queues = [read_queue(wire) for wire in wires]
            live: dict[int, int] = {}
            for queue in queues:
                for first, end in queue.alive_parts(queue.head, queue.next_seq):
                    for _, count, index, _ in queue.places(first, end):
                        live[index] = live.get(index, 0) + count
            for part in transactions.prepared.values():
                if part.births:
                    live[part.index] = live.get(part.index, 0) + part.births
        except EntryCorrupt:
            raise
        except Exception as error:
            raise EntryCorrupt(f"shard snapshot cannot be read: {error}") from error
        self.applied_index = applied_index
        self.sessions = sessions
        self.refusals = refusals
        self.queues = {queue.id: queue for queue in queues}
        self.transactions = transactions
        self.live = live
        self.dead = []
