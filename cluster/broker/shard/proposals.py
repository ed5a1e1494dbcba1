"""What a leader has for the log: batches of home nodes, and its own decisions, until an entry holds them.

Law: what was taken into an entry and is refused is offered again, with nothing counted twice; what is accepted is out
of here, and its effect comes back by `applied`. Entries are applied in the order in which they were accepted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster.broker.shard.columns import pack_numbers, unpack_column
from cluster.broker.shard.dead_letters import Morgue
from cluster.broker.shard.death import REASONS
from cluster.broker.shard.departures import Doom
from cluster.broker.shard.entry import (
    HEAVY_BATCH_BYTES,
    NO_OPS,
    SHARD_SESSIONS,
    Batch,
    LeaderOps,
    QueueId,
    encode_entry,
)
from cluster.broker.shard.gate import Passed, asks_memory, guard
from cluster.broker.shard.intervals import Range
from cluster.broker.shard.keeper import Keeper
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.orphans import Orphanage, Orphans
from cluster.broker.shard.payload_cache import PayloadCache
from cluster.broker.shard.settings import PLAIN
from cluster.broker.shard.surroundings import Surroundings
from cluster.broker.shard.tx_ops import TxId, TxOp

ENTRY_ROWS_MAX = 1000
"""Stretches of messages that are settled, rejected or given back, up to which an entry takes one more batch; and so
many that the leader settles, gives back and forgives itself, of each. Every replica looks at all of them in one go,
while it hears nobody: the next entry has the rest."""
LEAVING_MAX = 20_000
"""Dead letters of a shard that wait. From there on an entry takes no more messages of home nodes than left with the one
before, and one batch at least: publishers wait until what leaves keeps pace. What cannot leave, because the catalog has
no majority, keeps nobody waiting."""


def _fits(weight: int, before: int, room: int) -> bool:
    """May a batch join the one before it in an entry? All in bytes."""
    return weight <= room and max(weight, before) < HEAVY_BATCH_BYTES


@dataclass(slots=True, eq=False)
class _Taken:
    """What went into an entry that is not accepted yet."""

    batches: list[Batch]
    ops: LeaderOps
    orphans: list[Orphans]
    settles: list[int]
    dooms: list[Doom]
    declared: list[Doom]
    passed: Passed | None


class Proposals:
    """One leader's. Columns as in `LeaderOps`."""

    def __init__(
        self,
        *,
        queues: Mapping[QueueId, LeaderQueue],
        keeper: Keeper,
        newcomer: Callable[[QueueId, bool], LeaderQueue | None],
        surroundings: Surroundings,
        payloads: PayloadCache,
        shard: int,
        hot_backlog_max: int,
    ) -> None:
        """newcomer(queue, is_needed) is asked for a queue's first batch."""
        self.batches: deque[Batch] = deque()
        self.batch_bytes = 0
        """Bytes of batches that wait for an entry. Bounded by what the home nodes may have in flight."""
        self.settles: list[int] = []
        self.forgives: list[int] = []
        self.drops: list[int] = []
        self.verdicts: list[int] = []
        self.orphans = Orphanage()
        self.watermarks: dict[QueueId, int] = {}
        self._queues = queues
        self._keeper = keeper
        self._newcomer = newcomer
        self._surroundings = surroundings
        self._payloads = payloads
        self._shard = shard
        self._hot_backlog_max = hot_backlog_max
        self._taken: _Taken | None = None
        self._accepted = self._applied = 0
        """Entries of this leader."""
        self._question = 0
        """Of the catalog, see `Surroundings.ask`: before it is answered no message leaves its queue."""
        self._sure = 0
        """Dooms, from the first on, that were there when it was asked."""
        self._is_held = False
        """Is the next doom a dead letter that waits for room?"""
        self._buried = 0
        """Messages that left with the last entry that any could leave with."""
        self._passed: deque[tuple[int, Passed]] = deque()
        """With the number of its entry, of those that are accepted and not applied."""

    def __bool__(self) -> bool:
        return bool(
            self.batches
            or self.settles
            or self.orphans
            or self.drops
            or self.watermarks
            or self._may_bury()
            or self._may_declare()
            or self.forgives
            or self.verdicts
        )

    def _may_bury(self) -> bool:
        surroundings = self._surroundings
        if not self._keeper.dooms or (self._is_held and not surroundings.has_room):
            return False
        return surroundings.is_current and surroundings.answered >= self._question

    def _may_declare(self) -> bool:
        return self._keeper.dooms.has_undeclared and self._surroundings.knows_dooms

    def _morgue(self, time_ms: int) -> Morgue:
        return Morgue(
            shard=self._shard,
            time_ms=time_ms,
            queues=self._queues,
            surroundings=self._surroundings,
            payloads=self._payloads,
        )

    def _bury(self, morgue: Morgue, bytes_max: int) -> list[Doom]:
        dooms = self._keeper.dooms
        before = len(dooms)
        taken = morgue.take(dooms, bytes_max, self._sure)
        self._sure = max(0, self._sure - (before - len(dooms)))
        self._buried = sum([doom.count for doom in taken])
        self._is_held = morgue.is_held
        if morgue.is_unsure:
            self._question, self._sure = self._surroundings.ask(), len(dooms)
        return taken

    def return_lost(self, queue: QueueId, parts: list[Range]) -> None:
        """Parts of a queue that nobody holds who would give them back: they come back all the same."""
        if parts:
            self.orphans.add(Orphans(0, (0, 0), [n for first, end in parts for n in (queue, first, end - first)]))

    def verdict(self, op: TxOp, tx: TxId) -> None:
        """Say something of a transaction."""
        self.verdicts += (op, *tx)

    def add(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.batch_bytes += batch.weight

    def take(self, time_ms: int, bytes_max: int) -> bytes:
        """The next entry: as many waiting batches as fit (at least one), and the leader's own operations.

        A heavy batch has it for itself: others would wait until it is written.
        """
        keeper = self._keeper
        keeper.now_ms = max(keeper.now_ms, time_ms)
        batches: list[Batch] = []
        judged: list[Batch] = []
        size = 0
        hot: dict[int, None] = {}
        queues = self._queues
        waiting = self.batches
        backlog_max = self._hot_backlog_max
        morgue: Morgue | None = None
        passed: Passed | None = None
        dooms: list[Doom] = []
        rows = slots = 0
        slots_max = max(1, self._buried) if keeper.dooms.messages > LEAVING_MAX and self._may_bury() else None
        while waiting and (not batches or _fits(waiting[0].weight, batches[-1].weight, bytes_max - size)):
            if rows >= ENTRY_ROWS_MAX or (slots_max is not None and slots >= slots_max):
                break
            batch = waiting.popleft()
            size += batch.weight
            rows += batch.rows
            slots += len(batch.sizes) // 4
            batches.append(batch)
            runs = unpack_column("Q", batch.runs)
            guarded = remembered = asks_memory(batch)
            for queue_id in dict.fromkeys(runs[::3]):
                queue = queues.get(QueueId(queue_id)) or self._newcomer(QueueId(queue_id), remembered)
                if queue is not None:
                    if queue.settings is not PLAIN:
                        guarded = guarded or queue.settings.guarded
                    if queue.hot(backlog_max):
                        hot[queue_id] = None
            if guarded and batch.node < SHARD_SESSIONS:
                passed = passed or Passed()
                morgue = morgue or self._morgue(time_ms)
                batch = guard(batch, runs, queues, passed, time_ms, morgue.kept_out)
            judged.append(batch)
        self.batch_bytes -= size
        orphans = self.orphans.take(waiting, ENTRY_ROWS_MAX) if self.orphans else []
        settles = taken_settles = self.settles[: 3 * ENTRY_ROWS_MAX]
        forgives = self.forgives[: 3 * ENTRY_ROWS_MAX]
        if self._may_bury():
            morgue = morgue or self._morgue(time_ms)
            dooms = self._bury(morgue, max(1, bytes_max - size))
            settles = [*settles, *morgue.settles]
        told = declared = keeper.dooms.take_undeclared(ENTRY_ROWS_MAX) if self._may_declare() else []
        if not keeper.dooms:
            told, declared = [], [*declared, *keeper.dooms.take_undeclared()]
        ops = NO_OPS
        own = hot or self.watermarks or settles or orphans or self.drops or forgives or self.verdicts or told
        if own or morgue is not None:
            ops = LeaderOps(
                pack_numbers(list(hot)),
                pack_numbers([n for pair in self.watermarks.items() for n in pair]) if self.watermarks else b"",
                pack_numbers(settles) if settles else b"",
                pack_numbers([n for o in orphans for n in o.triples]) if orphans else b"",
                pack_numbers(self.drops) if self.drops else b"",
                pack_numbers(forgives) if forgives else b"",
                verdicts=pack_numbers(self.verdicts),
                dooms=pack_numbers([n for d in told for n in (d.queue, d.first, d.count, REASONS.index(d.reason))]),
            )
            if morgue is not None:
                morgue.write(ops)
        self._taken = _Taken(batches, ops, orphans, taken_settles, dooms, declared, passed)
        self.watermarks.clear()
        del self.settles[: len(taken_settles)], self.forgives[: len(forgives)]
        self.drops.clear()
        self.verdicts.clear()
        return encode_entry(time_ms, judged, ops)

    def accepted(self) -> None:
        """The entry taken last is in the log (not yet committed)."""
        assert self._taken is not None
        self._accepted += 1
        if self._taken.passed is not None:
            self._passed.append((self._accepted, self._taken.passed))
        self._taken = None

    def refused(self) -> None:
        """The entry taken last could not be proposed now: its content is offered again."""
        assert self._taken is not None
        taken, self._taken = self._taken, None
        self.orphans.put_back(taken.orphans)
        if taken.passed is not None:
            taken.passed.done(self._queues)
        self._keeper.dooms.put_back(taken.dooms)
        self._keeper.dooms.put_back_undeclared(taken.declared)
        self._sure = 0
        self.settles[:0] = taken.settles
        self.batches.extendleft(reversed(taken.batches))
        self.batch_bytes += sum(b.weight for b in taken.batches)
        self.forgives[:0] = unpack_column("Q", taken.ops.forgives)
        self.drops[:0] = unpack_column("Q", taken.ops.drops)
        self.verdicts[:0] = unpack_column("Q", taken.ops.verdicts)
        pairs = unpack_column("Q", taken.ops.watermarks)
        for i in range(0, len(pairs), 2):
            self.watermarks.setdefault(QueueId(pairs[i]), pairs[i + 1])

    def applied(self) -> None:
        """The state has applied the oldest entry that was accepted."""
        self._applied += 1
        if self._passed and self._passed[0][0] == self._applied:
            self._passed.popleft()[1].done(self._queues)
